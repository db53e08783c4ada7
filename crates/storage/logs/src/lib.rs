//! Log groups, streams and events.
//!
//! Groups and streams are records in the store; events lie in segments beside it. Functions' lines pass through a
//! [`StreamHandle`] and never wait; everything else is an operation of [`Logs`]. There are no wire types here, and no
//! function: a line is a time and a text.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod limits;
pub mod pattern;
pub mod types;

mod door;
mod events;
mod get;
mod groups;
mod keeper;
mod payload;
mod put;
mod records;
mod search;
mod shared;
mod streams;
mod sweep;
mod tokens;

use std::sync::Arc;

use base::entropy::Entropy;
use base::stop::Stop;
use base::time::{Clock, Timestamp};
use bytes::Bytes;
use meter::Metrics;
use model::ids::AccountId;
use model::names::{LogGroupName, LogStreamName, Region};
use parking_lot::Mutex;
use store::Store;
use store::segments::Segments;
use tokio::task::JoinHandle;

pub use door::StreamHandle;
pub use pattern::{BadPattern, Pattern};
pub use types::{
    DescribeGroups, DescribeStreams, Event, FilterEvents, GetEvents, Group, Home, LogsError, NewEvent, NewGroup, Page,
    Rejected, Stream, StreamEvents, StreamOrder, Streams,
};

use limits::WRITTEN_WAIT_MAX;
use shared::Shared;

/// What logs are built on.
pub struct LogsOptions {
    /// Holds groups and streams.
    pub store: Arc<dyn Store>,
    /// Holds events, and nothing else.
    pub segments: Arc<Segments>,
    /// Tells what time it is.
    pub clock: Arc<dyn Clock>,
    /// Makes incarnations.
    pub entropy: Arc<dyn Entropy>,
    /// Counts what is dropped.
    pub metrics: Arc<Metrics>,
}

/// All log groups of all accounts.
pub struct Logs {
    shared: Arc<Shared>,
    stop: Stop,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

impl Logs {
    /// Starts the keeper on the current runtime. What a crash left uncounted is counted in the background.
    ///
    /// # Errors
    /// `Storage`, if the segments cannot be read.
    pub async fn open(options: LogsOptions) -> Result<Arc<Self>, LogsError> {
        let LogsOptions { store, segments, clock, entropy, metrics } = options;
        let shared = Arc::new(Shared::new(store, segments, clock, entropy, metrics));
        // From here on doors count for themselves.
        let inherited = shared.last_position().await?;
        let stop = Stop::new();
        shared.unsettle();
        let keeper = tokio::spawn(keeper::run(Arc::clone(&shared), inherited, stop.clone()));
        Ok(Arc::new(Self { shared, stop, keeper: Mutex::new(Some(keeper)) }))
    }

    /// Lets through what waits and writes all statistics. Lines that come later are stored, where their stream is open
    /// already, but no longer counted.
    pub async fn close(&self) {
        self.stop.request();
        let keeper = self.keeper.lock().take();
        if let Some(keeper) = keeper
            && let Err(panicked) = keeper.await
        {
            tracing::error!("close the logs: {panicked}");
        }
        // What the disk refuses waits on, until the data directory is closed.
        let _ = self.shared.segments.flush().await;
    }

    /// Where the lines of a function's instance go: group and stream are created by the first line, in the background.
    pub fn stream(
        &self,
        account: AccountId,
        region: &Region,
        group: &LogGroupName,
        stream: &LogStreamName,
    ) -> StreamHandle {
        let home = Home { account, region: region.clone() };
        StreamHandle(self.shared.door(&home, group, stream))
    }

    /// Returns when every line taken so far survives the death of the process, though not yet a power cut. Waits at most
    /// two seconds for groups and streams that are being created, and as long for a disk that does not take lines; `false`
    /// if some are not written then, but wait.
    pub async fn written(&self) -> bool {
        let opened = self.shared.doors_opened().await;
        self.shared.segments.flush_within(WRITTEN_WAIT_MAX).await.is_ok() && opened
    }

    /// Stores one line, without waiting. For more than one, keep the handle of [`Logs::stream`].
    pub fn put_guest(
        &self,
        account: AccountId,
        region: &Region,
        group: &LogGroupName,
        stream: &LogStreamName,
        at: Timestamp,
        text: Bytes,
    ) {
        self.stream(account, region, group, stream).line(at, text);
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.stop.request();
    }
}

//! Segments: log lines and usage facts, in files of their own that only grow and are deleted whole.
//!
//! Appending never waits. Entries can be read after [`Segments::flush`], or some milliseconds later; a power cut may take
//! those of the last second, a killed process only those of the last milliseconds. What a full disk does not take waits in
//! the bounded queue until it does.

mod frame;
mod keeper;
mod raw;
mod scan;
mod sealed;
mod shelf;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use base::chain::Chain;
use base::sizes::{KIB, MIB};
use base::time::Timestamp;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::data_dir::LockFile;
use crate::error::Source;
use crate::read::PageLimit;
use keeper::Chores;
use raw::Damage;
use shelf::{Found, Segment, Shelf};
use writer::{Progress, Queue, Writer};

/// The name of a stream.
pub const STREAM_BYTES_MAX: usize = 2 * KIB;
/// The payload of an entry.
pub const PAYLOAD_BYTES_MAX: usize = MIB;
/// What a frame's body may claim to be.
const FRAME_BODY_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + STREAM_BYTES_MAX + 64;
/// A write that straddles the limit of a segment still belongs to it.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

const _: () = assert!(STREAM_BYTES_MAX <= u16::MAX as usize);

/// How segments are kept.
#[derive(Debug, Clone)]
pub struct SegmentOptions {
    /// Entries that wait to be written or are being written, in bytes; what comes when it is full is dropped.
    pub queue_bytes_max: usize,
    /// A segment of this size is sealed: compressed, and from then on only read and deleted.
    pub segment_bytes: u64,
    /// When all segments together are larger, the oldest are deleted, but never the newest.
    pub retain_bytes: u64,
    /// How long an entry waits for others to be written with.
    pub linger: Duration,
    /// How long after being written an entry is made to survive a power cut.
    pub sync_every: Duration,
}

/// The place of an entry in the order in which all entries were taken. Grows, with gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// A line or a fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it belongs to.
    pub stream: Bytes,
    /// When it happened, as whoever appended it says.
    pub at: Timestamp,
    /// Its place.
    pub position: Position,
    /// What it says.
    pub payload: Bytes,
}

/// Which streams to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Streams {
    /// This one.
    One(Bytes),
    /// Each whose name begins so; every one if it is empty.
    Prefix(Bytes),
}

/// What to read.
#[derive(Debug, Clone)]
pub struct SegmentScan {
    /// Of which streams.
    pub streams: Streams,
    /// From this time …
    pub from: Timestamp,
    /// … to before this one.
    pub to: Timestamp,
    /// After this position; before it where the newest come first.
    pub after: Option<Position>,
    /// In the order of positions, or against it.
    pub newest_first: bool,
    /// How much at most.
    pub limit: PageLimit,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SegmentPage {
    /// In the order that was asked for.
    pub entries: Vec<Entry>,
    /// Where to go on. A call does a bounded amount of work, so that it may say so with few entries or none. `None` at
    /// the end; whoever waits for more goes on after the last entry.
    pub next: Option<Position>,
}

/// Why an entry was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Dropped {
    /// Entries come faster than the disk takes them, or it takes none.
    #[error("too many entries wait to be written")]
    QueueFull,
    /// Over [`STREAM_BYTES_MAX`] or [`PAYLOAD_BYTES_MAX`].
    #[error("the entry is too large")]
    TooLarge,
    /// The data directory was closed.
    #[error("the segments are closed")]
    Closed,
}

/// Why segments were not opened or read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SegmentError {
    /// Letters, digits, `-` and `_`, at most 64.
    #[error("{0:?} cannot name segments")]
    BadName(String),
    /// The disk is full.
    #[error("the disk of the data directory is full")]
    Full(#[source] Source),
    /// The disk or the folder failed.
    #[error("{doing} the segments {name}")]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// Which segments.
        name: String,
        /// Why it failed.
        #[source]
        source: Source,
    },
}

/// What happened since the segments were opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SegmentStats {
    /// Entries that were written.
    pub written: u64,
    /// Entries that were dropped: those that `append` refused, and those that a close could not write.
    pub dropped: u64,
    /// Bytes that were cut off at the open because they were not whole.
    pub bytes_cut: u64,
    /// Bytes that were passed over at the open because they were damaged, before something that is whole.
    pub bytes_lost: u64,
    /// Files.
    pub segments: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// Open segments of one kind.
pub struct Segments {
    name: String,
    queue: Arc<Queue>,
    shelf: Arc<Shelf>,
    counters: Arc<Counters>,
    chores: Arc<Chores>,
    damage: Damage,
    progress: watch::Receiver<Progress>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Counters {
    dropped: AtomicU64,
}

impl Segments {
    /// Opens the segments of a folder, which exists.
    pub(crate) fn open(
        name: &str,
        folder: PathBuf,
        options: SegmentOptions,
        lock: Arc<LockFile>,
    ) -> Result<Self, SegmentError> {
        let failed = |source| SegmentError::failed("open", name, source);
        let Found { shelf, mut raw, next, damage } = Shelf::open(folder).map_err(failed)?;
        if damage.cut > 0 {
            tracing::warn!(
                segments = name,
                bytes_cut = damage.cut,
                "the end of a segment was not whole and was cut off"
            );
        }
        let (shelf, queue) = (Arc::new(shelf), Arc::new(Queue::new(options.queue_bytes_max)));
        let (chores, counters) = (Arc::new(Chores::default()), Arc::new(Counters::default()));
        // One before a sealed segment could not be sealed: what is written now belongs behind both.
        let active = raw.pop_if(|first| shelf.is_newest(*first)).and_then(|first| match shelf.get(first) {
            Some(Segment::Raw(segment)) => Some((first, segment)),
            _ => None,
        });
        raw.into_iter().for_each(|first| chores.full(first));
        let (sender, progress) = watch::channel(Progress::default());
        let mut writer = Writer {
            name: name.to_owned(),
            queue: Arc::clone(&queue),
            shelf: Arc::clone(&shelf),
            chores: Arc::clone(&chores),
            counters: Arc::clone(&counters),
            progress: sender,
            segment_bytes: options.segment_bytes.min(SEGMENT_BYTES_MAX),
            linger: options.linger,
            active,
            next,
        };
        let (kept, kept_shelf, kept_lock) = (Arc::clone(&chores), Arc::clone(&shelf), Arc::clone(&lock));
        let spawn = |role: &str, work: Box<dyn FnOnce() + Send>| {
            thread::Builder::new().name(format!("{role}-{name}")).spawn(work).map_err(failed)
        };
        let keep = spawn(
            "keep",
            Box::new(move || {
                kept.run(&kept_shelf, options.sync_every, options.retain_bytes);
                drop(kept_lock);
            }),
        )?;
        let write = spawn(
            "append",
            Box::new(move || {
                writer.run();
                writer.chores.close();
                drop(lock);
            }),
        );
        if write.is_err() {
            chores.close();
        }
        let threads = Mutex::new(vec![write?, keep]);
        Ok(Self { name: name.to_owned(), queue, shelf, counters, chores, damage, progress, threads })
    }

    /// Takes an entry, or drops and counts it; never waits.
    ///
    /// # Errors
    /// Why it was dropped.
    pub fn append(&self, stream: Bytes, at: Timestamp, payload: Bytes) -> Result<(), Dropped> {
        let fits = stream.len() <= STREAM_BYTES_MAX && payload.len() <= PAYLOAD_BYTES_MAX;
        let taken = if fits { self.queue.push(stream, at, payload) } else { Err(Dropped::TooLarge) };
        if taken.is_err() {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    /// Returns when everything that was appended before can be read, or as soon as the disk is found to refuse it.
    ///
    /// # Errors
    /// The disk fails or is full. What was appended waits to be written, unless the segments are closed.
    pub async fn flush(&self) -> Result<(), SegmentError> {
        self.flush_to(self.queue.hurry()).await
    }

    /// As [`Segments::flush`], but while the disk refuses it waits so long for it to take what was appended.
    ///
    /// # Errors
    /// As [`Segments::flush`].
    pub async fn flush_within(&self, wait_max: Duration) -> Result<(), SegmentError> {
        let appended = self.queue.hurry();
        let mut progress = self.progress.clone();
        // Whoever is slow, but does not refuse, is waited for.
        let _ = tokio::time::timeout(wait_max, progress.wait_for(|progress| progress.written >= appended)).await;
        self.flush_to(appended).await
    }

    async fn flush_to(&self, appended: u64) -> Result<(), SegmentError> {
        let mut progress = self.progress.clone();
        let has_come = |progress: &Progress| progress.written >= appended || progress.refused.is_some();
        // The thread is gone only after it wrote or gave up everything.
        let _ = progress.wait_for(has_come).await;
        let Progress { written, refused } = progress.borrow().clone();
        match refused {
            _ if written >= appended => Ok(()),
            Some(error) => Err(self.refused(error)),
            None => Err(self.refused(Arc::new(io::Error::other("the thread that writes has ended")))),
        }
    }

    /// Returns when everything that was appended before survives a power cut: for what is acknowledged one by one.
    ///
    /// # Errors
    /// The disk fails or is full; what was appended before may be lost then.
    pub async fn sync(&self) -> Result<(), SegmentError> {
        self.flush().await?;
        self.run("sync", Shelf::sync).await
    }

    /// Whether the disk refuses what was appended, or to make it durable. Cheap.
    pub fn is_failing(&self) -> bool {
        self.progress.borrow().refused.is_some() || self.chores.unsynced().is_some()
    }

    /// Why the disk refuses it, on one line; `None` while it does not. Cheap.
    pub fn trouble(&self) -> Option<String> {
        let refused = self.progress.borrow().refused.clone().or_else(|| self.chores.unsynced())?;
        Some(Chain(&self.refused(refused)).to_string())
    }

    /// Reads entries. Retention may delete the oldest while one pages through them.
    ///
    /// # Errors
    /// The disk fails, or a segment is damaged.
    pub async fn scan(&self, wanted: SegmentScan) -> Result<SegmentPage, SegmentError> {
        self.run("read", move |shelf| scan::scan(shelf, &wanted)).await
    }

    /// Deletes the segments that hold only what is older than `before`; tells how many. What is younger, or shares a
    /// segment with it, stays.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn retire(&self, before: Timestamp) -> Result<usize, SegmentError> {
        self.run("delete old ones of", move |shelf| shelf.retire(before)).await
    }

    /// What happened so far.
    pub fn stats(&self) -> SegmentStats {
        SegmentStats {
            written: self.progress.borrow().written,
            dropped: self.counters.dropped.load(Ordering::Relaxed),
            bytes_cut: self.damage.cut,
            bytes_lost: self.damage.lost,
            segments: self.shelf.count(),
            bytes: self.shelf.bytes(),
        }
    }

    /// Takes nothing more. What waits is still written; what the disk refuses is dropped after two seconds, and counted.
    pub(crate) fn stop(&self) {
        self.queue.close();
    }

    /// Stops, writes and syncs what waits, then lets go of the files. Blocks for it.
    pub(crate) fn close(&self) {
        self.stop();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            if thread.join().is_err() {
                tracing::error!(segments = self.name, "a thread of the segments had panicked");
            }
        }
    }

    fn refused(&self, error: Arc<io::Error>) -> SegmentError {
        if crate::disk::is_full(&error) {
            return SegmentError::Full(error);
        }
        SegmentError::Failed { doing: "write", name: self.name.clone(), source: error }
    }

    async fn run<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Shelf) -> io::Result<T> + Send + 'static,
    ) -> Result<T, SegmentError> {
        let shelf = Arc::clone(&self.shelf);
        let outcome = tokio::task::spawn_blocking(move || work(&shelf)).await;
        outcome.map_err(io::Error::other).flatten().map_err(|error| SegmentError::failed(doing, &self.name, error))
    }
}

impl Drop for Segments {
    fn drop(&mut self) {
        // The writer ends when it has written everything, and tells the keeper.
        self.queue.close();
    }
}

impl Default for SegmentOptions {
    fn default() -> Self {
        Self {
            queue_bytes_max: 16 * MIB,
            segment_bytes: 16 * MIB as u64,
            retain_bytes: 4096 * MIB as u64,
            linger: Duration::from_millis(10),
            sync_every: Duration::from_secs(1),
        }
    }
}

impl Streams {
    fn contains(&self, stream: &[u8]) -> bool {
        match self {
            Self::One(name) => stream == name,
            Self::Prefix(prefix) => stream.starts_with(prefix),
        }
    }
}

impl SegmentScan {
    /// Everything of these streams, the oldest first.
    pub fn new(streams: Streams) -> Self {
        Self {
            streams,
            from: Timestamp::EPOCH,
            to: Timestamp::MAX,
            after: None,
            newest_first: false,
            limit: PageLimit::default(),
        }
    }
}

impl SegmentError {
    pub(crate) fn failed(doing: &'static str, name: &str, source: io::Error) -> Self {
        if crate::disk::is_full(&source) {
            return Self::Full(Arc::new(source));
        }
        Self::Failed { doing, name: name.to_owned(), source: Arc::new(source) }
    }
}

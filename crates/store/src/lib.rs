//! The durable floor: records, journals, due-times, blobs, segments.
//!
//! [`Store`] keeps ordered records, journals and due-times, changed together by a [`Batch`]. [`Blobs`] keeps whole files
//! under a key. [`segments::Segments`] takes log lines and usage facts, which may be lost with the last second before a
//! power cut. All of them live in one [`data_dir::DataDir`]; [`memory`] holds the same two traits for tests.
//!
//! The crate knows no retry and no policy: it says what happened, and whether trying again is safe.

#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod batch;
pub mod blobs;
pub mod data_dir;
pub mod error;
pub mod key;
pub mod limits;
pub mod memory;
pub mod read;
pub mod record;
pub mod seal;
pub mod segments;

mod disk;
mod embedded;
mod hints;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use base::time::Timestamp;
use tokio::sync::watch;

pub use batch::{Answer, Batch, BatchId, Check, Committed, Epoch, Op, Revision, Sequence};
pub use blobs::{BlobCondition, BlobError, BlobHead, BlobKey, BlobSource, Blobs};
pub use data_dir::{DataDir, DataDirOptions, OpenError, StoreOptions};
pub use error::{CommitError, Refusal, Source, StoreError};
pub use key::{Key, KeyRange, Shard};
pub use read::{Cursor, Direction, Due, JournalPage, Page, PageLimit, Read, ReadAnswer, Scan, Stored};
pub use record::{DecodeError, Record};
pub use seal::{KeyError, MasterKey, UnsealError};

/// What the traits answer, so that they can be objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Ordered, versioned records, journals and due-times, committed together.
pub trait Store: Send + Sync + 'static {
    /// Answers every part from one snapshot. It sees everything that was acknowledged before it was asked.
    ///
    /// # Errors
    /// More than [`limits::READ_PARTS_MAX`] parts, a failing disk, or a closed store.
    fn read(&self, read: Read) -> BoxFuture<'_, Result<ReadAnswer, StoreError>>;

    /// All checks, then all operations, or nothing; serializable, and durable when it returns. A future that is dropped
    /// leaves the batch either whole or undone.
    ///
    /// # Errors
    /// See [`CommitError`]: only after `Unknown` may something have been written, and then the same batch may be
    /// committed again for [`limits::REMEMBERED_SECS`].
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, CommitError>>;

    /// Entries of a journal from a place on; an unknown journal is an empty one.
    ///
    /// # Errors
    /// A failing disk, or a closed store.
    fn read_journal(
        &self,
        journal: &Key,
        from: Sequence,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<JournalPage, StoreError>>;

    /// Forgets entries of a journal; those after go on counting as before.
    ///
    /// # Errors
    /// A failing or full disk (some entries may be forgotten then), or a closed store.
    fn trim(&self, journal: &Key, before: Sequence) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Due-times at or before `until` in the shard and in those below it, earliest first; up to
    /// [`limits::DUE_ITEMS_MAX`]. They stay until a commit clears them.
    ///
    /// # Errors
    /// A failing disk, or a closed store.
    fn due(&self, shard: &Shard, until: Timestamp, limit: usize) -> BoxFuture<'_, Result<Vec<Due>, StoreError>>;

    /// Changes when something at or below the shard may have been committed; a hint, and several commits may be one.
    fn watch(&self, shard: &Shard) -> watch::Receiver<u64>;
}

/// Reads one record.
///
/// # Errors
/// As [`Store::read`], and a record that cannot be decoded.
pub async fn get_record<T: Record>(store: &dyn Store, key: &Key) -> Result<Option<(T, Revision)>, StoreError> {
    let answer = store.read(Read::get(key.clone())).await?;
    let Some(stored) = answer.get.into_iter().next().flatten() else { return Ok(None) };
    decode_stored(key, &stored).map(|record| Some((record, stored.revision)))
}

/// Reads one page of a range of records.
///
/// # Errors
/// As [`Store::read`], and a record that cannot be decoded.
pub async fn scan_records<T: Record>(
    store: &dyn Store,
    scan: Scan,
) -> Result<(Vec<(Key, T, Revision)>, Option<Cursor>), StoreError> {
    let answer = store.read(Read::scan(scan)).await?;
    let page = answer.scan.into_iter().next().unwrap_or_default();
    let mut records = Vec::with_capacity(page.records.len());
    for (key, stored) in page.records {
        let record = decode_stored(&key, &stored)?;
        records.push((key, record, stored.revision));
    }
    Ok((records, page.next))
}

/// Decodes what a read answered.
///
/// # Errors
/// The value is not such a record.
pub fn decode_stored<T: Record>(key: &Key, stored: &Stored) -> Result<T, StoreError> {
    record::decode(&stored.value).map_err(|source| StoreError::Record { key: key.clone(), source: Arc::new(source) })
}

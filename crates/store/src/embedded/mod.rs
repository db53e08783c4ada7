//! The store on one machine: one SQLite database, one writer thread, a few readers, checkpoints beside them.

mod apply;
mod checkpoint;
pub(crate) mod files;
mod reader;
mod remembered;
mod schema;
mod writer;

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base::chain::Chain;
use base::sizes::MIB;
use base::time::{Clock, SystemClock, Timestamp};
use parking_lot::Mutex;
use rusqlite::{ErrorCode, ffi};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::batch::{Batch, Committed, Sequence};
use crate::data_dir::LockFile;
use crate::error::{CommitError, Source, StoreError};
use crate::hints::Hints;
use crate::key::{Key, Shard};
use crate::limits::BATCH_BYTES_MAX;
use crate::read::{Due, JournalPage, PageLimit, Read, ReadAnswer};
use crate::{BoxFuture, Store};
use reader::Question;
use schema::Role;
use writer::{Command, Writer};

/// Batches that wait for the writer; who comes later waits before the queue.
const WAITING_BATCHES_MAX: usize = 1024;
/// Bytes that wait for the writer.
const WAITING_BYTES_MAX: usize = 64 * MIB;
/// Questions that wait for a reader.
const WAITING_READS_MAX: usize = 256;
/// A failed commit is shown for so long: whether what failed it lasts, only the next one can tell.
const TROUBLE_SHOWN: Duration = Duration::from_secs(30);
/// What a batch takes in the queue beside its bytes.
const BATCH_OVERHEAD_BYTES: usize = 256;

const _: () = assert!(BATCH_BYTES_MAX + BATCH_OVERHEAD_BYTES <= WAITING_BYTES_MAX);

/// How the embedded store works. The defaults suit one machine.
#[derive(Clone)]
pub struct StoreOptions {
    /// Tells when batches were committed, to forget their ids.
    pub clock: Arc<dyn Clock>,
    /// Reader threads; at least 1.
    pub readers: usize,
    /// Pages (of 8 KiB) in the write-ahead log from which on a checkpoint is begun beside the writer.
    pub checkpoint_pages: u32,
    /// Pages in the write-ahead log from which on the writer waits for a checkpoint.
    pub wal_pages_max: u32,
}

/// Why the database was not opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenStoreError {
    #[error("the tables have version {found}, and this binary knows versions up to {known}")]
    Newer { found: u32, known: u32 },
    #[error("the disk is full")]
    Full(#[source] Source),
    #[error("the database is damaged")]
    Damaged(#[source] Source),
    #[error("open the database")]
    Failed(#[source] Source),
}

/// Nothing is left of a database that was made before.
#[derive(Debug, thiserror::Error)]
#[error(
    "its database {what}: restore state.db (and state.db-wal, if there was one) from a backup, or name another directory"
)]
struct LostDatabase {
    what: &'static str,
}

/// The running store.
pub(crate) struct EmbeddedStore {
    hints: Arc<Hints>,
    condition: Arc<Condition>,
    waiting_bytes: Arc<Semaphore>,
    running: Mutex<Option<Running>>,
}

/// What the writer lets everybody see.
#[derive(Debug, Default)]
struct Condition {
    /// Something was committed, ever.
    was_used: AtomicBool,
    /// When and why the last commit failed, if it did.
    failed: Mutex<Option<(Instant, CommitError)>>,
}

/// What stands until the store is closed.
struct Running {
    commands: mpsc::Sender<Command>,
    questions: mpsc::Sender<Question>,
    /// Ends after all other threads.
    writer: JoinHandle<()>,
}

impl EmbeddedStore {
    /// Opens the database, or makes it if it `may_be_made`; the directory that holds it must be made durable by the caller.
    pub(crate) fn open(
        path: &Path,
        may_be_made: bool,
        options: &StoreOptions,
        lock: &Arc<LockFile>,
    ) -> Result<Self, OpenStoreError> {
        // SQLite would let everybody read what it makes, and gives the files beside it the rights of this one.
        OpenOptions::new().write(true).create(may_be_made).truncate(false).mode(0o600).open(path)?;
        let mut connection = schema::connect(path, Role::Writer)?;
        schema::prepare(&mut connection, may_be_made)?;
        let readers = (0..options.readers.max(1)).map(|_| schema::connect(path, Role::Reader));
        let readers = readers.collect::<rusqlite::Result<Vec<_>>>()?;
        let checkpointer = schema::connect(path, Role::Checkpointer)?;

        let (hints, condition) = (Arc::new(Hints::default()), Arc::new(Condition::default()));
        let (commands, commanded) = mpsc::channel(WAITING_BATCHES_MAX);
        let (questions, questioned) = mpsc::channel(WAITING_READS_MAX);
        let (poke, checkpoints) = checkpoint::start(checkpointer, Arc::clone(lock))?;
        let writer = Writer::new(connection, commanded, (Arc::clone(&hints), Arc::clone(&condition)), poke, options)?;
        let mut others = reader::start(readers, questioned, lock)?;
        others.push(checkpoints);
        let writer = writer.start(others, Arc::clone(lock))?;
        Ok(Self {
            hints,
            condition,
            waiting_bytes: Arc::new(Semaphore::new(WAITING_BYTES_MAX)),
            running: Mutex::new(Some(Running { commands, questions, writer })),
        })
    }

    /// Answers what was asked so far, then lets go of every file. Blocks for it.
    pub(crate) fn close(&self) {
        let Some(running) = self.running.lock().take() else { return };
        drop((running.commands, running.questions));
        if running.writer.join().is_err() {
            tracing::error!("the store's writer had panicked");
        }
    }

    /// Whether anything was ever committed.
    pub(crate) fn was_used(&self) -> bool {
        self.condition.was_used.load(Ordering::Relaxed)
    }

    /// Why the last commit failed, if that was a short while ago, or that nothing can be committed any more.
    pub(crate) fn trouble(&self) -> Option<String> {
        if self.running.lock().as_ref().is_some_and(|running| running.writer.is_finished()) {
            return Some(WriterDied.to_string());
        }
        let failed = self.condition.failed.lock();
        let (_, error) = failed.as_ref().filter(|(at, _)| at.elapsed() < TROUBLE_SHOWN)?;
        Some(Chain(error).to_string())
    }

    fn commands(&self) -> Option<mpsc::Sender<Command>> {
        self.running.lock().as_ref().map(|running| running.commands.clone())
    }

    async fn ask<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Question,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let questions = self.running.lock().as_ref().map(|running| running.questions.clone());
        let questions = questions.ok_or(StoreError::Closed)?;
        questions.send(question(reply)).await.map_err(|_| StoreError::Closed)?;
        drop(questions);
        answer.await.map_err(|_| StoreError::Closed)?
    }

    async fn commit_batch(&self, batch: Batch) -> Result<Committed, CommitError> {
        let size = batch.measure()? + BATCH_OVERHEAD_BYTES;
        let commands = self.commands().ok_or(CommitError::Closed)?;
        let permits = u32::try_from(size).expect("a measured batch is smaller than the queue");
        let permit = Arc::clone(&self.waiting_bytes).acquire_many_owned(permits).await;
        let permit = permit.map_err(|_| CommitError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let command = Command::Commit { batch, size, reply, permit };
        commands.send(command).await.map_err(|_| CommitError::Closed)?;
        drop(commands);
        // The writer answers everything it took; that it did not means it died on the way.
        answer.await.map_err(|_| CommitError::Unknown(Arc::new(WriterDied)))?
    }
}

impl Store for EmbeddedStore {
    fn read(&self, read: Read) -> BoxFuture<'_, Result<ReadAnswer, StoreError>> {
        Box::pin(async move {
            read.measure()?;
            self.ask(|reply| Question::Read(read, reply)).await
        })
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, CommitError>> {
        Box::pin(self.commit_batch(batch))
    }

    fn read_journal(
        &self,
        journal: &Key,
        from: Sequence,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<JournalPage, StoreError>> {
        let journal = journal.clone();
        Box::pin(self.ask(move |reply| Question::Journal(journal, from, limit, reply)))
    }

    fn trim(&self, journal: &Key, before: Sequence) -> BoxFuture<'_, Result<(), StoreError>> {
        let journal = journal.clone();
        Box::pin(async move {
            let commands = self.commands().ok_or(StoreError::Closed)?;
            let (reply, answer) = oneshot::channel();
            commands.send(Command::Trim { journal, before, reply }).await.map_err(|_| StoreError::Closed)?;
            drop(commands);
            answer.await.map_err(|_| StoreError::Closed)?
        })
    }

    fn due(&self, shard: &Shard, until: Timestamp, limit: usize) -> BoxFuture<'_, Result<Vec<Due>, StoreError>> {
        let shard = shard.clone();
        Box::pin(self.ask(move |reply| Question::Due(shard, until, limit, reply)))
    }

    fn watch(&self, shard: &Shard) -> watch::Receiver<u64> {
        self.hints.watch(shard)
    }
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock), readers: 3, checkpoint_pages: 1024, wal_pages_max: 8192 }
    }
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions")
            .field("readers", &self.readers)
            .field("checkpoint_pages", &self.checkpoint_pages)
            .field("wal_pages_max", &self.wal_pages_max)
            .finish_non_exhaustive()
    }
}

/// Refuses a database that is gone or empty, before anything is done to what may be left beside it.
pub(crate) fn check_kept(path: &Path) -> Result<(), OpenStoreError> {
    let what = match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() && found.len() == 0 => "is empty",
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => "is missing",
        Err(error) => return Err(error.into()),
    };
    Err(OpenStoreError::Damaged(Arc::new(LostDatabase { what })))
}

/// The writer thread panicked.
#[derive(Debug, thiserror::Error)]
#[error("the store's writer died")]
struct WriterDied;

fn is_full(error: &rusqlite::Error) -> bool {
    // The shared-memory file of the log could not grow: a full disk by another name.
    let full =
        |error: &ffi::Error| error.code == ErrorCode::DiskFull || error.extended_code == ffi::SQLITE_IOERR_SHMSIZE;
    error.sqlite_error().is_some_and(full)
}

fn commit_error(error: rusqlite::Error, otherwise: impl FnOnce(Source) -> CommitError) -> CommitError {
    if is_full(&error) { CommitError::Full(Arc::new(error)) } else { otherwise(Arc::new(error)) }
}

fn store_error(error: rusqlite::Error) -> StoreError {
    if is_full(&error) { StoreError::Full(Arc::new(error)) } else { StoreError::Failed(Arc::new(error)) }
}

impl From<rusqlite::Error> for OpenStoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            _ if is_full(&error) => Self::Full(Arc::new(error)),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(Arc::new(error)),
            _ => Self::Failed(Arc::new(error)),
        }
    }
}

impl From<std::io::Error> for OpenStoreError {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(Arc::new(error))
    }
}

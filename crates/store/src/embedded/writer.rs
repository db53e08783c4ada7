//! The one writer: takes all waiting batches into one transaction, makes it durable once, then answers each.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use base::chain::Chain;
use base::time::Clock;
use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, params};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::apply::{self, NotApplied, signed, time, unsigned};
use super::checkpoint::{Poke, WalPages, checkpoint};
use super::remembered::{Fresh, Remembered};
use super::{Condition, OpenStoreError, StoreOptions, commit_error, store_error};
use crate::batch::{Batch, Committed, Revision, Sequence};
use crate::data_dir::LockFile;
use crate::error::{CommitError, StoreError};
use crate::hints::Hints;
use crate::key::Key;
use crate::limits::BATCH_BYTES_MAX;

/// Batches of one transaction.
const GROUP_BATCHES_MAX: usize = 512;
/// No further batch joins a group of this size.
const GROUP_BYTES_MAX: usize = BATCH_BYTES_MAX;
/// Entries that one step of a trim deletes; other batches go between the steps.
const TRIM_ENTRIES_MAX: u32 = 4096;
/// Forgotten groups are deleted so many at a time.
const FORGOTTEN_GROUPS: u64 = 128;
/// How long the writer waits for readers when the log has grown over its limit.
const FORCED_CHECKPOINT_WAIT: Duration = Duration::from_millis(500);
/// After one that did not succeed the next is tried when the log has grown by this part of its limit.
const FORCED_CHECKPOINT_PART: u32 = 4;
/// How often free pages are counted, in groups.
const VACUUM_GROUPS: u32 = 256;
/// Free pages are given back to the file system when they are so many and a quarter of the file …
const VACUUM_PAGES_MIN: i64 = 2048;
/// … so many at a time.
const VACUUM_PAGES_STEP: u32 = 512;

/// What the writer is asked for.
pub(super) enum Command {
    /// The permits hold the batch's place in the bounded queue.
    Commit { batch: Batch, size: usize, reply: oneshot::Sender<CommitAnswer>, permit: OwnedSemaphorePermit },
    /// Forgets entries.
    Trim { journal: Key, before: Sequence, reply: oneshot::Sender<Result<(), StoreError>> },
}

type CommitAnswer = Result<Committed, CommitError>;

/// The thread's state.
pub(super) struct Writer {
    connection: Connection,
    commands: mpsc::Receiver<Command>,
    clock: Arc<dyn Clock>,
    hints: Arc<Hints>,
    condition: Arc<Condition>,
    poke: Poke,
    wal_pages: WalPages,
    checkpoint_pages: u32,
    wal_pages_max: u32,
    force_at: u32,
    remembered: Remembered,
    deleted_below: u64,
    groups_until_vacuum: u32,
    /// A command that did not fit the group before it.
    held: Option<Command>,
}

/// A batch of the group, with its answer once there is one.
struct Member {
    batch: Batch,
    reply: oneshot::Sender<CommitAnswer>,
    outcome: Option<CommitAnswer>,
    fresh: bool,
}

impl Writer {
    pub(super) fn new(
        mut connection: Connection,
        commands: mpsc::Receiver<Command>,
        (hints, condition): (Arc<Hints>, Arc<Condition>),
        poke: Poke,
        options: &StoreOptions,
    ) -> Result<Self, OpenStoreError> {
        let remembered = load_remembered(&connection)?;
        let wal_pages = WalPages::default();
        wal_pages.count(&mut connection)?;
        condition.was_used.store(remembered.last_revision() > 0, Ordering::Relaxed);
        Ok(Self {
            connection,
            commands,
            clock: Arc::clone(&options.clock),
            hints,
            condition,
            poke,
            wal_pages,
            checkpoint_pages: options.checkpoint_pages,
            wal_pages_max: options.wal_pages_max,
            force_at: options.wal_pages_max,
            remembered,
            deleted_below: 0,
            groups_until_vacuum: VACUUM_GROUPS,
            held: None,
        })
    }

    /// Starts the thread; it ends when every sender of commands is gone and all of them are answered, after the other
    /// threads of the store.
    pub(super) fn start(
        mut self,
        others: Vec<thread::JoinHandle<()>>,
        lock: Arc<LockFile>,
    ) -> std::io::Result<thread::JoinHandle<()>> {
        thread::Builder::new().name("store-write".into()).spawn(move || {
            self.run();
            let Self { connection, commands, poke, .. } = self;
            // Checkpoints end with the poke. SQLite removes the log only for a connection that finds itself alone.
            drop((commands, poke));
            for thread in others {
                if thread.join().is_err() {
                    tracing::error!("a thread of the store had panicked");
                }
            }
            // The last one out leaves no log behind, so that the next start has nothing to recover.
            if let Err(error) = checkpoint(&connection, CheckpointMode::TRUNCATE) {
                tracing::warn!(error = %Chain(&error), "the store's last checkpoint failed; the next start recovers");
            }
            drop(connection);
            drop(lock);
        })
    }

    fn run(&mut self) {
        while let Some(command) = self.held.take().or_else(|| self.commands.blocking_recv()) {
            match command {
                Command::Trim { journal, before, reply } => {
                    let _ = reply.send(self.trim(&journal, before).map_err(store_error));
                }
                Command::Commit { batch, size, reply, permit } => {
                    let mut permits = vec![permit];
                    let group = self.gather(Member::new(batch, reply), size, &mut permits);
                    self.commit_group(group);
                }
            }
            self.tend();
        }
    }

    fn gather(&mut self, first: Member, mut bytes: usize, permits: &mut Vec<OwnedSemaphorePermit>) -> Vec<Member> {
        let mut group = vec![first];
        while group.len() < GROUP_BATCHES_MAX && bytes < GROUP_BYTES_MAX {
            match self.commands.try_recv() {
                Ok(Command::Commit { batch, size, reply, permit }) => {
                    bytes += size;
                    permits.push(permit);
                    group.push(Member::new(batch, reply));
                }
                Ok(other) => {
                    self.held = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        group
    }

    fn commit_group(&mut self, mut group: Vec<Member>) {
        if let Err(error) = self.write_group(&mut group) {
            if !self.connection.is_autocommit()
                && let Err(error) = self.connection.execute_batch("ROLLBACK")
            {
                tracing::error!(error = %Chain(&error), "the store could not undo a failed transaction");
            }
            if matches!(error, CommitError::Full(_)) {
                // A checkpoint lets the log start over, which may be all the room that is needed.
                self.poke.poke();
            }
            tracing::error!(error = %Chain(&error), batches = group.len(), "the store could not write");
            *self.condition.failed.lock() = Some((Instant::now(), error.clone()));
            for member in &mut group {
                member.outcome = Some(Err(error.clone()));
                member.fresh = false;
            }
        }
        for member in group {
            if member.fresh {
                self.hints.committed(&member.batch);
            }
            let outcome = member.outcome.expect("every member was decided or failed with its group");
            // Whoever dropped the future finds the batch whole, or commits it again.
            let _ = member.reply.send(outcome);
        }
    }

    /// On success every member has its outcome, and those that succeeded are durable.
    fn write_group(&mut self, group: &mut [Member]) -> Result<(), CommitError> {
        let undone = |error| commit_error(error, CommitError::Failed);
        let now = self.clock.now();
        let mut revision = self.remembered.last_revision();
        let mut fresh = Fresh::default();
        self.execute("BEGIN IMMEDIATE").map_err(undone)?;
        for member in &mut *group {
            let id = member.batch.id;
            if let Some(committed) = self.remembered.find(id).or_else(|| fresh.find(id)) {
                member.outcome = Some(Ok(committed));
                continue;
            }
            member.outcome = Some(match apply::apply(&self.connection, &member.batch, Revision(revision + 1)) {
                Ok(committed) => {
                    revision += 1;
                    fresh.insert(id, &committed);
                    member.fresh = true;
                    Ok(committed)
                }
                Err(NotApplied::Refused(error)) => Err(error),
                Err(NotApplied::Broken(error)) => return Err(undone(error)),
            });
        }
        if fresh.is_empty() {
            return self.execute("ROLLBACK").map_err(undone);
        }
        self.remember_group(revision, signed(now.as_micros()), &fresh).map_err(undone)?;
        // From here on a failure leaves open what the disk holds; only a full disk is known to hold nothing.
        self.execute("COMMIT").map_err(|error| commit_error(error, CommitError::Unknown))?;
        self.remembered.insert(revision, now, fresh);
        self.condition.was_used.store(true, Ordering::Relaxed);
        *self.condition.failed.lock() = None;
        Ok(())
    }

    fn remember_group(&mut self, revision: u64, now: i64, fresh: &Fresh) -> rusqlite::Result<()> {
        let sql = "INSERT INTO groups(revision, at, batches) VALUES (?1, ?2, ?3)";
        self.connection.prepare_cached(sql)?.execute(params![signed(revision), now, fresh.row()])?;
        let keep_from = self.remembered.forget(time(now));
        if keep_from.saturating_sub(self.deleted_below) >= FORGOTTEN_GROUPS {
            let sql = "DELETE FROM groups WHERE revision < ?1";
            self.connection.prepare_cached(sql)?.execute([signed(keep_from)])?;
            self.deleted_below = keep_from;
        }
        Ok(())
    }

    fn trim(&mut self, journal: &Key, before: Sequence) -> rusqlite::Result<()> {
        loop {
            let deleted = apply::trim(&self.connection, journal, before, TRIM_ENTRIES_MAX)?;
            if deleted < TRIM_ENTRIES_MAX as usize {
                return Ok(());
            }
            self.tend();
        }
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(drop)
    }

    /// What is due between two groups: checkpoints, and pages to give back.
    fn tend(&mut self) {
        let pages = self.wal_pages.get();
        if pages >= self.force_at {
            self.force_checkpoint(pages);
        } else if pages >= self.checkpoint_pages {
            self.poke.poke();
        }
        self.groups_until_vacuum -= 1;
        if self.groups_until_vacuum == 0 {
            self.groups_until_vacuum = match self.vacuum() {
                Ok(true) => 1,
                Ok(false) => VACUUM_GROUPS,
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "the store could not give back free pages");
                    VACUUM_GROUPS
                }
            };
        }
    }

    /// Under a load that never pauses, passive checkpoints never catch up, and the log never starts over.
    fn force_checkpoint(&mut self, pages: u32) {
        let outcome = (self.connection.busy_timeout(FORCED_CHECKPOINT_WAIT))
            .and_then(|()| checkpoint(&self.connection, CheckpointMode::RESTART));
        self.force_at = match outcome {
            Ok(_) => self.wal_pages_max,
            Err(error) => {
                tracing::warn!(error = %Chain(&error), pages, "the store's log is over its limit");
                pages.saturating_add(self.wal_pages_max / FORCED_CHECKPOINT_PART)
            }
        };
    }

    /// Whether there is more to give back.
    fn vacuum(&self) -> rusqlite::Result<bool> {
        let free: i64 = self.connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
        let all: i64 = self.connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
        if free < VACUUM_PAGES_MIN || free < all / 4 {
            return Ok(false);
        }
        self.connection.execute_batch(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES_STEP})"))?;
        Ok(true)
    }
}

impl Member {
    fn new(batch: Batch, reply: oneshot::Sender<CommitAnswer>) -> Self {
        Self { batch, reply, outcome: None, fresh: false }
    }
}

fn load_remembered(connection: &Connection) -> Result<Remembered, OpenStoreError> {
    let mut remembered = Remembered::default();
    let mut statement = connection.prepare("SELECT revision, at, batches FROM groups ORDER BY revision")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let row_bytes = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
        remembered
            .load(unsigned(row.get(0)?), time(row.get(1)?), row_bytes)
            .map_err(|error| OpenStoreError::Damaged(Arc::new(error)))?;
    }
    Ok(remembered)
}

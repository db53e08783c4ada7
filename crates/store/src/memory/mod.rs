//! The same traits in memory, with conflicts, delays and crashes on demand: for tests of what is built on the store.

mod apply;
mod blobs;

use std::sync::Arc;
use std::time::Duration;

use base::time::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;

pub use blobs::MemoryBlobs;

use crate::batch::{Batch, Committed, Sequence};
use crate::error::{CommitError, StoreError};
use crate::hints::Hints;
use crate::key::{Key, Shard};
use crate::read::{Due, JournalPage, PageLimit, Read, ReadAnswer};
use crate::{BoxFuture, Store};
use apply::State;

/// A store whose content lives as long as the last handle to it. Clones share everything.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Shared>);

#[derive(Default)]
struct Shared {
    hints: Hints,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    state: State,
    commits: u64,
    faults: Faults,
    crashed: bool,
}

/// What shall go wrong.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// So many of the next commits that have a check fail with a conflict of their first check.
    pub conflicts: u32,
    /// Every commit takes so long.
    pub commit_delay: Duration,
    /// Every read takes so long.
    pub read_delay: Duration,
    /// The process "dies" at this commit: it answers `Unknown`, and nothing answers any more until
    /// [`MemoryStore::recover`].
    pub crash: Option<Crash>,
}

/// A crash point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crash {
    /// At which commit, counted from 1 since the store was made (refused ones count too).
    pub commit: u64,
    /// On which side of it.
    pub moment: CrashMoment,
}

/// On which side of a commit the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashMoment {
    /// Nothing of the batch is there afterwards.
    Before,
    /// The whole batch is there afterwards, though nobody heard of it.
    After,
}

/// Why a crashed store answers nothing.
#[derive(Debug, thiserror::Error)]
#[error("the store crashed as the test demanded")]
struct Crashed;

impl MemoryStore {
    /// An empty store without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on these things go wrong.
    pub fn set_faults(&self, faults: Faults) {
        self.0.inner.lock().faults = faults;
    }

    /// How many commits were asked for so far: the range over which to loop a crash point.
    pub fn commits(&self) -> u64 {
        self.0.inner.lock().commits
    }

    /// Whether the crash point was reached.
    pub fn is_crashed(&self) -> bool {
        self.0.inner.lock().crashed
    }

    /// What a new process finds: the same content, no faults, nobody watching. The old handles stay dead.
    pub fn recover(&self) -> Self {
        let inner = self.0.inner.lock();
        let inner = Inner { state: inner.state.clone(), commits: inner.commits, ..Inner::default() };
        Self(Arc::new(Shared { inner: Mutex::new(inner), ..Shared::default() }))
    }

    fn commit_now(&self, batch: &Batch) -> Result<Committed, CommitError> {
        let unknown = || Err(CommitError::Unknown(Arc::new(Crashed)));
        let mut inner = self.0.inner.lock();
        if inner.crashed {
            return unknown();
        }
        batch.measure()?;
        inner.commits += 1;
        let crash = inner.faults.crash.filter(|crash| crash.commit == inner.commits);
        inner.crashed = crash.is_some();
        if crash.is_some_and(|crash| crash.moment == CrashMoment::Before) {
            return unknown();
        }
        if inner.faults.conflicts > 0 && !batch.checks.is_empty() {
            inner.faults.conflicts -= 1;
            return Err(CommitError::Conflict(0));
        }
        let outcome = inner.state.commit(batch);
        if crash.is_some() {
            return unknown();
        }
        drop(inner);
        if outcome.is_ok() {
            self.0.hints.committed(batch);
        }
        outcome
    }

    fn with_state<T>(&self, ask: impl FnOnce(&mut State) -> T) -> Result<T, StoreError> {
        let mut inner = self.0.inner.lock();
        if inner.crashed { Err(StoreError::Failed(Arc::new(Crashed))) } else { Ok(ask(&mut inner.state)) }
    }

    async fn pause(&self, which: impl Fn(&Faults) -> Duration) {
        let delay = which(&self.0.inner.lock().faults);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
    }
}

impl Store for MemoryStore {
    fn read(&self, read: Read) -> BoxFuture<'_, Result<ReadAnswer, StoreError>> {
        Box::pin(async move {
            read.measure()?;
            self.pause(|faults| faults.read_delay).await;
            self.with_state(|state| state.read(&read))
        })
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, CommitError>> {
        Box::pin(async move {
            self.pause(|faults| faults.commit_delay).await;
            self.commit_now(&batch)
        })
    }

    fn read_journal(
        &self,
        journal: &Key,
        from: Sequence,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<JournalPage, StoreError>> {
        let journal = journal.clone();
        Box::pin(async move {
            self.pause(|faults| faults.read_delay).await;
            self.with_state(|state| state.read_journal(&journal, from, limit))
        })
    }

    fn trim(&self, journal: &Key, before: Sequence) -> BoxFuture<'_, Result<(), StoreError>> {
        let journal = journal.clone();
        Box::pin(async move { self.with_state(|state| state.trim(&journal, before)) })
    }

    fn due(&self, shard: &Shard, until: Timestamp, limit: usize) -> BoxFuture<'_, Result<Vec<Due>, StoreError>> {
        let shard = shard.clone();
        Box::pin(async move {
            self.pause(|faults| faults.read_delay).await;
            self.with_state(|state| state.due(&shard, until, limit))
        })
    }

    fn watch(&self, shard: &Shard) -> watch::Receiver<u64> {
        self.0.hints.watch(shard)
    }
}

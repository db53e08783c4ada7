//! What all parts of the crate share: the stores, the doors, and the lists that the keeper works off.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use base::entropy::Entropy;
use base::time::{Clock, Timestamp};
use meter::Metrics;
use model::names::{LogGroupName, LogStreamName};
use parking_lot::Mutex;
use store::segments::Segments;
use store::{Batch, CommitError, Committed, Key, Record, Revision, Store, StoreError};
use tokio::sync::{Notify, oneshot, watch};

use crate::door::{Door, DoorState, OpenKey};
use crate::limits::{SETTLE_WAIT_MAX, WAITING_BYTES_MAX};
use crate::records::GroupRecord;
use crate::types::{Home, LogsError};

/// A commit whose outcome is unknown is repeated so often.
const COMMIT_REPEATS_MAX: usize = 5;
/// A change that meets another one is decided anew so often.
pub(crate) const CONFLICTS_MAX: usize = 8;

type DoorName = (Home, LogGroupName, LogStreamName);

pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) segments: Arc<Segments>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) metrics: Arc<Metrics>,
    /// Wakes the keeper.
    pub(crate) poke: Notify,
    /// Counts deletions of groups and streams, so that a door is not opened into one that just went.
    deletions: AtomicU64,
    /// Work that a read should wait for a little: doors that are being opened, and the recovery at start.
    unsettled: watch::Sender<usize>,
    doors: Mutex<HashMap<DoorName, Weak<Door>>>,
    to_open: Mutex<Vec<Arc<Door>>>,
    dirty: Mutex<Vec<Arc<Door>>>,
    to_answer: Mutex<Vec<oneshot::Sender<()>>>,
    waiting_bytes: AtomicUsize,
}

/// Why a commit was not done.
pub(crate) enum Refused {
    /// Something changed meanwhile: decide anew.
    Conflict,
    /// It cannot be done now.
    Failed(LogsError),
}

impl Shared {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        segments: Arc<Segments>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            store,
            segments,
            clock,
            entropy,
            metrics,
            poke: Notify::new(),
            deletions: AtomicU64::new(0),
            unsettled: watch::Sender::new(0),
            doors: Mutex::default(),
            to_open: Mutex::default(),
            dirty: Mutex::default(),
            to_answer: Mutex::default(),
            waiting_bytes: AtomicUsize::new(0),
        }
    }

    /// The door of a stream, made if there is none.
    pub(crate) fn door(self: &Arc<Self>, home: &Home, group: &LogGroupName, stream: &LogStreamName) -> Arc<Door> {
        let name = (home.clone(), group.clone(), stream.clone());
        let mut doors = self.doors.lock();
        if let Some(door) = doors.get(&name).and_then(Weak::upgrade) {
            return door;
        }
        let door = Arc::new(Door {
            home: home.clone(),
            group: group.clone(),
            stream: stream.clone(),
            shared: Arc::clone(self),
            state: Mutex::new(DoorState::default()),
        });
        doors.insert(name, Arc::downgrade(&door));
        door
    }

    /// Called by a door that nobody holds any more; another one may stand in its place already.
    pub(crate) fn forget(&self, home: &Home, group: &LogGroupName, stream: &LogStreamName) {
        let name = (home.clone(), group.clone(), stream.clone());
        let mut doors = self.doors.lock();
        if doors.get(&name).is_some_and(|door| door.strong_count() == 0) {
            doors.remove(&name);
        }
    }

    /// Closes every door that leads where `is_gone` says. The deletion is committed already: a door that is being opened
    /// sees the count and looks again.
    pub(crate) fn close_doors(&self, home: &Home, group: &LogGroupName, is_gone: impl Fn(&OpenKey) -> bool) {
        self.deletions.fetch_add(1, Ordering::SeqCst);
        let doors = self.doors.lock();
        // Doors are let go after the map's lock: the last holder of one takes that lock.
        let held: Vec<Arc<Door>> = doors
            .iter()
            .filter(|((other_home, other_group, _), _)| other_home == home && other_group == group)
            .filter_map(|(_, door)| door.upgrade())
            .collect();
        drop(doors);
        for door in &held {
            door.state.lock().close_if(&is_gone);
        }
    }

    pub(crate) fn deletions(&self) -> u64 {
        self.deletions.load(Ordering::SeqCst)
    }

    /// Asks the keeper to open a door.
    pub(crate) fn ask_to_open(&self, door: Arc<Door>) {
        self.unsettled.send_modify(|count| *count += 1);
        self.to_open.lock().push(door);
        self.poke.notify_one();
    }

    pub(crate) fn take_to_open(&self, max: usize) -> Vec<Arc<Door>> {
        let mut list = self.to_open.lock();
        let count = list.len().min(max);
        list.drain(..count).collect()
    }

    /// Tells the keeper that a stream's record has to be written.
    pub(crate) fn note_dirty(&self, door: Arc<Door>) {
        let mut dirty = self.dirty.lock();
        dirty.push(door);
        if dirty.len() == 1 {
            self.poke.notify_one();
        }
    }

    pub(crate) fn take_dirty(&self) -> Vec<Arc<Door>> {
        std::mem::take(&mut *self.dirty.lock())
    }

    pub(crate) fn has_dirty(&self) -> bool {
        !self.dirty.lock().is_empty()
    }

    pub(crate) fn take_to_answer(&self) -> Vec<oneshot::Sender<()>> {
        std::mem::take(&mut *self.to_answer.lock())
    }

    /// One more thing that reads wait for.
    pub(crate) fn unsettle(&self) {
        self.unsettled.send_modify(|count| *count += 1);
    }

    /// One thing less that reads wait for.
    pub(crate) fn settle(&self) {
        self.unsettled.send_modify(|count| *count = count.saturating_sub(1));
    }

    /// Waits a little for doors that are being opened, then until the segments show all that was appended, unless the disk
    /// refuses it.
    pub(crate) async fn settled(&self) {
        // A deadline instead of an error: what is not there yet is found by the next read.
        self.doors_opened().await;
        let _ = self.segments.flush().await;
    }

    /// Waits a little for doors that are being opened; whether all are open.
    pub(crate) async fn doors_opened(&self) -> bool {
        let mut unsettled = self.unsettled.subscribe();
        tokio::time::timeout(SETTLE_WAIT_MAX, unsettled.wait_for(|count| *count == 0)).await.is_ok()
    }

    /// Has the keeper write all statistics, so that descriptions show what was acknowledged.
    pub(crate) async fn statistics_written(&self) {
        self.settled().await;
        let (answer, answered) = oneshot::channel();
        self.to_answer.lock().push(answer);
        self.poke.notify_one();
        let _ = tokio::time::timeout(SETTLE_WAIT_MAX, answered).await;
    }

    /// Reserves room for lines that wait; false if there is none.
    pub(crate) fn reserve_waiting(&self, bytes: usize) -> bool {
        let reserve = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= WAITING_BYTES_MAX);
        self.waiting_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserve).is_ok()
    }

    pub(crate) fn release_waiting(&self, bytes: usize) {
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn batch(&self) -> Batch {
        Batch::new(&*self.entropy)
    }

    /// Commits, repeating a batch whose outcome is unknown.
    pub(crate) async fn commit(&self, batch: Batch) -> Result<Committed, Refused> {
        for _ in 1..COMMIT_REPEATS_MAX {
            match self.store.commit(batch.clone()).await {
                Err(CommitError::Unknown(_)) => {}
                outcome => return outcome.map_err(Refused::from),
            }
        }
        self.store.commit(batch).await.map_err(Refused::from)
    }

    pub(crate) async fn get<T: Record>(&self, key: &Key) -> Result<Option<(T, Revision)>, LogsError> {
        Ok(store::get_record(&*self.store, key).await?)
    }

    /// The group, which must exist.
    pub(crate) async fn group(&self, home: &Home, group: &LogGroupName) -> Result<(GroupRecord, Revision), LogsError> {
        self.get::<GroupRecord>(&home.group_key(group)).await?.ok_or(LogsError::NoGroup)
    }
}

impl From<CommitError> for Refused {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict(_) => Self::Conflict,
            other => Self::Failed(LogsError::Storage(Box::new(other))),
        }
    }
}

impl From<StoreError> for LogsError {
    fn from(error: StoreError) -> Self {
        Self::Storage(Box::new(error))
    }
}

//! The thread beside the writer: syncs what was written, seals what is full, deletes what is too much.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::chain::Chain;
use parking_lot::{Condvar, Mutex};

use super::raw::RawSegment;
use super::shelf::Shelf;
use crate::disk::sync_dir;

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Chores {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    /// Written to since their last sync; at most the active segment and the one before it, mostly.
    dirty: Vec<Arc<RawSegment>>,
    /// When the first of them became so.
    dirty_since: Option<Instant>,
    /// Files were made since the folder's last sync.
    folder_dirty: bool,
    /// Why the last sync failed, if it did.
    unsynced: Option<Arc<io::Error>>,
    /// Full segments.
    full: VecDeque<u64>,
    closing: bool,
}

/// The next thing to do.
enum Chore {
    Sync(Vec<Arc<RawSegment>>, bool),
    Seal(u64),
    End,
}

impl Inner {
    fn add_dirty(&mut self, segment: Arc<RawSegment>) {
        if !self.dirty.iter().any(|known| Arc::ptr_eq(known, &segment)) {
            self.dirty.push(segment);
        }
    }
}

impl Chores {
    /// This segment was written to.
    pub(super) fn written(&self, segment: &Arc<RawSegment>) {
        let mut inner = self.inner.lock();
        inner.add_dirty(Arc::clone(segment));
        if inner.dirty_since.is_none() {
            inner.dirty_since = Some(Instant::now());
            self.changed.notify_one();
        }
    }

    /// A new file was made.
    pub(super) fn created(&self) {
        self.inner.lock().folder_dirty = true;
    }

    /// This segment will not be written to any more.
    pub(super) fn full(&self, first: u64) {
        self.inner.lock().full.push_back(first);
        self.changed.notify_one();
    }

    /// What was written is synced, then the thread ends; segments that wait to be sealed wait for the next open.
    pub(super) fn close(&self) {
        self.inner.lock().closing = true;
        self.changed.notify_one();
    }

    /// Why what was written does not survive a power cut, where a sync failed.
    pub(super) fn unsynced(&self) -> Option<Arc<io::Error>> {
        self.inner.lock().unsynced.clone()
    }

    /// Notes how a sync ended. After a failure it is done again, but for a close.
    fn synced(&self, segments: Vec<Arc<RawSegment>>, failed: Option<io::Error>) {
        let mut inner = self.inner.lock();
        inner.unsynced = failed.map(Arc::new);
        let Some(error) = &inner.unsynced else { return };
        tracing::warn!(error = %Chain(error), "could not sync a segment");
        if inner.closing {
            return;
        }
        for segment in segments {
            inner.add_dirty(segment);
        }
        inner.folder_dirty = true;
        inner.dirty_since.get_or_insert_with(Instant::now);
    }

    fn next(&self, sync_every: Duration) -> Chore {
        let mut inner = self.inner.lock();
        loop {
            let sync_at = inner.dirty_since.map(|since| since + sync_every);
            if sync_at.is_some_and(|at| inner.closing || Instant::now() >= at) {
                inner.dirty_since = None;
                let folder_dirty = std::mem::take(&mut inner.folder_dirty);
                return Chore::Sync(std::mem::take(&mut inner.dirty), folder_dirty);
            }
            if inner.closing {
                return Chore::End;
            }
            if let Some(first) = inner.full.pop_front() {
                return Chore::Seal(first);
            }
            match sync_at {
                Some(at) => drop(self.changed.wait_until(&mut inner, at)),
                None => self.changed.wait(&mut inner),
            }
        }
    }

    /// The thread: sleeps until there is something to do.
    pub(super) fn run(&self, shelf: &Shelf, sync_every: Duration, bytes_max: u64) {
        let mut full = Vec::new();
        loop {
            match self.next(sync_every) {
                Chore::End => return,
                Chore::Sync(segments, folder) => {
                    let failed = segments.iter().fold(None, |failed, segment| segment.sync().err().or(failed));
                    let failed = failed.or(if folder { sync_dir(shelf.folder()).err() } else { None });
                    self.synced(segments, failed);
                }
                Chore::Seal(first) => {
                    full.push(first);
                    // One that could not be sealed stays raw, and readable, and is tried again with the next.
                    full.retain(|first| !is_done("seal a segment", shelf.seal(*first)));
                    is_done("delete old segments", shelf.shrink(bytes_max).map(drop));
                }
            }
        }
    }
}

fn is_done(doing: &str, outcome: io::Result<()>) -> bool {
    if let Err(error) = &outcome {
        tracing::warn!(error = %Chain(error), "could not {doing}");
    }
    outcome.is_ok()
}

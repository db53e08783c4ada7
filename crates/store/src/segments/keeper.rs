//! The thread beside the writer: syncs what was written, seals what is full, deletes what is too much.

use std::collections::VecDeque;
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

impl Chores {
    /// This segment was written to.
    pub(super) fn written(&self, segment: &Arc<RawSegment>) {
        let mut inner = self.inner.lock();
        if !inner.dirty.iter().any(|known| Arc::ptr_eq(known, segment)) {
            inner.dirty.push(Arc::clone(segment));
        }
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
                    for segment in segments {
                        is_done("sync a segment", segment.sync());
                    }
                    if folder {
                        is_done("sync a folder of segments", sync_dir(shelf.folder()));
                    }
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

fn is_done(doing: &str, outcome: std::io::Result<()>) -> bool {
    if let Err(error) = &outcome {
        tracing::warn!(error = %Chain(error), "could not {doing}");
    }
    outcome.is_ok()
}

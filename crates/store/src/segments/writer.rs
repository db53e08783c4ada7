//! The queue that entries are appended to, and the one thread that writes them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use base::backoff::Backoff;
use base::chain::Chain;
use base::sizes::MIB;
use base::time::Timestamp;
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::frame::{frame_bytes, push_frame};
use super::keeper::Chores;
use super::raw::RawSegment;
use super::shelf::Shelf;
use super::{Counters, Dropped};

/// Written with one call.
const WRITE_BYTES: usize = MIB;
/// Streams of one segment: bounds its index.
const STREAMS_MAX: usize = 16_384;

/// How soon what could not be written is tried again.
const RETRY: Backoff = Backoff { first: Duration::from_millis(50), max: Duration::from_secs(1) };
/// After a close it is tried for so long, then dropped.
const CLOSE_WAIT_MAX: Duration = Duration::from_secs(2);

/// How far the writer came.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    /// Of all entries that were taken, so many were written, the first ones first.
    pub(super) written: u64,
    /// Why the next ones are not, while the disk refuses them.
    pub(super) refused: Option<Arc<io::Error>>,
}

/// Entries that wait to be written.
#[derive(Debug)]
pub(super) struct Queue {
    inner: Mutex<Waiting>,
    changed: Condvar,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: Vec<NewEntry>,
    /// Of these, and of what is being written.
    bytes: usize,
    appended: u64,
    /// The thread sleeps until something comes.
    asleep: bool,
    /// Somebody waits: no lingering.
    hurry: bool,
    /// Since when nothing is taken any more.
    closed: Option<Instant>,
}

#[derive(Debug)]
struct NewEntry {
    stream: Bytes,
    at: Timestamp,
    payload: Bytes,
}

/// What the thread works with.
pub(super) struct Writer {
    pub(super) name: String,
    pub(super) queue: Arc<Queue>,
    pub(super) shelf: Arc<Shelf>,
    pub(super) chores: Arc<Chores>,
    pub(super) counters: Arc<Counters>,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) segment_bytes: u64,
    pub(super) linger: Duration,
    /// The segment that is written to, by its first position; made when there is something to write.
    pub(super) active: Option<(u64, Arc<RawSegment>)>,
    pub(super) next: u64,
}

impl Queue {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { inner: Mutex::default(), changed: Condvar::new(), bytes_max }
    }

    pub(super) fn push(&self, stream: Bytes, at: Timestamp, payload: Bytes) -> Result<(), Dropped> {
        let bytes = frame_bytes(&stream, &payload);
        let mut waiting = self.inner.lock();
        if waiting.closed.is_some() {
            return Err(Dropped::Closed);
        }
        if waiting.bytes + bytes > self.bytes_max {
            return Err(Dropped::QueueFull);
        }
        waiting.bytes += bytes;
        waiting.appended += 1;
        waiting.entries.push(NewEntry { stream, at, payload });
        // Waking the thread is dear; while it lingers it need not be woken, unless there is much to do.
        let pressing = !waiting.hurry && waiting.bytes > self.bytes_max / 2;
        waiting.hurry |= pressing;
        if waiting.asleep || pressing {
            waiting.asleep = false;
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Asks for what waits to be written at once; returns how many entries were appended so far.
    pub(super) fn hurry(&self) -> u64 {
        let mut waiting = self.inner.lock();
        if !waiting.entries.is_empty() {
            waiting.hurry = true;
            self.changed.notify_one();
        }
        waiting.appended
    }

    /// Nothing is taken any more; what waits is still written, as far as the disk takes it.
    pub(super) fn close(&self) {
        self.inner.lock().closed.get_or_insert_with(Instant::now);
        self.changed.notify_one();
    }

    /// Everything that waits, which keeps its room until it is released; `None` when it is closed and empty.
    fn take(&self, linger: Duration) -> Option<Vec<NewEntry>> {
        let mut waiting = self.inner.lock();
        while waiting.entries.is_empty() {
            if waiting.closed.is_some() {
                return None;
            }
            waiting.asleep = true;
            self.changed.wait(&mut waiting);
            waiting.asleep = false;
        }
        let until = Instant::now() + linger;
        while !waiting.hurry && waiting.closed.is_none() {
            if self.changed.wait_until(&mut waiting, until).timed_out() {
                break;
            }
        }
        waiting.hurry = false;
        Some(std::mem::take(&mut waiting.entries))
    }

    /// So much was written: there is room for others.
    fn release(&self, bytes: usize) {
        self.inner.lock().bytes -= bytes;
    }

    /// Sleeps before what failed is tried again; `false` if the queue was closed long ago, so that it is not.
    fn pause(&self, delay: Duration) -> bool {
        let until = Instant::now() + delay;
        let mut waiting = self.inner.lock();
        loop {
            let give_up = waiting.closed.map(|closed| closed + CLOSE_WAIT_MAX);
            let now = Instant::now();
            if give_up.is_some_and(|at| now >= at) {
                return false;
            }
            if now >= until {
                return true;
            }
            self.changed.wait_until(&mut waiting, give_up.map_or(until, |at| at.min(until)));
        }
    }
}

impl Writer {
    /// Until the queue is closed.
    pub(super) fn run(&mut self) {
        let mut buffer = Vec::new();
        while let Some(entries) = self.queue.take(self.linger) {
            let mut entries = entries.into_iter().peekable();
            while entries.peek().is_some() {
                buffer.clear();
                let mut count = 0;
                while let Some(entry) = entries.next_if(|_| buffer.len() < WRITE_BYTES) {
                    push_frame(&mut buffer, self.next + count, entry.at, &entry.stream, &entry.payload);
                    count += 1;
                }
                if let Err(error) = self.write(&buffer, count) {
                    return self.give_up(&error, count + entries.len() as u64);
                }
            }
            buffer.shrink_to(WRITE_BYTES / 4);
        }
    }

    /// Writes frames, however often that has to be tried. The error is the last one, of the time after a close.
    fn write(&mut self, frames: &[u8], count: u64) -> Result<(), Arc<io::Error>> {
        let mut failures = 0;
        while let Err(error) = self.try_write(frames) {
            let error = Arc::new(error);
            failures += 1;
            let written = self.progress.borrow().written;
            let refused = Some(Arc::clone(&error));
            if self.progress.send_replace(Progress { written, refused }).refused.is_none() {
                let (error, segments) = (Chain(&error), &self.name);
                tracing::error!(%error, segments, "segments cannot be written; entries wait until they can");
            }
            if !self.queue.pause(RETRY.delay(failures)) {
                return Err(error);
            }
        }
        self.next += count;
        self.queue.release(frames.len());
        let written = self.progress.borrow().written + count;
        if self.progress.send_replace(Progress { written, refused: None }).refused.is_some() {
            tracing::info!(segments = self.name, "segments can be written again");
        }
        Ok(())
    }

    /// Drops what was taken and not written, and what waits behind it.
    fn give_up(&self, error: &io::Error, taken: u64) {
        let dropped = taken + self.queue.take(Duration::ZERO).map_or(0, |rest| rest.len() as u64);
        self.counters.dropped.fetch_add(dropped, Ordering::Relaxed);
        tracing::error!(
            error = %Chain(error),
            segments = self.name,
            dropped,
            "entries were dropped at the close: the segments could not be written"
        );
    }

    fn try_write(&mut self, frames: &[u8]) -> io::Result<()> {
        let full = |segment: &RawSegment| segment.length() >= self.segment_bytes || segment.streams() >= STREAMS_MAX;
        if let Some((first, segment)) = &self.active
            && full(segment)
        {
            self.chores.full(*first);
            self.active = None;
        }
        let segment = match &self.active {
            Some((_, segment)) => Arc::clone(segment),
            None => {
                let segment = self.shelf.create(self.next)?;
                self.chores.created();
                self.active = Some((self.next, Arc::clone(&segment)));
                segment
            }
        };
        segment.append(frames)?;
        self.chores.written(&segment);
        Ok(())
    }
}

//! The queue that entries are appended to, and the one thread that writes them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

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
    bytes: usize,
    appended: u64,
    /// The thread sleeps until something comes.
    asleep: bool,
    /// Somebody waits: no lingering.
    hurry: bool,
    closed: bool,
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
    pub(super) written: watch::Sender<u64>,
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
        if waiting.closed {
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

    /// Nothing is taken any more; what waits is still written.
    pub(super) fn close(&self) {
        self.inner.lock().closed = true;
        self.changed.notify_one();
    }

    /// Everything that waits, and how many were appended with it; `None` when it is closed and empty.
    fn take(&self, linger: Duration) -> Option<(Vec<NewEntry>, u64)> {
        let mut waiting = self.inner.lock();
        while waiting.entries.is_empty() {
            if waiting.closed {
                return None;
            }
            waiting.asleep = true;
            self.changed.wait(&mut waiting);
            waiting.asleep = false;
        }
        let until = Instant::now() + linger;
        while !waiting.hurry && !waiting.closed {
            if self.changed.wait_until(&mut waiting, until).timed_out() {
                break;
            }
        }
        waiting.hurry = false;
        waiting.bytes = 0;
        Some((std::mem::take(&mut waiting.entries), waiting.appended))
    }
}

impl Writer {
    /// Until the queue is closed.
    pub(super) fn run(&mut self) {
        let mut buffer = Vec::new();
        while let Some((entries, appended)) = self.queue.take(self.linger) {
            let mut entries = entries.into_iter().peekable();
            while entries.peek().is_some() {
                buffer.clear();
                let mut count = 0;
                while let Some(entry) = entries.next_if(|_| buffer.len() < WRITE_BYTES) {
                    push_frame(&mut buffer, self.next + count, entry.at, &entry.stream, &entry.payload);
                    count += 1;
                }
                self.write(&buffer, count);
            }
            buffer.shrink_to(WRITE_BYTES / 4);
            self.written.send_replace(appended);
        }
    }

    fn write(&mut self, frames: &[u8], count: u64) {
        match self.try_write(frames) {
            Ok(()) => {
                self.next += count;
                self.counters.written.fetch_add(count, Ordering::Relaxed);
                if self.counters.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!(segments = self.name, "segments can be written again");
                }
            }
            Err(error) => {
                self.counters.dropped.fetch_add(count, Ordering::Relaxed);
                if !self.counters.failing.swap(true, Ordering::Relaxed) {
                    tracing::error!(
                        error = %Chain(&error),
                        segments = self.name,
                        "segments cannot be written; entries are dropped until they can"
                    );
                }
            }
        }
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

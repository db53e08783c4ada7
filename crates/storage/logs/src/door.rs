//! The hot path: a line of a function goes through the door of its stream into the segments, without waiting for
//! anything.
//!
//! A door is closed until its group and stream are known to exist. The first line asks the keeper to open it; lines wait
//! behind it, in order and bounded, and follow once it is open. A door that leads into a deleted stream is closed again.
//! What does not fit is counted, and the next line that does fit is preceded by one that says so.

use std::collections::VecDeque;
use std::sync::Arc;

use base::time::Timestamp;
use bytes::{Bytes, BytesMut};
use model::names::{LogGroupName, LogStreamName};
use parking_lot::Mutex;
use store::segments::Dropped;

use crate::limits::{CLOCK_STEP_HIDDEN, EVENT_OVERHEAD_BYTES, WAITING_BYTES_PER_STREAM_MAX};
use crate::payload;
use crate::records::{EventsKey, Incarnation};
use crate::shared::Shared;
use crate::types::Home;

/// Where the lines of one stream go. Cheap to clone; the stream's group and the stream itself are created by its first
/// line.
#[derive(Clone)]
pub struct StreamHandle(pub(crate) Arc<Door>);

impl StreamHandle {
    /// Stores a line that was written at `at`. Never blocks; what cannot be kept is counted and stated by a later line.
    /// An empty line is ignored, as the service has none.
    pub fn line(&self, at: Timestamp, text: Bytes) {
        self.lines(&[(at, text)]);
    }

    /// Stores several lines, one after the other and together.
    pub fn lines(&self, lines: &[(Timestamp, Bytes)]) {
        let size = lines.iter().map(|(_, text)| text.len() + payload::HEAD_BYTES_MAX).sum();
        let mut buffer = BytesMut::with_capacity(size);
        let mut state = self.0.state.lock();
        let was_dirty = state.is_dirty;
        for (at, text) in lines.iter().filter(|(_, text)| !text.is_empty()) {
            let at = state.in_order(*at);
            match &mut state.passage {
                Passage::Open(key) => {
                    let key = key.clone();
                    state.pass(&self.0.shared, key, at, text, &mut buffer);
                }
                Passage::Opening(waiting) => waiting.push(&self.0.shared, at, text.clone()),
                Passage::Closed => {
                    let mut waiting = Waiting::default();
                    waiting.push(&self.0.shared, at, text.clone());
                    state.passage = Passage::Opening(waiting);
                    self.0.shared.ask_to_open(Arc::clone(&self.0));
                }
            }
        }
        if state.is_dirty && !was_dirty {
            self.0.shared.note_dirty(Arc::clone(&self.0));
        }
    }
}

/// One stream that lines go into; there is only one door of a stream at a time.
pub(crate) struct Door {
    pub(crate) home: Home,
    pub(crate) group: LogGroupName,
    pub(crate) stream: LogStreamName,
    pub(crate) shared: Arc<Shared>,
    pub(crate) state: Mutex<DoorState>,
}

/// What changes with every line.
#[derive(Default)]
pub(crate) struct DoorState {
    pub(crate) passage: Passage,
    /// What was stored since the stream's record was last written.
    pub(crate) tally: Tally,
    /// Whether the keeper knows that there is something to write.
    pub(crate) is_dirty: bool,
    lost: Lost,
    last_at: Timestamp,
}

/// Whether lines may pass.
#[derive(Default)]
pub(crate) enum Passage {
    #[default]
    Closed,
    Opening(Waiting),
    Open(OpenKey),
}

/// Under which key the events go.
#[derive(Clone)]
pub(crate) struct OpenKey {
    pub(crate) bytes: Bytes,
    pub(crate) group: Incarnation,
    pub(crate) stream: Incarnation,
}

impl OpenKey {
    pub(crate) fn new(key: &EventsKey) -> Self {
        Self { bytes: key.encode(), group: key.group, stream: key.stream }
    }

    pub(crate) fn events_key(&self, door: &Door) -> EventsKey {
        EventsKey { home: door.home.clone(), group: self.group, stream: self.stream, name: door.stream.clone() }
    }
}

/// Lines that wait for the door to open.
#[derive(Default)]
pub(crate) struct Waiting {
    lines: VecDeque<(Timestamp, Bytes)>,
    bytes: usize,
    lost: Lost,
}

/// What could not be kept since that was last stated.
#[derive(Default, Clone, Copy)]
struct Lost {
    lines: u64,
    bytes: u64,
}

impl Lost {
    fn add(&mut self, shared: &Shared, lines: u64, bytes: u64) {
        self.lines += lines;
        self.bytes += bytes;
        shared.metrics.log_bytes_dropped.inc_by(bytes);
    }
}

/// What the events stored since a certain moment add up to.
#[derive(Default, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) first: Option<Timestamp>,
    pub(crate) last: Option<Timestamp>,
    pub(crate) ingested: Option<Timestamp>,
    pub(crate) bytes: u64,
}

impl Tally {
    pub(crate) fn count(&mut self, at: Timestamp, ingested: Timestamp, message_bytes: usize) {
        self.merge(Self {
            first: Some(at),
            last: Some(at),
            ingested: Some(ingested),
            bytes: (message_bytes + EVENT_OVERHEAD_BYTES) as u64,
        });
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.first = [self.first, other.first].into_iter().flatten().min();
        self.last = self.last.max(other.last);
        self.ingested = self.ingested.max(other.ingested);
        self.bytes += other.bytes;
    }
}

impl Waiting {
    fn push(&mut self, shared: &Shared, at: Timestamp, text: Bytes) {
        let size = text.len() + EVENT_OVERHEAD_BYTES;
        // Once a line was lost, those after it are too: the statement of the loss stands where the lines are missing.
        if self.lost.lines > 0 || self.bytes + size > WAITING_BYTES_PER_STREAM_MAX || !shared.reserve_waiting(size) {
            self.lost.add(shared, 1, text.len() as u64);
            return;
        }
        self.bytes += size;
        self.lines.push_back((at, text));
    }
}

impl DoorState {
    /// A function's lines keep their order although the clock may step back a little.
    fn in_order(&mut self, at: Timestamp) -> Timestamp {
        if self.last_at.since(at) > CLOCK_STEP_HIDDEN {
            self.last_at = at;
        }
        self.last_at = self.last_at.max(at);
        self.last_at
    }

    /// Appends an event of a put; the door must be open.
    pub(crate) fn put(
        &mut self,
        shared: &Shared,
        key: &OpenKey,
        at: Timestamp,
        ingested: Timestamp,
        message: &[u8],
    ) -> Result<(), Dropped> {
        let mut buffer = BytesMut::with_capacity(message.len() + payload::HEAD_BYTES_MAX);
        payload::write(&mut buffer, at, ingested, message);
        self.append(shared, key, at, ingested, message.len(), buffer.freeze())
    }

    /// Lets a line pass, preceded by a statement of what was lost before it.
    fn pass(&mut self, shared: &Shared, key: OpenKey, at: Timestamp, text: &Bytes, buffer: &mut BytesMut) {
        if self.lost.lines > 0 && !self.state_loss(shared, &key, at) {
            self.lost.add(shared, 1, text.len() as u64);
            return;
        }
        payload::write(buffer, at, at, text);
        if self.append(shared, &key, at, at, text.len(), buffer.split().freeze()).is_err() {
            self.lost.add(shared, 1, text.len() as u64);
        }
    }

    /// Writes the line that says what was lost; whether that succeeded.
    fn state_loss(&mut self, shared: &Shared, key: &OpenKey, at: Timestamp) -> bool {
        let text = format!(
            "[pinfold] {} lines ({} bytes) are missing here: they were written faster than they could be stored\n",
            self.lost.lines, self.lost.bytes
        );
        let mut buffer = BytesMut::with_capacity(text.len() + payload::HEAD_BYTES_MAX);
        payload::write(&mut buffer, at, at, text.as_bytes());
        let stated = self.append(shared, key, at, at, text.len(), buffer.freeze()).is_ok();
        if stated {
            self.lost = Lost::default();
        }
        stated
    }

    /// Counts before it appends, so that no event is in the segments without being counted or on the way to it.
    fn append(
        &mut self,
        shared: &Shared,
        key: &OpenKey,
        at: Timestamp,
        ingested: Timestamp,
        size: usize,
        payload: Bytes,
    ) -> Result<(), Dropped> {
        let before = self.tally;
        self.tally.count(at, ingested, size);
        self.is_dirty = true;
        let appended = shared.append(key.bytes.clone(), at, payload);
        if appended.is_err() {
            self.tally = before;
        }
        appended
    }

    /// Opens the door and lets through what waited.
    pub(crate) fn open(&mut self, shared: &Shared, key: OpenKey) {
        let Passage::Opening(mut waiting) = std::mem::replace(&mut self.passage, Passage::Open(key.clone())) else {
            return;
        };
        shared.release_waiting(waiting.bytes);
        let mut buffer = BytesMut::with_capacity(waiting.bytes);
        while let Some((at, text)) = waiting.lines.pop_front() {
            self.pass(shared, key.clone(), at, &text, &mut buffer);
        }
        self.lost.lines += waiting.lost.lines;
        self.lost.bytes += waiting.lost.bytes;
        self.settle_loss(shared);
    }

    /// States what was lost, should no further line come.
    pub(crate) fn settle_loss(&mut self, shared: &Shared) {
        if let (Passage::Open(key), true) = (&self.passage, self.lost.lines > 0) {
            let key = key.clone();
            self.state_loss(shared, &key, self.last_at);
        }
    }

    /// Whether something was lost that is not stated yet.
    pub(crate) fn has_loss(&self) -> bool {
        self.lost.lines > 0
    }

    /// Closes the door if it leads where `is_gone` says; what was counted there is forgotten.
    pub(crate) fn close_if(&mut self, is_gone: impl FnOnce(&OpenKey) -> bool) {
        if let Passage::Open(key) = &self.passage
            && is_gone(key)
        {
            self.passage = Passage::Closed;
            self.tally = Tally::default();
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Passage::Opening(waiting) = &self.state.get_mut().passage {
            self.shared.release_waiting(waiting.bytes);
        }
        self.shared.forget(&self.home, &self.group, &self.stream);
    }
}

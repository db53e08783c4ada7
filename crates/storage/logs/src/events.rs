//! The events in the segments: appended, and scanned in the order of their arrival.

use base::time::Timestamp;
use bytes::Bytes;
use store::PageLimit;
use store::segments::{Dropped, Entry, Position, SegmentError, SegmentScan, Streams};

use crate::limits::{SCAN_BYTES, SCAN_ITEMS, SCANS_PER_REQUEST_MAX};
use crate::payload;
use crate::records::{EventsKey, Incarnation};
use crate::shared::Shared;
use crate::sweep::{Placed, Sweep};
use crate::tokens::{Direction, Place};
use crate::types::{Home, LogsError};

/// Whose events are read.
#[derive(Debug, Clone)]
pub(crate) struct Target(Streams);

impl Target {
    /// One stream's.
    pub(crate) fn stream(key: &EventsKey) -> Self {
        Self(Streams::One(key.encode()))
    }

    /// All of a group, those of deleted streams included.
    pub(crate) fn group(home: &Home, group: Incarnation) -> Self {
        Self(Streams::Prefix(EventsKey::group_prefix(home, group).freeze()))
    }
}

/// An event as it was found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) place: Place,
    pub(crate) stream: Bytes,
    payload: Bytes,
}

impl Found {
    pub(crate) fn at(&self) -> Timestamp {
        Timestamp::from_micros(self.place.at)
    }

    /// When it arrived, and its message; nothing, if a newer version stored it.
    pub(crate) fn read(&self) -> Option<(Timestamp, Bytes)> {
        payload::read(self.at(), &self.payload)
    }
}

impl From<Entry> for Found {
    fn from(entry: Entry) -> Self {
        let place = Place { at: entry.at.as_micros(), position: entry.position.0 };
        Self { place, stream: entry.stream, payload: entry.payload }
    }
}

impl Placed for Found {
    fn place(&self) -> Place {
        self.place
    }
}

/// Events in reading order, found with a bounded amount of work.
pub(crate) struct Reading {
    target: Target,
    direction: Direction,
    sweep: Sweep,
    scans_left: usize,
}

/// One part of a reading.
pub(crate) enum Read {
    /// Perhaps none; there may be more.
    Some(Vec<Found>),
    /// All was read.
    End,
    /// The request has done its share; the next one goes on here.
    Pause(Place),
}

impl Reading {
    /// Reads the places in `start..end`, from its first on or from its last back.
    pub(crate) fn new(target: Target, direction: Direction, start: Place, end: Place) -> Self {
        Self { target, direction, sweep: Sweep::new(direction, start, end), scans_left: SCANS_PER_REQUEST_MAX }
    }

    pub(crate) async fn next(&mut self, shared: &Shared) -> Result<Read, LogsError> {
        let Some(window) = self.sweep.window() else { return Ok(Read::End) };
        let mut found: Vec<Found> = Vec::new();
        let mut bytes = 0;
        let mut scan = SegmentScan {
            streams: self.target.0.clone(),
            from: Timestamp::from_micros(window.from),
            to: Timestamp::from_micros(window.to),
            after: window.beyond.map(Position),
            newest_first: self.direction == Direction::Backward,
            limit: PageLimit { items: SCAN_ITEMS, bytes: SCAN_BYTES },
        };
        let is_full = loop {
            if self.scans_left == 0 {
                return Ok(Read::Pause(self.sweep.here()));
            }
            self.scans_left -= 1;
            let page = shared.segments.scan(scan.clone()).await?;
            bytes += page.entries.iter().map(|entry| entry.payload.len()).sum::<usize>();
            found.extend(page.entries.into_iter().map(Found::from));
            match page.next {
                None => break false,
                Some(_) if found.len() >= SCAN_ITEMS || bytes >= SCAN_BYTES => break true,
                Some(next) => scan.after = Some(next),
            }
        };
        Ok(Read::Some(self.sweep.feed(window, found, is_full)))
    }
}

impl Shared {
    /// Appends without waiting.
    pub(crate) fn append(&self, key: Bytes, at: Timestamp, payload: Bytes) -> Result<(), Dropped> {
        self.segments.append(key, at, payload)
    }

    /// The position of the last event that can be read; 0 if there is none.
    pub(crate) async fn last_position(&self) -> Result<u64, LogsError> {
        let limit = PageLimit::items(1);
        let scan = SegmentScan { newest_first: true, limit, ..SegmentScan::new(Streams::Prefix(Bytes::new())) };
        let page = self.segments.scan(scan).await?;
        Ok(page.entries.first().map_or(0, |entry| entry.position.0))
    }

    /// Some of what arrived after this position, and from where to go on.
    pub(crate) async fn scan_arrived(&self, after: u64) -> Result<(Vec<Found>, Option<u64>), LogsError> {
        let limit = PageLimit { items: SCAN_ITEMS, bytes: SCAN_BYTES };
        let after = Some(Position(after));
        let page = self.segments.scan(SegmentScan { after, limit, ..SegmentScan::new(Streams::Prefix(Bytes::new())) });
        let page = page.await?;
        Ok((page.entries.into_iter().map(Found::from).collect(), page.next.map(|next| next.0)))
    }
}

impl From<SegmentError> for LogsError {
    fn from(error: SegmentError) -> Self {
        Self::Storage(Box::new(error))
    }
}

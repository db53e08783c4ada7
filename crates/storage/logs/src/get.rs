//! Reading one stream, in either direction from a token.

use model::names::{LogGroupName, LogStreamName};

use crate::Logs;
use crate::events::{Found, Read, Reading, Target};
use crate::limits::{EVENT_AGE_MAX, EVENT_LEAD_MAX, EVENT_OVERHEAD_BYTES, EVENTS_PER_PAGE_MAX, PAGE_BYTES_MAX};
use crate::records::{EventsKey, GroupRecord, StreamRecord};
use crate::shared::Shared;
use crate::tokens::{Direction, Place, fingerprint, read_stream_token, stream_token};
use crate::types::{Event, GetEvents, Home, LogsError, StreamEvents};

impl Logs {
    /// Events of one stream in the order of their times: the latest that fit, or from a token on. Both tokens of an
    /// answer stay good; the forward one of an empty answer is the one that was given, and finds what comes later.
    ///
    /// # Errors
    /// `NoGroup`, `NoStream`, `Invalid` for a limit out of range or a foreign token.
    pub async fn get_events(
        &self,
        home: &Home,
        group: &LogGroupName,
        stream: &LogStreamName,
        ask: &GetEvents,
    ) -> Result<StreamEvents, LogsError> {
        let limit = event_limit(ask.limit)?;
        let asked = fingerprint([
            home.account.as_str().as_bytes(),
            home.region.as_str().as_bytes(),
            group.as_str().as_bytes(),
            stream.as_str().as_bytes(),
        ]);
        let from = ask.next.as_deref().map(|token| read_stream_token(token, asked)).transpose()?;

        let shared = &self.shared;
        shared.settled().await;
        let (group, _) = shared.group(home, group).await?;
        let stream_key = home.stream_key(group.incarnation, stream);
        let (record, _) = shared.get::<StreamRecord>(&stream_key).await?.ok_or(LogsError::NoStream)?;
        let key = EventsKey {
            home: home.clone(),
            group: group.incarnation,
            stream: record.incarnation,
            name: stream.clone(),
        };

        let end = ask.end_ms.map_or(Place::END, |ms| Place::from_micros(ms.saturating_mul(1000)));
        let (first, last) = bounds(shared, &group, ask.start_ms, end);
        let (direction, given) = match from {
            Some((direction, place)) => (direction, Some(place)),
            None if ask.from_head => (Direction::Forward, None),
            None => (Direction::Backward, None),
        };
        let (start, end) = match direction {
            Direction::Forward => (given.unwrap_or(first).max(first), last),
            Direction::Backward => (first, given.unwrap_or(last).min(last)),
        };
        let mut reading = Reading::new(Target::stream(&key), direction, start, end);
        let mut page = EventPage::new(limit);
        // Where nothing is found, both tokens stay at the place that was asked for.
        let mut here = given.unwrap_or(first);
        'page: loop {
            match reading.next(shared).await? {
                Read::Some(found) => {
                    for found in found {
                        let Some(event) = found.event(stream) else { continue };
                        if !page.push(found.place, event) {
                            break 'page;
                        }
                    }
                }
                Read::End => break,
                Read::Pause(place) => {
                    here = place;
                    break;
                }
            }
        }
        if direction == Direction::Backward {
            page.events.reverse();
        }
        let (before, after) = match (page.events.first(), page.events.last()) {
            (Some((first, _)), Some((last, _))) => (*first, last.after()),
            _ => (here, here),
        };
        Ok(StreamEvents {
            events: page.events.into_iter().map(|(_, event)| event).collect(),
            forward: stream_token(Direction::Forward, after, asked),
            backward: stream_token(Direction::Backward, before, asked),
        })
    }
}

/// Events up to the limits of a page.
pub(crate) struct EventPage {
    pub(crate) events: Vec<(Place, Event)>,
    limit: usize,
    bytes: usize,
}

impl EventPage {
    pub(crate) fn new(limit: usize) -> Self {
        Self { events: Vec::new(), limit, bytes: 0 }
    }

    /// Takes the event if it fits; the first one always does.
    pub(crate) fn push(&mut self, place: Place, event: Event) -> bool {
        let size = event.message.len() + EVENT_OVERHEAD_BYTES;
        let fits = self.events.len() < self.limit && self.bytes + size <= PAGE_BYTES_MAX;
        if !fits && !self.events.is_empty() {
            return false;
        }
        self.bytes += size;
        self.events.push((place, event));
        true
    }
}

impl Found {
    /// The event as callers see it; nothing, if a newer version stored it.
    pub(crate) fn event(&self, stream: &LogStreamName) -> Option<Event> {
        let (ingested, message) = self.read()?;
        Some(Event { id: self.place.event_id(), stream: stream.clone(), at: self.at(), ingested, message })
    }
}

/// 1 to 10,000, which is also the default.
pub(crate) fn event_limit(limit: Option<usize>) -> Result<usize, LogsError> {
    match limit.unwrap_or(EVENTS_PER_PAGE_MAX) {
        limit @ 1..=EVENTS_PER_PAGE_MAX => Ok(limit),
        limit => Err(LogsError::Invalid(format!("limit {limit} is not between 1 and {EVENTS_PER_PAGE_MAX}"))),
    }
}

/// Where events of a group can lie at all, within what was asked for: no event is older than a put may be when the
/// group was created, or further ahead than a put may be now.
pub(crate) fn bounds(shared: &Shared, group: &GroupRecord, start_ms: Option<u64>, end: Place) -> (Place, Place) {
    let first = group.created.minus(2 * EVENT_AGE_MAX);
    let last = shared.now().max(group.created).plus(2 * EVENT_LEAD_MAX);
    let start = start_ms.unwrap_or(0).saturating_mul(1000);
    (Place::from_micros(start.max(first.as_micros())), end.min(Place::from_micros(last.as_micros())))
}

//! Searching a group: events of many streams in the order of their times, as far as they match.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use model::names::{LogGroupName, LogStreamName};

use crate::Logs;
use crate::events::{Found, Read, Reading, Target};
use crate::get::{EventPage, bounds, event_limit};
use crate::limits::{EVENTS_SCANNED_MAX, STREAMS_PER_SEARCH_MAX};
use crate::records::{EventsKey, Incarnation, StreamRecord};
use crate::shared::Shared;
use crate::tokens::{Direction, Place, fingerprint, read_search_token, search_token};
use crate::types::{Event, FilterEvents, Home, LogsError, Page, Streams};

/// Streams that are looked up in one read.
const LOOKED_UP_AT_ONCE_MAX: usize = store::limits::READ_PARTS_MAX;

impl Logs {
    /// A page of the events that match, the earliest first. A page may be short, even empty, and still have a next one:
    /// each looks at [`EVENTS_SCANNED_MAX`] events at most.
    ///
    /// # Errors
    /// `NoGroup`, `NoStream` for a named stream, `Invalid` for a limit out of range, too many names, or a foreign token.
    pub async fn filter_events(
        &self,
        home: &Home,
        group: &LogGroupName,
        ask: &FilterEvents,
    ) -> Result<Page<Event>, LogsError> {
        let limit = event_limit(ask.limit)?;
        let asked = search_fingerprint(home, group, ask);
        let from = ask.next.as_deref().map(|token| read_search_token(token, asked)).transpose()?;

        let shared = &self.shared;
        shared.settled().await;
        let (record, _) = shared.group(home, group).await?;
        let mut search = Search::new(shared, home, record.incarnation, &ask.streams).await?;
        let end = ask.end_ms.map_or(Place::END, |ms| Place::from_micros(ms.saturating_add(1).saturating_mul(1000)));
        let (first, last) = bounds(shared, &record, ask.start_ms, end);
        let mut reading =
            Reading::new(search.target.clone(), Direction::Forward, from.unwrap_or(first).max(first), last);
        let mut page = EventPage::new(limit);
        let mut scanned = 0;
        let next = 'page: loop {
            let found = match reading.next(shared).await? {
                Read::Some(found) => found,
                Read::End => break None,
                Read::Pause(place) => break Some(place),
            };
            search.learn(shared, &found).await?;
            for found in &found {
                scanned += 1;
                if scanned > EVENTS_SCANNED_MAX {
                    break 'page Some(found.place);
                }
                let Some(stream) = search.wanted(&found.stream) else { continue };
                let Some(event) = found.event(stream) else { continue };
                if ask.pattern.matches(&event.message) && !page.push(found.place, event) {
                    break 'page Some(found.place);
                }
            }
        };
        Ok(Page {
            items: page.events.into_iter().map(|(_, event)| event).collect(),
            next: next.map(|place| search_token(place, asked)),
        })
    }
}

fn search_fingerprint(home: &Home, group: &LogGroupName, ask: &FilterEvents) -> u64 {
    let mut parts = vec![
        home.account.to_string(),
        home.region.to_string(),
        group.to_string(),
        format!("{:?} {:?} {:?}", ask.start_ms, ask.end_ms, ask.pattern),
    ];
    match &ask.streams {
        Streams::All => {}
        Streams::Named(names) => parts.extend(names.iter().map(|name| format!("named {name}"))),
        Streams::Prefix(prefix) => parts.push(format!("prefix {prefix}")),
    }
    fingerprint(parts.iter().map(String::as_bytes))
}

/// Which of the group's streams take part, learned as their events are met.
struct Search<'a> {
    home: &'a Home,
    group: Incarnation,
    target: Target,
    names: Option<HashSet<&'a LogStreamName>>,
    prefix: &'a str,
    /// By the key of the events: the stream's name, if it takes part.
    known: HashMap<Bytes, Option<LogStreamName>>,
}

impl<'a> Search<'a> {
    async fn new(shared: &Shared, home: &'a Home, group: Incarnation, streams: &'a Streams) -> Result<Self, LogsError> {
        let mut search =
            Self { home, group, target: Target::group(home, group), names: None, prefix: "", known: HashMap::new() };
        match streams {
            Streams::All => {}
            Streams::Prefix(prefix) => search.prefix = prefix,
            Streams::Named(names) => {
                if names.is_empty() || names.len() > STREAMS_PER_SEARCH_MAX {
                    let text = format!("A search names between 1 and {STREAMS_PER_SEARCH_MAX} log streams.");
                    return Err(LogsError::Invalid(text));
                }
                let keys: Vec<EventsKey> = search.look_up(shared, names).await?.into_iter().flatten().collect();
                let names: HashSet<&LogStreamName> = names.iter().collect();
                match keys.as_slice() {
                    keys if keys.len() < names.len() => return Err(LogsError::NoStream),
                    [only] => search.target = Target::stream(only),
                    _ => {}
                }
                search.names = Some(names);
            }
        }
        Ok(search)
    }

    /// Finds out about streams that were not met before.
    async fn learn(&mut self, shared: &Shared, found: &[Found]) -> Result<(), LogsError> {
        let mut met: Vec<(Bytes, EventsKey)> = Vec::new();
        for found in found {
            if self.known.contains_key(&found.stream) {
                continue;
            }
            self.known.insert(found.stream.clone(), None);
            let Some(key) = EventsKey::decode(&found.stream) else { continue };
            let is_asked_for = self.names.as_ref().is_none_or(|names| names.contains(&key.name));
            if is_asked_for && key.name.as_str().starts_with(self.prefix) {
                met.push((found.stream.clone(), key));
            }
        }
        for met in met.chunks(LOOKED_UP_AT_ONCE_MAX) {
            let living = self.look_up(shared, met.iter().map(|(_, key)| &key.name)).await?;
            for ((bytes, key), living) in met.iter().zip(living) {
                if living.as_ref() == Some(key) {
                    self.known.insert(bytes.clone(), Some(key.name.clone()));
                }
            }
        }
        Ok(())
    }

    /// The stream's name, if its events are wanted.
    fn wanted(&self, key: &Bytes) -> Option<&LogStreamName> {
        self.known.get(key)?.as_ref()
    }

    /// The keys of the events of streams that exist now.
    async fn look_up(
        &self,
        shared: &Shared,
        names: impl IntoIterator<Item = &LogStreamName>,
    ) -> Result<Vec<Option<EventsKey>>, LogsError> {
        let names: Vec<&LogStreamName> = names.into_iter().collect();
        let keys: Vec<_> = names.iter().map(|name| self.home.stream_key(self.group, name)).collect();
        let stored = shared.store.read(store::Read { get: keys.clone(), scan: Vec::new() }).await?.get;
        let mut found = Vec::with_capacity(names.len());
        for ((name, key), stored) in names.into_iter().zip(&keys).zip(stored) {
            let record: Option<StreamRecord> = stored.map(|stored| store::decode_stored(key, &stored)).transpose()?;
            found.push(record.map(|record| EventsKey {
                home: self.home.clone(),
                group: self.group,
                stream: record.incarnation,
                name: name.clone(),
            }));
        }
        Ok(found)
    }
}

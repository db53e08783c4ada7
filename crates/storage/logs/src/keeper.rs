//! The keeper: one task that opens doors, writes what streams' events add up to, and after a crash counts those that
//! were not counted.
//!
//! It sleeps until it is poked, and wakes by time only while something waits to be written.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base::backoff::Backoff;
use base::chain::Chain;
use base::stop::Stop;
use bytes::Bytes;
use store::Read;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::door::{Door, OpenKey, Passage, Tally};
use crate::limits::{OPENING_AT_ONCE_MAX, STATISTICS_EVERY, STATISTICS_PER_COMMIT_MAX};
use crate::records::{EventsKey, StreamRecord, TalliedRecord, tallied_key};
use crate::shared::{CONFLICTS_MAX, Refused, Shared};
use crate::streams::ensure_stream;
use crate::types::LogsError;

/// How soon what failed is tried again.
const RETRY: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(30) };
/// A door that is closed again while it is opened is looked at anew so often.
const DELETIONS_MAX: usize = 8;

/// Runs until the stop; then opens and writes once more. Events up to `inherited` were there before any door was.
pub(crate) async fn run(shared: Arc<Shared>, inherited: u64, stop: Stop) {
    let mut keeper = Keeper { shared, retry: Vec::new(), failures: 0 };
    if let Err(error) = keeper.recover(inherited).await {
        tracing::warn!("count the log events of before the restart: {}", Chain(&error));
    }
    keeper.shared.settle();
    let mut write_at: Option<Instant> = None;
    while !stop.is_requested() {
        let due = write_at;
        tokio::select! {
            () = stop.requested() => break,
            () = keeper.shared.poke.notified() => {}
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                write_at = None;
                keeper.write_statistics().await;
                keeper.retry_doors();
            }
        }
        keeper.open_doors().await;
        keeper.answer().await;
        if write_at.is_none() && keeper.has_work() {
            write_at = Some(Instant::now() + STATISTICS_EVERY.max(RETRY.delay(keeper.failures)));
        }
    }
    keeper.retry_doors();
    keeper.open_doors().await;
    keeper.write_statistics().await;
    keeper.answer().await;
    // What could not be written holds doors, and they hold what they belong to.
    drop(keeper.shared.take_dirty());
}

struct Keeper {
    shared: Arc<Shared>,
    /// Doors that could not be opened.
    retry: Vec<Arc<Door>>,
    failures: u32,
}

/// What one stream's events add up to.
struct Change {
    key: EventsKey,
    tally: Tally,
    /// To be dirty again if the change cannot be written.
    door: Option<Arc<Door>>,
}

impl Keeper {
    fn has_work(&self) -> bool {
        !self.retry.is_empty() || self.shared.has_dirty()
    }

    fn retry_doors(&mut self) {
        for door in self.retry.drain(..) {
            self.shared.ask_to_open(door);
        }
    }

    async fn open_doors(&mut self) {
        loop {
            let doors = self.shared.take_to_open(OPENING_AT_ONCE_MAX);
            if doors.is_empty() {
                return;
            }
            let mut opening = JoinSet::new();
            for door in doors {
                opening.spawn(async move {
                    let opened = open_door(&door).await;
                    (door, opened)
                });
            }
            while let Some(joined) = opening.join_next().await {
                self.shared.settle();
                match joined {
                    Ok((_, Ok(()))) => self.failures = 0,
                    Ok((door, Err(error))) => {
                        self.failures = self.failures.saturating_add(1);
                        tracing::warn!(group = %door.group, "open a log stream: {}", Chain(&error));
                        self.retry.push(door);
                    }
                    Err(panicked) => tracing::error!("open a log stream: {panicked}"),
                }
            }
        }
    }

    async fn answer(&mut self) {
        let waiting = self.shared.take_to_answer();
        if waiting.is_empty() {
            return;
        }
        self.write_statistics().await;
        for answer in waiting {
            // Whoever asked may have stopped waiting.
            let _ = answer.send(());
        }
    }

    /// Writes the tallies of all dirty streams.
    async fn write_statistics(&mut self) {
        // Read first: an event at or before this position was counted by its door before it was appended.
        let tallied = match self.shared.last_position().await {
            Ok(position) => Some(position),
            Err(error) => {
                tracing::warn!("find the last log event: {}", Chain(&error));
                None
            }
        };
        let mut changes = Vec::new();
        for door in self.shared.take_dirty() {
            let mut state = door.state.lock();
            state.settle_loss(&self.shared);
            let tally = std::mem::take(&mut state.tally);
            // A closed door's stream was deleted: there is nothing to count, and opening it again notes it again.
            let key = match &state.passage {
                Passage::Open(key) => Some(key.events_key(&door)),
                Passage::Opening(_) | Passage::Closed => None,
            };
            state.is_dirty = key.is_some() && state.has_loss();
            let is_dirty = state.is_dirty;
            drop(state);
            if is_dirty {
                self.shared.note_dirty(Arc::clone(&door));
            }
            let Some(key) = key else { continue };
            changes.push(Change { key, tally, door: Some(door) });
        }
        if changes.is_empty() {
            return;
        }
        if let Err(error) = self.write(changes, tallied).await {
            tracing::warn!("write the statistics of log streams: {}", Chain(&error));
        }
    }

    /// Writes changes; those that could not be written are put back, to be tried again.
    async fn write(&mut self, mut changes: Vec<Change>, tallied: Option<u64>) -> Result<(), LogsError> {
        while !changes.is_empty() {
            let rest = changes.split_off(changes.len().min(STATISTICS_PER_COMMIT_MAX));
            let mark = tallied.filter(|_| rest.is_empty());
            match write_changes(&self.shared, &changes, mark).await {
                Ok(()) => self.failures = 0,
                Err(error) => {
                    self.failures = self.failures.saturating_add(1);
                    changes.extend(rest);
                    put_back(&self.shared, changes);
                    return Err(error);
                }
            }
            changes = rest;
        }
        Ok(())
    }

    /// Counts the events that were stored, but not counted, before the platform ended without notice.
    async fn recover(&mut self, inherited: u64) -> Result<(), LogsError> {
        let tallied = self.shared.get::<TalliedRecord>(&tallied_key()).await?;
        let mut after = tallied.map_or(0, |(record, _)| record.position);
        while after < inherited {
            let (mut found, next) = self.shared.scan_arrived(after).await?;
            let last = next.or(found.last().map(|last| last.place.position)).unwrap_or(inherited).min(inherited);
            found.retain(|found| found.place.position <= inherited);
            let mut tallies: HashMap<_, Tally> = HashMap::new();
            for found in &found {
                if let Some((ingested, message)) = found.read() {
                    tallies.entry(found.stream.clone()).or_default().count(found.at(), ingested, message.len());
                }
            }
            let change =
                |(key, tally): (Bytes, Tally)| Some(Change { key: EventsKey::decode(&key)?, tally, door: None });
            self.write(tallies.into_iter().filter_map(change).collect(), Some(last)).await?;
            after = last;
        }
        Ok(())
    }
}

fn put_back(shared: &Shared, changes: Vec<Change>) {
    for change in changes {
        let Some(door) = change.door else { continue };
        let mut state = door.state.lock();
        let is_same = matches!(&state.passage, Passage::Open(key) if key.stream == change.key.stream);
        if is_same {
            state.tally.merge(change.tally);
        }
        let was_dirty = std::mem::replace(&mut state.is_dirty, true);
        drop(state);
        if !was_dirty {
            shared.note_dirty(door);
        }
    }
}

/// Makes sure that the stream exists and lets its lines pass.
async fn open_door(door: &Arc<Door>) -> Result<(), LogsError> {
    let shared = &door.shared;
    for _ in 0..DELETIONS_MAX {
        let deletions = shared.deletions();
        let key = ensure_stream(shared, &door.home, &door.group, &door.stream).await?;
        let mut state = door.state.lock();
        if shared.deletions() != deletions {
            continue;
        }
        let was_dirty = state.is_dirty;
        state.open(shared, OpenKey::new(&key));
        let is_newly_dirty = state.is_dirty && !was_dirty;
        drop(state);
        if is_newly_dirty {
            shared.note_dirty(Arc::clone(door));
        }
        return Ok(());
    }
    Err(LogsError::Conflict)
}

/// Adds the changes to their streams' records, in one commit; streams that are gone are left out.
async fn write_changes(shared: &Shared, changes: &[Change], tallied: Option<u64>) -> Result<(), LogsError> {
    for _ in 0..CONFLICTS_MAX {
        let get = changes.iter().map(|change| change.key.home.stream_key(change.key.group, &change.key.name));
        let keys: Vec<_> = get.collect();
        let found = shared.store.read(Read { get: keys.clone(), scan: Vec::new() }).await?.get;
        let mut batch = shared.batch();
        for ((change, key), stored) in changes.iter().zip(&keys).zip(found) {
            let Some(stored) = stored else { continue };
            let mut record: StreamRecord = store::decode_stored(key, &stored)?;
            if record.incarnation != change.key.stream || change.tally == Tally::default() {
                continue;
            }
            let EventsKey { home, group, name, .. } = &change.key;
            let before = record.last_event;
            let mut sum = Tally {
                first: record.first_event,
                last: record.last_event,
                ingested: record.last_ingestion,
                bytes: record.bytes,
            };
            sum.merge(change.tally);
            record.first_event = sum.first;
            record.last_event = sum.last;
            record.last_ingestion = sum.ingested;
            record.bytes = sum.bytes;
            batch.require_revision(key, stored.revision);
            batch.put_record(key, &record);
            if before != record.last_event {
                batch.delete(&home.latest_key(*group, before, name.as_str()));
                batch.put(&home.latest_key(*group, record.last_event, name.as_str()), Vec::new());
            }
            batch.add(&home.bytes_key(*group), i64::try_from(change.tally.bytes).unwrap_or(i64::MAX));
        }
        if let Some(position) = tallied {
            batch.put_record(&tallied_key(), &TalliedRecord { position });
        }
        if batch.ops.is_empty() {
            return Ok(());
        }
        match shared.commit(batch).await {
            Ok(_) => return Ok(()),
            Err(Refused::Conflict) => {}
            Err(Refused::Failed(error)) => return Err(error),
        }
    }
    Err(LogsError::Conflict)
}

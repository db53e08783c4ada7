//! The line of each function: which of its events wait, by the time from which they may run.
//!
//! A place in a line is a key without a value, written and deleted in the same commits as the event's record. Whoever looks
//! for the next event of a function reads only the front of its line, however long that and all the others are.

use std::collections::HashMap;

use base::entropy::Entropy;
use base::time::Timestamp;
use bytes::Bytes;
use model::ids::{FunctionId, InvocationId};
use store::{Batch, CommitError, Key, Read, Scan, Shard, Store, StoreError, key};

use super::record::{self, EventRecord};

/// Records that one step of taking up looks at.
const TAKEN_UP_MAX: usize = 256;

/// The front of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Front {
    /// The first events with the times from which they may run, in order.
    pub(crate) places: Vec<(Timestamp, InvocationId)>,
    /// Whether these are all.
    pub(crate) is_all: bool,
}

/// The lines could not be taken up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeUpError {
    #[error("read the events that an earlier platform left")]
    Read(#[source] StoreError),
    #[error("give places to the events that an earlier platform left")]
    Commit(#[source] CommitError),
}

/// The place of an event that may run from `at` on.
pub(crate) fn place(function: &FunctionId, at: Timestamp, id: InvocationId) -> Key {
    shard().key(&[function.arn(), key::number(at.as_micros()), id.to_string()])
}

/// Reads up to `count` places at the front of a function's line.
pub(crate) async fn front(store: &dyn Store, function: &FunctionId, count: usize) -> Result<Front, StoreError> {
    let scan = Scan::new(shard().under(&[function.arn()])).items(count);
    let page = store.read(Read::scan(scan)).await?.scan.into_iter().next().unwrap_or_default();
    let places = page.records.iter().filter_map(|(place, _)| parse(place)).collect();
    Ok(Front { places, is_all: page.next.is_none() })
}

/// Gives a place to every event that has none: what had begun when the last platform ended, and what was accepted when
/// events still waited as due-times. Answers which functions have a line, and from when on its first may run.
pub(crate) async fn take_up(
    store: &dyn Store,
    entropy: &dyn Entropy,
) -> Result<HashMap<FunctionId, Timestamp>, TakeUpError> {
    let mut lines = HashMap::new();
    let mut after = None;
    loop {
        let scan = Scan::new(record::shard().all()).after(after).items(TAKEN_UP_MAX);
        let (records, next) = store::scan_records::<EventRecord>(store, scan).await.map_err(TakeUpError::Read)?;
        let of = |record: &EventRecord| place(&record.event.function, record.state.next, record.event.id);
        let places = Read { get: records.iter().map(|(_, record, _)| of(record)).collect(), scan: Vec::new() };
        let found = store.read(places).await.map_err(TakeUpError::Read)?.get;
        let mut batch = Batch::new(entropy);
        for ((key, record, _), found) in records.iter().zip(found) {
            if found.is_none() {
                batch.put(&of(record), Bytes::new());
                batch.due_clear(key);
            }
            let first = lines.entry(record.event.function.clone()).or_insert(record.state.next);
            *first = record.state.next.min(*first);
        }
        if !batch.ops.is_empty() {
            store.commit(batch).await.map_err(TakeUpError::Commit)?;
        }
        match next {
            Some(next) => after = Some(next),
            None => return Ok(lines),
        }
    }
}

fn shard() -> Shard {
    Shard::new(&["events", "lines"])
}

fn parse(place: &Key) -> Option<(Timestamp, InvocationId)> {
    let parts = place.parts();
    let at = u64::from_str_radix(parts.get(1)?, 16).ok()?;
    Some((Timestamp::from_micros(at), parts.get(2)?.parse().ok()?))
}

#[cfg(test)]
mod tests;

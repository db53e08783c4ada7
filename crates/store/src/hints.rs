//! Who watches which shard: commits leave hints, never facts.

use std::collections::BTreeMap;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::batch::{Batch, Touched};
use crate::key::Shard;

/// The watched shards.
#[derive(Debug, Default)]
pub(crate) struct Hints(Mutex<BTreeMap<Bytes, watch::Sender<u64>>>);

impl Hints {
    /// Changes whenever something at or below the shard was committed.
    pub(crate) fn watch(&self, shard: &Shard) -> watch::Receiver<u64> {
        let mut watched = self.0.lock();
        watched.retain(|_, sender| !sender.is_closed());
        let entry = watched.entry(Bytes::copy_from_slice(shard.as_bytes()));
        entry.or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// Called after each commit.
    pub(crate) fn committed(&self, batch: &Batch) {
        let watched = self.0.lock();
        if watched.is_empty() {
            return;
        }
        let poke = |sender: &watch::Sender<u64>| sender.send_modify(|count| *count = count.wrapping_add(1));
        let mut last = None;
        for touched in batch.touches() {
            match touched {
                Touched::Shard(shard) if last == Some(shard) => {}
                Touched::Shard(shard) => {
                    last = Some(shard);
                    std::iter::once(&[][..]).chain(shard.lineage()).filter_map(|at| watched.get(at)).for_each(poke);
                }
                // A range may cross shards; whoever might be concerned is told.
                Touched::Range(range) => {
                    let home = Shard::from_bytes(range.from().shard.clone());
                    let concerned = |at: &Bytes| {
                        Shard::from_bytes(at.clone()).contains(&home)
                            || (at[..] >= range.from().shard[..] && at[..] < range.to().shard[..])
                    };
                    watched.iter().filter(|(at, _)| concerned(at)).for_each(|(_, sender)| poke(sender));
                }
            }
        }
    }
}

//! The in-memory store goes wrong as a test demands: at every commit, on both sides of it.

use std::time::Duration;

use base::entropy::SeededEntropy;
use store::memory::{Crash, CrashMoment, Faults, MemoryStore};
use store::{Batch, CommitError, Key, Read, Shard, Store, StoreError};

fn key() -> Key {
    Shard::new(&["s"]).key(&["counter"])
}

async fn count(store: &MemoryStore) -> i64 {
    let found = store.read(Read::get(key())).await.expect("reads").get.remove(0);
    found.and_then(|stored| store::batch::counter(&stored.value)).unwrap_or(0)
}

/// Adds one five times; whoever crashes on the way commits the same batch again after a recovery.
async fn add_five(mut store: MemoryStore) -> (MemoryStore, u32) {
    let (entropy, mut crashes) = (SeededEntropy::new(1), 0);
    for _ in 0..5 {
        let mut batch = Batch::new(&entropy);
        batch.add(&key(), 1);
        while let Err(error) = store.commit(batch.clone()).await {
            assert!(matches!(error, CommitError::Unknown(_)), "{error:?}");
            assert!(store.is_crashed());
            assert!(matches!(store.read(Read::get(key())).await, Err(StoreError::Failed(_))), "the dead do not answer");
            store = store.recover();
            crashes += 1;
        }
    }
    (store, crashes)
}

#[tokio::test]
async fn a_crash_at_any_commit_is_survived_by_committing_again() {
    let (calm, _) = add_five(MemoryStore::new()).await;
    assert_eq!(calm.commits(), 5);
    for commit in 1..=calm.commits() {
        for (moment, before_recovery) in [(CrashMoment::Before, commit - 1), (CrashMoment::After, commit)] {
            let store = MemoryStore::new();
            store.set_faults(Faults { crash: Some(Crash { commit, moment }), ..Faults::default() });
            let watched = store.clone();
            let (store, crashes) = add_five(store).await;
            assert_eq!((count(&store).await, crashes), (5, 1), "{moment:?} commit {commit}");
            assert_eq!(count(&watched.recover()).await, before_recovery as i64, "{moment:?} commit {commit}");
        }
    }
}

#[tokio::test]
async fn demanded_conflicts_hit_batches_with_checks_and_then_stop() {
    let store = MemoryStore::new();
    store.set_faults(Faults { conflicts: 2, ..Faults::default() });
    let entropy = SeededEntropy::new(1);
    let mut unchecked = Batch::new(&entropy);
    unchecked.add(&key(), 1);
    store.commit(unchecked).await.expect("has no check to fail");
    let mut checked = Batch::new(&entropy);
    checked.require_present(&key());
    checked.add(&key(), 1);
    for _ in 0..2 {
        assert!(matches!(store.commit(checked.clone()).await, Err(CommitError::Conflict(0))));
    }
    store.commit(checked).await.expect("commits");
    assert_eq!(count(&store).await, 2);
}

#[tokio::test(start_paused = true)]
async fn demanded_delays_take_their_time() {
    let store = MemoryStore::new();
    let (commit_delay, read_delay) = (Duration::from_secs(3), Duration::from_secs(2));
    store.set_faults(Faults { commit_delay, read_delay, ..Faults::default() });
    let begun = tokio::time::Instant::now();
    store.commit(Batch::new(&SeededEntropy::new(1))).await.expect("commits");
    assert_eq!(begun.elapsed(), commit_delay);
    count(&store).await;
    assert_eq!(begun.elapsed(), commit_delay + read_delay);
}

//! Random batches against the embedded store and the in-memory one: the same answers, the same content, also after a
//! restart.

use base::time::Timestamp;
use proptest::prelude::*;
use store::memory::MemoryStore;
use store::{
    Batch, BatchId, Check, CommitError, DataDir, DataDirOptions, Epoch, Key, KeyRange, Op, PageLimit, Read, Revision,
    Scan, Sequence, Shard, Store,
};

#[derive(Debug, Clone)]
enum Step {
    Commit(Batch),
    Trim(Key, Sequence),
    Restart,
}

fn keys() -> impl Strategy<Value = Key> {
    let shards = prop_oneof![Just(vec!["s"]), Just(vec!["s", "t"]), Just(vec!["u\0"])];
    (shards, prop_oneof![Just("a"), Just("b"), Just("b\0"), Just("")]).prop_map(|(s, n)| Shard::new(&s).key(&[n]))
}

fn ranges() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        keys().prop_map(|key| key.shard().all()),
        keys().prop_map(|key| key.shard().subtree()),
        keys().prop_map(|key| key.shard().under(&key.parts())),
        Just(Shard::new(&["s"]).starting::<&str>(&[], "b")),
    ]
}

fn checks() -> impl Strategy<Value = Check> {
    prop_oneof![
        (keys(), 0..40u64).prop_map(|(key, revision)| Check::Revision(key, Revision(revision))),
        keys().prop_map(Check::Present),
        keys().prop_map(Check::Absent),
        ranges().prop_map(Check::RangeEmpty),
        (keys(), 0..3u64).prop_map(|(key, epoch)| Check::Fence(key, Epoch(epoch))),
    ]
}

fn values() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..9),
        Just(vec![0; 8]),
        Just(i64::MAX.to_be_bytes().to_vec()),
        Just(vec![1; 20_000])
    ]
}

fn ops() -> impl Strategy<Value = Op> {
    let deltas = prop_oneof![Just(1), Just(-1), Just(i64::MAX)];
    let times = prop_oneof![(0..9u64).prop_map(Timestamp::from_micros), Just(Timestamp::MAX)];
    prop_oneof![
        4 => (keys(), values()).prop_map(|(key, value)| Op::Put { key, value: value.into() }),
        1 => keys().prop_map(|key| Op::Delete { key }),
        1 => ranges().prop_map(Op::DeleteRange),
        2 => (keys(), deltas).prop_map(|(key, delta)| Op::Add { key, delta }),
        2 => (keys(), values()).prop_map(|(journal, entry)| Op::Append { journal, entry: entry.into() }),
        2 => (keys(), times, values()).prop_map(|(key, at, hint)| Op::DueSet { key, at, hint: hint.into() }),
        1 => keys().prop_map(|key| Op::DueClear { key }),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Few ids, so that some batch is committed under the id of another.
    let ids = prop_oneof![9 => any::<[u8; 16]>(), 1 => Just([7; 16])];
    let batch = (ids, proptest::collection::vec(checks(), 0..2), proptest::collection::vec(ops(), 0..6))
        .prop_map(|(id, checks, ops)| Step::Commit(Batch { id: BatchId(id), checks, ops }));
    let step = prop_oneof![
        30 => batch,
        3 => (keys(), 0..9u64).prop_map(|(key, before)| Step::Trim(key, Sequence(before))),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..40)
}

/// Everything there is to see.
async fn content(store: &dyn Store, journals: &[Key]) -> String {
    let root = Shard::new::<&str>(&[]);
    let answer = store.read(Read::scan(Scan::new(root.subtree()))).await.expect("reads");
    let backward = store.read(Read::scan(Scan::new(root.subtree()).backward())).await.expect("reads");
    let mut reversed = backward.scan[0].records.clone();
    reversed.reverse();
    assert_eq!(answer.scan[0].records, reversed);
    let mut seen = format!("{answer:?}\n");
    for journal in journals {
        let page = store.read_journal(journal, Sequence(0), PageLimit::default()).await.expect("reads");
        seen += &format!("{journal}: {page:?}\n");
    }
    for shard in [root, Shard::new(&["s"]), Shard::new(&["s", "t"])] {
        for until in [Timestamp::from_micros(4), Timestamp::MAX] {
            seen += &format!("{:?}\n", store.due(&shard, until, 100).await.expect("reads"));
        }
    }
    seen
}

async fn run(steps: Vec<Step>) {
    let folder = tempfile::tempdir().expect("a folder");
    let open = || DataDir::open(&folder.path().join("data"), DataDirOptions::default()).expect("opens");
    let model = MemoryStore::new();
    let mut data_dir = open();
    let mut journals = Vec::new();
    for step in steps {
        let store = data_dir.store();
        match step {
            Step::Restart => {
                data_dir.close().await;
                data_dir = open();
            }
            Step::Trim(journal, before) => {
                store.trim(&journal, before).await.expect("trims");
                model.trim(&journal, before).await.expect("trims");
            }
            Step::Commit(batch) => {
                journals.extend(batch.ops.iter().filter_map(|op| match op {
                    Op::Append { journal, .. } => Some(journal.clone()),
                    _ => None,
                }));
                let expected = model.commit(batch.clone()).await;
                let found = store.commit(batch).await;
                match (&expected, &found) {
                    (Ok(expected), Ok(found)) => assert_eq!(expected, found),
                    (Err(CommitError::Conflict(expected)), Err(CommitError::Conflict(found))) => {
                        assert_eq!(expected, found);
                    }
                    (
                        Err(CommitError::Refused { op: expected, reason }),
                        Err(CommitError::Refused { op: found, reason: found_reason }),
                    ) => assert_eq!((expected, reason), (found, found_reason)),
                    _ => panic!("{expected:?} but {found:?}"),
                }
            }
        }
    }
    assert_eq!(content(&*data_dir.store(), &journals).await, content(&model, &journals).await);
    data_dir.close().await;
    assert_eq!(content(&*open().store(), &journals).await, content(&model, &journals).await);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_embedded_store_does_what_the_model_does(steps in steps()) {
        tokio::runtime::Runtime::new().expect("a runtime").block_on(run(steps));
    }
}

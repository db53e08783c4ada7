//! What every implementation of the two traits must do, as one suite that runs over all of them.

use std::sync::Arc;

use base::entropy::SystemEntropy;
use base::time::Timestamp;
use bytes::Bytes;
use store::limits::{
    BATCH_BYTES_MAX, BATCH_PARTS_MAX, BLOB_READ_BYTES_MAX, NAME_BYTES_MAX, PAGE_BYTES_MAX, READ_PARTS_MAX,
    VALUE_BYTES_MAX,
};
use store::memory::{MemoryBlobs, MemoryStore};
use store::{
    Answer, Batch, BlobCondition, BlobError, BlobKey, BlobSource, Blobs, Check, CommitError, Cursor, DataDir,
    DataDirOptions, Direction, Epoch, Key, PageLimit, Read, Refusal, Revision, Scan, Sequence, Shard, Store,
    StoreError,
};

/// An implementation under test, and what keeps it alive.
struct Subject {
    name: &'static str,
    store: Arc<dyn Store>,
    blobs: Arc<dyn Blobs>,
    data_dir: Option<(DataDir, tempfile::TempDir)>,
}

fn subjects() -> Vec<Subject> {
    let folder = tempfile::tempdir().expect("a folder");
    let data_dir = DataDir::open(&folder.path().join("data"), DataDirOptions::default()).expect("opens");
    vec![
        Subject {
            name: "memory",
            store: Arc::new(MemoryStore::new()),
            blobs: Arc::new(MemoryBlobs::new()),
            data_dir: None,
        },
        Subject {
            name: "embedded",
            store: data_dir.store(),
            blobs: data_dir.blobs(),
            data_dir: Some((data_dir, folder)),
        },
    ]
}

fn batch() -> Batch {
    Batch::new(&SystemEntropy)
}

fn shard() -> Shard {
    Shard::new(&["things", "here"])
}

fn key(name: &str) -> Key {
    shard().key(&[name])
}

async fn put(store: &dyn Store, key: &Key, value: &'static str) -> Revision {
    let mut batch = batch();
    batch.put(key, value);
    store.commit(batch).await.expect("commits").revision(0).expect("a revision")
}

async fn get(store: &dyn Store, key: &Key) -> Option<(Bytes, Revision)> {
    let answer = store.read(Read::get(key.clone())).await.expect("reads");
    answer.get.into_iter().next().flatten().map(|stored| (stored.value, stored.revision))
}

async fn names(store: &dyn Store, scan: Scan) -> (Vec<String>, Option<Cursor>) {
    let page = store.read(Read::scan(scan)).await.expect("reads").scan.remove(0);
    (page.records.iter().map(|(key, _)| key.parts().join("/")).collect(), page.next)
}

#[tokio::test]
async fn a_record_is_read_as_it_was_put() {
    for Subject { name, store, data_dir: _alive, .. } in subjects() {
        assert_eq!(get(&*store, &key("a")).await, None, "{name}");
        let first = put(&*store, &key("a"), "one").await;
        assert_eq!(get(&*store, &key("a")).await, Some(("one".into(), first)), "{name}");
        let second = put(&*store, &key("a"), "").await;
        assert!(second > first, "{name}");
        assert_eq!(get(&*store, &key("a")).await, Some(("".into(), second)), "{name}");
        assert_eq!(get(&*store, &Shard::new(&["things"]).key(&["here", "a"])).await, None, "{name}");
    }
}

#[tokio::test]
async fn a_deleted_record_never_gets_its_old_revision_back() {
    for Subject { name, store, data_dir: _alive, .. } in subjects() {
        let first = put(&*store, &key("a"), "one").await;
        let mut delete = batch();
        delete.delete(&key("a"));
        delete.delete(&key("never there"));
        assert_eq!(store.commit(delete).await.expect("commits").answers, [Answer::Done, Answer::Done], "{name}");
        assert_eq!(get(&*store, &key("a")).await, None, "{name}");
        assert!(put(&*store, &key("a"), "one").await > first, "{name}");
    }
}

#[tokio::test]
async fn each_check_holds_or_names_itself() {
    for Subject { name, store, data_dir: _alive, .. } in subjects() {
        let revision = put(&*store, &key("there"), "x").await;
        let mut lease = batch();
        lease.add(&key("lease"), 3);
        store.commit(lease).await.expect("commits");
        let (there, gone) = (key("there"), key("gone"));
        let older = Revision(revision.0 - 1);
        let cases = [
            (Check::Revision(there.clone(), revision), true),
            (Check::Revision(there.clone(), older), false),
            (Check::Revision(gone.clone(), revision), false),
            (Check::Present(there.clone()), true),
            (Check::Present(gone.clone()), false),
            (Check::Absent(there.clone()), false),
            (Check::Absent(gone.clone()), true),
            (Check::RangeEmpty(shard().under(&["there"])), false),
            (Check::RangeEmpty(shard().under(&["the"])), true),
            (Check::RangeEmpty(shard().starting::<&str>(&[], "the")), false),
            (Check::RangeEmpty(Shard::new(&["things"]).all()), true),
            (Check::RangeEmpty(Shard::new(&["things"]).subtree()), false),
            (Check::Fence(key("lease"), Epoch(3)), true),
            (Check::Fence(key("lease"), Epoch(2)), false),
            (Check::Fence(gone.clone(), Epoch(0)), true),
            (Check::Fence(there.clone(), Epoch(0)), false),
        ];
        for (check, holds) in cases {
            let mut checked = batch();
            checked.require_present(&there);
            checked.check(check.clone());
            checked.put(&key("result"), format!("{check:?}"));
            let outcome = store.commit(checked).await;
            match holds {
                true => assert!(outcome.is_ok(), "{name} {check:?}: {outcome:?}"),
                false => assert!(matches!(outcome, Err(CommitError::Conflict(1))), "{name} {check:?}: {outcome:?}"),
            }
            let result = get(&*store, &key("result")).await.map(|(value, _)| value);
            assert_eq!(result == Some(format!("{check:?}").into()), holds, "{name} {check:?}");
        }
    }
}

#[tokio::test]
async fn operations_happen_in_order_and_answer_in_order() {
    for Subject { name, store, data_dir: _alive, .. } in subjects() {
        let mut mixed = batch();
        mixed.put(&key("a"), "1");
        mixed.put(&key("b"), "1");
        mixed.delete_range(shard().all());
        mixed.put(&key("a"), "2");
        mixed.add(&key("n"), 5);
        mixed.add(&key("n"), -7);
        mixed.append(&key("j"), "e1");
        mixed.append(&key("j"), "e2");
        mixed.due_set(&key("a"), Timestamp::from_micros(9), "");
        mixed.due_clear(&key("a"));
        let answers = store.commit(mixed).await.expect("commits").answers;
        let (_, revision) = get(&*store, &key("a")).await.expect("there");
        let put = Answer::Revision(revision);
        let expected = [
            put,
            put,
            Answer::Done,
            put,
            Answer::Counter(5),
            Answer::Counter(-2),
            Answer::Sequence(Sequence(1)),
            Answer::Sequence(Sequence(2)),
            Answer::Done,
            Answer::Done,
        ];
        assert_eq!(answers, expected, "{name}");
        let (left, _) = names(&*store, Scan::new(shard().all())).await;
        assert_eq!(left, ["a", "n"], "{name}");
    }
}

#[tokio::test]
async fn a_refused_batch_leaves_no_trace() {
    for Subject { name, store, data_dir: _alive, .. } in subjects() {
        put(&*store, &key("text"), "no counter").await;
        let mut full = batch();
        full.add(&key("full"), i64::MAX);
        store.commit(full).await.expect("commits");
        for (bad, reason) in [("text", Refusal::NotACounter), ("full", Refusal::CounterOverflow)] {
            let mut refused = batch();
            refused.put(&key("trace"), "x");
            refused.append(&key("journal"), "x");
            refused.due_set(&key("trace"), Timestamp::EPOCH, "x");
            refused.delete(&key("other"));
            refused.add(&key(bad), 1);
            let again = refused.clone();
            for attempt in [refused, again] {
                let outcome = store.commit(attempt).await;
                let expected = |error: &CommitError| matches!(error, CommitError::Refused { op: 4, reason: found } if *found == reason);
                assert!(outcome.as_ref().is_err_and(expected), "{name}: {outcome:?}");
            }
        }
        assert_eq!(get(&*store, &key("trace")).await, None, "{name}");
        let journal = store.read_journal(&key("journal"), Sequence(0), PageLimit::default()).await.expect("reads");
        assert!(journal.entries.is_empty(), "{name}");
        let due = store.due(&shard(), Timestamp::MAX, 10).await.expect("reads");
        assert!(due.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn committing_again_does_nothing_and_answers_the_same() {
    for Subject { name, store, data_dir: _alive, .. } in subjects() {
        let mut once = batch();
        once.require_absent(&key("a"));
        once.put(&key("a"), "x");
        once.add(&key("n"), 1);
        once.append(&key("j"), "e");
        let first = store.commit(once.clone()).await.expect("commits");
        let second = store.commit(once).await.expect("answers again");
        assert_eq!(first, second, "{name}");
        assert_eq!(second.counter(1), Some(1), "{name}");
        let mut next = batch();
        next.add(&key("n"), 1);
        assert_eq!(store.commit(next).await.expect("commits").counter(0), Some(2), "{name}");
    }
}

#[tokio::test]
async fn a_batch_that_conflicted_may_be_committed_later() {
    for Subject { name, store, data_dir: _alive, .. } in subjects() {
        let mut early = batch();
        early.require_present(&key("a"));
        early.put(&key("b"), "x");
        let late = early.clone();
        assert!(matches!(store.commit(early).await, Err(CommitError::Conflict(0))), "{name}");
        put(&*store, &key("a"), "x").await;
        assert!(store.commit(late).await.is_ok(), "{name}");
    }
}

#[tokio::test]
async fn only_one_of_many_racing_batches_wins_each_revision() {
    for Subject { name, store, data_dir: _alive, .. } in subjects() {
        let mut zero = batch();
        zero.put(&key("hot"), "0");
        store.commit(zero).await.expect("commits");
        let racers = (0..8).map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for _ in 0..25 {
                    loop {
                        let (value, revision) = get(&*store, &key("hot")).await.expect("there");
                        let number: u64 = std::str::from_utf8(&value).expect("text").parse().expect("a number");
                        let mut next = batch();
                        next.require_revision(&key("hot"), revision);
                        next.put(&key("hot"), (number + 1).to_string());
                        match store.commit(next).await {
                            Ok(_) => break,
                            Err(CommitError::Conflict(0)) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            })
        });
        for racer in racers.collect::<Vec<_>>() {
            racer.await.expect("ends");
        }
        assert_eq!(get(&*store, &key("hot")).await.expect("there").0, "200", "{name}");
    }
}

#[tokio::test]
async fn pages_follow_each_other_in_both_directions() {
    for Subject { name, store, data_dir: _alive, .. } in subjects() {
        let mut many = batch();
        let all: Vec<String> = (0..25).map(|n| format!("{n:02}")).collect();
        for n in &all {
            many.put(&shard().key(&["list", n]), n.clone());
        }
        many.put(&shard().key(&["lisp"]), "before");
        many.put(&shard().key(&["list\0"]), "after");
        many.put(&Shard::new(&["things", "here", "below"]).key(&["list"]), "elsewhere");
        store.commit(many).await.expect("commits");
        for direction in [Direction::Forward, Direction::Backward] {
            for items in [1, 7, 25, 26] {
                let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
                loop {
                    let scan = Scan {
                        range: shard().under(&["list"]),
                        direction,
                        limit: PageLimit::items(items),
                        after: after.take(),
                    };
                    let (page, next) = names(&*store, scan).await;
                    assert!(page.len() <= items, "{name}");
                    found.extend(page);
                    pages += 1;
                    match next {
                        // A cursor travels as bytes.
                        Some(next) => after = Cursor::from_bytes(&next.to_bytes()),
                        None => break,
                    }
                }
                let mut expected: Vec<String> = all.iter().map(|n| format!("list/{n}")).collect();
                if direction == Direction::Backward {
                    expected.reverse();
                }
                assert_eq!(found, expected, "{name} {direction:?} {items}");
                assert_eq!(pages, 25usize.div_ceil(items), "{name} {direction:?} {items}");
            }
        }
    }
}

#[tokio::test]
async fn a_scan_may_span_the_shards_below() {
    for Subject { name, store, data_dir: _alive, .. } in subjects() {
        let mut many = batch();
        for parts in [vec!["f", "1", "east"], vec!["f", "1", "west"], vec!["f", "2", "east"], vec!["g", "1", "east"]] {
            many.put(&Shard::new(&parts).key(&[parts.join("-")]), "x");
        }
        store.commit(many).await.expect("commits");
        let cases: [(&[&str], &[&str]); 4] = [
            (&["f"], &["f-1-east", "f-1-west", "f-2-east"]),
            (&["f", "1"], &["f-1-east", "f-1-west"]),
            (&["f", "1", "west"], &["f-1-west"]),
            (&["e"], &[]),
        ];
        for (parts, expected) in cases {
            let (found, next) = names(&*store, Scan::new(Shard::new(parts).subtree())).await;
            assert_eq!((found, next), (expected.iter().map(ToString::to_string).collect(), None), "{name} {parts:?}");
        }
        let (first, next) = names(&*store, Scan::new(Shard::new(&["f"]).subtree()).items(1)).await;
        let (second, _) = names(&*store, Scan::new(Shard::new(&["f"]).subtree()).items(1).after(next)).await;
        assert_eq!((first, second), (vec!["f-1-east".to_owned()], vec!["f-1-west".to_owned()]), "{name}");
    }
}

#[tokio::test]
async fn a_forged_cursor_stays_within_its_scan() {
    for Subject { name, store, data_dir: _alive, .. } in subjects() {
        let mut many = batch();
        many.put(&Shard::new(&["a"]).key(&["secret"]), "x");
        many.put(&Shard::new(&["b"]).key(&["mine"]), "x");
        many.put(&Shard::new(&["c"]).key(&["secret"]), "x");
        store.commit(many).await.expect("commits");
        for direction in [Direction::Forward, Direction::Backward] {
            for forged in [&[0, 0][..], &[0, 1, 0xFF], &[0, 0, 0xFF]] {
                let after = Cursor::from_bytes(forged);
                let limit = PageLimit::default();
                let scan = Scan { range: Shard::new(&["b"]).all(), direction, limit, after };
                let (found, _) = names(&*store, scan).await;
                assert!(found.iter().all(|name| name == "mine"), "{name} {forged:?}");
            }
        }
        assert_eq!(Cursor::from_bytes(&[0]), None);
        assert_eq!(Cursor::from_bytes(&[0, 9, 1]), None);
    }
}

#[tokio::test]
async fn all_parts_of_a_read_are_one_snapshot() {
    for Subject { name, store, data_dir: _alive, .. } in subjects() {
        let writer = {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for n in 0..200 {
                    let mut both = batch();
                    both.put(&key("left"), n.to_string());
                    both.put(&key("right"), n.to_string());
                    store.commit(both).await.expect("commits");
                }
            })
        };
        let mut seen = 0;
        while !writer.is_finished() || seen == 0 {
            let read = Read { get: vec![key("left"), key("right")], scan: vec![Scan::new(shard().all())] };
            let answer = store.read(read).await.expect("reads");
            let scanned: Vec<_> = answer.scan[0].records.iter().map(|(_, stored)| Some(stored.clone())).collect();
            assert_eq!(answer.get[0], answer.get[1], "{name}");
            assert_eq!(answer.get[0].is_some(), scanned.len() == 2, "{name}");
            assert!(scanned.iter().all(|stored| *stored == answer.get[0]), "{name}");
            seen += scanned.len();
            tokio::task::yield_now().await;
        }
        writer.await.expect("ends");
    }
}

#[tokio::test]
async fn pages_keep_to_their_size_but_always_move() {
    for Subject { name, store, data_dir: _alive, .. } in subjects() {
        let mut many = batch();
        for n in 0..6 {
            many.put(&key(&n.to_string()), vec![0; VALUE_BYTES_MAX]);
        }
        store.commit(many).await.expect("commits");
        let whole = Scan::new(shard().all());
        let (page, next) = names(&*store, whole.clone()).await;
        assert_eq!(page.len(), PAGE_BYTES_MAX / VALUE_BYTES_MAX - 1, "{name}: keys count too");
        assert!(next.is_some(), "{name}");
        let tiny = Scan { limit: PageLimit { items: 0, bytes: 0 }, ..whole };
        let (page, next) = names(&*store, tiny).await;
        assert_eq!((page, next.is_some()), (vec!["0".to_owned()], true), "{name}");
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_anything_is_written() {
    for Subject { name, store, data_dir: _alive, .. } in subjects() {
        let build = |fill: &dyn Fn(&mut Batch) -> usize| {
            let mut large = batch();
            large.put(&key("trace"), "x");
            fill(&mut large);
            large
        };
        let huge = || vec![0; VALUE_BYTES_MAX];
        let over = || vec![0; VALUE_BYTES_MAX + 1];
        let cases: [(&str, Batch, usize); 6] = [
            ("value", build(&|b| b.put(&key("a"), over())), VALUE_BYTES_MAX),
            ("journal entry", build(&|b| b.append(&key("a"), over())), VALUE_BYTES_MAX),
            ("bytes of a key", build(&|b| b.delete(&key(&"k".repeat(NAME_BYTES_MAX)))), NAME_BYTES_MAX),
            ("bytes of a shard", build(&|b| b.delete(&Shard::new(&["s".repeat(512)]).key(&["a"]))), 512),
            ("parts of a batch", build(&|b| (0..BATCH_PARTS_MAX).map(|_| b.delete(&key("a"))).sum()), BATCH_PARTS_MAX),
            ("bytes of a batch", build(&|b| (0..8).map(|_| b.put(&key("a"), huge())).sum()), BATCH_BYTES_MAX),
        ];
        for (what, large, limit) in cases {
            let outcome = store.commit(large).await;
            let expected = |error: &CommitError| matches!(error, CommitError::TooLarge { what: found, max, .. } if *found == what && *max == limit);
            assert!(outcome.as_ref().is_err_and(expected), "{name} {what}: {outcome:?}");
        }
        assert_eq!(get(&*store, &key("trace")).await, None, "{name}");
        let read = Read { get: vec![key("a"); READ_PARTS_MAX + 1], scan: vec![] };
        assert!(matches!(store.read(read).await, Err(StoreError::TooLarge { .. })), "{name}");
        let longest = key(&"k".repeat(NAME_BYTES_MAX - 1));
        put(&*store, &longest, "fits").await;
        assert_eq!(names(&*store, Scan::new(shard().all())).await.0.len(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_journal_counts_on_when_it_is_trimmed() {
    for Subject { name, store, data_dir: _alive, .. } in subjects() {
        let journal = key("journal");
        let mut many = batch();
        for n in 1..=5000u32 {
            many.append(&journal, n.to_string());
        }
        many.append(&key("other"), "x");
        store.commit(many).await.expect("commits");
        let read = async |from: u64, items: usize| {
            let page = store.read_journal(&journal, Sequence(from), PageLimit::items(items)).await.expect("reads");
            let numbers: Vec<u64> = page.entries.iter().map(|(sequence, _)| sequence.0).collect();
            assert!(page.entries.iter().all(|(sequence, entry)| *entry == sequence.0.to_string()), "{name}");
            (numbers, page.next.map(|next| next.0))
        };
        assert_eq!(read(0, 2).await, (vec![1, 2], Some(3)), "{name}");
        assert_eq!(read(4999, 2).await, (vec![4999, 5000], None), "{name}");
        assert_eq!(read(5001, 2).await, (vec![], None), "{name}");
        store.trim(&journal, Sequence(4998)).await.expect("trims");
        assert_eq!(read(0, 2).await, (vec![4998, 4999], Some(5000)), "{name}");
        store.trim(&journal, Sequence(u64::MAX)).await.expect("trims");
        assert_eq!(read(0, 2).await, (vec![], None), "{name}");
        let mut next = batch();
        next.append(&journal, "5001");
        assert_eq!(store.commit(next).await.expect("commits").sequence(0), Some(Sequence(5001)), "{name}");
        assert_eq!(read(0, 2).await, (vec![5001], None), "{name}");
        store.trim(&key("unknown"), Sequence(9)).await.expect("trims nothing");
    }
}

#[tokio::test]
async fn due_times_come_in_their_order_from_the_shards_below() {
    for Subject { name, store, data_dir: _alive, .. } in subjects() {
        let at = |micros: u64| Timestamp::from_micros(micros);
        let mut many = batch();
        for (shard, name, micros) in [
            (vec!["q", "1"], "late", 30),
            (vec!["q", "1"], "early", 10),
            (vec!["q", "2"], "middle", 20),
            (vec!["q"], "top", 20),
            (vec!["qq"], "stranger", 1),
        ] {
            many.due_set(&Shard::new(&shard).key(&[name]), at(micros), name);
        }
        many.due_set(&Shard::new(&["q", "1"]).key(&["never"]), Timestamp::MAX, "");
        store.commit(many).await.expect("commits");
        let due = async |shard: &[&str], until: u64, limit: usize| {
            let due = store.due(&Shard::new(shard), at(until), limit).await.expect("reads");
            assert!(due.iter().all(|due| due.key.parts() == [String::from_utf8_lossy(&due.hint)]), "{name}");
            due.iter().map(|due| (due.key.parts().remove(0), due.at.as_micros())).collect::<Vec<_>>()
        };
        let found = |list: &[(&str, u64)]| list.iter().map(|(name, at)| (name.to_string(), *at)).collect::<Vec<_>>();
        let all = [("early", 10), ("top", 20), ("middle", 20), ("late", 30)];
        assert_eq!(due(&["q"], 1000, 10).await, found(&all), "{name}");
        assert_eq!(due(&["q"], 20, 10).await, found(&all[..3]), "{name}");
        assert_eq!(due(&["q"], 1000, 2).await, found(&all[..2]), "{name}");
        assert_eq!(due(&["q", "2"], 1000, 10).await, found(&all[2..3]), "{name}");
        assert_eq!(due(&[], 10, 10).await, found(&[("stranger", 1), ("early", 10)]), "{name}");
        assert_eq!(due(&["q"], 9, 10).await, found(&[]), "{name}");

        let mut change = batch();
        change.due_set(&Shard::new(&["q", "1"]).key(&["early"]), at(25), "early");
        change.due_clear(&Shard::new(&["q"]).key(&["top"]));
        store.commit(change).await.expect("commits");
        assert_eq!(due(&["q"], 1000, 10).await, found(&[("middle", 20), ("early", 25), ("late", 30)]), "{name}");
    }
}

#[tokio::test]
async fn watchers_hear_of_what_concerns_them() {
    for Subject { name, store, data_dir: _alive, .. } in subjects() {
        let watched = [Shard::new::<&str>(&[]), Shard::new(&["things"]), shard(), Shard::new(&["things", "there"])];
        let mut hints = watched.each_ref().map(|shard| store.watch(shard));
        let mut heard = move || {
            hints.each_mut().map(|hint| {
                let changed = hint.has_changed().expect("the store lives");
                hint.mark_unchanged();
                changed
            })
        };
        put(&*store, &key("a"), "x").await;
        assert_eq!(heard(), [true, true, true, false], "{name}");
        assert_eq!(heard(), [false; 4], "{name}");
        let mut refused = batch();
        refused.require_absent(&key("a"));
        refused.put(&key("a"), "y");
        store.commit(refused).await.expect_err("conflicts");
        assert_eq!(heard(), [false; 4], "{name}");
        let mut wide = batch();
        wide.delete_range(Shard::new(&["things"]).subtree());
        store.commit(wide).await.expect("commits");
        assert_eq!(heard(), [true; 4], "{name}");
    }
}

#[tokio::test]
async fn blobs_are_read_as_they_were_put() {
    for Subject { name, blobs, data_dir: _alive, .. } in subjects() {
        let key = BlobKey::new("packages", "abcdef").expect("a key");
        assert_eq!(blobs.head(&key).await.expect("answers"), None, "{name}");
        assert!(matches!(blobs.get(&key, None).await, Err(BlobError::Missing(_))), "{name}");
        assert!(!blobs.delete(&key).await.expect("answers"), "{name}");

        let source = BlobSource::Bytes("0123456789".into());
        let head = blobs.put(&key, source.clone(), BlobCondition::Absent).await.expect("puts");
        assert_eq!(head.bytes, 10, "{name}");
        assert_eq!(blobs.head(&key).await.expect("answers"), Some(head), "{name}");
        let again = blobs.put(&key, BlobSource::Bytes("other".into()), BlobCondition::Absent).await;
        assert!(matches!(again, Err(BlobError::Exists(_))), "{name}");
        for (range, expected) in
            [(None, "0123456789"), (Some(2..4), "23"), (Some(8..99), "89"), (Some(20..30), ""), (Some(0..0), "")]
        {
            assert_eq!(blobs.get(&key, range.clone()).await.expect("reads"), expected, "{name} {range:?}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("source");
        std::fs::write(&path, vec![7; 600_000]).expect("written");
        blobs.put(&key, BlobSource::File(path.clone()), BlobCondition::Any).await.expect("replaces");
        assert_eq!(blobs.get(&key, None).await.expect("reads"), vec![7; 600_000], "{name}");
        let missing = BlobSource::File(folder.path().join("missing"));
        assert!(matches!(blobs.put(&key, missing, BlobCondition::Any).await, Err(BlobError::Failed { .. })), "{name}");
        assert_eq!(blobs.head(&key).await.expect("answers").map(|head| head.bytes), Some(600_000), "{name}");
        assert!(blobs.delete(&key).await.expect("deletes"), "{name}");
        assert_eq!(blobs.head(&key).await.expect("answers"), None, "{name}");
        assert!(path.exists(), "{name}");
    }
}

#[tokio::test]
async fn a_blob_over_the_limit_is_read_in_ranges() {
    for Subject { name, blobs, data_dir: _alive, .. } in subjects() {
        let key = BlobKey::new("large", "one").expect("a key");
        let size = BLOB_READ_BYTES_MAX + 1;
        let content = Bytes::from(vec![1; usize::try_from(size).expect("fits")]);
        blobs.put(&key, BlobSource::Bytes(content), BlobCondition::Any).await.expect("puts");
        let whole = blobs.get(&key, None).await;
        assert!(matches!(whole, Err(BlobError::TooLarge { bytes, .. }) if bytes == size), "{name}: {whole:?}");
        assert_eq!(blobs.get(&key, Some(size - 2..u64::MAX)).await.expect("reads").len(), 2, "{name}");
    }
}

#[tokio::test]
async fn blobs_are_listed_in_the_order_of_their_names() {
    for Subject { name, blobs, data_dir: _alive, .. } in subjects() {
        let mut all = ["a", "aa", "aab", "ab-1", "ab-2", "ab.x", "b", "ba"];
        for blob in all {
            let key = BlobKey::new("list", blob).expect("a key");
            blobs.put(&key, BlobSource::Bytes(Bytes::new()), BlobCondition::Any).await.expect("puts");
        }
        let elsewhere = BlobKey::new("list2", "aa").expect("a key");
        blobs.put(&elsewhere, BlobSource::Bytes(Bytes::new()), BlobCondition::Any).await.expect("puts");
        all.sort_unstable();
        for prefix in ["", "a", "aa", "ab", "ab-", "b", "c", "ab-1", "ab-12"] {
            for after in [None, Some("a"), Some("aa"), Some("ab-1"), Some("ab-15"), Some("ba"), Some("zz")] {
                for limit in [1, 3, 100] {
                    let found = blobs.list("list", prefix, after, limit).await.expect("lists");
                    let fits = |name: &&str| name.starts_with(prefix) && after.is_none_or(|after| *name > after);
                    let expected: Vec<&str> = all.into_iter().filter(fits).take(limit).collect();
                    assert_eq!(found, expected, "{name} {prefix:?} {after:?} {limit}");
                }
            }
        }
        assert!(blobs.list("nothing", "", None, 10).await.expect("lists").is_empty(), "{name}");
        assert!(matches!(blobs.list("../list", "", None, 10).await, Err(BlobError::BadKey(_))), "{name}");
    }
}

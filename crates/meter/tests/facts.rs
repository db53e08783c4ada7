//! Facts are found again by account, function and time, the newest first.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::time::Timestamp;
use meter::{FACTS_PER_PAGE_MAX, Meter, Metrics};
use model::ids::{AccountId, FunctionId, InvocationId};
use model::names::{FunctionName, Region};
use model::usage::{UsageFact, UsageOutcome};
use store::data_dir::{DataDir, DataDirOptions};
use store::segments::SegmentOptions;

/// `ACCOUNT/FUNCTION/REGION`, and when the attempt ended.
fn fact(whose: &str, at: u64) -> UsageFact {
    let mut parts = whose.split('/');
    let mut part = || parts.next().expect("ACCOUNT/FUNCTION/REGION");
    let account = AccountId::parse(&part().repeat(12)).expect("a digit");
    let name = FunctionName::parse(part()).expect("a name");
    UsageFact {
        at: Timestamp::from_millis(at),
        function: FunctionId { account, region: Region::parse(part()).expect("a region"), name },
        version: "$LATEST".to_owned(),
        invocation: InvocationId::from_random([7; 16]),
        attempt: 1,
        duration_us: at,
        billed_ms: 1,
        init_us: None,
        memory_mib: 128,
        memory_used_mib: 40,
        outcome: UsageOutcome::Success,
        bytes_in: 2,
        bytes_out: 4,
    }
}

fn open(folder: &Path, options: SegmentOptions) -> (DataDir, Arc<Meter>, Arc<Metrics>) {
    let data_dir = DataDir::open(folder, DataDirOptions::default()).expect("a data directory");
    let metrics = Arc::new(Metrics::new());
    let meter = Meter::open(data_dir.segments("facts", options).expect("segments"), Arc::clone(&metrics));
    (data_dir, meter, metrics)
}

async fn check(meter: &Meter, account: &str, function: Option<&str>, times: [u64; 2], limit: usize, expected: &[u64]) {
    let account = AccountId::parse(&account.repeat(12)).expect("a digit");
    let function = function.map(|name| FunctionName::parse(name).expect("a name"));
    let [from, to] = times.map(Timestamp::from_millis);
    let facts = meter.facts(account, function.as_ref(), from, to, limit).await.expect("facts");
    let found: Vec<u64> = facts.iter().map(|fact| fact.at.as_millis()).collect();
    assert_eq!(found, expected, "{account} {function:?} {times:?} {limit}");
}

#[tokio::test]
async fn facts_are_found_by_account_function_and_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data_dir, meter, metrics) = open(folder.path(), SegmentOptions::default());
    let recorded = [("1/f/r", 10), ("1/ff/r", 20), ("2/f/r", 30), ("1/f/r", 40), ("1/f/q", 50), ("1/f/r", 45)];
    for (whose, at) in recorded {
        meter.record(fact(whose, at));
    }
    check(&meter, "1", None, [0, 100], 10, &[50, 45, 40, 20, 10]).await;
    check(&meter, "1", Some("f"), [0, 100], 10, &[50, 45, 40, 10]).await;
    check(&meter, "1", Some("ff"), [0, 100], 10, &[20]).await;
    check(&meter, "2", None, [0, 100], 10, &[30]).await;
    check(&meter, "3", None, [0, 100], 10, &[]).await;
    check(&meter, "1", None, [20, 45], 10, &[40, 20]).await;
    check(&meter, "1", None, [0, 100], 0, &[]).await;
    assert_eq!(metrics.usage_facts_dropped.get(), 0);

    let before = meter.facts(AccountId::parse("111111111111").unwrap(), None, Timestamp::EPOCH, Timestamp::MAX, 1);
    assert_eq!(before.await.expect("facts").len(), 1);
    data_dir.close().await;
    drop((meter, data_dir));
    let (_data_dir, meter, _) = open(folder.path(), SegmentOptions::default());
    check(&meter, "1", Some("f"), [0, 100], 10, &[50, 45, 40, 10]).await;
}

#[tokio::test]
async fn an_answer_has_a_limit() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_data_dir, meter, _) = open(folder.path(), SegmentOptions::default());
    let count = FACTS_PER_PAGE_MAX as u64 + 500;
    for at in 0..count {
        meter.record(fact("1/f/r", at));
    }
    let newest: Vec<u64> = (0..count).rev().take(FACTS_PER_PAGE_MAX).collect();
    check(&meter, "1", None, [0, count], usize::MAX, &newest).await;
    check(&meter, "1", Some("f"), [0, count], 3, &newest[..3]).await;
}

#[tokio::test]
async fn a_fact_that_finds_the_writer_behind_is_dropped_and_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let linger = Duration::from_secs(3600);
    let options = SegmentOptions { queue_bytes_max: 4096, linger, ..SegmentOptions::default() };
    let (_data_dir, meter, metrics) = open(folder.path(), options);
    for at in 0..10_000 {
        meter.record(fact("1/f/r", at));
    }
    let dropped = metrics.usage_facts_dropped.get();
    assert!(dropped > 0, "10,000 facts at once fit into 4 KiB");
    let kept = meter.facts(AccountId::parse("111111111111").unwrap(), None, Timestamp::EPOCH, Timestamp::MAX, 1000);
    assert!(!kept.await.expect("facts").is_empty());
    assert!(metrics.render().contains(&format!("pinfold_usage_facts_dropped_total {dropped}")));
}

#[tokio::test]
async fn what_the_disk_does_not_take_is_kept_within_a_bound_and_counted_beyond_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = SegmentOptions { queue_bytes_max: 64 * 1024, ..SegmentOptions::default() };
    let (_data_dir, meter, metrics) = open(folder.path(), options);
    // Without its folder no segment can be made.
    let (place, away) = (folder.path().join("segments/facts"), folder.path().join("segments/away"));
    std::fs::rename(&place, &away).expect("moved");
    let mut count = 0;
    while metrics.usage_facts_dropped.get() == 0 {
        meter.record(fact("1/f/r", count));
        count += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    check(&meter, "1", None, [0, 1000], 1000, &[]).await;
    assert!(!meter.written().await, "nothing is written");
    std::fs::rename(&away, &place).expect("put back");
    assert!(meter.written().await);
    let kept: Vec<u64> = (0..count - 1).rev().collect();
    check(&meter, "1", None, [0, 1000], 1000, &kept).await;
    assert_eq!(metrics.usage_facts_dropped.get(), 1);
}

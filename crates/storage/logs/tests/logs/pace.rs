//! What a function's lines cost, and what idle logs cost. Numbers are printed; the bounds are generous.

use std::time::Instant;

use base::time::Timestamp;
use bytes::Bytes;
use model::names::{LogGroupName, LogStreamName};

use crate::script::{World, home};

#[tokio::test]
async fn the_three_lines_of_an_invocation_cost_microseconds() {
    const INVOCATIONS: u32 = 20_000;
    let folder = tempfile::tempdir().expect("a folder");
    let mut world = World::open(folder.path(), true).await;
    let (group, stream) = (LogGroupName::parse("g").unwrap(), LogStreamName::parse("s").unwrap());
    let handle = world.logs.stream(home().account, &home().region, &group, &stream);
    handle.line(Timestamp::from_millis(1_700_000_000_000), Bytes::from_static(b"first"));
    assert_eq!(world.act("find g").await, "s:first");
    let line = Bytes::from(vec![b'x'; 120]);
    let before = Instant::now();
    for n in 0..INVOCATIONS {
        let at = Timestamp::from_micros(1_700_000_000_000_000 + u64::from(n));
        handle.lines(&[(at, line.clone()), (at, line.clone()), (at, line.clone())]);
    }
    let each = before.elapsed() / INVOCATIONS;
    println!("three lines: {each:?}");
    assert_eq!(world.metrics.log_bytes_dropped.get(), 0, "the writer was behind");
    assert!(each.as_micros() < 100, "{each:?}");
    world.logs.close().await;
}

#[tokio::test]
async fn a_thousand_groups_open_at_once_and_hold_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut world = World::open(folder.path(), true).await;
    for n in 0..1000 {
        world.act(&format!("write f{n} s 1:line")).await;
        world.act(&format!("release f{n} s")).await;
    }
    // Each look waits a little for doors that are being opened.
    let opened = async { while world.act("find f999").await != "s:line" {} };
    tokio::time::timeout(std::time::Duration::from_secs(60), opened).await.expect("the last of 1,000 groups");
    let before = Instant::now();
    world.act("restart").await;
    assert_eq!(world.act("find f500").await, "s:line");
    println!("restart with 1,000 groups: {:?}", before.elapsed());
    assert!(before.elapsed().as_secs() < 5, "{:?}", before.elapsed());
    assert_eq!(world.act("groups limit=1").await, "f0 ...");
    world.logs.close().await;
}

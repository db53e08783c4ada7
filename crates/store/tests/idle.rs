//! An idle store costs nothing: its threads sleep until somebody asks. Alone in its process, so that every thread counts.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use base::entropy::SystemEntropy;
use base::time::Timestamp;
use store::segments::SegmentOptions;
use store::{Batch, DataDir, DataDirOptions, Shard};

/// How often each thread of the store gave up the processor so far.
fn switches() -> BTreeMap<PathBuf, String> {
    let tasks = fs::read_dir("/proc/self/task").expect("there").map(|task| task.expect("read").path());
    let ours = tasks.filter(|task| {
        let name = fs::read_to_string(task.join("comm")).unwrap_or_default();
        ["store-", "keep-", "append-"].iter().any(|ours| name.starts_with(ours))
    });
    let count = |task: PathBuf| {
        let status = fs::read_to_string(task.join("status")).expect("it lives");
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).expect("a count");
        let line = line.to_owned();
        (task, line)
    };
    ours.map(count).collect()
}

#[tokio::test]
async fn nothing_runs_while_nothing_happens() {
    let folder = tempfile::tempdir().expect("a folder");
    let data_dir = DataDir::open(folder.path(), DataDirOptions::default()).expect("opens");
    let sync_every = Duration::from_millis(10);
    let segments = data_dir.segments("idle", SegmentOptions { sync_every, ..SegmentOptions::default() });
    let segments = segments.expect("opens");
    let mut batch = Batch::new(&SystemEntropy);
    batch.put(&Shard::new(&["s"]).key(&["k"]), "x");
    data_dir.store().commit(batch).await.expect("commits");
    segments.append("s".into(), Timestamp::EPOCH, "x".into()).expect("taken");
    segments.flush().await.expect("written");
    // The last sync and checkpoint may still be under way; then there is silence.
    let mut silence = 0;
    for _ in 0..50 {
        let before = switches();
        assert_eq!(before.len(), 7, "one writer, three readers, checkpoints; segments have two: {before:?}");
        tokio::time::sleep(Duration::from_millis(400)).await;
        silence = if before == switches() { silence + 1 } else { 0 };
        if silence == 3 {
            return;
        }
    }
    panic!("the threads of an idle store keep waking up");
}

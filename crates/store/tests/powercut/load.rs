//! The load: a few tasks that write in a known order and say what was acknowledged; and what must be there afterwards.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::time::Timestamp;
use bytes::Bytes;
use store::memory::MemoryStore;
use store::segments::{SegmentOptions, SegmentScan, Segments, Streams};
use store::{
    Batch, BatchId, BlobCondition, BlobKey, BlobSource, Blobs, DataDir, DataDirOptions, Key, PageLimit, Read, Scan,
    Sequence, Shard, Store, StoreOptions,
};

/// Tasks at once, so that batches share a commit.
const TASKS: u32 = 4;
/// Starts one after another, each with a close.
const LIVES: u32 = 3;
/// Steps of a task in each life.
const STEPS: u32 = 60;

/// Small limits, so that checkpoints, forced ones and seals happen in a short run.
pub(crate) fn open(root: &Path) -> Result<(DataDir, Arc<Segments>), String> {
    let store = StoreOptions { checkpoint_pages: 24, wal_pages_max: 96, ..StoreOptions::default() };
    let data_dir = DataDir::open(&root.join("data"), DataDirOptions { store }).map_err(|error| format!("{error:?}"))?;
    let options = SegmentOptions {
        segment_bytes: 6000,
        linger: Duration::ZERO,
        sync_every: Duration::from_millis(5),
        ..SegmentOptions::default()
    };
    let segments = data_dir.segments("lines", options).map_err(|error| format!("{error:?}"))?;
    Ok((data_dir, segments))
}

/// Runs the load. With `early`, it says what it did before it did it: what no store may do.
pub(crate) async fn run(root: &Path, early: bool) {
    for life in 0..LIVES {
        let (data_dir, segments) = open(root).expect("opens");
        data_dir.master_key(&root.join("key")).expect("a key");
        say("key");
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let (store, blobs, segments) = (data_dir.store(), data_dir.blobs(), Arc::clone(&segments));
                tokio::spawn(async move {
                    for step in life * STEPS..(life + 1) * STEPS {
                        run_step(task, step, &*store, &*blobs, &segments, early).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("ends");
        }
        data_dir.close().await;
        say(&format!("closed {life}"));
    }
}

async fn run_step(task: u32, step: u32, store: &dyn Store, blobs: &dyn Blobs, segments: &Segments, early: bool) {
    let stepped = format!("step {task} {step}");
    if early {
        say(&stepped);
    }
    store.commit(batch(task, step)).await.expect("commits");
    if !early {
        say(&stepped);
    }
    let line = Bytes::from(format!("{step} {}", "x".repeat((step * 37 % 400) as usize)));
    segments.append(stream(task), Timestamp::from_micros(step.into()), line).expect("taken");
    if step % 10 == 3 {
        let condition = if step % 20 == 3 { BlobCondition::Absent } else { BlobCondition::Any };
        let source = BlobSource::Bytes(pattern(task, step, 9000));
        blobs.put(&blob(task, step), source, condition).await.expect("puts");
        say(&format!("blob {task} {step}"));
    }
    if step % 20 == 13 {
        blobs.delete(&blob(task, step - 10)).await.expect("deletes");
        say(&format!("deleted {task} {}", step - 10));
    }
}

/// One line, written with one call. It begins with a line's end, since the test harness may have begun one.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\nack {text}\n").as_bytes()).expect("heard");
    out.flush().expect("heard");
}

fn shard(task: u32) -> Shard {
    Shard::new(&["load", &task.to_string()])
}

fn steps_done(task: u32) -> Key {
    shard(task).key(&["steps"])
}

fn stream(task: u32) -> Bytes {
    format!("task/{task}").into()
}

fn blob(task: u32, step: u32) -> BlobKey {
    BlobKey::new("load", &format!("{task}-{step}")).expect("a key")
}

fn pattern(task: u32, step: u32, length: u32) -> Bytes {
    (0..length).map(|at| (at.wrapping_mul(31) ^ step.wrapping_mul(7) ^ task) as u8).collect()
}

/// What a task does at a step; the same in each run.
fn batch(task: u32, step: u32) -> Batch {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&task.to_be_bytes());
    id[4..8].copy_from_slice(&step.to_be_bytes());
    let mut batch = Batch::with_id(BatchId(id));
    let key = |number: u32| shard(task).key(&["record", &number.to_string()]);
    let length = if step.is_multiple_of(17) { 60_000 } else { step * 7919 % 3000 };
    batch.put(&key(step % 40), pattern(task, step, length));
    batch.add(&steps_done(task), 1);
    batch.append(&shard(task).key(&["journal"]), pattern(task, step, step % 100));
    match step % 7 {
        0 => batch.due_clear(&key(step % 5)),
        _ => batch.due_set(&key(step % 10), Timestamp::from_micros(u64::from(step) * 3 % 50), step.to_string()),
    };
    if step % 5 == 4 {
        batch.delete(&key(step / 5 % 40));
    }
    if step % 50 == 49 {
        batch.delete_range(shard(task).starting(&["record"], "1"));
    }
    batch
}

/// What was acknowledged by some moment.
#[derive(Debug, Default, Clone)]
pub(crate) struct Acknowledged {
    key: bool,
    /// How many steps of each task.
    steps: BTreeMap<u32, u32>,
    blobs: BTreeMap<(u32, u32), Blob>,
    /// How many lives ended in order.
    closed: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blob {
    There,
    Deleted,
}

impl Acknowledged {
    /// What the process said.
    pub(crate) fn hear(&mut self, text: &str) {
        let number = |word: &str| word.parse::<u32>().expect("a number");
        for line in text.lines().filter_map(|line| line.strip_prefix("ack ")) {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["key"] => self.key = true,
                ["step", task, step] => drop(self.steps.insert(number(task), number(step) + 1)),
                ["blob", task, step] => drop(self.blobs.insert((number(task), number(step)), Blob::There)),
                ["deleted", task, step] => drop(self.blobs.insert((number(task), number(step)), Blob::Deleted)),
                ["closed", life] => self.closed = number(life) + 1,
                _ => panic!("{line}"),
            }
        }
    }

    pub(crate) fn count(&self) -> u32 {
        self.steps.values().sum::<u32>() + self.blobs.len() as u32
    }
}

/// What a store shows of a task: values, journal, due-times.
type Content = (Vec<(Key, Bytes)>, Vec<(Sequence, Bytes)>, Vec<(Key, Timestamp, Bytes)>);

/// What must be there, remembered from one check to the next.
#[derive(Default)]
pub(crate) struct Expected(HashMap<(u32, u32), Content>);

impl Expected {
    async fn content(&mut self, task: u32, steps: u32) -> &Content {
        if let Entry::Vacant(missing) = self.0.entry((task, steps)) {
            let model = MemoryStore::new();
            for step in 0..steps {
                model.commit(batch(task, step)).await.expect("commits");
            }
            missing.insert(content(&model, task).await.expect("reads"));
        }
        &self.0[&(task, steps)]
    }
}

async fn content(store: &dyn Store, task: u32) -> Result<Content, String> {
    let show = |error| format!("{error:?}");
    let mut page = store.read(Read::scan(Scan::new(shard(task).all()))).await.map_err(show)?.scan.remove(0);
    if page.next.is_some() {
        return Err("more records than one page".to_owned());
    }
    let records = page.records.drain(..).map(|(key, stored)| (key, stored.value)).collect();
    let journal = shard(task).key(&["journal"]);
    let entries = store.read_journal(&journal, Sequence(0), PageLimit::default()).await.map_err(show)?.entries;
    let due = store.due(&shard(task), Timestamp::MAX, 1000).await.map_err(show)?;
    Ok((records, entries, due.into_iter().map(|due| (due.key, due.at, due.hint)).collect()))
}

/// Opens what is left and looks for everything that was acknowledged.
pub(crate) async fn check(root: &Path, acknowledged: &Acknowledged, expected: &mut Expected) -> Result<(), String> {
    let (data_dir, segments) = open(root)?;
    let outcome = check_open(root, &data_dir, &segments, acknowledged, expected).await;
    data_dir.close().await;
    outcome?;
    let database = rusqlite::Connection::open(root.join("data/state.db")).map_err(|error| format!("{error:?}"))?;
    let verdict: String =
        database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).map_err(|error| format!("{error:?}"))?;
    if verdict == "ok" { Ok(()) } else { Err(verdict) }
}

async fn check_open(
    root: &Path,
    data_dir: &DataDir,
    segments: &Segments,
    acknowledged: &Acknowledged,
    expected: &mut Expected,
) -> Result<(), String> {
    if acknowledged.key {
        data_dir.master_key(&root.join("key")).map_err(|error| error.to_string())?;
    }
    let store = data_dir.store();
    for task in 0..TASKS {
        let sure = acknowledged.steps.get(&task).copied().unwrap_or(0);
        let found = store.read(Read::get(steps_done(task))).await.map_err(|error| format!("{error:?}"))?.get.remove(0);
        let count = found.map_or(Some(0), |stored| store::batch::counter(&stored.value)).ok_or("no counter")?;
        let steps = u32::try_from(count).map_err(|_| "a negative counter")?;
        // One more may have become durable before it was acknowledged.
        if !(sure..=sure + 1).contains(&steps) {
            return Err(format!("task {task}: {sure} steps were acknowledged, {steps} are there"));
        }
        if content(&*store, task).await? != *expected.content(task, steps).await {
            return Err(format!("task {task}: after {steps} steps something else is there"));
        }
        // The last one may be committed again, and changes nothing.
        if steps > 0 {
            store.commit(batch(task, steps - 1)).await.map_err(|error| format!("{error:?}"))?;
            if content(&*store, task).await? != *expected.content(task, steps).await {
                return Err(format!("task {task}: step {} happened twice", steps - 1));
            }
        }
    }
    check_blobs(&*data_dir.blobs(), acknowledged).await?;
    check_segments(segments, acknowledged).await
}

async fn check_blobs(blobs: &dyn Blobs, acknowledged: &Acknowledged) -> Result<(), String> {
    for (&(task, step), state) in &acknowledged.blobs {
        let deleting = step % 20 == 3 && acknowledged.steps.get(&task).is_some_and(|steps| *steps > step + 10);
        let found = blobs.get(&blob(task, step), None).await.ok();
        let good = match (state, &found) {
            (Blob::Deleted, found) => found.is_none(),
            (Blob::There, Some(content)) => *content == pattern(task, step, 9000),
            (Blob::There, None) => deleting,
        };
        if !good {
            return Err(format!("blob {task}-{step} should be {state:?}, deletion begun: {deleting}"));
        }
    }
    Ok(())
}

/// Lines of the lives that ended in order are all there; of the last one some, without order lost.
async fn check_segments(segments: &Segments, acknowledged: &Acknowledged) -> Result<(), String> {
    for task in 0..TASKS {
        let scan = SegmentScan::new(Streams::One(stream(task)));
        let page = segments.scan(scan).await.map_err(|error| format!("{error:?}"))?;
        let steps: Vec<u64> = page.entries.iter().map(|entry| entry.at.as_micros()).collect();
        if !steps.is_sorted_by(|a, b| a < b) {
            return Err(format!("lines of task {task} are out of order: {steps:?}"));
        }
        let sure = u64::from(acknowledged.closed * STEPS);
        let kept = steps.iter().take_while(|step| **step < sure).count() as u64;
        if kept != sure {
            return Err(format!("lines of task {task}: {sure} are sure, {kept} are there"));
        }
        let whole =
            |entry: &store::segments::Entry| entry.payload.starts_with(entry.at.as_micros().to_string().as_bytes());
        if !page.entries.iter().all(whole) {
            return Err(format!("lines of task {task} hold something else"));
        }
    }
    Ok(())
}

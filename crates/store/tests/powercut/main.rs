//! Power cuts: what a load wrote and synced is recorded, the folder is rebuilt from only what was synced (or from that
//! and some of the rest) at many moments, and each time everything that was acknowledged by then must be there.
//!
//! `STORE_POWERCUT_POINTS` says at how many moments (25 unless told otherwise), `STORE_POWERCUT_SEED` where.

mod disk;
mod load;
mod shim;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base::entropy::SystemEntropy;
use disk::{Chance, Disk, Loss};
use load::{Acknowledged, Expected};
use shim::{Event, Shim};
use store::segments::SegmentError;
use store::{Batch, BlobCondition, BlobError, BlobKey, BlobSource, CommitError, OpenError, Read, Shard};

const POINTS: &str = "STORE_POWERCUT_POINTS";
const SEED: &str = "STORE_POWERCUT_SEED";
const HELPER_ROOT: &str = "STORE_POWERCUT_ROOT";
const HELPER_EARLY: &str = "STORE_POWERCUT_EARLY";

/// A recorded run.
struct Recorded {
    _folder: tempfile::TempDir,
    root: PathBuf,
    events: Vec<Event>,
}

/// Runs the load under the recorder, with more variables in its environment.
fn record(variables: &[(&str, &str)]) -> Recorded {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().canonicalize().expect("there").join("root");
    fs::create_dir(&root).expect("made");
    let log = folder.path().join("log");
    let mut command = Shim::compile(folder.path()).command("helper_runs_the_load", &root);
    command.env("STORE_SHIM_LOG", &log).env(HELPER_ROOT, &root).envs(variables.iter().copied());
    let output = command.stdout(Stdio::null()).output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Recorded { root, events: shim::read(&log), _folder: folder }
}

/// Moments to cut the power at: everywhere, and as often right after something was acknowledged.
fn moments(events: &[Event], points: usize, seed: u64) -> Vec<usize> {
    let mut chance = Chance::new(seed);
    let said: Vec<usize> = (events.iter().enumerate())
        .filter(|(_, event)| matches!(event, Event::Said { .. }))
        .map(|(at, _)| at + 1)
        .collect();
    let mut moments: Vec<usize> = (0..points)
        .map(|point| if point % 2 == 0 { said[chance.below(said.len())] } else { chance.below(events.len() + 1) })
        .collect();
    moments.sort_unstable();
    moments
}

/// Cuts the power at each moment; returns what is wrong, and how much had been acknowledged in all.
async fn cut(recorded: &Recorded, moments: &[usize], loss: impl Fn(usize) -> Loss) -> (Vec<String>, u32) {
    let (mut disk, mut acknowledged, mut expected) = (Disk::default(), Acknowledged::default(), Expected::default());
    let (mut wrong, mut at, mut sum) = (Vec::new(), 0, 0);
    for (point, &moment) in moments.iter().enumerate() {
        for event in &recorded.events[at..moment] {
            disk.apply(event);
            if let Event::Said { text } = event {
                acknowledged.hear(text);
            }
        }
        at = moment;
        sum += acknowledged.count();
        let folder = tempfile::tempdir().expect("a folder");
        disk.rebuild(&recorded.root, folder.path(), loss(point));
        if let Err(reason) = load::check(folder.path(), &acknowledged, &mut expected).await {
            wrong.push(format!("event {moment} of {}, {:?}: {reason}", recorded.events.len(), loss(point)));
        }
    }
    (wrong, sum)
}

fn variable(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |value| value.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_acknowledged_survives_a_power_cut() {
    let (points, seed) = (variable(POINTS, 25), variable(SEED, 1));
    let recorded = record(&[]);
    let moments = moments(&recorded.events, points as usize, seed);
    let loss = |point: usize| match point % 4 {
        0 | 1 => Loss::All,
        2 => Loss::Some(seed + point as u64),
        _ => Loss::Nothing,
    };
    let (wrong, acknowledged) = cut(&recorded, &moments, loss).await;
    assert!(wrong.is_empty(), "{} of {points} power cuts lost something:\n{}", wrong.len(), wrong.join("\n"));
    assert!(u64::from(acknowledged) > points * 100, "{acknowledged} acknowledgements are too few to prove anything");
    println!("{points} power cuts over {} events, {acknowledged} acknowledgements checked", recorded.events.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_that_is_cut_off_at_any_moment_is_taken_up_again() {
    let recorded = record(&[]);
    let is_key = |event: &Event| matches!(event, Event::Said { text } if text.contains("ack key"));
    let first_start = recorded.events.iter().position(is_key).expect("said");
    let moments: Vec<usize> = (0..=first_start + 1).collect();
    for loss in [Loss::All, Loss::Nothing, Loss::Some(4), Loss::Some(5)] {
        let (wrong, _) = cut(&recorded, &moments, |_| loss).await;
        assert!(wrong.is_empty(), "{} of {} starts:\n{}", wrong.len(), moments.len(), wrong.join("\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_acknowledges_early_is_caught() {
    let recorded = record(&[(HELPER_EARLY, "1")]);
    let (wrong, _) = cut(&recorded, &moments(&recorded.events, 25, 2), |_| Loss::All).await;
    assert!(wrong.iter().any(|reason| reason.contains("steps were acknowledged")), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_only_pretends_to_sync_is_caught() {
    let recorded = record(&[("STORE_SHIM_LIE", "1")]);
    let (wrong, _) = cut(&recorded, &moments(&recorded.events, 5, 3), |_| Loss::All).await;
    assert!(wrong.len() >= 4, "nothing was durable, but only this was noticed: {wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by other tests, in a process of its own"]
async fn helper_runs_the_load() {
    let root = std::env::var_os(HELPER_ROOT).expect("named");
    load::run(Path::new(&root), std::env::var_os(HELPER_EARLY).is_some()).await;
}

#[test]
fn a_full_disk_refuses_writes_serves_reads_and_recovers() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().canonicalize().expect("there").join("root");
    fs::create_dir(&root).expect("made");
    let flag = folder.path().join("full");
    let mut command = Shim::compile(folder.path()).command("helper_fills_the_disk", &root);
    let output = command.env("STORE_SHIM_FULL", &flag).env(HELPER_ROOT, &root).output().expect("runs");
    let said = [&output.stdout[..], &output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    let database = rusqlite::Connection::open(root.join("data/state.db")).expect("opens");
    let verdict: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("answers");
    assert_eq!(verdict, "ok");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by another test, in a process of its own"]
async fn helper_fills_the_disk() {
    let root = PathBuf::from(std::env::var_os(HELPER_ROOT).expect("named"));
    let flag = PathBuf::from(std::env::var_os("STORE_SHIM_FULL").expect("named"));
    let key = |number: u32| Shard::new(&["s"]).key(&[number.to_string()]);
    let blob = BlobKey::new("space", "name").expect("a key");
    let put = |number: u32| {
        let mut batch = Batch::new(&SystemEntropy);
        batch.put(&key(number), vec![number as u8; 20_000]);
        batch
    };
    fs::write(&flag, "").expect("written");
    let refused = load::open(&root).err().expect("refused");
    assert!(refused.starts_with("Full"), "{refused}");
    fs::remove_file(&flag).expect("removed");

    for round in 0..3u32 {
        let (data_dir, segments) = load::open(&root).expect("opens");
        let store = data_dir.store();
        let from = round * 100;
        for number in from..from + 50 {
            store.commit(put(number)).await.expect("commits");
        }
        data_dir.blobs().put(&blob, BlobSource::Bytes("old".into()), BlobCondition::Any).await.expect("puts");
        segments.append("s".into(), base::time::Timestamp::EPOCH, "before".into()).expect("taken");
        segments.flush().await.expect("written");
        assert_eq!(data_dir.trouble(), None);

        fs::write(&flag, "").expect("written");
        // Commits may still fit what the log had taken before; after that they are refused, and nothing else.
        let mut refused = None;
        for number in from + 50..from + 100 {
            match store.commit(put(number)).await {
                Ok(_) => assert_eq!(refused, None, "round {round}"),
                Err(CommitError::Full(_)) => refused = refused.or(Some(number)),
                Err(error) => panic!("round {round}: {error:?}"),
            }
        }
        let refused = refused.expect("the disk is full");
        let large = BlobSource::Bytes(vec![1; 100_000].into());
        let outcome = data_dir.blobs().put(&blob, large, BlobCondition::Any).await;
        assert!(matches!(outcome, Err(BlobError::Full(_))), "{outcome:?}");
        segments.append("s".into(), base::time::Timestamp::EPOCH, "waits".into()).expect("taken");
        assert!(matches!(segments.flush().await, Err(SegmentError::Full(_))));
        assert!(segments.is_failing());
        let trouble = data_dir.trouble().expect("a full disk is trouble");
        assert!(trouble.starts_with("the disk of the data directory is full"), "{trouble}");
        for number in from..from + 100 {
            let found = store.read(Read::get(key(number))).await.expect("reads").get.remove(0);
            assert_eq!(found.is_some(), number < refused, "round {round}, record {number}");
        }
        assert_eq!(data_dir.blobs().get(&blob, None).await.expect("reads"), "old");
        // A second start on the full disk is refused with the right word, and harms nothing.
        if round == 1 {
            data_dir.close().await;
            assert_eq!(
                (segments.stats().written, segments.stats().dropped),
                (1, 1),
                "dropped at the close, and counted"
            );
            let again = store::DataDir::open(&root.join("data"), store::DataDirOptions::default());
            assert!(matches!(again, Err(OpenError::Full { .. })), "{:?}", again.err());
            fs::remove_file(&flag).expect("removed");
            continue;
        }
        fs::remove_file(&flag).expect("removed");
        store.commit(put(refused)).await.expect("commits again");
        segments.append("s".into(), base::time::Timestamp::EPOCH, "after".into()).expect("taken");
        segments.flush_within(Duration::from_secs(60)).await.expect("written");
        assert_eq!((segments.stats().written, segments.stats().dropped), (3, 0), "what waited is not lost");
        assert_eq!(data_dir.trouble(), None);
        data_dir.blobs().put(&blob, BlobSource::Bytes("new".into()), BlobCondition::Any).await.expect("puts");
        data_dir.close().await;
    }
}

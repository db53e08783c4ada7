//! Segments: what was appended is read, in order, from raw and sealed files, after restarts, cuts and deletions.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::time::Timestamp;
use bytes::Bytes;
use proptest::prelude::*;
use store::segments::{Dropped, Entry, PAYLOAD_BYTES_MAX, Position, SegmentOptions, SegmentScan, Segments, Streams};
use store::{DataDir, DataDirOptions, PageLimit};

struct Fixture {
    folder: tempfile::TempDir,
    options: SegmentOptions,
    open: Option<(DataDir, Arc<Segments>)>,
}

impl Fixture {
    fn new(options: SegmentOptions) -> Self {
        let mut fixture = Self { folder: tempfile::tempdir().expect("a folder"), options, open: None };
        fixture.open();
        fixture
    }

    fn open(&mut self) {
        let data_dir = DataDir::open(self.folder.path(), DataDirOptions::default()).expect("opens");
        let segments = data_dir.segments("lines", self.options.clone()).expect("opens");
        self.open = Some((data_dir, segments));
    }

    async fn close(&mut self) {
        let (data_dir, _) = self.open.take().expect("open");
        data_dir.close().await;
    }

    fn segments(&self) -> &Segments {
        &self.open.as_ref().expect("open").1
    }

    fn files(&self, extension: &str) -> Vec<PathBuf> {
        let folder = self.folder.path().join("segments/lines");
        let paths = fs::read_dir(folder).expect("there").map(|entry| entry.expect("read").path());
        let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
        paths.sort();
        paths
    }

    /// Waits until all but the segment that is written to are sealed.
    async fn sealed(&self) {
        self.wait(|fixture| fixture.files("raw").len() <= 1).await;
    }

    async fn wait(&self, until: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !until(self) {
            assert!(
                Instant::now() < deadline,
                "nothing came of it: {:?} {:?}",
                self.files("raw"),
                self.files("sealed")
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn all(&self) -> Vec<String> {
        read(self.segments(), SegmentScan::new(Streams::Prefix(Bytes::new()))).await.iter().map(text).collect()
    }

    async fn append(&self, range: std::ops::Range<u32>) {
        for n in range {
            append(self.segments(), "s", u64::from(n), n.to_string());
        }
        self.segments().flush().await.expect("written");
    }
}

/// What is appended before a flush is one write, and about every second write begins a segment.
fn small() -> SegmentOptions {
    SegmentOptions { segment_bytes: 1000, linger: Duration::from_secs(60), ..SegmentOptions::default() }
}

fn append(segments: &Segments, stream: &str, micros: u64, payload: impl Into<Bytes>) {
    let stream = Bytes::copy_from_slice(stream.as_bytes());
    segments.append(stream, Timestamp::from_micros(micros), payload.into()).expect("taken");
}

fn text(entry: &Entry) -> String {
    String::from_utf8_lossy(&entry.payload).into_owned()
}

/// All pages.
async fn read(segments: &Segments, mut scan: SegmentScan) -> Vec<Entry> {
    let mut entries = Vec::new();
    loop {
        let page = segments.scan(scan.clone()).await.expect("reads");
        assert!(page.entries.len() <= scan.limit.items);
        entries.extend(page.entries);
        match page.next {
            Some(next) => scan.after = Some(next),
            None => return entries,
        }
    }
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

#[tokio::test]
async fn what_was_appended_before_a_flush_is_read_after_it() {
    let mut fixture = Fixture::new(SegmentOptions { linger: Duration::from_secs(60), ..SegmentOptions::default() });
    fixture.segments().flush().await.expect("written");
    append(fixture.segments(), "s", 1, "a");
    fixture.segments().flush().await.expect("written");
    assert_eq!(fixture.all().await, ["a"]);
    append(fixture.segments(), "s", 1, "b");
    fixture.close().await;
    fixture.open();
    assert_eq!(fixture.all().await, ["a", "b"], "a close writes what waits");
    assert_eq!(fixture.segments().stats().bytes_cut, 0);
}

#[tokio::test]
async fn everything_stays_readable_while_it_is_sealed_and_after_restarts() {
    let mut fixture = Fixture::new(small());
    for round in 0..4 {
        for chunk in 0..10 {
            let from = round * 200 + chunk * 20;
            fixture.append(from..from + 20).await;
            assert_eq!(fixture.all().await, numbers(0..from + 20));
        }
        fixture.sealed().await;
        assert_eq!(fixture.all().await, numbers(0..(round + 1) * 200));
        fixture.close().await;
        fixture.open();
        assert_eq!(fixture.all().await, numbers(0..(round + 1) * 200));
    }
    assert!(fixture.files("sealed").len() > 5);
    assert_eq!(fixture.segments().stats().dropped, 0);
}

#[tokio::test]
async fn a_torn_end_is_cut_and_damage_before_it_hides_only_itself() {
    let mut fixture = Fixture::new(SegmentOptions::default());
    fixture.append(0..3).await;
    fixture.close().await;
    let path = fixture.files("raw").remove(0);
    let whole = fs::read(&path).expect("read");
    let frame = (whole.len() - 8) / 3;
    for length in 0..=whole.len() {
        let left = u32::try_from(length.saturating_sub(8) / frame).expect("few");
        check_damage(&mut fixture, &path, &whole[..length], &numbers(0..left)).await;
    }
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x40;
        let hit = at.checked_sub(8).map(|at| (at / frame).to_string());
        let left: Vec<_> = numbers(0..3).into_iter().filter(|number| hit.as_ref() != Some(number)).collect();
        check_damage(&mut fixture, &path, &changed, &left).await;
    }
    for (from, to, left) in [(0, 9, 1..3), (8, 8 + frame + 1, 2..3), (9 + frame, 9 + 2 * frame, 0..1)] {
        let mut zeroed = whole.clone();
        zeroed[from..to].fill(0);
        check_damage(&mut fixture, &path, &zeroed, &numbers(left)).await;
    }
    let mut garbage = whole.clone();
    garbage.extend([0xFF; 100]);
    check_damage(&mut fixture, &path, &garbage, &numbers(0..3)).await;
    let mut zeros = whole.clone();
    zeros.resize(whole.len() + 5000, 0);
    check_damage(&mut fixture, &path, &zeros, &numbers(0..3)).await;
}

/// Opens with this content, of which these entries are whole; then appends, and everything is there again later.
async fn check_damage(fixture: &mut Fixture, path: &Path, content: &[u8], left: &[String]) {
    fs::write(path, content).expect("written");
    fixture.open();
    assert_eq!(fixture.all().await, left);
    let before = read(fixture.segments(), SegmentScan::new(Streams::Prefix(Bytes::new()))).await;
    append(fixture.segments(), "s", 9, "new");
    fixture.segments().flush().await.expect("written");
    let after = read(fixture.segments(), SegmentScan::new(Streams::Prefix(Bytes::new()))).await;
    assert_eq!(after.len(), before.len() + 1);
    assert!(after.windows(2).all(|pair| pair[0].position < pair[1].position));
    fixture.close().await;
    fixture.open();
    assert_eq!(read(fixture.segments(), SegmentScan::new(Streams::Prefix(Bytes::new()))).await, after);
    fixture.close().await;
}

#[tokio::test]
async fn one_changed_bit_in_a_large_segment_costs_one_entry() {
    let mut fixture = Fixture::new(SegmentOptions::default());
    let line = |n: u32| format!("{n} {}", "x".repeat((n * 7919 % 20_000) as usize));
    for n in 0..300 {
        append(fixture.segments(), "s", n.into(), line(n));
    }
    fixture.close().await;
    let path = fixture.files("raw").remove(0);
    let whole = fs::read(&path).expect("read");
    let mut begins = vec![8];
    while let Some(header) = whole.get(begins[begins.len() - 1]..).and_then(|rest| rest.first_chunk::<4>()) {
        begins.push(begins[begins.len() - 1] + 8 + u32::from_le_bytes(*header) as usize);
    }
    // In the length (longer and shorter, possible or not), the checksum, the position and the payload.
    for (hit, at, bit) in
        [(0, 0, 1), (1, 0, 0x80), (150, 1, 1), (151, 3, 0x40), (152, 5, 1), (153, 9, 1), (298, 400, 1)]
    {
        let mut changed = whole.clone();
        changed[begins[hit] + at] ^= bit;
        fs::write(&path, &changed).expect("written");
        fixture.open();
        let hit = u32::try_from(hit).expect("few");
        let left: Vec<_> = (0..300).filter(|n| *n != hit).map(line).collect();
        assert_eq!(fixture.all().await, left, "entry {hit}, byte {at}");
        let stats = fixture.segments().stats();
        assert_eq!((stats.bytes_lost, stats.bytes_cut), (27 + line(hit).len() as u64, 0));
        fixture.close().await;
        assert_eq!(fs::read(&path).expect("read"), changed, "the file is kept as it is");
    }
}

#[tokio::test]
async fn a_payload_that_looks_like_entries_is_not_taken_for_them() {
    let mut fixture = Fixture::new(SegmentOptions::default());
    fixture.append(0..1).await;
    let last = read(fixture.segments(), SegmentScan::new(Streams::One("s".into()))).await[0].position.0;
    // An entry far ahead, which would hide those that follow, and one that would come twice.
    for forged in [last + 1_000_000, last] {
        let begin = fs::read(&fixture.files("raw")[0]).expect("read").len();
        let payload = [&[b'x'; 40][..], &frame(forged, b"someone else", b"forged")].concat();
        append(fixture.segments(), "s", 1, payload);
        append(fixture.segments(), "s", 2, "after");
        fixture.segments().flush().await.expect("written");
        fixture.close().await;
        let path = fixture.files("raw").remove(0);
        let mut changed = fs::read(&path).expect("read");
        changed[begin + 2] ^= 1;
        fs::write(&path, changed).expect("written");
        fixture.open();
        let found = fixture.all().await;
        assert!(!found.iter().any(|text| text.contains("forged")), "{found:?}");
        assert_eq!(found.last().map(String::as_str), Some("after"));
    }
}

/// A frame as it lies in a raw file.
fn frame(position: u64, stream: &[u8], payload: &[u8]) -> Vec<u8> {
    let name = u16::try_from(stream.len()).expect("short").to_le_bytes();
    let body = [&position.to_le_bytes()[..], &0u64.to_le_bytes(), &name, stream, payload].concat();
    let length = u32::try_from(body.len()).expect("short").to_le_bytes();
    [&length[..], &crc32fast::hash(&body).to_le_bytes(), &body].concat()
}

#[tokio::test]
async fn a_damaged_sealed_segment_hides_only_itself() {
    let mut fixture = Fixture::new(small());
    fixture.append(0..50).await;
    fixture.append(50..100).await;
    fixture.append(100..150).await;
    fixture.sealed().await;
    fixture.close().await;
    let path = fixture.files("sealed").remove(0);
    let whole = fs::read(&path).expect("read");
    for at in [0, whole.len() / 2, whole.len() - 60, whole.len() - 1] {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&path, changed).expect("written");
        fixture.open();
        assert_eq!(fixture.all().await, numbers(50..150), "byte {at}");
        fixture.close().await;
    }
}

#[tokio::test]
async fn what_a_crash_leaves_beside_a_sealed_segment_is_cleared_away() {
    let mut fixture = Fixture::new(small());
    fixture.append(0..50).await;
    fixture.close().await;
    let raw = fixture.files("raw").remove(0);
    let copy = fs::read(&raw).expect("read");
    fixture.open();
    fixture.append(50..60).await;
    fixture.sealed().await;
    fixture.close().await;
    fs::write(&raw, copy).expect("the deletion was lost");
    fs::write(raw.with_extension("sealed.new"), "half").expect("another seal was begun");
    fixture.open();
    assert_eq!(fixture.all().await, numbers(0..60));
    assert!(!raw.exists() && fixture.files("new").is_empty());
}

#[tokio::test]
async fn old_segments_are_deleted_by_size_and_by_age() {
    let mut fixture = Fixture::new(SegmentOptions { retain_bytes: 6000, ..small() });
    for n in 0..40 {
        fixture.append(n * 50..n * 50 + 50).await;
    }
    fixture.sealed().await;
    let all = fixture.all().await;
    assert!(all.len() < 1000 && !all.is_empty(), "{}", all.len());
    assert_eq!(all, numbers(2000 - all.len() as u32..2000), "the oldest go first");
    assert!(fixture.segments().stats().bytes <= 6000 + 4000);

    let count = fixture.files("sealed").len();
    assert_eq!(fixture.segments().retire(Timestamp::from_micros(0)).await.expect("deletes"), 0);
    let gone = fixture.segments().retire(Timestamp::from_micros(1900)).await.expect("deletes");
    assert!(gone > 0 && gone < count);
    let left = fixture.all().await;
    assert!(left.contains(&"1900".to_owned()) && !left.contains(&"1800".to_owned()));
    fixture.segments().retire(Timestamp::MAX).await.expect("deletes");
    assert!(fixture.files("sealed").is_empty());
    let left = fixture.all().await;
    fixture.close().await;
    fixture.open();
    assert_eq!(fixture.all().await, left);
}

/// A segment of 0..50 that cannot be sealed, followed by two that can; its path and what stands in its way.
async fn with_one_unsealed(options: SegmentOptions) -> (Fixture, PathBuf, PathBuf) {
    let fixture = Fixture::new(options);
    fixture.append(0..50).await;
    let unsealed = fixture.files("raw").remove(0);
    let obstacle = unsealed.with_extension("sealed.new");
    fs::create_dir(&obstacle).expect("made");
    for n in 1..4 {
        fixture.append(n * 50..n * 50 + 50).await;
    }
    fixture.wait(|fixture| fixture.files("sealed").len() == 2).await;
    assert!(unsealed.exists());
    assert_eq!(fixture.all().await, numbers(0..200), "readable as before");
    (fixture, unsealed, obstacle)
}

#[tokio::test]
async fn a_segment_that_cannot_be_sealed_is_deleted_like_the_others() {
    let (fixture, unsealed, _) = with_one_unsealed(small()).await;
    assert_eq!(fixture.segments().retire(Timestamp::from_micros(49)).await.expect("deletes"), 0);
    assert_eq!(fixture.segments().retire(Timestamp::from_micros(50)).await.expect("deletes"), 1);
    assert!(!unsealed.exists());
    assert_eq!(fixture.all().await, numbers(50..200));

    let (fixture, unsealed, _) = with_one_unsealed(SegmentOptions { retain_bytes: 8000, ..small() }).await;
    for n in 4..20 {
        fixture.append(n * 50..n * 50 + 50).await;
    }
    fixture.sealed().await;
    assert!(!unsealed.exists());
    let left = fixture.all().await;
    assert_eq!(left, numbers(1000 - left.len() as u32..1000), "the oldest go first");
}

#[tokio::test]
async fn a_seal_that_failed_is_tried_again_with_the_next() {
    let (fixture, _, obstacle) = with_one_unsealed(small()).await;
    fs::remove_dir(obstacle).expect("removed");
    fixture.append(200..250).await;
    fixture.sealed().await;
    assert_eq!(fixture.all().await, numbers(0..250));
}

#[tokio::test]
async fn what_is_written_after_a_failed_seal_and_a_restart_comes_last() {
    let (mut fixture, _, obstacle) = with_one_unsealed(small()).await;
    fixture.close().await;
    fs::remove_dir(obstacle).expect("removed");
    // As if the disk had been full when the next one was to be made.
    fs::remove_file(fixture.files("raw").pop().expect("one was written to")).expect("removed");
    // By this limit the first one is not full.
    fixture.options.segment_bytes = 1 << 20;
    fixture.open();
    fixture.append(150..151).await;
    assert_eq!(fixture.all().await, numbers(0..151));
}

#[tokio::test]
async fn positions_are_not_given_twice_even_if_everything_was_deleted() {
    let mut fixture = Fixture::new(small());
    fixture.append(0..100).await;
    let everything = || SegmentScan::new(Streams::Prefix(Bytes::new()));
    let last = read(fixture.segments(), everything()).await.last().expect("some").position;
    fixture.close().await;
    fixture.open();
    append(fixture.segments(), "s", 1, "later");
    fixture.segments().flush().await.expect("written");
    let later = SegmentScan { after: Some(last), ..everything() };
    assert_eq!(read(fixture.segments(), later).await.iter().map(text).collect::<Vec<_>>(), ["later"]);
}

#[tokio::test]
async fn what_comes_too_fast_or_too_large_is_dropped_and_counted() {
    let linger = Duration::from_secs(60);
    let fixture = Fixture::new(SegmentOptions { queue_bytes_max: 4000, linger, ..SegmentOptions::default() });
    let try_append = |bytes: usize| fixture.segments().append("s".into(), Timestamp::EPOCH, vec![b'x'; bytes].into());
    assert_eq!(try_append(PAYLOAD_BYTES_MAX + 1), Err(Dropped::TooLarge));
    assert_eq!(try_append(5000), Err(Dropped::QueueFull));
    try_append(1000).expect("taken");
    fixture.segments().flush().await.expect("written");
    try_append(3000).expect("there is room again");
    fixture.segments().flush().await.expect("written");
    let stats = fixture.segments().stats();
    assert_eq!((stats.written, stats.dropped), (2, 2));
}

/// Lets no segment be made, until the path is put back.
fn take_folder_away(fixture: &Fixture) -> (PathBuf, PathBuf) {
    let (folder, away) = (fixture.folder.path().join("segments/lines"), fixture.folder.path().join("segments/away"));
    fs::rename(&folder, &away).expect("moved");
    (away, folder)
}

#[tokio::test]
async fn what_the_disk_refuses_waits_within_its_bound_and_is_written_when_it_can() {
    let fixture = Fixture::new(SegmentOptions { queue_bytes_max: 4000, ..SegmentOptions::default() });
    let (data_dir, segments) = fixture.open.as_ref().expect("open");
    let (away, folder) = take_folder_away(&fixture);
    append(segments, "s", 0, "0");
    let refused = segments.flush().await.expect_err("refused").to_string();
    assert_eq!(refused, "write the segments lines");
    let mut taken = 1;
    while segments.append("s".into(), Timestamp::EPOCH, taken.to_string().into()).is_ok() {
        taken += 1;
        // What is being written keeps its room, so that the bound holds however often it is tried.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!((100..150).contains(&taken), "{taken} entries of 28 to 30 bytes in 4000");
    assert!(segments.is_failing());
    let trouble = "write the segments lines: No such file or directory (os error 2)";
    assert_eq!((segments.trouble().as_deref(), data_dir.trouble().as_deref()), (Some(trouble), Some(trouble)));
    assert!(segments.flush_within(Duration::from_millis(50)).await.is_err(), "nobody waits for ever");
    assert!(segments.sync().await.is_err());
    let stats = segments.stats();
    assert_eq!((stats.written, stats.dropped), (0, 1), "only what was refused is dropped");

    let (late, back) = tokio::join!(segments.flush_within(Duration::from_secs(60)), async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        fs::rename(away, folder)
    });
    back.expect("put back");
    late.expect("written at last");
    assert_eq!(fixture.all().await, numbers(0..taken));
    assert_eq!((segments.is_failing(), segments.trouble(), data_dir.trouble()), (false, None, None));
    let stats = segments.stats();
    assert_eq!((stats.written, stats.dropped), (u64::from(taken), 1));
    fixture.append(taken..taken + 100).await;
    assert_eq!(fixture.all().await, numbers(0..taken + 100));
}

#[tokio::test]
async fn a_close_does_not_wait_for_a_disk_that_refuses_and_counts_what_it_drops() {
    let mut fixture = Fixture::new(SegmentOptions::default());
    let segments = Arc::clone(&fixture.open.as_ref().expect("open").1);
    let (away, folder) = take_folder_away(&fixture);
    for n in 0..3 {
        append(&segments, "s", 0, n.to_string());
    }
    segments.flush().await.expect_err("refused");
    append(&segments, "s", 0, "behind");
    let begun = Instant::now();
    fixture.close().await;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let stats = segments.stats();
    assert_eq!((stats.written, stats.dropped), (0, 4));
    assert!(segments.flush_within(Duration::from_secs(60)).await.is_err(), "dropped is not written");
    fs::rename(away, folder).expect("put back");
    fixture.open();
    fixture.append(4..5).await;
    assert_eq!(fixture.all().await, ["4"]);
}

#[tokio::test]
async fn nothing_is_taken_after_a_close() {
    let mut fixture = Fixture::new(small());
    let segments = Arc::clone(&fixture.open.as_ref().expect("open").1);
    fixture.close().await;
    assert_eq!(segments.append("s".into(), Timestamp::EPOCH, "x".into()), Err(Dropped::Closed));
    segments.flush().await.expect("written");
}

#[tokio::test]
async fn one_call_does_a_bounded_amount_of_work() {
    let fixture = Fixture::new(SegmentOptions { queue_bytes_max: 64 << 20, ..SegmentOptions::default() });
    let payload = Bytes::from(vec![b'x'; 30_000]);
    // Every block holds both times, so that none can be passed over.
    for n in 0..1000 {
        append(fixture.segments(), "s", (n % 2) * 100, payload.clone());
    }
    fixture.segments().flush().await.expect("written");
    for newest_first in [false, true] {
        let everything = SegmentScan::new(Streams::One("s".into()));
        let between = SegmentScan {
            from: Timestamp::from_micros(50),
            to: Timestamp::from_micros(60),
            newest_first,
            ..everything.clone()
        };
        let page = fixture.segments().scan(between.clone()).await.expect("reads");
        assert!(page.entries.is_empty() && page.next.is_some());
        assert!(read(fixture.segments(), between).await.is_empty());
        assert_eq!(read(fixture.segments(), SegmentScan { newest_first, ..everything }).await.len(), 1000);
    }
}

#[tokio::test]
async fn segments_have_plain_names_and_one_owner() {
    let fixture = Fixture::new(small());
    let data_dir = &fixture.open.as_ref().expect("open").0;
    for name in ["", "..", "a/b", "a.b", &"x".repeat(65)] {
        assert!(data_dir.segments(name, small()).is_err(), "{name:?}");
    }
    fixture.append(0..1).await;
    let again = data_dir.segments("lines", small()).expect("the same");
    assert_eq!(read(&again, SegmentScan::new(Streams::One("s".into()))).await.len(), 1);
}

#[derive(Debug, Clone)]
struct Question {
    streams: Streams,
    from: u64,
    to: u64,
    after: Option<usize>,
    newest_first: bool,
    items: usize,
}

fn questions() -> impl Strategy<Value = Vec<Question>> {
    let streams = prop_oneof![
        "[ab]{0,2}".prop_map(|s| Streams::One(s.into())),
        "[ab]{0,2}".prop_map(|s| Streams::Prefix(s.into()))
    ];
    let question = (streams, 0..60u64, 0..60u64, proptest::option::of(0..300usize), any::<bool>(), 1..50usize)
        .prop_map(|(streams, from, to, after, newest_first, items)| Question {
            streams,
            from,
            to,
            after,
            newest_first,
            items,
        });
    proptest::collection::vec(question, 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn scans_find_what_a_list_would(
        lines in proptest::collection::vec(("[ab]{1,3}", 0..60u64, 0..3000usize), 1..300),
        questions in questions(),
        restart in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let mut fixture = Fixture::new(SegmentOptions { segment_bytes: 100_000, ..small() });
            for (n, (stream, at, size)) in lines.iter().enumerate() {
                append(fixture.segments(), stream, *at, format!("{n} {}", "x".repeat(*size)));
                if n % 40 == 0 {
                    fixture.segments().flush().await.expect("written");
                }
            }
            fixture.segments().flush().await.expect("written");
            if restart {
                fixture.close().await;
                fixture.open();
            }
            let all = read(fixture.segments(), SegmentScan::new(Streams::Prefix(Bytes::new()))).await;
            assert_eq!(all.len(), lines.len());
            for (n, (entry, (stream, at, _))) in all.iter().zip(&lines).enumerate() {
                assert!(entry.stream == stream.as_bytes() && entry.at.as_micros() == *at);
                assert!(entry.payload.starts_with(format!("{n} ").as_bytes()));
            }
            for question in questions {
                let after = question.after.map(|n| all.get(n).map_or(Position(u64::MAX), |entry| entry.position));
                let scan = SegmentScan {
                    streams: question.streams.clone(),
                    from: Timestamp::from_micros(question.from),
                    to: Timestamp::from_micros(question.to),
                    after,
                    newest_first: question.newest_first,
                    limit: PageLimit::items(question.items),
                };
                let mut expected: Vec<Entry> = all.iter().filter(|entry| {
                    let stream = match &question.streams {
                        Streams::One(name) => entry.stream == *name,
                        Streams::Prefix(prefix) => entry.stream.starts_with(prefix),
                    };
                    let place = match (after, question.newest_first) {
                        (None, _) => true,
                        (Some(after), false) => entry.position > after,
                        (Some(after), true) => entry.position < after,
                    };
                    stream && place && (question.from..question.to).contains(&entry.at.as_micros())
                }).cloned().collect();
                if question.newest_first {
                    expected.reverse();
                }
                assert_eq!(read(fixture.segments(), scan).await, expected, "{question:?}");
            }
        });
    }
}

//! The segments of a folder in the order of their positions: what is found at open, what is added, what is deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::time::Timestamp;
use parking_lot::Mutex;

use super::frame::{Index, Span};
use super::raw::{Damage, RawSegment};
use super::sealed::SealedSegment;
use crate::disk::{remove_if_there, sync_dir};

/// Indexes of sealed segments that are kept in memory.
const INDEXES_CACHED: usize = 4;
/// No file holds positions so far beyond its first.
const POSITIONS_OF_FILE_MAX: u64 = 1 << 48;
/// Positions that are skipped at each open: what a power cut took may have been shown to someone who goes on after it.
const POSITIONS_SKIPPED: u64 = 1 << 24;
const RAW: &str = "raw";
const SEALED: &str = "sealed";

/// One file.
#[derive(Debug, Clone)]
pub(super) enum Segment {
    Raw(Arc<RawSegment>),
    Sealed(Arc<SealedSegment>),
}

/// All files of a folder, by the position that each begins with.
#[derive(Debug)]
pub(super) struct Shelf {
    folder: PathBuf,
    segments: Mutex<BTreeMap<u64, Segment>>,
    /// The newest first.
    indexes: Mutex<Vec<(u64, Arc<Index>)>>,
}

/// What an open found.
pub(super) struct Found {
    pub(super) shelf: Shelf,
    /// Raw segments in order; all but one that is the last of all wait to be sealed.
    pub(super) raw: Vec<u64>,
    /// The next position to give.
    pub(super) next: u64,
    /// What was damaged in all of them.
    pub(super) damage: Damage,
}

impl Shelf {
    pub(super) fn open(folder: PathBuf) -> io::Result<Found> {
        let mut segments = BTreeMap::new();
        let (mut raw_files, mut sealed_files) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let first = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok());
            match (first, path.extension().and_then(|extension| extension.to_str())) {
                (Some(first), Some(RAW)) => raw_files.push((first, path)),
                (Some(first), Some(SEALED)) => sealed_files.push((first, path)),
                (_, Some("new")) => fs::remove_file(&path)?,
                _ => {}
            }
        }
        let firsts: BTreeSet<u64> = raw_files.iter().chain(&sealed_files).map(|(first, _)| *first).collect();
        for (first, path) in sealed_files {
            match SealedSegment::open(&path) {
                Ok(segment) => drop(segments.insert(first, Segment::Sealed(Arc::new(segment)))),
                Err(error) if error.kind() == ErrorKind::InvalidData => {
                    tracing::error!(path = %path.display(), "a sealed segment is damaged; its entries are not shown");
                }
                Err(error) => return Err(error),
            }
        }
        raw_files.sort_unstable();
        let (mut raw, mut damage) = (Vec::new(), Damage { lost: 0, cut: 0 });
        for (first, path) in raw_files {
            // Sealed already; only the deletion was lost.
            if segments.contains_key(&first) {
                fs::remove_file(&path)?;
                continue;
            }
            let following = firsts.range(first.saturating_add(1)..).next();
            let end = following.copied().unwrap_or(first.saturating_add(POSITIONS_OF_FILE_MAX));
            let (segment, found) = RawSegment::recover(&path, first..end)?;
            if found.lost > 0 {
                tracing::error!(
                    path = %path.display(),
                    bytes_lost = found.lost,
                    "a segment is damaged; the entries there are lost, those after it are kept"
                );
            }
            damage = Damage { lost: damage.lost + found.lost, cut: damage.cut + found.cut };
            raw.push(first);
            segments.insert(first, Segment::Raw(Arc::new(segment)));
        }
        let last = segments.iter().next_back().map(|(first, segment)| segment.span().map_or(*first, |span| span.last));
        let next = last.map_or(1, |last| last.saturating_add(POSITIONS_SKIPPED));
        let shelf = Self { folder, segments: Mutex::new(segments), indexes: Mutex::default() };
        Ok(Found { shelf, raw, next, damage })
    }

    /// Makes a new raw segment that begins with this position.
    pub(super) fn create(&self, first: u64) -> io::Result<Arc<RawSegment>> {
        let segment = Arc::new(RawSegment::create(&self.path(first, RAW))?);
        self.segments.lock().insert(first, Segment::Raw(Arc::clone(&segment)));
        Ok(segment)
    }

    /// Makes what was written so far survive a power cut; a sealed segment does so already.
    pub(super) fn sync(&self) -> io::Result<()> {
        let raw: Vec<_> = {
            let segments = self.segments.lock();
            let raw = |found: &Segment| if let Segment::Raw(raw) = found { Some(Arc::clone(raw)) } else { None };
            segments.values().filter_map(raw).collect()
        };
        for segment in raw {
            segment.sync()?;
        }
        sync_dir(&self.folder)
    }

    pub(super) fn get(&self, first: u64) -> Option<Segment> {
        self.segments.lock().get(&first).cloned()
    }

    /// Whether every other segment holds what is older.
    pub(super) fn is_newest(&self, first: u64) -> bool {
        self.segments.lock().keys().next_back() == Some(&first)
    }

    /// The files, in order, that may hold something of this span.
    pub(super) fn within(&self, span: Span) -> Vec<(u64, Segment)> {
        let segments = self.segments.lock();
        let concerned = |segment: &Segment| segment.span().is_some_and(|found| found.meets(span));
        segments.iter().filter(|(_, found)| concerned(found)).map(|(first, found)| (*first, found.clone())).collect()
    }

    /// Puts the compressed form in place of a raw segment. The raw file goes only when the other is durable.
    pub(super) fn seal(&self, first: u64) -> io::Result<()> {
        let Some(Segment::Raw(raw)) = self.get(first) else { return Ok(()) };
        let path = self.path(first, SEALED);
        let sealed = SealedSegment::write(&raw, &path)?;
        let is_kept = {
            let mut segments = self.segments.lock();
            match (segments.remove(&first), sealed) {
                (Some(_), Some(sealed)) => segments.insert(first, Segment::Sealed(Arc::new(sealed))).is_none(),
                (_, sealed) => sealed.is_none(),
            }
        };
        // Deleted meanwhile, because it was too old.
        if !is_kept {
            remove_if_there(&path)?;
        }
        remove_if_there(&self.path(first, RAW)).map(drop)
    }

    /// Deletes the oldest segments until all files together are no larger; tells how many went.
    pub(super) fn shrink(&self, bytes_max: u64) -> io::Result<usize> {
        let mut bytes = self.bytes();
        self.delete_while(|segment| {
            let more = bytes > bytes_max;
            bytes -= segment.bytes().min(bytes);
            more
        })
    }

    /// Deletes the segments that hold only what is older; tells how many went.
    pub(super) fn retire(&self, before: Timestamp) -> io::Result<usize> {
        self.delete_while(|segment| segment.span().is_none_or(|span| span.to < before))
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segments.lock().values().map(Segment::bytes).sum()
    }

    pub(super) fn count(&self) -> usize {
        self.segments.lock().len()
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The index of a sealed segment, from memory where it was used lately.
    pub(super) fn index(&self, first: u64, segment: &SealedSegment) -> io::Result<Arc<Index>> {
        let cached = self.indexes.lock().iter().find(|(of, _)| *of == first).map(|(_, index)| Arc::clone(index));
        if let Some(index) = cached {
            return Ok(index);
        }
        let index = Arc::new(segment.index()?);
        let mut indexes = self.indexes.lock();
        indexes.retain(|(of, _)| *of != first);
        indexes.insert(0, (first, Arc::clone(&index)));
        indexes.truncate(INDEXES_CACHED);
        Ok(index)
    }

    /// From the oldest segment on, sealed or not, as long as `wanted` says so; those that stay between are passed over. The
    /// newest always stays: it is written to, and tells the next open which positions were given.
    fn delete_while(&self, mut wanted: impl FnMut(&Segment) -> bool) -> io::Result<usize> {
        let mut gone = Vec::new();
        {
            let mut segments = self.segments.lock();
            let newest = segments.keys().next_back().copied();
            segments.retain(|first, segment| {
                let goes = Some(*first) != newest && wanted(segment);
                if goes {
                    gone.push(self.path(*first, segment.extension()));
                }
                !goes
            });
        }
        for path in &gone {
            remove_if_there(path)?;
        }
        if !gone.is_empty() {
            sync_dir(&self.folder)?;
        }
        Ok(gone.len())
    }

    fn path(&self, first: u64, extension: &str) -> PathBuf {
        self.folder.join(format!("{first:020}.{extension}"))
    }
}

impl Segment {
    /// `None` while it is empty.
    pub(super) fn span(&self) -> Option<Span> {
        match self {
            Self::Raw(raw) => raw.with_index(Index::span),
            Self::Sealed(sealed) => Some(sealed.span),
        }
    }

    fn extension(&self) -> &'static str {
        match self {
            Self::Raw(_) => RAW,
            Self::Sealed(_) => SEALED,
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Raw(raw) => raw.length(),
            Self::Sealed(sealed) => sealed.file_bytes,
        }
    }
}

impl Span {
    /// Whether both may hold the same entry; ends are included.
    pub(super) fn meets(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last && self.from <= other.to && other.from <= self.to
    }
}

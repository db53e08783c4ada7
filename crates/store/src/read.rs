//! Questions to the store and their answers.

use base::time::Timestamp;
use bytes::Bytes;

use crate::batch::{Revision, Sequence};
use crate::error::StoreError;
use crate::key::{Key, KeyRange, Place};
use crate::limits::{PAGE_BYTES_MAX, PAGE_ITEMS_MAX, READ_PARTS_MAX};

/// Keys and ranges to read, all from one snapshot.
#[derive(Debug, Clone, Default)]
pub struct Read {
    /// Records to get.
    pub get: Vec<Key>,
    /// Ranges to page through.
    pub scan: Vec<Scan>,
}

/// A page to read of a range.
#[derive(Debug, Clone)]
pub struct Scan {
    /// The range.
    pub range: KeyRange,
    /// From which end.
    pub direction: Direction,
    /// How much at most.
    pub limit: PageLimit,
    /// Where the page before ended.
    pub after: Option<Cursor>,
}

/// From which end a range is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// In the order of the keys.
    #[default]
    Forward,
    /// Against it.
    Backward,
}

/// How much one page may hold. At least one record is returned where there is one, whatever its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimit {
    /// Records; [`PAGE_ITEMS_MAX`] at most, 1 at least.
    pub items: usize,
    /// Bytes of keys and values; [`PAGE_BYTES_MAX`] at most.
    pub bytes: usize,
}

/// Where a page ended. Opaque, and good for ever: no snapshot stays open for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(Place);

/// A record's value, and when it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The value.
    pub value: Bytes,
    /// The revision to check against when it is changed.
    pub revision: Revision,
}

/// What one snapshot held.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadAnswer {
    /// One for each key, in order.
    pub get: Vec<Option<Stored>>,
    /// One for each scan, in order.
    pub scan: Vec<Page>,
}

/// A part of a range.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Records in the order of the scan.
    pub records: Vec<(Key, Stored)>,
    /// Where to go on; `None` at the end of the range.
    pub next: Option<Cursor>,
}

/// A part of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JournalPage {
    /// Entries in order.
    pub entries: Vec<(Sequence, Bytes)>,
    /// From where to go on; `None` when everything written so far was read.
    pub next: Option<Sequence>,
}

/// A due-time that has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Whose it is.
    pub key: Key,
    /// When it was due.
    pub at: Timestamp,
    /// What was left with it.
    pub hint: Bytes,
}

impl Read {
    /// One record.
    pub fn get(key: Key) -> Self {
        Self { get: vec![key], scan: Vec::new() }
    }

    /// One page.
    pub fn scan(scan: Scan) -> Self {
        Self { get: Vec::new(), scan: vec![scan] }
    }

    pub(crate) fn measure(&self) -> Result<(), StoreError> {
        let size = self.get.len() + self.scan.len();
        if size > READ_PARTS_MAX {
            return Err(StoreError::TooLarge { what: "parts of a read", size, max: READ_PARTS_MAX });
        }
        Ok(())
    }
}

impl Scan {
    /// The first page of a range, forward, of the largest size.
    pub fn new(range: KeyRange) -> Self {
        Self { range, direction: Direction::Forward, limit: PageLimit::default(), after: None }
    }

    /// With at most this many records.
    pub fn items(mut self, items: usize) -> Self {
        self.limit.items = items;
        self
    }

    /// From the other end.
    pub fn backward(mut self) -> Self {
        self.direction = Direction::Backward;
        self
    }

    /// After this page's end.
    pub fn after(mut self, cursor: Option<Cursor>) -> Self {
        self.after = cursor;
        self
    }

    /// What is left of the range.
    pub(crate) fn rest(&self) -> KeyRange {
        match (&self.after, self.direction) {
            (None, _) => self.range.clone(),
            (Some(cursor), Direction::Forward) => self.range.after(&cursor.0),
            (Some(cursor), Direction::Backward) => self.range.before(&cursor.0),
        }
    }
}

impl Default for PageLimit {
    fn default() -> Self {
        Self { items: PAGE_ITEMS_MAX, bytes: PAGE_BYTES_MAX }
    }
}

impl PageLimit {
    /// At most this many records.
    pub fn items(items: usize) -> Self {
        Self { items, ..Self::default() }
    }

    pub(crate) fn clamped(self) -> Self {
        Self { items: self.items.clamp(1, PAGE_ITEMS_MAX), bytes: self.bytes.min(PAGE_BYTES_MAX) }
    }
}

impl Cursor {
    /// After this key, or before it in a backward scan.
    pub fn at(key: &Key) -> Self {
        Self(key.place())
    }

    /// For a paging token: `from_bytes` gives the cursor back.
    pub fn to_bytes(&self) -> Vec<u8> {
        let shard = u16::try_from(self.0.shard.len()).unwrap_or(u16::MAX);
        let mut bytes = Vec::with_capacity(2 + self.0.shard.len() + self.0.name.len());
        bytes.extend_from_slice(&shard.to_be_bytes());
        bytes.extend_from_slice(&self.0.shard);
        bytes.extend_from_slice(&self.0.name);
        bytes
    }

    /// From `to_bytes`; `None` if the bytes are too few. A forged cursor cannot leave the range of its scan.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<2>()?;
        let (shard, name) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        Some(Self(Place { shard: Bytes::copy_from_slice(shard), name: Bytes::copy_from_slice(name) }))
    }
}

/// Collects a page within its limit.
pub(crate) struct Pager {
    limit: PageLimit,
    bytes: usize,
    page: Page,
}

impl Pager {
    pub(crate) fn new(limit: PageLimit) -> Self {
        Self { limit: limit.clamped(), bytes: 0, page: Page::default() }
    }

    /// Whether a record of this size still fits; if not, the page is done and knows where it ended.
    pub(crate) fn admits(&mut self, size: usize) -> bool {
        self.bytes = self.bytes.saturating_add(size);
        let Some((last, _)) = self.page.records.last() else { return true };
        let fits = self.page.records.len() < self.limit.items && self.bytes <= self.limit.bytes;
        if !fits {
            self.page.next = Some(Cursor::at(last));
        }
        fits
    }

    pub(crate) fn push(&mut self, key: Key, stored: Stored) {
        self.page.records.push((key, stored));
    }

    pub(crate) fn into_page(self) -> Page {
        self.page
    }
}

/// The same for a journal.
pub(crate) struct JournalPager {
    limit: PageLimit,
    bytes: usize,
    page: JournalPage,
}

impl JournalPager {
    pub(crate) fn new(limit: PageLimit) -> Self {
        Self { limit: limit.clamped(), bytes: 0, page: JournalPage::default() }
    }

    pub(crate) fn push(&mut self, sequence: Sequence, entry: &[u8]) -> bool {
        self.bytes = self.bytes.saturating_add(entry.len());
        let full = self.page.entries.len() >= self.limit.items || self.bytes > self.limit.bytes;
        if full && !self.page.entries.is_empty() {
            self.page.next = Some(sequence);
            return false;
        }
        self.page.entries.push((sequence, Bytes::copy_from_slice(entry)));
        true
    }

    pub(crate) fn into_page(self) -> JournalPage {
        self.page
    }
}

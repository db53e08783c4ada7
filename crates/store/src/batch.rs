//! Batches: checks and operations that hold or happen together.

use base::entropy::Entropy;
use base::time::Timestamp;
use bytes::Bytes;

use crate::error::CommitError;
use crate::key::{Key, KeyRange, Shard};
use crate::limits::{BATCH_BYTES_MAX, BATCH_PARTS_MAX, NAME_BYTES_MAX, SHARD_BYTES_MAX, VALUE_BYTES_MAX};
use crate::record::{self, Record};

/// Names a batch, so that committing it a second time does nothing and gives the first answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub [u8; 16]);

/// When a record was last written. Grows with every commit, over all keys: a record that was deleted and written again
/// never gets an old revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// The place of an entry in its journal: 1, 2, 3 … without gaps, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

/// How often a lease was taken: the value of the counter that stands for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// All checks, then all operations in order; or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Names this batch.
    pub id: BatchId,
    /// What must hold before the first operation.
    pub checks: Vec<Check>,
    /// What happens, in order.
    pub ops: Vec<Op>,
}

/// What must hold, as the store was before the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// The record is there and was last written at this revision.
    Revision(Key, Revision),
    /// The record is there.
    Present(Key),
    /// The record is not there.
    Absent(Key),
    /// No record lies in the range.
    RangeEmpty(KeyRange),
    /// The counter at this key (0 when absent) has the value under which the lease was taken.
    Fence(Key, Epoch),
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Writes a record, whether or not there was one. Answers [`Answer::Revision`].
    Put {
        /// Where.
        key: Key,
        /// What, up to [`VALUE_BYTES_MAX`].
        value: Bytes,
    },
    /// Deletes a record, if there is one. Answers [`Answer::Done`].
    Delete {
        /// Where.
        key: Key,
    },
    /// Deletes every record of a range. Answers [`Answer::Done`].
    DeleteRange(KeyRange),
    /// Adds to a counter: a record of eight bytes that [`counter`] reads; 0 when absent. Answers [`Answer::Counter`].
    /// Another record in its place, or a sum beyond 64 bits, refuses the batch.
    Add {
        /// Where.
        key: Key,
        /// How much.
        delta: i64,
    },
    /// Appends an entry to a journal, which is made by its first entry. Journals and records have names of their own:
    /// the same key may name one of each. Answers [`Answer::Sequence`].
    Append {
        /// The journal.
        journal: Key,
        /// The entry, up to [`VALUE_BYTES_MAX`].
        entry: Bytes,
    },
    /// Sets the due-time of a key, in place of an earlier one. The key need not name a record. Answers [`Answer::Done`].
    DueSet {
        /// The key.
        key: Key,
        /// When; times from the year 294,247 on count as that.
        at: Timestamp,
        /// Handed back with the due-time, up to [`VALUE_BYTES_MAX`].
        hint: Bytes,
    },
    /// Clears the due-time of a key, if it has one. Answers [`Answer::Done`].
    DueClear {
        /// The key.
        key: Key,
    },
}

/// What one operation answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The revision that was written.
    Revision(Revision),
    /// The place in the journal.
    Sequence(Sequence),
    /// The counter's new value.
    Counter(i64),
    /// Nothing to tell.
    Done,
}

/// A durable batch's answers, one for each operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// In the order of the operations.
    pub answers: Vec<Answer>,
}

impl Committed {
    /// The revision that operation `op` wrote.
    pub fn revision(&self, op: usize) -> Option<Revision> {
        match self.answers.get(op) {
            Some(&Answer::Revision(revision)) => Some(revision),
            _ => None,
        }
    }

    /// The journal place that operation `op` took.
    pub fn sequence(&self, op: usize) -> Option<Sequence> {
        match self.answers.get(op) {
            Some(&Answer::Sequence(sequence)) => Some(sequence),
            _ => None,
        }
    }

    /// The value that operation `op` left in its counter.
    pub fn counter(&self, op: usize) -> Option<i64> {
        match self.answers.get(op) {
            Some(&Answer::Counter(value)) => Some(value),
            _ => None,
        }
    }
}

/// The value of a counter's record; `None` if the record is no counter.
pub fn counter(value: &[u8]) -> Option<i64> {
    value.try_into().ok().map(i64::from_be_bytes)
}

pub(crate) fn counter_value(count: i64) -> Bytes {
    Bytes::copy_from_slice(&count.to_be_bytes())
}

/// Each method that adds a check or an operation returns its index: the one that a conflict names, or under which the
/// answer stands.
impl Batch {
    /// An empty batch under a new id.
    pub fn new(entropy: &dyn Entropy) -> Self {
        Self::with_id(BatchId(entropy.id()))
    }

    /// An empty batch under this id.
    pub fn with_id(id: BatchId) -> Self {
        Self { id, checks: Vec::new(), ops: Vec::new() }
    }

    /// Adds a check.
    pub fn check(&mut self, check: Check) -> usize {
        self.checks.push(check);
        self.checks.len() - 1
    }

    /// Adds [`Check::Revision`].
    pub fn require_revision(&mut self, key: &Key, revision: Revision) -> usize {
        self.check(Check::Revision(key.clone(), revision))
    }

    /// Adds [`Check::Present`].
    pub fn require_present(&mut self, key: &Key) -> usize {
        self.check(Check::Present(key.clone()))
    }

    /// Adds [`Check::Absent`].
    pub fn require_absent(&mut self, key: &Key) -> usize {
        self.check(Check::Absent(key.clone()))
    }

    /// Adds [`Check::RangeEmpty`].
    pub fn require_empty(&mut self, range: KeyRange) -> usize {
        self.check(Check::RangeEmpty(range))
    }

    /// Adds [`Check::Fence`].
    pub fn require_fence(&mut self, key: &Key, epoch: Epoch) -> usize {
        self.check(Check::Fence(key.clone(), epoch))
    }

    /// Adds an operation.
    pub fn op(&mut self, op: Op) -> usize {
        self.ops.push(op);
        self.ops.len() - 1
    }

    /// Adds [`Op::Put`].
    pub fn put(&mut self, key: &Key, value: impl Into<Bytes>) -> usize {
        self.op(Op::Put { key: key.clone(), value: value.into() })
    }

    /// Adds [`Op::Put`] of a record.
    pub fn put_record<T: Record>(&mut self, key: &Key, record: &T) -> usize {
        self.put(key, record::encode(record))
    }

    /// Adds [`Op::Delete`].
    pub fn delete(&mut self, key: &Key) -> usize {
        self.op(Op::Delete { key: key.clone() })
    }

    /// Adds [`Op::DeleteRange`].
    pub fn delete_range(&mut self, range: KeyRange) -> usize {
        self.op(Op::DeleteRange(range))
    }

    /// Adds [`Op::Add`].
    pub fn add(&mut self, key: &Key, delta: i64) -> usize {
        self.op(Op::Add { key: key.clone(), delta })
    }

    /// Adds [`Op::Append`].
    pub fn append(&mut self, journal: &Key, entry: impl Into<Bytes>) -> usize {
        self.op(Op::Append { journal: journal.clone(), entry: entry.into() })
    }

    /// Adds [`Op::DueSet`].
    pub fn due_set(&mut self, key: &Key, at: Timestamp, hint: impl Into<Bytes>) -> usize {
        self.op(Op::DueSet { key: key.clone(), at, hint: hint.into() })
    }

    /// Adds [`Op::DueClear`].
    pub fn due_clear(&mut self, key: &Key) -> usize {
        self.op(Op::DueClear { key: key.clone() })
    }

    /// Refuses what is over a limit; returns the size in bytes.
    pub(crate) fn measure(&self) -> Result<usize, CommitError> {
        at_most("parts of a batch", self.checks.len() + self.ops.len(), BATCH_PARTS_MAX)?;
        let mut size = 0;
        for check in &self.checks {
            size += match check {
                Check::Revision(key, _) | Check::Present(key) | Check::Absent(key) | Check::Fence(key, _) => {
                    measure_key(key)?
                }
                Check::RangeEmpty(range) => measure_range(range)?,
            };
        }
        for op in &self.ops {
            size += match op {
                Op::Put { key, value } => measure_key(key)? + measure_value("value", value)?,
                Op::Append { journal, entry } => measure_key(journal)? + measure_value("journal entry", entry)?,
                Op::DueSet { key, hint, .. } => measure_key(key)? + measure_value("hint of a due-time", hint)?,
                Op::Delete { key } | Op::Add { key, .. } | Op::DueClear { key } => measure_key(key)?,
                Op::DeleteRange(range) => measure_range(range)?,
            };
        }
        at_most("bytes of a batch", size, BATCH_BYTES_MAX)?;
        Ok(size)
    }

    /// The shards that the operations write to.
    pub(crate) fn touches(&self) -> impl Iterator<Item = Touched<'_>> {
        self.ops.iter().map(|op| match op {
            Op::Put { key, .. }
            | Op::Delete { key }
            | Op::Add { key, .. }
            | Op::Append { journal: key, .. }
            | Op::DueSet { key, .. }
            | Op::DueClear { key } => Touched::Shard(key.shard()),
            Op::DeleteRange(range) => Touched::Range(range),
        })
    }
}

/// What an operation writes to.
pub(crate) enum Touched<'a> {
    Shard(&'a Shard),
    Range(&'a KeyRange),
}

fn at_most(what: &'static str, size: usize, max: usize) -> Result<usize, CommitError> {
    if size > max { Err(CommitError::TooLarge { what, size, max }) } else { Ok(size) }
}

fn measure_key(key: &Key) -> Result<usize, CommitError> {
    at_most("bytes of a shard", key.shard().as_bytes().len(), SHARD_BYTES_MAX)?;
    at_most("bytes of a key", key.name().len(), NAME_BYTES_MAX)?;
    Ok(key.size())
}

fn measure_range(range: &KeyRange) -> Result<usize, CommitError> {
    let mut size = 0;
    for place in [range.from(), range.to()] {
        // The end of a range is one byte longer than the key that it is made of.
        size += at_most("bytes of a shard", place.shard.len(), SHARD_BYTES_MAX + 1)?;
        size += at_most("bytes of a key", place.name.len(), NAME_BYTES_MAX + 1)?;
    }
    Ok(size)
}

fn measure_value(what: &'static str, value: &[u8]) -> Result<usize, CommitError> {
    at_most(what, value.len(), VALUE_BYTES_MAX)
}

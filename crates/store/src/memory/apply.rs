//! What a batch means, on ordered maps: the short form of what the embedded store does in SQL.

use std::collections::{BTreeMap, HashMap};

use base::time::Timestamp;
use bytes::Bytes;

use crate::batch::{Answer, Batch, BatchId, Check, Committed, Op, Revision, Sequence, counter, counter_value};
use crate::error::{CommitError, Refusal};
use crate::key::{Key, KeyRange, Place, Shard};
use crate::limits::DUE_ITEMS_MAX;
use crate::read::{Direction, Due, JournalPage, JournalPager, Page, PageLimit, Pager, Read, ReadAnswer, Scan, Stored};

/// Everything that is stored.
#[derive(Clone, Default)]
pub(super) struct State {
    revision: u64,
    records: BTreeMap<Key, Stored>,
    journals: BTreeMap<Key, Journal>,
    due: BTreeMap<Key, (Timestamp, Bytes)>,
    answered: HashMap<BatchId, Committed>,
}

#[derive(Clone, Default)]
struct Journal {
    last: u64,
    entries: BTreeMap<Sequence, Bytes>,
}

/// Times that a signed 64-bit number of microseconds cannot hold count as the last that it can.
const LATEST: Timestamp = Timestamp::from_micros(i64::MAX as u64);

impl State {
    pub(super) fn commit(&mut self, batch: &Batch) -> Result<Committed, CommitError> {
        if let Some(committed) = self.answered.get(&batch.id) {
            return Ok(committed.clone());
        }
        if let Some(failed) = batch.checks.iter().position(|check| !self.holds(check)) {
            return Err(CommitError::Conflict(failed));
        }
        let committed = self.apply(&batch.ops)?;
        self.answered.insert(batch.id, committed.clone());
        Ok(committed)
    }

    fn holds(&self, check: &Check) -> bool {
        match check {
            Check::Revision(key, revision) => self.records.get(key).is_some_and(|stored| stored.revision == *revision),
            Check::Present(key) => self.records.contains_key(key),
            Check::Absent(key) => !self.records.contains_key(key),
            Check::RangeEmpty(range) => self.within(range).next().is_none(),
            Check::Fence(key, epoch) => {
                let count = self.records.get(key).map_or(Some(0), |stored| counter(&stored.value));
                count.and_then(|count| u64::try_from(count).ok()) == Some(epoch.0)
            }
        }
    }

    /// Records first, since only they can refuse: then what was done to them is undone, and nothing else was begun.
    fn apply(&mut self, ops: &[Op]) -> Result<Committed, CommitError> {
        self.revision += 1;
        let mut undo = Vec::new();
        let mut answers = Vec::with_capacity(ops.len());
        for (op, wanted) in ops.iter().enumerate() {
            match self.change_records(wanted, &mut undo) {
                Ok(answer) => answers.push(answer),
                Err(reason) => {
                    for (key, before) in undo.into_iter().rev() {
                        self.replace(&key, before);
                    }
                    self.revision -= 1;
                    return Err(CommitError::Refused { op, reason });
                }
            }
        }
        for (op, answer) in ops.iter().zip(&mut answers) {
            self.change_others(op, answer);
        }
        Ok(Committed { answers })
    }

    fn change_records(&mut self, op: &Op, undo: &mut Vec<(Key, Option<Stored>)>) -> Result<Answer, Refusal> {
        let revision = Revision(self.revision);
        match op {
            Op::Put { key, value } => {
                let before = self.replace(key, Some(Stored { value: value.clone(), revision }));
                undo.push((key.clone(), before));
                Ok(Answer::Revision(revision))
            }
            Op::Delete { key } => {
                undo.push((key.clone(), self.records.remove(key)));
                Ok(Answer::Done)
            }
            Op::DeleteRange(range) => {
                let keys: Vec<Key> = self.within(range).map(|(key, _)| key.clone()).collect();
                undo.extend(keys.into_iter().map(|key| (key.clone(), self.records.remove(&key))));
                Ok(Answer::Done)
            }
            Op::Add { key, delta } => {
                let before = self.records.get(key).map_or(Some(0), |stored| counter(&stored.value));
                let count = before.ok_or(Refusal::NotACounter)?;
                let count = count.checked_add(*delta).ok_or(Refusal::CounterOverflow)?;
                let before = self.replace(key, Some(Stored { value: counter_value(count), revision }));
                undo.push((key.clone(), before));
                Ok(Answer::Counter(count))
            }
            Op::Append { .. } | Op::DueSet { .. } | Op::DueClear { .. } => Ok(Answer::Done),
        }
    }

    fn replace(&mut self, key: &Key, stored: Option<Stored>) -> Option<Stored> {
        match stored {
            Some(stored) => self.records.insert(key.clone(), stored),
            None => self.records.remove(key),
        }
    }

    fn change_others(&mut self, op: &Op, answer: &mut Answer) {
        match op {
            Op::Append { journal, entry } => {
                let journal = self.journals.entry(journal.clone()).or_default();
                journal.last += 1;
                journal.entries.insert(Sequence(journal.last), entry.clone());
                *answer = Answer::Sequence(Sequence(journal.last));
            }
            Op::DueSet { key, at, hint } => {
                self.due.insert(key.clone(), ((*at).min(LATEST), hint.clone()));
            }
            Op::DueClear { key } => {
                self.due.remove(key);
            }
            Op::Put { .. } | Op::Delete { .. } | Op::DeleteRange(_) | Op::Add { .. } => {}
        }
    }

    pub(super) fn read(&self, read: &Read) -> ReadAnswer {
        ReadAnswer {
            get: read.get.iter().map(|key| self.records.get(key).cloned()).collect(),
            scan: read.scan.iter().map(|scan| self.scan(scan)).collect(),
        }
    }

    fn scan(&self, scan: &Scan) -> Page {
        let rest = scan.rest();
        let mut pager = Pager::new(scan.limit);
        let mut take = |(key, stored): (&Key, &Stored)| {
            let fits = pager.admits(key.size() + stored.value.len());
            if fits {
                pager.push(key.clone(), stored.clone());
            }
            fits
        };
        match scan.direction {
            Direction::Forward => self.within(&rest).all(&mut take),
            Direction::Backward => self.within(&rest).rev().all(&mut take),
        };
        pager.into_page()
    }

    fn within(&self, range: &KeyRange) -> impl DoubleEndedIterator<Item = (&Key, &Stored)> {
        let key = |place: &Place| Key::from_bytes(place.shard.clone(), place.name.clone());
        let (from, to) = (key(range.from()), key(range.to()));
        let to = if range.is_empty() { from.clone() } else { to };
        self.records.range(from..to)
    }

    pub(super) fn read_journal(&self, journal: &Key, from: Sequence, limit: PageLimit) -> JournalPage {
        let mut pager = JournalPager::new(limit);
        if let Some(journal) = self.journals.get(journal) {
            journal.entries.range(from..).all(|(&sequence, entry)| pager.push(sequence, entry));
        }
        pager.into_page()
    }

    pub(super) fn trim(&mut self, journal: &Key, before: Sequence) {
        if let Some(journal) = self.journals.get_mut(journal) {
            journal.entries = journal.entries.split_off(&before);
        }
    }

    pub(super) fn due(&self, shard: &Shard, until: Timestamp, limit: usize) -> Vec<Due> {
        let come = |key: &Key, at: Timestamp| at <= until && shard.contains(key.shard());
        let mut due: Vec<Due> = (self.due.iter())
            .filter(|(key, (at, _))| come(key, *at))
            .map(|(key, (at, hint))| Due { key: key.clone(), at: *at, hint: hint.clone() })
            .collect();
        due.sort_by(|a, b| (a.at, &a.key).cmp(&(b.at, &b.key)));
        due.truncate(limit.min(DUE_ITEMS_MAX));
        due
    }
}

//! Batches whose answers are remembered, so that committing one again does nothing and answers the same.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use base::time::Timestamp;

use crate::batch::{Answer, BatchId, Committed, Revision, Sequence};
use crate::limits::{REMEMBERED_BATCHES_MAX, REMEMBERED_SECS};

/// All remembered batches, in the order of their groups: one group is one transaction and one row.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    answers: HashMap<BatchId, Box<[u8]>>,
    groups: VecDeque<Group>,
}

#[derive(Debug)]
struct Group {
    revision: u64,
    at: Timestamp,
    ids: Vec<BatchId>,
}

/// The batches of a group that is not yet durable.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    answers: HashMap<BatchId, Box<[u8]>>,
    ids: Vec<BatchId>,
}

/// A stored row that this binary did not write.
#[derive(Debug, thiserror::Error)]
#[error("the store's list of commits is malformed at revision {0}")]
pub(super) struct Malformed(pub(super) u64);

impl Fresh {
    pub(super) fn insert(&mut self, id: BatchId, committed: &Committed) {
        self.ids.push(id);
        self.answers.insert(id, encode_answers(&committed.answers));
    }

    pub(super) fn find(&self, id: BatchId) -> Option<Committed> {
        self.answers.get(&id).and_then(|bytes| decode_answers(bytes))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The row: for each batch its id, the length of its answers, its answers.
    pub(super) fn row(&self) -> Vec<u8> {
        let mut row = Vec::new();
        for id in &self.ids {
            let answers = &self.answers[id];
            row.extend_from_slice(&id.0);
            push_number(&mut row, answers.len() as u64);
            row.extend_from_slice(answers);
        }
        row
    }
}

impl Remembered {
    pub(super) fn find(&self, id: BatchId) -> Option<Committed> {
        self.answers.get(&id).and_then(|bytes| decode_answers(bytes))
    }

    /// A group became durable.
    pub(super) fn insert(&mut self, revision: u64, at: Timestamp, fresh: Fresh) {
        self.answers.extend(fresh.answers);
        self.groups.push_back(Group { revision, at, ids: fresh.ids });
    }

    /// A row that was found when the store was opened.
    pub(super) fn load(&mut self, revision: u64, at: Timestamp, mut row: &[u8]) -> Result<(), Malformed> {
        let mut fresh = Fresh::default();
        while !row.is_empty() {
            let (id, answers) = take_batch(&mut row).ok_or(Malformed(revision))?;
            decode_answers(answers).ok_or(Malformed(revision))?;
            fresh.ids.push(id);
            fresh.answers.insert(id, answers.into());
        }
        self.insert(revision, at, fresh);
        Ok(())
    }

    /// Forgets what is too old or too much, but never the last group, which tells the revision. Returns the first
    /// revision that is still remembered.
    pub(super) fn forget(&mut self, now: Timestamp) -> u64 {
        let oldest = now.minus(Duration::from_secs(REMEMBERED_SECS));
        while self.groups.len() > 1
            && (self.answers.len() > REMEMBERED_BATCHES_MAX || self.groups[0].at < oldest)
            && let Some(group) = self.groups.pop_front()
        {
            for id in &group.ids {
                self.answers.remove(id);
            }
        }
        self.groups.front().map_or(0, |group| group.revision)
    }

    pub(super) fn last_revision(&self) -> u64 {
        self.groups.back().map_or(0, |group| group.revision)
    }
}

fn encode_answers(answers: &[Answer]) -> Box<[u8]> {
    let mut bytes = Vec::with_capacity(answers.len() * 4);
    for answer in answers {
        let (tag, number) = match *answer {
            Answer::Done => (0, None),
            Answer::Revision(Revision(number)) => (1, Some(number)),
            Answer::Sequence(Sequence(number)) => (2, Some(number)),
            Answer::Counter(value) => (3, Some(value.cast_unsigned())),
        };
        bytes.push(tag);
        if let Some(number) = number {
            push_number(&mut bytes, number);
        }
    }
    bytes.into()
}

fn decode_answers(mut bytes: &[u8]) -> Option<Committed> {
    let mut answers = Vec::new();
    while let Some((&tag, rest)) = bytes.split_first() {
        bytes = rest;
        answers.push(match tag {
            0 => Answer::Done,
            1 => Answer::Revision(Revision(take_number(&mut bytes)?)),
            2 => Answer::Sequence(Sequence(take_number(&mut bytes)?)),
            3 => Answer::Counter(take_number(&mut bytes)?.cast_signed()),
            _ => return None,
        });
    }
    Some(Committed { answers })
}

fn take_batch<'a>(row: &mut &'a [u8]) -> Option<(BatchId, &'a [u8])> {
    let (id, rest) = row.split_first_chunk::<16>()?;
    *row = rest;
    let length = usize::try_from(take_number(row)?).ok()?;
    let (answers, rest) = row.split_at_checked(length)?;
    *row = rest;
    Some((BatchId(*id), answers))
}

/// LEB128: seven bits a byte, the low ones first.
fn push_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers() -> Vec<Answer> {
        vec![
            Answer::Done,
            Answer::Revision(Revision(u64::MAX)),
            Answer::Sequence(Sequence(300)),
            Answer::Counter(-1),
            Answer::Counter(i64::MIN),
        ]
    }

    #[test]
    fn answers_survive_their_row() {
        let mut fresh = Fresh::default();
        let committed = Committed { answers: answers() };
        fresh.insert(BatchId([1; 16]), &committed);
        fresh.insert(BatchId([2; 16]), &Committed { answers: vec![] });
        let row = fresh.row();
        let mut remembered = Remembered::default();
        remembered.load(7, Timestamp::EPOCH, &row).expect("well formed");
        assert_eq!(remembered.find(BatchId([1; 16])), Some(committed));
        assert_eq!(remembered.find(BatchId([2; 16])), Some(Committed { answers: vec![] }));
        assert_eq!(remembered.find(BatchId([3; 16])), None);
        assert_eq!(remembered.last_revision(), 7);
        for cut in 1..row.len() {
            // Cut exactly between the two batches it is a shorter, well-formed row.
            let _ = Remembered::default().load(1, Timestamp::EPOCH, &row[..cut]);
        }
        assert!(Remembered::default().load(1, Timestamp::EPOCH, &row[..row.len() - 1]).is_err());
    }

    #[test]
    fn forgets_by_age_and_by_number_but_keeps_the_last() {
        let mut remembered = Remembered::default();
        let minute = |n: u64| Timestamp::from_millis(n * 60_000);
        for n in 0..20u8 {
            let mut fresh = Fresh::default();
            fresh.insert(BatchId([n; 16]), &Committed { answers: vec![] });
            remembered.insert(u64::from(n) + 1, minute(u64::from(n)), fresh);
        }
        assert_eq!(remembered.forget(minute(15)), 6);
        assert!(remembered.find(BatchId([4; 16])).is_none());
        assert!(remembered.find(BatchId([5; 16])).is_some());
        assert_eq!(remembered.forget(minute(1000)), 20);
        assert!(remembered.find(BatchId([19; 16])).is_some());
        let mut many = Fresh::default();
        for n in 0..=REMEMBERED_BATCHES_MAX as u128 {
            many.insert(BatchId((n + 100).to_be_bytes()), &Committed { answers: vec![] });
        }
        remembered.insert(21, minute(1000), many);
        assert_eq!(remembered.forget(minute(1000)), 21);
    }
}

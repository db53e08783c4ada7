//! What a batch means, in SQL.

use base::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use crate::batch::{Answer, Batch, Check, Committed, Op, Revision, Sequence, counter, counter_value};
use crate::error::{CommitError, Refusal};
use crate::key::Key;

/// Why a batch was not applied.
pub(super) enum NotApplied {
    /// For a reason of its own; the transaction may go on with the next batch.
    Refused(CommitError),
    /// The transaction is lost.
    Broken(rusqlite::Error),
}

impl From<rusqlite::Error> for NotApplied {
    fn from(error: rusqlite::Error) -> Self {
        Self::Broken(error)
    }
}

/// Checks, then applies, a batch in the open transaction. A refused batch leaves no trace.
pub(super) fn apply(connection: &Connection, batch: &Batch, revision: Revision) -> Result<Committed, NotApplied> {
    for (index, check) in batch.checks.iter().enumerate() {
        if !holds(connection, check)? {
            return Err(NotApplied::Refused(CommitError::Conflict(index)));
        }
    }
    // Only an `Add` can refuse after an operation before it was applied.
    let may_refuse = batch.ops.iter().any(|op| matches!(op, Op::Add { .. }));
    if !may_refuse {
        return apply_ops(connection, batch, revision);
    }
    connection.prepare_cached("SAVEPOINT batch")?.execute([])?;
    let outcome = apply_ops(connection, batch, revision);
    if let Err(NotApplied::Refused(_)) = outcome {
        connection.prepare_cached("ROLLBACK TO batch")?.execute([])?;
    }
    if !matches!(outcome, Err(NotApplied::Broken(_))) {
        connection.prepare_cached("RELEASE batch")?.execute([])?;
    }
    outcome
}

/// Deletes at most `rows` of the oldest entries before `before`; tells how many.
pub(super) fn trim(connection: &Connection, journal: &Key, before: Sequence, rows: u32) -> rusqlite::Result<usize> {
    let sql = "SELECT id FROM journals WHERE shard = ?1 AND name = ?2";
    let find = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
    let found = connection.prepare_cached(sql)?.query_row(params![shard(journal), journal.name()], find).optional()?;
    let Some(id) = found else { return Ok(0) };
    let sql = "DELETE FROM entries WHERE journal = ?1 AND sequence IN
        (SELECT sequence FROM entries WHERE journal = ?1 AND sequence < ?2 ORDER BY sequence LIMIT ?3)";
    connection.prepare_cached(sql)?.execute(params![id, signed(before.0), rows])
}

/// The last number that a column holds stands for all that are larger.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Numbers in columns are never negative.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

pub(super) fn time(column: i64) -> Timestamp {
    Timestamp::from_micros(unsigned(column))
}

fn shard(key: &Key) -> &[u8] {
    key.shard().as_bytes()
}

fn holds(connection: &Connection, check: &Check) -> rusqlite::Result<bool> {
    Ok(match check {
        Check::Revision(key, revision) => find_revision(connection, key)? == Some(*revision),
        Check::Present(key) => find_revision(connection, key)?.is_some(),
        Check::Absent(key) => find_revision(connection, key)?.is_none(),
        Check::RangeEmpty(range) => {
            let sql = "SELECT 1 FROM records WHERE (shard, name) >= (?1, ?2) AND (shard, name) < (?3, ?4) LIMIT 1";
            let (from, to) = (range.from(), range.to());
            let places = params![&from.shard[..], &from.name[..], &to.shard[..], &to.name[..]];
            !connection.prepare_cached(sql)?.exists(places)?
        }
        Check::Fence(key, epoch) => {
            let count = find_counter(connection, key)?;
            count.ok().and_then(|count| u64::try_from(count).ok()) == Some(epoch.0)
        }
    })
}

fn find_revision(connection: &Connection, key: &Key) -> rusqlite::Result<Option<Revision>> {
    let sql = "SELECT revision FROM records WHERE shard = ?1 AND name = ?2";
    let read = |row: &rusqlite::Row<'_>| Ok(Revision(unsigned(row.get(0)?)));
    connection.prepare_cached(sql)?.query_row(params![shard(key), key.name()], read).optional()
}

fn find_counter(connection: &Connection, key: &Key) -> rusqlite::Result<Result<i64, Refusal>> {
    let sql = "SELECT value FROM records WHERE shard = ?1 AND name = ?2";
    let read = |row: &rusqlite::Row<'_>| Ok(counter(row.get_ref(0)?.as_blob()?));
    let found = connection.prepare_cached(sql)?.query_row(params![shard(key), key.name()], read).optional()?;
    Ok(found.unwrap_or(Some(0)).ok_or(Refusal::NotACounter))
}

fn apply_ops(connection: &Connection, batch: &Batch, revision: Revision) -> Result<Committed, NotApplied> {
    let mut answers = Vec::with_capacity(batch.ops.len());
    for (index, op) in batch.ops.iter().enumerate() {
        let refused = |reason| NotApplied::Refused(CommitError::Refused { op: index, reason });
        answers.push(match op {
            Op::Put { key, value } => {
                put(connection, key, value, revision)?;
                Answer::Revision(revision)
            }
            Op::Add { key, delta } => {
                let count = find_counter(connection, key)?.map_err(refused)?;
                let count = count.checked_add(*delta).ok_or(refused(Refusal::CounterOverflow))?;
                put(connection, key, &counter_value(count), revision)?;
                Answer::Counter(count)
            }
            Op::Append { journal, entry } => Answer::Sequence(append(connection, journal, entry)?),
            Op::Delete { key } => {
                let sql = "DELETE FROM records WHERE shard = ?1 AND name = ?2";
                connection.prepare_cached(sql)?.execute(params![shard(key), key.name()])?;
                Answer::Done
            }
            Op::DeleteRange(range) => {
                let sql = "DELETE FROM records WHERE (shard, name) >= (?1, ?2) AND (shard, name) < (?3, ?4)";
                let (from, to) = (range.from(), range.to());
                let places = params![&from.shard[..], &from.name[..], &to.shard[..], &to.name[..]];
                connection.prepare_cached(sql)?.execute(places)?;
                Answer::Done
            }
            Op::DueSet { key, at, hint } => {
                let sql = "INSERT OR REPLACE INTO due(shard, name, kind, at, hint) VALUES (?1, ?2, ?3, ?4, ?5)";
                let row = params![shard(key), key.name(), key.shard().kind(), signed(at.as_micros()), &hint[..]];
                connection.prepare_cached(sql)?.execute(row)?;
                Answer::Done
            }
            Op::DueClear { key } => {
                let sql = "DELETE FROM due WHERE shard = ?1 AND name = ?2";
                connection.prepare_cached(sql)?.execute(params![shard(key), key.name()])?;
                Answer::Done
            }
        });
    }
    Ok(Committed { answers })
}

fn put(connection: &Connection, key: &Key, value: &[u8], revision: Revision) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO records(shard, name, revision, value) VALUES (?1, ?2, ?3, ?4)";
    let row = params![shard(key), key.name(), signed(revision.0), value];
    connection.prepare_cached(sql)?.execute(row).map(drop)
}

fn append(connection: &Connection, journal: &Key, entry: &[u8]) -> rusqlite::Result<Sequence> {
    let sql = "INSERT INTO journals(shard, name, last) VALUES (?1, ?2, 1)
        ON CONFLICT DO UPDATE SET last = last + 1 RETURNING id, last";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
    let (id, sequence) = connection.prepare_cached(sql)?.query_row(params![shard(journal), journal.name()], read)?;
    let sql = "INSERT INTO entries(journal, sequence, entry) VALUES (?1, ?2, ?3)";
    connection.prepare_cached(sql)?.execute(params![id, sequence, entry])?;
    Ok(Sequence(unsigned(sequence)))
}

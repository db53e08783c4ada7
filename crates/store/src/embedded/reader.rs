//! Readers: a few threads with a connection each, and what they ask the database.

use std::sync::Arc;
use std::thread;

use base::time::Timestamp;
use bytes::Bytes;
use parking_lot::Mutex;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};
use tokio::sync::{mpsc, oneshot};

use super::apply::{signed, time, unsigned};
use super::store_error;
use crate::batch::{Revision, Sequence};
use crate::data_dir::LockFile;
use crate::error::StoreError;
use crate::key::{Key, Shard};
use crate::limits::DUE_ITEMS_MAX;
use crate::read::{Direction, Due, JournalPage, JournalPager, Page, PageLimit, Pager, Read, ReadAnswer, Scan, Stored};

const SCAN_FORWARD: &str = "SELECT shard, name, revision, value FROM records
    WHERE (shard, name) >= (?1, ?2) AND (shard, name) < (?3, ?4) ORDER BY shard, name LIMIT ?5";
const SCAN_BACKWARD: &str = "SELECT shard, name, revision, value FROM records
    WHERE (shard, name) >= (?1, ?2) AND (shard, name) < (?3, ?4) ORDER BY shard DESC, name DESC LIMIT ?5";
const READ_JOURNAL: &str = "SELECT sequence, entry FROM entries
    WHERE journal = (SELECT id FROM journals WHERE shard = ?1 AND name = ?2) AND sequence >= ?3
    ORDER BY sequence LIMIT ?4";
/// Below one kind the index gives the order; the root, which no driver asks for, is sorted.
const DUE_OF_KIND: &str = "SELECT shard, name, at, hint FROM due INDEXED BY due_by_time
    WHERE kind = ?1 AND at <= ?2 AND shard >= ?3 AND shard < ?4 ORDER BY at, shard, name LIMIT ?5";
const DUE_OF_ALL: &str = "SELECT shard, name, at, hint FROM due
    WHERE ?1 = x'' AND at <= ?2 AND shard >= ?3 AND shard < ?4 ORDER BY at, shard, name LIMIT ?5";

/// A question and where its answer goes. Whoever no longer waits has closed the channel.
pub(super) enum Question {
    Read(Read, oneshot::Sender<Result<ReadAnswer, StoreError>>),
    Journal(Key, Sequence, PageLimit, oneshot::Sender<Result<JournalPage, StoreError>>),
    Due(Shard, Timestamp, usize, oneshot::Sender<Result<Vec<Due>, StoreError>>),
}

/// Starts a thread for each connection; they end when the questions do.
pub(super) fn start(
    connections: Vec<Connection>,
    questions: mpsc::Receiver<Question>,
    lock: &Arc<LockFile>,
) -> std::io::Result<Vec<thread::JoinHandle<()>>> {
    let questions = Arc::new(Mutex::new(questions));
    let start = |connection: Connection| {
        let (questions, lock) = (Arc::clone(&questions), Arc::clone(lock));
        thread::Builder::new().name("store-read".into()).spawn(move || {
            run(&connection, &questions);
            drop(connection);
            drop(lock);
        })
    };
    connections.into_iter().map(start).collect()
}

fn run(connection: &Connection, questions: &Mutex<mpsc::Receiver<Question>>) {
    loop {
        // One idle thread waits in the channel, the others for the lock: none of them wakes without a question.
        let question = questions.lock().blocking_recv();
        match question {
            None => return,
            Some(Question::Read(read, reply)) => answer(reply, || answer_read(connection, &read)),
            Some(Question::Journal(journal, from, limit, reply)) => {
                answer(reply, || read_journal(connection, &journal, from, limit));
            }
            Some(Question::Due(shard, until, limit, reply)) => {
                answer(reply, || read_due(connection, &shard, until, limit));
            }
        }
    }
}

fn answer<T>(reply: oneshot::Sender<Result<T, StoreError>>, ask: impl FnOnce() -> rusqlite::Result<T>) {
    if !reply.is_closed() {
        // Nobody may be waiting any more by now, which is no harm.
        let _ = reply.send(ask().map_err(store_error));
    }
}

fn answer_read(connection: &Connection, read: &Read) -> rusqlite::Result<ReadAnswer> {
    // One statement is a snapshot of its own.
    let snapshot = if read.get.len() + read.scan.len() > 1 { Some(connection.unchecked_transaction()?) } else { None };
    let get = read.get.iter().map(|key| get(connection, key)).collect::<rusqlite::Result<_>>()?;
    let scan = read.scan.iter().map(|part| scan(connection, part)).collect::<rusqlite::Result<_>>()?;
    if let Some(snapshot) = snapshot {
        snapshot.finish()?;
    }
    Ok(ReadAnswer { get, scan })
}

fn get(connection: &Connection, key: &Key) -> rusqlite::Result<Option<Stored>> {
    let sql = "SELECT revision, value FROM records WHERE shard = ?1 AND name = ?2";
    let read = |row: &Row<'_>| Ok(Stored { revision: Revision(unsigned(row.get(0)?)), value: blob(row, 1)? });
    connection.prepare_cached(sql)?.query_row(params![key.shard().as_bytes(), key.name()], read).optional()
}

fn scan(connection: &Connection, scan: &Scan) -> rusqlite::Result<Page> {
    let range = scan.rest();
    let mut pager = Pager::new(scan.limit);
    if range.is_empty() {
        return Ok(pager.into_page());
    }
    let sql = match scan.direction {
        Direction::Forward => SCAN_FORWARD,
        Direction::Backward => SCAN_BACKWARD,
    };
    let (from, to) = (range.from(), range.to());
    let one_more = scan.limit.clamped().items + 1;
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows =
        statement.query(params![&from.shard[..], &from.name[..], &to.shard[..], &to.name[..], one_more as i64])?;
    let mut shard = Bytes::new();
    while let Some(row) = rows.next()? {
        let (in_shard, name, value) = (bytes(row, 0)?, bytes(row, 1)?, bytes(row, 3)?);
        if !pager.admits(in_shard.len() + name.len() + value.len()) {
            break;
        }
        // Neighbours mostly share their shard, and then its bytes too.
        if shard != in_shard {
            shard = Bytes::copy_from_slice(in_shard);
        }
        let key = Key::from_bytes(shard.clone(), Bytes::copy_from_slice(name));
        let revision = Revision(unsigned(row.get(2)?));
        pager.push(key, Stored { value: Bytes::copy_from_slice(value), revision });
    }
    Ok(pager.into_page())
}

fn read_journal(
    connection: &Connection,
    journal: &Key,
    from: Sequence,
    limit: PageLimit,
) -> rusqlite::Result<JournalPage> {
    let mut pager = JournalPager::new(limit);
    let one_more = limit.clamped().items + 1;
    let mut statement = connection.prepare_cached(READ_JOURNAL)?;
    let mut rows =
        statement.query(params![journal.shard().as_bytes(), journal.name(), signed(from.0), one_more as i64])?;
    while let Some(row) = rows.next()? {
        if !pager.push(Sequence(unsigned(row.get(0)?)), bytes(row, 1)?) {
            break;
        }
    }
    Ok(pager.into_page())
}

fn read_due(connection: &Connection, shard: &Shard, until: Timestamp, limit: usize) -> rusqlite::Result<Vec<Due>> {
    let range = shard.subtree();
    let limit = limit.min(DUE_ITEMS_MAX) as i64;
    let mut statement = connection.prepare_cached(if shard.kind().is_empty() { DUE_OF_ALL } else { DUE_OF_KIND })?;
    let ask = params![shard.kind(), signed(until.as_micros()), &range.from().shard[..], &range.to().shard[..], limit];
    let read = |row: &Row<'_>| {
        Ok(Due { key: Key::from_bytes(blob(row, 0)?, blob(row, 1)?), at: time(row.get(2)?), hint: blob(row, 3)? })
    };
    statement.query_map(ask, read)?.collect()
}

fn bytes<'a>(row: &'a Row<'_>, column: usize) -> rusqlite::Result<&'a [u8]> {
    match row.get_ref(column)? {
        ValueRef::Blob(bytes) => Ok(bytes),
        other => Err(rusqlite::Error::InvalidColumnType(column, "blob".into(), other.data_type())),
    }
}

fn blob(row: &Row<'_>, column: usize) -> rusqlite::Result<Bytes> {
    bytes(row, column).map(Bytes::copy_from_slice)
}

#[cfg(test)]
mod tests {
    use super::super::schema::{self, Role};
    use super::*;

    /// How the database says that it will answer.
    fn plan(connection: &Connection, sql: &str) -> String {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("prepares");
        let count = statement.parameter_count();
        let nothing = vec![rusqlite::types::Null; count];
        let steps = statement.query_map(rusqlite::params_from_iter(nothing), |row| row.get::<_, String>(3));
        steps.expect("explains").collect::<rusqlite::Result<Vec<_>>>().expect("reads").join("; ")
    }

    #[test]
    fn every_question_is_answered_from_an_index_without_sorting() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut connection = schema::connect(&folder.path().join("db"), Role::Writer).expect("opens");
        schema::prepare(&mut connection, true).expect("makes its tables");
        let range = "SEARCH records USING PRIMARY KEY ((shard,name)>(?,?) AND (shard,name)<(?,?))";
        let cases = [
            (SCAN_FORWARD, range),
            (SCAN_BACKWARD, range),
            (
                READ_JOURNAL,
                "SEARCH entries USING PRIMARY KEY (journal=? AND sequence>?); SCALAR SUBQUERY 1; \
                 SEARCH journals USING COVERING INDEX sqlite_autoindex_journals_1 (shard=? AND name=?)",
            ),
            (DUE_OF_KIND, "SEARCH due USING INDEX due_by_time (kind=? AND at<?)"),
        ];
        for (sql, expected) in cases {
            assert_eq!(plan(&connection, sql), expected, "{sql}");
        }
    }
}

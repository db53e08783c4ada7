//! The database file: how a connection is set up, its tables, and which version of them this binary knows.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::{LostDatabase, OpenStoreError};

/// Counts up with every change of the tables.
const SCHEMA_VERSION: u32 = 1;
/// Twice the default: fewer levels, and half as many overflow pages for records of some kilobytes.
const PAGE_BYTES: u32 = 8192;
/// The largest group leaves no larger file behind once it is checkpointed.
const WAL_FILE_BYTES_KEPT: u32 = 64 << 20;
/// Page cache of the writer, and of each other connection, in KiB.
const WRITER_CACHE_KIB: i32 = 4096;
const READER_CACHE_KIB: i32 = 1024;
/// Every statement of ours fits.
const STATEMENTS_CACHED: usize = 64;
/// Only our own checkpoints ever compete, and they are short.
const BUSY_MAX: Duration = Duration::from_secs(5);

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Writer,
    Reader,
    Checkpointer,
}

/// `kind` is the first part of the shard. Records and journals are kept in the order of their keys, since that is how they
/// are read; `groups` grows at its end only.
const TABLES: &str = "
    CREATE TABLE records(
        shard BLOB NOT NULL, name BLOB NOT NULL, revision INTEGER NOT NULL, value BLOB NOT NULL,
        PRIMARY KEY (shard, name)) STRICT, WITHOUT ROWID;
    CREATE TABLE journals(
        id INTEGER PRIMARY KEY, shard BLOB NOT NULL, name BLOB NOT NULL, last INTEGER NOT NULL,
        UNIQUE (shard, name)) STRICT;
    CREATE TABLE entries(
        journal INTEGER NOT NULL, sequence INTEGER NOT NULL, entry BLOB NOT NULL,
        PRIMARY KEY (journal, sequence)) STRICT, WITHOUT ROWID;
    CREATE TABLE due(
        shard BLOB NOT NULL, name BLOB NOT NULL, kind BLOB NOT NULL, at INTEGER NOT NULL, hint BLOB NOT NULL,
        PRIMARY KEY (shard, name)) STRICT, WITHOUT ROWID;
    CREATE INDEX due_by_time ON due(kind, at, shard, name);
    CREATE TABLE groups(revision INTEGER PRIMARY KEY, at INTEGER NOT NULL, batches BLOB NOT NULL) STRICT;
";

/// Opens a connection for a role; `path` holds no link.
pub(super) fn connect(path: &Path, role: Role) -> rusqlite::Result<Connection> {
    let mut flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    if role == Role::Writer {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_MAX)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    let cache_kib = if role == Role::Writer { WRITER_CACHE_KIB } else { READER_CACHE_KIB };
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    if role == Role::Writer {
        // Both must stand before the first table; later they change nothing.
        connection.pragma_update(None, "page_size", PAGE_BYTES)?;
        connection.pragma_update(None, "auto_vacuum", "incremental")?;
        connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    }
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", WAL_FILE_BYTES_KEPT, |_| Ok(()))?;
    if role == Role::Reader {
        connection.pragma_update(None, "query_only", true)?;
    }
    Ok(connection)
}

/// Makes the tables where there are none and they `may_be_made`, and refuses those of a newer binary.
pub(super) fn prepare(writer: &mut Connection, may_be_made: bool) -> Result<(), OpenStoreError> {
    let found: u32 = writer.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > SCHEMA_VERSION {
        return Err(OpenStoreError::Newer { found, known: SCHEMA_VERSION });
    }
    if found == 0 && !may_be_made {
        return Err(OpenStoreError::Damaged(Arc::new(LostDatabase { what: "holds nothing" })));
    }
    if found == 0 {
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        transaction.commit()?;
    }
    Ok(())
}

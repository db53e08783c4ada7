//! Checkpoints: moving what the write-ahead log holds into the database file, beside the writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;

use base::chain::Chain;
use rusqlite::Connection;
use rusqlite::wal::CheckpointMode;

use crate::data_dir::LockFile;

/// Asks the thread for a checkpoint.
#[derive(Clone)]
pub(super) struct Poke(mpsc::SyncSender<()>);

impl Poke {
    /// A request while one is pending is the same request.
    pub(super) fn poke(&self) {
        let _ = self.0.try_send(());
    }
}

/// Pages in the write-ahead log after the last commit.
#[derive(Debug, Clone, Default)]
pub(super) struct WalPages(Arc<AtomicU32>);

impl WalPages {
    pub(super) fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts the commits of this connection.
    pub(super) fn count(&self, writer: &mut Connection) -> rusqlite::Result<()> {
        let pages = Arc::clone(&self.0);
        writer.wal_hook(Some(move |_: &mut _, count: i32| {
            pages.store(u32::try_from(count).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))
    }
}

/// Starts the thread; it ends with the last [`Poke`].
pub(super) fn start(connection: Connection, lock: Arc<LockFile>) -> std::io::Result<(Poke, thread::JoinHandle<()>)> {
    let (poke, pokes) = mpsc::sync_channel(1);
    let thread = thread::Builder::new().name("store-checkpoint".into()).spawn(move || {
        while pokes.recv().is_ok() {
            // Passive: neither readers nor the writer wait for it. What it leaves, the next one takes.
            if let Err(error) = checkpoint(&connection, CheckpointMode::PASSIVE) {
                tracing::warn!(error = %Chain(&error), "a checkpoint of the store failed; it is tried again later");
            }
        }
        drop(connection);
        drop(lock);
    })?;
    Ok((Poke(poke), thread))
}

/// Returns the pages that the log holds and how many of them are in the database file.
pub(super) fn checkpoint(connection: &Connection, mode: CheckpointMode) -> rusqlite::Result<(i32, i32)> {
    connection.wal_checkpoint_v2(None::<&str>, mode)
}

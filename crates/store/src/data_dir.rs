//! The data directory: one folder that one process owns, with everything durable in it.
//!
//! ```text
//! LOCK       held by the process that it names
//! FORMAT     the version of this layout
//! KEY        a fingerprint of the master key, which itself is elsewhere
//! state.db   records, journals, due-times (SQLite, with its -wal and -shm)
//! blobs/     files
//! segments/  log lines and usage facts, a folder for each kind
//! cache/     what can be made again; kept until the machine starts anew
//! scratch/   emptied at each start
//! ```
//!
//! The first start makes them in this order: `FORMAT`, the empty folders, `state.db`; and only when that is durable what lies
//! in `blobs`, `segments` and `KEY`. So a directory in which any of these holds something has had a database.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::blobs::Blobs;
use crate::disk::{is_forbidden, is_full, make_dir, replace_file, sync_dir};
use crate::embedded::files::FileBlobs;
use crate::embedded::{EmbeddedStore, OpenStoreError};
use crate::error::Source;
use crate::seal::{self, KeyError, MasterKey};
use crate::segments::{SegmentError, SegmentOptions, Segments};
use crate::{Store, embedded};

pub use embedded::StoreOptions;

/// The version of the layout that this binary writes.
const FORMAT: u32 = 1;
/// What stands before it in its file.
const FORMAT_HEADER: &str = "pinfold data directory, format ";

const LOCK_FILE: &str = "LOCK";
const FORMAT_FILE: &str = "FORMAT";
const KEY_FILE: &str = "KEY";
const DATABASE: &str = "state.db";
const BLOBS: &str = "blobs";
const SEGMENTS: &str = "segments";
const CACHE: &str = "cache";
/// In the cache: during which run of the machine it was made.
const BOOT_FILE: &str = "BOOT";
/// Another after each start of the machine (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const SCRATCH: &str = "scratch";

/// How a data directory is opened.
#[derive(Debug, Clone, Default)]
pub struct DataDirOptions {
    /// For the store in it.
    pub store: StoreOptions,
}

/// An open data directory. Dropping it lets go of everything at some later moment; [`DataDir::close`] says when.
pub struct DataDir {
    path: PathBuf,
    lock: Arc<LockFile>,
    store: Arc<EmbeddedStore>,
    blobs: FileBlobs,
    segments: Mutex<BTreeMap<String, Arc<Segments>>>,
}

/// The lock; held by each thread that may still write, until it is released or the last of them ends.
#[derive(Debug)]
pub(crate) struct LockFile(File);

/// Why a data directory was not opened. Nothing in it was changed then.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the data directory {} is in use by {}", path.display(), holder(*pid))]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Who has it, where that is known.
        pid: Option<u32>,
    },
    /// A newer version wrote it.
    #[error("the data directory {} has format {found}, written by a newer version; this one knows formats up to {known}", path.display())]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that this binary reads.
        known: u32,
    },
    /// Something else stands in its place.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// It is a directory with something else in it.
    #[error("{} is neither empty nor a data directory: name another one", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// This user may not read or write there.
    #[error("no permission to read and write the data directory {}", path.display())]
    Permission {
        /// The directory.
        path: PathBuf,
        /// What exactly was refused.
        #[source]
        source: Source,
    },
    /// There is no room to open it.
    #[error("the disk of the data directory {} is full", path.display())]
    Full {
        /// The directory.
        path: PathBuf,
        /// What exactly was refused.
        #[source]
        source: Source,
    },
    /// What is in it cannot be read.
    #[error("the data directory {} is damaged", path.display())]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// What exactly is wrong.
        #[source]
        source: Source,
    },
    /// Something else went wrong.
    #[error("open the data directory {}", path.display())]
    Failed {
        /// The directory.
        path: PathBuf,
        /// What exactly went wrong.
        #[source]
        source: Source,
    },
}

/// What is in a file of ours is not what we write.
#[derive(Debug, thiserror::Error)]
#[error("{file} holds something else")]
struct Unreadable {
    file: &'static str,
}

impl DataDir {
    /// Opens a data directory, or makes one (mode 0700) where there is none. Blocks, for some milliseconds.
    ///
    /// # Errors
    /// Each of [`OpenError`]; nothing is changed then.
    pub fn open(path: &Path, options: DataDirOptions) -> Result<Self, OpenError> {
        Self::open_parts(path, &options).map_err(|error| error.of(path))
    }

    fn open_parts(path: &Path, options: &DataDirOptions) -> Result<Self, Trouble> {
        make_dirs(path)?;
        let path = path.canonicalize()?;
        refuse_foreign(&path)?;
        let lock = Arc::new(LockFile::take(&path.join(LOCK_FILE))?);
        check_format(&path.join(FORMAT_FILE))?;
        let is_first_start = had_no_database(&path)?;
        if !is_first_start {
            embedded::check_kept(&path.join(DATABASE))?;
        }
        restrict(&path)?;
        for folder in [BLOBS, SEGMENTS, CACHE, SCRATCH] {
            make_dir(&path.join(folder))?;
        }
        empty(&path.join(SCRATCH))?;
        empty_if_old(&path.join(CACHE))?;
        let store = EmbeddedStore::open(&path.join(DATABASE), is_first_start, &options.store, &lock)?;
        // The database's own entry, which its library does not make durable.
        sync_dir(&path)?;
        let blobs = FileBlobs::open(path.join(BLOBS), Arc::clone(&lock))?;
        Ok(Self { path, lock, store: Arc::new(store), blobs, segments: Mutex::default() })
    }

    /// Records, journals and due-times.
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store) as Arc<dyn Store>
    }

    /// Files.
    pub fn blobs(&self) -> Arc<dyn Blobs> {
        Arc::new(self.blobs.clone())
    }

    /// Opens the segments of this name (letters, digits, `-` and `_`); the second time it gives the same ones, and the
    /// options of the first time hold.
    ///
    /// # Errors
    /// Another name, or a folder that cannot be read or made.
    pub fn segments(&self, name: &str, options: SegmentOptions) -> Result<Arc<Segments>, SegmentError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            return Err(SegmentError::BadName(name.to_owned()));
        }
        let mut open = self.segments.lock();
        if let Some(segments) = open.get(name) {
            return Ok(Arc::clone(segments));
        }
        let folder = self.path.join(SEGMENTS).join(name);
        make_dir(&folder).map_err(|source| SegmentError::failed("make the folder of", name, source))?;
        let segments = Arc::new(Segments::open(name, folder, options, Arc::clone(&self.lock))?);
        open.insert(name.to_owned(), Arc::clone(&segments));
        Ok(segments)
    }

    /// The master key from this file. The data directory remembers a fingerprint of the first one; from then on only that
    /// one is accepted, and a lost one is never replaced. Where the fingerprint was lost, the key is taken unproven: name it
    /// to [`DataDir::remember_key`] when it has opened something.
    ///
    /// # Errors
    /// See [`KeyError`]; each message says what to do.
    pub fn master_key(&self, key_file: &Path) -> Result<MasterKey, KeyError> {
        seal::key_of(&self.path, &self.path.join(KEY_FILE), key_file, self.store.was_used())
    }

    /// Remembers the key that [`DataDir::master_key`] gave, once it has opened what was sealed here. Writes nothing where it
    /// is remembered already.
    ///
    /// # Errors
    /// `Failed`, if the fingerprint cannot be read or written.
    pub fn remember_key(&self, key: &MasterKey) -> Result<(), KeyError> {
        seal::remember(&self.path.join(KEY_FILE), key)
    }

    /// Why something is not kept at the moment, on one line: the last commit failed a short while ago, or the disk refuses
    /// entries of segments. `None` while all is well. Cheap.
    pub fn trouble(&self) -> Option<String> {
        let of_segments = || self.segments.lock().values().find_map(|segments| segments.trouble());
        self.store.trouble().or_else(of_segments)
    }

    /// The directory, without links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// For files that no other start of the platform needs; empty after each start.
    pub fn scratch_dir(&self) -> PathBuf {
        self.path.join(SCRATCH)
    }

    /// For files that can be made again from what is durable. They are kept from one start of the platform to the next,
    /// but not over a start of the machine, since nobody makes them durable. Give a file its name when it is whole.
    pub fn cache_dir(&self) -> PathBuf {
        self.path.join(CACHE)
    }

    /// Lets other users of this machine pass through the directory to what lies in the cache and in scratch, of which they
    /// must know the names, and which has rights of its own. It lasts until the directory is opened again.
    ///
    /// # Errors
    /// A folder in which all of this lies is closed to others, or the rights cannot be changed.
    pub fn let_others_pass(&self) -> Result<(), PassError> {
        let closed = |folder: &&Path| fs::metadata(folder).is_ok_and(|found| found.permissions().mode() & 0o001 == 0);
        if let Some(folder) = self.path.ancestors().skip(1).find(closed) {
            return Err(PassError::Closed { folder: folder.to_owned() });
        }
        for folder in [self.path.clone(), self.cache_dir(), self.scratch_dir()] {
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o711))
                .map_err(|source| PassError::Failed { folder, source })?;
        }
        Ok(())
    }

    /// Writes what is still waiting, then lets go of every file and of the lock. Whoever still holds a part of the
    /// directory finds it closed. What a full disk does not take is dropped after two seconds, and counted.
    pub async fn close(&self) {
        let segments: Vec<_> = std::mem::take(&mut *self.segments.lock()).into_values().collect();
        self.blobs.close().await;
        let (store, lock) = (Arc::clone(&self.store), Arc::clone(&self.lock));
        let closed = tokio::task::spawn_blocking(move || {
            // All at once, since each may wait for the disk.
            segments.iter().for_each(|segments| segments.stop());
            segments.iter().for_each(|segments| segments.close());
            store.close();
            lock.release();
        });
        if closed.await.is_err() {
            tracing::error!("closing the data directory panicked");
        }
    }
}

/// Others cannot pass to what is meant for them.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// A folder above the data directory.
    #[error("{} is closed to other users", folder.display())]
    Closed {
        /// The folder.
        folder: PathBuf,
    },
    /// Rights cannot be changed.
    #[error("let other users pass through {}", folder.display())]
    Failed {
        /// The folder.
        folder: PathBuf,
        /// What exactly was refused.
        #[source]
        source: io::Error,
    },
}

impl LockFile {
    fn take(path: &Path) -> Result<Self, Trouble> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let mut file = options.open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = file.read_to_string(&mut text);
                return Err(Trouble::InUse(text.trim().parse().ok()));
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let pid = format!("{}\n", std::process::id());
        file.rewind()?;
        file.write_all(pid.as_bytes())?;
        file.set_len(pid.len() as u64)?;
        Ok(Self(file))
    }

    /// Nothing is written any more.
    fn release(&self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "could not let go of the lock of the data directory");
        }
    }
}

/// What went wrong, before the path is added.
enum Trouble {
    InUse(Option<u32>),
    Newer { found: u32, known: u32 },
    NotADirectory,
    Foreign,
    Full(Source),
    Damaged(Source),
    Io(io::Error),
    Failed(Source),
}

impl Trouble {
    fn of(self, path: &Path) -> OpenError {
        let path = path.to_owned();
        match self {
            Self::InUse(pid) => OpenError::InUse { path, pid },
            Self::Newer { found, known } => OpenError::Newer { path, found, known },
            Self::NotADirectory => OpenError::NotADirectory { path },
            Self::Foreign => OpenError::Foreign { path },
            Self::Full(source) => OpenError::Full { path, source },
            Self::Damaged(source) => OpenError::Damaged { path, source },
            Self::Io(error) if is_full(&error) => OpenError::Full { path, source: Arc::new(error) },
            Self::Io(error) if is_forbidden(&error) => OpenError::Permission { path, source: Arc::new(error) },
            Self::Io(error) => OpenError::Failed { path, source: Arc::new(error) },
            Self::Failed(source) => OpenError::Failed { path, source },
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<OpenStoreError> for Trouble {
    fn from(error: OpenStoreError) -> Self {
        match error {
            OpenStoreError::Newer { found, known } => Self::Newer { found, known },
            OpenStoreError::Full(source) => Self::Full(source),
            OpenStoreError::Damaged(source) => Self::Damaged(source),
            OpenStoreError::Failed(source) => Self::Failed(source),
        }
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// Makes the directory and those above it that are missing.
fn make_dirs(path: &Path) -> Result<(), Trouble> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => return Err(Trouble::NotADirectory),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(Trouble::NotADirectory),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        Err(_) => {}
    }
    let path = std::path::absolute(path)?;
    let missing: Vec<_> = path.ancestors().take_while(|above| !above.exists()).collect();
    for above in missing.into_iter().rev() {
        make_dir(above)?;
    }
    Ok(())
}

/// A folder with other things in it is not taken over; what an interrupted first start leaves is.
fn refuse_foreign(path: &Path) -> Result<(), Trouble> {
    if path.join(FORMAT_FILE).exists() {
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        let unfinished = [LOCK_FILE, "FORMAT.new", "lost+found"];
        if !unfinished.iter().any(|ours| name == *ours) {
            return Err(Trouble::Foreign);
        }
    }
    Ok(())
}

fn check_format(path: &Path) -> Result<(), Trouble> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(replace_file(path, format!("{FORMAT_HEADER}{FORMAT}\n").as_bytes())?);
        }
        Err(error) => return Err(error.into()),
    };
    let number = std::str::from_utf8(&text).ok().and_then(|text| text.trim_end().strip_prefix(FORMAT_HEADER));
    match number.and_then(|number| number.parse().ok()) {
        None => Err(Trouble::Damaged(Arc::new(Unreadable { file: FORMAT_FILE }))),
        Some(found) if found > FORMAT => Err(Trouble::Newer { found, known: FORMAT }),
        Some(_) => Ok(()),
    }
}

/// Whether the directory cannot have had a database: this is its first start, or the one after a first start that was
/// interrupted. In any other an empty database would take the place of a lost one, and what that one names be cleared away.
fn had_no_database(path: &Path) -> io::Result<bool> {
    let holds_nothing = |folder: &str| match fs::read_dir(path.join(folder)) {
        Ok(mut entries) => Ok(entries.next().transpose()?.is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    };
    let has_key = fs::symlink_metadata(path.join(KEY_FILE)).is_ok();
    Ok(!has_key && holds_nothing(BLOBS)? && holds_nothing(SEGMENTS)?)
}

/// What is in it is for its owner alone, also where the folder was made by someone else.
fn restrict(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Empties the cache if the machine was started since it was made: a power cut leaves files that were never written to the
/// disk empty or half, under names that say they are whole.
fn empty_if_old(cache: &Path) -> io::Result<()> {
    let boot = fs::read(BOOT_ID).unwrap_or_default();
    let made = cache.join(BOOT_FILE);
    if !boot.is_empty() && fs::read(&made).is_ok_and(|made| made == boot) {
        return Ok(());
    }
    empty(cache)?;
    fs::write(made, boot)
}

/// Removes what is in a folder, without following links.
fn empty(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

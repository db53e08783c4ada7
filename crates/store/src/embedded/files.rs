//! Blobs as files: `<space>/<first two characters>/<name>`, each written under a temporary name and then renamed.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::sizes::KIB;
use base::time::Timestamp;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::BoxFuture;
use crate::blobs::{BlobCondition, BlobError, BlobHead, BlobKey, BlobSource, Blobs, check_space};
use crate::data_dir::LockFile;
use crate::disk::{create_file, is_full, make_dir, open_file, remove_if_there, sync_dir};
use crate::limits::BLOB_READ_BYTES_MAX;

/// Where files are written before they are renamed. No space begins with a dot.
const TEMPORARY: &str = ".new";
/// Characters of a name that its directory is named after.
const FAN_OUT: usize = 2;
/// Operations at once, each on a thread of its own.
const OPERATIONS_MAX: usize = 16;
/// A source file is copied in such pieces.
const COPY_BYTES: usize = 256 * KIB;

/// The blobs of one data directory.
#[derive(Clone)]
pub(crate) struct FileBlobs(Arc<Shared>);

struct Shared {
    root: PathBuf,
    next_temporary: AtomicU64,
    operations: Arc<Semaphore>,
    /// Directories whose own entry is known to be durable.
    durable: Mutex<HashSet<PathBuf>>,
    /// Kept as long as anything may be written.
    _lock: Arc<LockFile>,
}

impl FileBlobs {
    /// Opens the directory, which exists, and forgets what was not finished.
    pub(crate) fn open(root: PathBuf, lock: Arc<LockFile>) -> io::Result<Self> {
        let temporary = root.join(TEMPORARY);
        make_dir(&temporary)?;
        for entry in fs::read_dir(&temporary)? {
            remove_if_there(&entry?.path())?;
        }
        let operations = Arc::new(Semaphore::new(OPERATIONS_MAX));
        let (next_temporary, durable) = Default::default();
        Ok(Self(Arc::new(Shared { root, next_temporary, operations, durable, _lock: lock })))
    }

    /// Waits for what is being done, and refuses everything after.
    pub(crate) async fn close(&self) {
        let _all = self.0.operations.acquire_many(OPERATIONS_MAX as u32).await;
        self.0.operations.close();
    }

    /// Runs on a thread that may block. Dropping the future does not interrupt it.
    async fn run<T: Send + 'static>(
        &self,
        doing: &'static str,
        key: &BlobKey,
        work: impl FnOnce(&Shared) -> io::Result<T> + Send + 'static,
    ) -> Result<T, BlobError> {
        let shared = Arc::clone(&self.0);
        let operations = Arc::clone(&self.0.operations);
        let permit = operations.acquire_owned().await.map_err(|_| BlobError::Closed)?;
        let work = move || {
            let outcome = work(&shared);
            drop(permit);
            outcome
        };
        let outcome = tokio::task::spawn_blocking(work).await;
        outcome.map_err(io::Error::other).flatten().map_err(|error| blob_error(doing, key, error))
    }
}

impl Shared {
    fn directory(&self, key: &BlobKey) -> PathBuf {
        self.root.join(key.space()).join(&key.name()[..key.name().len().min(FAN_OUT)])
    }

    fn file(&self, key: &BlobKey) -> PathBuf {
        self.directory(key).join(key.name())
    }

    fn put(&self, key: &BlobKey, source: &BlobSource, condition: BlobCondition) -> io::Result<Option<BlobHead>> {
        self.make_durable(&self.root.join(key.space()))?;
        let directory = self.directory(key);
        self.make_durable(&directory)?;
        let target = directory.join(key.name());
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = self.root.join(TEMPORARY).join(number.to_string());
        let placed = write(&temporary, source).and_then(|()| match condition {
            BlobCondition::Any => fs::rename(&temporary, &target).map(|()| true),
            // A second name, since a rename would replace what is there.
            BlobCondition::Absent => match fs::hard_link(&temporary, &target) {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
                Err(error) => Err(error),
            },
        });
        let _ = remove_if_there(&temporary);
        let placed = placed?;
        // What another is just putting there is also to be durable before anyone is told of it.
        sync_dir(&directory)?;
        if placed { fs::symlink_metadata(&target).map(|found| Some(head(&found))) } else { Ok(None) }
    }

    fn make_durable(&self, directory: &Path) -> io::Result<()> {
        let mut durable = self.durable.lock();
        if !durable.contains(directory) {
            make_dir(directory)?;
            durable.insert(directory.to_owned());
        }
        Ok(())
    }

    /// `Err` of the size that was asked for where it is too large.
    fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> io::Result<Result<Bytes, u64>> {
        let file = self.open(key)?;
        let length = file.metadata()?.len();
        let range = range.unwrap_or(0..length);
        let end = range.end.min(length);
        let start = range.start.min(end);
        if end - start > BLOB_READ_BYTES_MAX {
            return Ok(Err(end - start));
        }
        let mut content = vec![0; usize::try_from(end - start).expect("at most the limit of one read")];
        file.read_exact_at(&mut content, start)?;
        Ok(Ok(content.into()))
    }

    fn open(&self, key: &BlobKey) -> io::Result<File> {
        for directory in [self.root.join(key.space()), self.directory(key)] {
            if !fs::symlink_metadata(&directory)?.is_dir() {
                return Err(ErrorKind::NotADirectory.into());
            }
        }
        let file = open_file(&self.file(key))?;
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no regular file")) }
    }

    fn delete(&self, key: &BlobKey) -> io::Result<bool> {
        let was_there = remove_if_there(&self.file(key))?;
        if was_there {
            sync_dir(&self.directory(key))?;
        }
        Ok(was_there)
    }

    fn list(&self, space: &str, prefix: &str, after: &str, limit: usize) -> io::Result<Vec<String>> {
        let head = |text: &str| text.get(..text.len().min(FAN_OUT)).unwrap_or_default().to_owned();
        let (first, begins) = (head(after), head(prefix));
        let mut directories = names(&self.root.join(space))?;
        directories.retain(|name| *name >= first && name.starts_with(&begins));
        directories.sort_unstable();
        let mut found = Vec::new();
        for directory in directories {
            let mut here = names(&self.root.join(space).join(directory))?;
            here.retain(|name| name.as_str() > after && name.starts_with(prefix));
            here.sort_unstable();
            found.extend(here.into_iter().take(limit - found.len()));
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }
}

impl Blobs for FileBlobs {
    fn put(
        &self,
        key: &BlobKey,
        source: BlobSource,
        condition: BlobCondition,
    ) -> BoxFuture<'_, Result<BlobHead, BlobError>> {
        let key = key.clone();
        Box::pin(async move {
            let wanted = key.clone();
            let put = self.run("write", &key, move |shared| shared.put(&wanted, &source, condition)).await?;
            put.ok_or(BlobError::Exists(key))
        })
    }

    fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> BoxFuture<'_, Result<Bytes, BlobError>> {
        let key = key.clone();
        Box::pin(async move {
            let wanted = key.clone();
            let content = self.run("read", &key, move |shared| shared.get(&wanted, range)).await?;
            content.map_err(|bytes| BlobError::TooLarge { key, bytes, max: BLOB_READ_BYTES_MAX })
        })
    }

    fn head(&self, key: &BlobKey) -> BoxFuture<'_, Result<Option<BlobHead>, BlobError>> {
        let key = key.clone();
        Box::pin(async move {
            let wanted = key.clone();
            let found = self.run("look at", &key, move |shared| shared.open(&wanted)?.metadata()).await;
            match found {
                Ok(found) => Ok(Some(head(&found))),
                Err(BlobError::Missing(_)) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    fn delete(&self, key: &BlobKey) -> BoxFuture<'_, Result<bool, BlobError>> {
        let key = key.clone();
        Box::pin(async move {
            let wanted = key.clone();
            self.run("delete", &key, move |shared| shared.delete(&wanted)).await
        })
    }

    fn list(
        &self,
        space: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<String>, BlobError>> {
        let (space, prefix) = (space.to_owned(), prefix.to_owned());
        let after = after.unwrap_or_default().to_owned();
        Box::pin(async move {
            check_space(&space)?;
            let key = BlobKey::new(&space, "list")?;
            self.run("list", &key, move |shared| shared.list(&space, &prefix, &after, limit)).await
        })
    }

    fn path(&self, key: &BlobKey) -> Option<PathBuf> {
        Some(self.0.file(key))
    }
}

fn write(path: &Path, source: &BlobSource) -> io::Result<()> {
    let mut file = create_file(path)?;
    match source {
        BlobSource::Bytes(bytes) => file.write_all(bytes)?,
        BlobSource::File(source) => {
            let mut source = File::open(source)?;
            let mut piece = vec![0; COPY_BYTES];
            loop {
                match source.read(&mut piece)? {
                    0 => break,
                    length => file.write_all(&piece[..length])?,
                }
            }
        }
    }
    file.sync_all()
}

/// Names in a directory; none where there is no directory.
fn names(directory: &Path) -> io::Result<Vec<String>> {
    match fs::symlink_metadata(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
        Ok(found) if !found.is_dir() => return Err(ErrorKind::NotADirectory.into()),
        Ok(_) => {}
    }
    let names = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().into_string().unwrap_or_default()));
    names.filter(|name| !name.as_ref().is_ok_and(String::is_empty)).collect()
}

fn head(found: &fs::Metadata) -> BlobHead {
    let since = found.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    BlobHead { bytes: found.len(), modified: Timestamp::EPOCH.plus(since.unwrap_or_default()) }
}

fn blob_error(doing: &'static str, key: &BlobKey, error: io::Error) -> BlobError {
    match error.kind() {
        ErrorKind::NotFound if doing != "write" => BlobError::Missing(key.clone()),
        _ if is_full(&error) => BlobError::Full(Arc::new(error)),
        _ => BlobError::Failed { doing, key: key.clone(), source: Arc::new(error) },
    }
}

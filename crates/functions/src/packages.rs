//! Code packages: kept as zip files by digest, unpacked once, removed when nothing refers to them.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Weak};

use aws_lc_rs::digest;
use base::chain::Chain;
use bytes::Bytes;
use model::ids::PackageDigest;
use parking_lot::Mutex;
use store::{BlobCondition, BlobError, BlobKey, BlobSource, Blobs};
use tokio::sync::{Notify, Semaphore, mpsc};

use crate::ports::{Contents, Refused, Unpacker};

/// Unpackings at the same time: each writes up to a quarter of a gigabyte.
const UNPACKINGS_MAX: usize = 2;
/// Where zip files are kept among blobs.
const BLOB_SPACE: &str = "packages";
/// Names that one listing answers.
const LISTED_MAX: usize = 1000;

/// A package that is unpacked on this machine. Its files stay while somebody holds it.
#[derive(Debug)]
pub struct Package {
    /// SHA-256 of the zip file.
    pub digest: PackageDigest,
    /// Size of the zip file.
    pub zip_bytes: u64,
    /// What is in it.
    pub contents: Contents,
    /// The directory with its files.
    pub dir: PathBuf,
    unused: mpsc::UnboundedSender<PackageDigest>,
}

impl Drop for Package {
    fn drop(&mut self) {
        // Fails only when the catalogue is gone; the next start collects.
        let _ = self.unused.send(self.digest);
    }
}

/// A package could not be taken in.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The package itself is the reason.
    #[error("the package was refused")]
    Refused(Refused),
    /// Its zip file could not be stored or read.
    #[error("keep the zip file of package {0}")]
    Blob(PackageDigest, #[source] BlobError),
    /// The zip files could not be listed.
    #[error("list the zip files of packages")]
    List(#[source] BlobError),
    /// Its zip file is gone, though a function refers to it.
    #[error("the zip file of package {0} is missing from the data directory")]
    Missing(PackageDigest),
}

pub(crate) struct Packages {
    blobs: Arc<dyn Blobs>,
    unpacker: Arc<dyn Unpacker>,
    dir: PathBuf,
    table: Mutex<Table>,
    released: Notify,
    permits: Semaphore,
    unused: mpsc::UnboundedSender<PackageDigest>,
}

#[derive(Default)]
struct Table {
    live: HashMap<PackageDigest, Weak<Package>>,
    /// Digests whose files are being made or removed.
    claimed: HashSet<PackageDigest>,
}

/// The right to make or remove the files of one digest; nobody else does while it is held.
pub(crate) struct Claim<'a> {
    packages: &'a Packages,
    digest: PackageDigest,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.packages.table.lock().claimed.remove(&self.digest);
        self.packages.released.notify_waiters();
    }
}

impl Packages {
    /// Also answers where digests arrive that the last holder has let go.
    pub(crate) fn new(
        blobs: Arc<dyn Blobs>,
        unpacker: Arc<dyn Unpacker>,
        dir: PathBuf,
    ) -> (Self, mpsc::UnboundedReceiver<PackageDigest>) {
        let (unused, collected) = mpsc::unbounded_channel();
        let permits = Semaphore::new(UNPACKINGS_MAX);
        let (table, released) = (Mutex::default(), Notify::new());
        (Self { blobs, unpacker, dir, table, released, permits, unused }, collected)
    }

    /// Keeps a zip file durably and unpacks it. What is refused leaves nothing behind.
    pub(crate) async fn take_in(&self, zip: Bytes) -> Result<Arc<Package>, PackageError> {
        let digest = digest_of(&zip);
        let claim = self.claim(digest).await;
        if let Some(package) = self.live(digest) {
            return Ok(package);
        }
        let zip_bytes = zip.len() as u64;
        let put = self.blobs.put(&blob_key(digest), BlobSource::Bytes(zip), BlobCondition::Any).await;
        put.map_err(|source| PackageError::Blob(digest, source))?;
        match self.unpack(digest).await {
            Ok(contents) => Ok(self.hold(digest, zip_bytes, contents)),
            Err(error) => {
                self.remove_files(&claim).await;
                Err(error)
            }
        }
    }

    /// Takes up a package that a stored function refers to, whatever state its files are in.
    pub(crate) fn adopt(&self, digest: PackageDigest, zip_bytes: u64, contents: Contents) -> Arc<Package> {
        self.hold(digest, zip_bytes, contents)
    }

    /// Unpacks a package again if its directory is gone.
    pub(crate) async fn repair(&self, package: &Package) -> Result<(), PackageError> {
        if package.dir.is_dir() {
            return Ok(());
        }
        let _claim = self.claim(package.digest).await;
        if package.dir.is_dir() {
            return Ok(());
        }
        self.unpack(package.digest).await.map(drop)
    }

    pub(crate) fn live(&self, digest: PackageDigest) -> Option<Arc<Package>> {
        self.table.lock().live.get(&digest).and_then(Weak::upgrade)
    }

    /// The zip file, for download.
    pub(crate) async fn zip(&self, digest: PackageDigest) -> Result<Bytes, PackageError> {
        self.blobs.get(&blob_key(digest), None).await.map_err(|source| match source {
            BlobError::Missing(_) => PackageError::Missing(digest),
            source => PackageError::Blob(digest, source),
        })
    }

    /// Waits until nobody makes or removes the files of this digest.
    pub(crate) async fn claim(&self, digest: PackageDigest) -> Claim<'_> {
        loop {
            let mut released = pin!(self.released.notified());
            // From here on a release is heard, even one that comes before the wait.
            released.as_mut().enable();
            if self.table.lock().claimed.insert(digest) {
                return Claim { packages: self, digest };
            }
            released.await;
        }
    }

    /// Removes what is left of a package that nobody holds.
    pub(crate) async fn remove_files(&self, claim: &Claim<'_>) {
        let digest = claim.digest;
        self.table.lock().live.remove(&digest);
        if let Err(error) = self.blobs.delete(&blob_key(digest)).await {
            tracing::warn!(%digest, error = %Chain(&error), "the zip file of an unused package stays behind");
        }
        let dir = self.dir_of(digest);
        match tokio::fs::remove_dir_all(&dir).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(dir = %dir.display(), error = %Chain(&error), "an unused package stays unpacked");
            }
            _ => {}
        }
    }

    /// Digests that have a directory or a zip file, whether or not anything refers to them.
    pub(crate) async fn found(&self) -> Result<HashSet<PackageDigest>, PackageError> {
        let mut found = self.unpacked().await.unwrap_or_else(|error| {
            tracing::warn!(error = %Chain(&error), "unpacked packages were not looked through");
            HashSet::new()
        });
        let mut after: Option<String> = None;
        loop {
            let names = self.blobs.list(BLOB_SPACE, "", after.as_deref(), LISTED_MAX).await;
            let names = names.map_err(PackageError::List)?;
            found.extend(names.iter().filter_map(|name| PackageDigest::try_from(name.clone()).ok()));
            match names.last() {
                Some(last) if names.len() == LISTED_MAX => after = Some(last.clone()),
                _ => return Ok(found),
            }
        }
    }

    async fn unpacked(&self) -> std::io::Result<HashSet<PackageDigest>> {
        let mut found = HashSet::new();
        let mut entries = match tokio::fs::read_dir(&self.dir).await {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
            Err(error) => return Err(error),
        };
        while let Some(entry) = entries.next_entry().await? {
            let name = entry.file_name().to_string_lossy().into_owned();
            match PackageDigest::try_from(name) {
                Ok(digest) => drop(found.insert(digest)),
                // An unpacking that a crash cut short.
                Err(_) => drop(tokio::fs::remove_dir_all(entry.path()).await),
            }
        }
        Ok(found)
    }

    fn hold(&self, digest: PackageDigest, zip_bytes: u64, contents: Contents) -> Arc<Package> {
        let mut table = self.table.lock();
        if let Some(package) = table.live.get(&digest).and_then(Weak::upgrade) {
            return package;
        }
        let unused = self.unused.clone();
        let package = Arc::new(Package { digest, zip_bytes, contents, dir: self.dir_of(digest), unused });
        table.live.insert(digest, Arc::downgrade(&package));
        package
    }

    async fn unpack(&self, digest: PackageDigest) -> Result<Contents, PackageError> {
        let _permit = self.permits.acquire().await.expect("the semaphore is never closed");
        let key = blob_key(digest);
        let zip = self.blobs.path(&key).ok_or(PackageError::Missing(digest))?;
        self.unpacker.unpack(&zip, &self.dir_of(digest)).await.map_err(PackageError::Refused)
    }

    fn dir_of(&self, digest: PackageDigest) -> PathBuf {
        Path::join(&self.dir, digest.to_string())
    }
}

pub(crate) fn digest_of(zip: &[u8]) -> PackageDigest {
    let hash = digest::digest(&digest::SHA256, zip);
    PackageDigest(hash.as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

fn blob_key(digest: PackageDigest) -> BlobKey {
    BlobKey::new(BLOB_SPACE, &digest.to_string()).expect("a digest is made of digits and letters")
}

//! Code packages: kept as zip files by digest, unpacked once, removed when nothing refers to them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use aws_lc_rs::digest;
use base::chain::Chain;
use bytes::Bytes;
use model::ids::PackageDigest;
use parking_lot::Mutex;
use store::{BlobCondition, BlobError, BlobKey, BlobSource, Blobs};
use tokio::sync::{Semaphore, mpsc};

use crate::ports::{Contents, Refused, Unpacker};

/// Unpackings at the same time: each writes up to a quarter of a gigabyte.
const UNPACKINGS_MAX: usize = 2;

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
    /// Its zip file is gone, though a function refers to it.
    #[error("the zip file of package {0} is missing from the data directory")]
    Missing(PackageDigest),
}

pub(crate) struct Packages {
    blobs: Arc<dyn Blobs>,
    unpacker: Arc<dyn Unpacker>,
    dir: PathBuf,
    live: Mutex<HashMap<PackageDigest, Weak<Package>>>,
    permits: Semaphore,
    unused: mpsc::UnboundedSender<PackageDigest>,
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
        (Self { blobs, unpacker, dir, live: Mutex::default(), permits, unused }, collected)
    }

    /// Keeps a zip file durably and unpacks it.
    pub(crate) async fn take_in(&self, zip: Bytes) -> Result<Arc<Package>, PackageError> {
        let digest = digest_of(&zip);
        if let Some(package) = self.live(digest) {
            return Ok(package);
        }
        let zip_bytes = zip.len() as u64;
        self.blobs
            .put(&blob_key(digest), BlobSource::Bytes(zip), BlobCondition::Any)
            .await
            .map_err(|source| PackageError::Blob(digest, source))?;
        let contents = self.unpack(digest).await?;
        Ok(self.hold(digest, zip_bytes, contents))
    }

    /// Takes up a package that a stored function refers to; unpacks it again only if its directory is gone.
    pub(crate) async fn restore(
        &self,
        digest: PackageDigest,
        zip_bytes: u64,
        contents: Contents,
    ) -> Result<Arc<Package>, PackageError> {
        if let Some(package) = self.live(digest) {
            return Ok(package);
        }
        if !self.dir_of(digest).is_dir() {
            self.unpack(digest).await?;
        }
        Ok(self.hold(digest, zip_bytes, contents))
    }

    pub(crate) fn live(&self, digest: PackageDigest) -> Option<Arc<Package>> {
        self.live.lock().get(&digest).and_then(Weak::upgrade)
    }

    /// The zip file, for download.
    pub(crate) async fn zip(&self, digest: PackageDigest) -> Result<Bytes, PackageError> {
        self.blobs.get(&blob_key(digest), None).await.map_err(|source| match source {
            BlobError::Missing(_) => PackageError::Missing(digest),
            source => PackageError::Blob(digest, source),
        })
    }

    /// Removes what is left of a package unless somebody holds it again.
    pub(crate) async fn collect(&self, digest: PackageDigest) {
        {
            let mut live = self.live.lock();
            if live.get(&digest).is_some_and(|package| package.strong_count() > 0) {
                return;
            }
            live.remove(&digest);
        }
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

    /// Digests that have a directory, whether or not anything refers to them.
    pub(crate) async fn unpacked(&self) -> std::io::Result<Vec<PackageDigest>> {
        let mut found = Vec::new();
        let mut entries = match tokio::fs::read_dir(&self.dir).await {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
            Err(error) => return Err(error),
        };
        while let Some(entry) = entries.next_entry().await? {
            let name = entry.file_name().to_string_lossy().into_owned();
            match PackageDigest::try_from(name) {
                Ok(digest) => found.push(digest),
                // An unpacking that a crash cut short.
                Err(_) => drop(tokio::fs::remove_dir_all(entry.path()).await),
            }
        }
        Ok(found)
    }

    fn hold(&self, digest: PackageDigest, zip_bytes: u64, contents: Contents) -> Arc<Package> {
        let mut live = self.live.lock();
        if let Some(package) = live.get(&digest).and_then(Weak::upgrade) {
            return package;
        }
        let unused = self.unused.clone();
        let package = Arc::new(Package { digest, zip_bytes, contents, dir: self.dir_of(digest), unused });
        live.insert(digest, Arc::downgrade(&package));
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
    BlobKey::new("packages", &digest.to_string()).expect("a digest is made of digits and letters")
}

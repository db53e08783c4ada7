//! Blobs: whole files under a key, written once or replaced as a whole.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use base::time::Timestamp;
use bytes::Bytes;

use crate::BoxFuture;
use crate::error::Source;

/// A space's name.
const SPACE_BYTES_MAX: usize = 64;
/// A blob's name within its space: with a suffix it still is a file name everywhere.
const NAME_BYTES_MAX: usize = 200;

/// A space (a kind of blob) and a name within it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobKey {
    space: String,
    name: String,
}

/// What to store.
#[derive(Debug, Clone)]
pub enum BlobSource {
    /// These bytes.
    Bytes(Bytes),
    /// The content of this file, which is copied.
    File(PathBuf),
}

/// Under which condition to store it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BlobCondition {
    /// In any case, in place of what is there.
    #[default]
    Any,
    /// Only where nothing is there.
    Absent,
}

/// What is known about a blob without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobHead {
    /// Its length.
    pub bytes: u64,
    /// When it was written.
    pub modified: Timestamp,
}

/// Why a blob was not read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BlobError {
    /// Letters, digits, `-`, `_`, `.`; not empty, not too long, no dot in front.
    #[error("{0:?} cannot be a part of a blob's key")]
    BadKey(String),
    /// The condition does not hold.
    #[error("the blob {0} is there already")]
    Exists(BlobKey),
    /// Nothing is there.
    #[error("there is no blob {0}")]
    Missing(BlobKey),
    /// More than [`crate::limits::BLOB_READ_BYTES_MAX`] was asked for at once.
    #[error("{bytes} bytes of the blob {key} are more than one read may hold ({max})")]
    TooLarge {
        /// The blob.
        key: BlobKey,
        /// What was asked for.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// The disk is full; what was there before still is.
    #[error("the disk of the data directory is full")]
    Full(#[source] Source),
    /// The disk or the directory failed; what was there before still is, or the whole new blob.
    #[error("{doing} the blob {key}")]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// The blob.
        key: BlobKey,
        /// Why it failed.
        #[source]
        source: Source,
    },
    /// The data directory was closed.
    #[error("the blobs are closed")]
    Closed,
}

/// Whole files under a key.
pub trait Blobs: Send + Sync + 'static {
    /// Stores a blob; durable when it returns.
    ///
    /// # Errors
    /// The condition does not hold, or the disk is full or failing.
    fn put(
        &self,
        key: &BlobKey,
        source: BlobSource,
        condition: BlobCondition,
    ) -> BoxFuture<'_, Result<BlobHead, BlobError>>;

    /// Reads a blob, or a range of its bytes: what of the range lies beyond its end is left out.
    ///
    /// # Errors
    /// It is missing, too large for one read, or the disk fails.
    fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> BoxFuture<'_, Result<Bytes, BlobError>>;

    /// Its size and time; `None` if it is missing.
    ///
    /// # Errors
    /// The disk fails.
    fn head(&self, key: &BlobKey) -> BoxFuture<'_, Result<Option<BlobHead>, BlobError>>;

    /// Deletes it; tells whether it was there. Durable when it returns.
    ///
    /// # Errors
    /// The disk fails.
    fn delete(&self, key: &BlobKey) -> BoxFuture<'_, Result<bool, BlobError>>;

    /// Names in a space that begin with `prefix` and come after `after`, in order, at most `limit`.
    ///
    /// # Errors
    /// The disk fails.
    fn list(
        &self,
        space: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<String>, BlobError>>;

    /// Where its file is, if it is a file of this machine. The file may only be read.
    fn path(&self, key: &BlobKey) -> Option<PathBuf>;
}

impl BlobKey {
    /// Checks both parts: letters, digits, `-`, `_` and `.`, not in front; 64 and 200 bytes at most.
    ///
    /// # Errors
    /// A part that is something else.
    pub fn new(space: &str, name: &str) -> Result<Self, BlobError> {
        check_part(space, SPACE_BYTES_MAX)?;
        check_part(name, NAME_BYTES_MAX)?;
        Ok(Self { space: space.to_owned(), name: name.to_owned() })
    }

    /// The kind of blob.
    pub fn space(&self) -> &str {
        &self.space
    }

    /// The name within its space.
    pub fn name(&self) -> &str {
        &self.name
    }
}

pub(crate) fn check_space(space: &str) -> Result<(), BlobError> {
    check_part(space, SPACE_BYTES_MAX)
}

fn check_part(part: &str, max: usize) -> Result<(), BlobError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let good = !part.is_empty() && part.len() <= max && !part.starts_with('.') && part.bytes().all(plain);
    if good { Ok(()) } else { Err(BlobError::BadKey(part.chars().take(max).collect())) }
}

impl fmt::Display for BlobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.space, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_cannot_leave_their_directory() {
        let long = "x".repeat(201);
        for bad in ["", ".", "..", ".hidden", "a/b", "a\\b", "a\0", "ü", long.as_str()] {
            assert!(BlobKey::new("packages", bad).is_err(), "{bad:?}");
            assert!(BlobKey::new(bad, "name").is_err(), "{bad:?}");
        }
        assert!(BlobKey::new("packages", "sha256-0aF_.zip").is_ok());
    }
}

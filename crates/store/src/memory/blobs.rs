//! Blobs in memory.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use base::time::{Clock, SystemClock};
use bytes::Bytes;
use parking_lot::Mutex;

use crate::BoxFuture;
use crate::blobs::{BlobCondition, BlobError, BlobHead, BlobKey, BlobSource, Blobs, check_space};
use crate::limits::BLOB_READ_BYTES_MAX;

/// Blobs whose content lives as long as the last handle to them. Clones share everything.
#[derive(Clone, Default)]
pub struct MemoryBlobs(Arc<Mutex<BTreeMap<BlobKey, (BlobHead, Bytes)>>>);

impl MemoryBlobs {
    /// No blobs.
    pub fn new() -> Self {
        Self::default()
    }

    fn put_now(&self, key: BlobKey, source: BlobSource, condition: BlobCondition) -> Result<BlobHead, BlobError> {
        let content = match source {
            BlobSource::Bytes(bytes) => bytes,
            BlobSource::File(path) => std::fs::read(path).map(Bytes::from).map_err(|source| BlobError::Failed {
                doing: "read the source of",
                key: key.clone(),
                source: Arc::new(source),
            })?,
        };
        let head = BlobHead { bytes: content.len() as u64, modified: SystemClock.now() };
        let mut blobs = self.0.lock();
        if condition == BlobCondition::Absent && blobs.contains_key(&key) {
            return Err(BlobError::Exists(key));
        }
        blobs.insert(key, (head, content));
        Ok(head)
    }

    fn get_now(&self, key: BlobKey, range: Option<Range<u64>>) -> Result<Bytes, BlobError> {
        let blobs = self.0.lock();
        let Some((head, content)) = blobs.get(&key) else { return Err(BlobError::Missing(key)) };
        let range = range.unwrap_or(0..head.bytes);
        let end = range.end.min(head.bytes);
        let start = range.start.min(end);
        if end - start > BLOB_READ_BYTES_MAX {
            return Err(BlobError::TooLarge { key, bytes: end - start, max: BLOB_READ_BYTES_MAX });
        }
        let at = |offset: u64| usize::try_from(offset).expect("within a slice in memory");
        Ok(content.slice(at(start)..at(end)))
    }
}

impl Blobs for MemoryBlobs {
    fn put(
        &self,
        key: &BlobKey,
        source: BlobSource,
        condition: BlobCondition,
    ) -> BoxFuture<'_, Result<BlobHead, BlobError>> {
        let key = key.clone();
        Box::pin(async move { self.put_now(key, source, condition) })
    }

    fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> BoxFuture<'_, Result<Bytes, BlobError>> {
        let key = key.clone();
        Box::pin(async move { self.get_now(key, range) })
    }

    fn head(&self, key: &BlobKey) -> BoxFuture<'_, Result<Option<BlobHead>, BlobError>> {
        let head = self.0.lock().get(key).map(|(head, _)| *head);
        Box::pin(async move { Ok(head) })
    }

    fn delete(&self, key: &BlobKey) -> BoxFuture<'_, Result<bool, BlobError>> {
        let key = key.clone();
        Box::pin(async move { Ok(self.0.lock().remove(&key).is_some()) })
    }

    fn list(
        &self,
        space: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<String>, BlobError>> {
        let (space, prefix, after) = (space.to_owned(), prefix.to_owned(), after.map(str::to_owned));
        Box::pin(async move {
            check_space(&space)?;
            let blobs = self.0.lock();
            let names = blobs.keys().filter(|key| key.space() == space).map(BlobKey::name);
            let wanted = |name: &&str| name.starts_with(&prefix) && after.as_deref().is_none_or(|after| *name > after);
            Ok(names.filter(wanted).take(limit).map(str::to_owned).collect())
        })
    }

    fn path(&self, _key: &BlobKey) -> Option<PathBuf> {
        None
    }
}

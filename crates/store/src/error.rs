//! Why a read or a commit did not happen, and whether it may be tried again.

use std::sync::Arc;

use crate::key::Key;
use crate::record::DecodeError;

/// An underlying error, shared by all that it befell.
pub type Source = Arc<dyn std::error::Error + Send + Sync>;

/// Why a batch was not acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// This check (by its index) does not hold; nothing was written.
    #[error("check {0} of the batch does not hold")]
    Conflict(usize),
    /// This operation (by its index) is impossible on what is stored; nothing was written.
    #[error("operation {op} of the batch is refused: {reason}")]
    Refused {
        /// The operation's index.
        op: usize,
        /// Why.
        reason: Refusal,
    },
    /// Over a limit; nothing was written.
    #[error("{what}: {size} is more than the limit of {max}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        size: usize,
        /// How large it may be.
        max: usize,
    },
    /// The disk is full; nothing was written, and the store goes on serving reads.
    #[error("the disk of the data directory is full")]
    Full(#[source] Source),
    /// Nothing was written.
    #[error("write to the store")]
    Failed(#[source] Source),
    /// It may or may not have been written. Committing the same batch (under the same id) again is safe.
    #[error("the store lost track of a commit")]
    Unknown(#[source] Source),
    /// The store was closed; nothing was written.
    #[error("the store is closed")]
    Closed,
}

/// Why an operation is impossible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// An `Add` to a record that is no counter.
    #[error("the record is no counter")]
    NotACounter,
    /// An `Add` beyond 64 bits.
    #[error("the counter would overflow")]
    CounterOverflow,
}

/// Why nothing was read, or trimmed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// More was asked for than one read may hold.
    #[error("{what}: {size} is more than the limit of {max}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        size: usize,
        /// How large it may be.
        max: usize,
    },
    /// A record is not what it should be.
    #[error("read the record {key}")]
    Record {
        /// Where it stands.
        key: Key,
        /// What is wrong with it.
        #[source]
        source: Arc<DecodeError>,
    },
    /// The disk is full.
    #[error("the disk of the data directory is full")]
    Full(#[source] Source),
    /// The store could not do it.
    #[error("use the store")]
    Failed(#[source] Source),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

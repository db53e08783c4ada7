//! What this crate asks of others that it may not see: where log lines go, and whose credentials a guest gets.

use std::sync::Arc;

use base::time::Timestamp;
use bytes::Bytes;
use functions::BoxFuture;
use model::ids::{AccountId, FunctionId};
use model::names::Region;
use sandbox::GuestCredentials;

/// Opens log streams.
pub trait LogStreams: Send + Sync + 'static {
    /// A stream of a group; both come into being with the first line.
    fn open(&self, account: AccountId, region: &Region, group: &str, stream: &str) -> Arc<dyn LogStream>;

    /// Returns when every line taken so far survives the death of the process.
    fn written(&self) -> BoxFuture<'_, ()>;
}

/// Takes the lines of one instance.
pub trait LogStream: Send + Sync + 'static {
    /// Takes lines in order. Never blocks: what cannot be taken is dropped and counted.
    fn lines(&self, lines: &[(Timestamp, Bytes)]);
}

/// Makes credentials for instances.
pub trait Credentials: Send + Sync + 'static {
    /// Credentials of the function itself, for one instance; in words why not.
    fn issue(&self, function: &FunctionId) -> Result<GuestCredentials, String>;
}

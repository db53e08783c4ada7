//! The two ways out of the wall that others plug in: where guests' log lines go, and who takes their SDK connections.

use base::time::Timestamp;
use bytes::Bytes;
use model::ids::{FunctionId, InstanceId};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

/// Where the log lines of one instance go.
pub trait LogSink: Send + Sync + 'static {
    /// Takes one event: a line without its newline, or a framed message that may hold newlines. Valid UTF-8, at most
    /// [`model::limits::LOG_LINE_BYTES_MAX`] bytes. Called from the task that drives the instance: it must not block.
    fn line(&self, at: Timestamp, text: Bytes);
}

/// Who takes the connections that guests make to `AWS_ENDPOINT_URL`.
pub trait SdkDoor: Send + Sync + 'static {
    /// Takes a connection of which nothing has been read. What comes over it is a caller without trust. Called from the
    /// task that accepts: it must not block.
    fn connection(&self, connection: SdkConnection);
}

/// A connection that a guest made to its SDK endpoint, unread.
#[derive(Debug)]
pub struct SdkConnection {
    /// Whose code made it.
    pub function: FunctionId,
    /// Which instance of it.
    pub instance: InstanceId,
    /// The connection.
    pub stream: TcpStream,
    /// Keep it as long as the stream: an instance has a limited number of these.
    pub slot: SdkSlot,
}

/// One of the few SDK connections that an instance may hold; freed when dropped.
#[derive(Debug)]
pub struct SdkSlot(#[expect(dead_code, reason = "held only for what its drop does")] pub(crate) OwnedSemaphorePermit);

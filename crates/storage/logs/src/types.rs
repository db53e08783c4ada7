//! What callers ask and what they get: groups, streams, events and pages of them.

use std::collections::BTreeMap;

use base::time::Timestamp;
use bytes::Bytes;
use model::ids::AccountId;
use model::names::{LogGroupName, LogStreamName, Region};

use crate::pattern::{BadPattern, Pattern};

/// Where groups live: an account in a region.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Home {
    /// Whose groups.
    pub account: AccountId,
    /// In which region.
    pub region: Region,
}

impl Home {
    /// `arn:aws:logs:REGION:ACCOUNT:log-group:GROUP`, without the `:*` that some fields carry.
    pub fn group_arn(&self, group: &LogGroupName) -> String {
        format!("arn:aws:logs:{}:{}:log-group:{group}", self.region, self.account)
    }

    /// `arn:aws:logs:REGION:ACCOUNT:log-group:GROUP:log-stream:STREAM`.
    pub fn stream_arn(&self, group: &LogGroupName, stream: &LogStreamName) -> String {
        format!("{}:log-stream:{stream}", self.group_arn(group))
    }
}

/// What a new group is given beside its name.
#[derive(Debug, Clone, Default)]
pub struct NewGroup {
    /// `STANDARD` unless the caller chose another class; kept and shown, without effect.
    pub class: Option<String>,
    /// At most [`crate::limits::TAGS_PER_GROUP_MAX`].
    pub tags: BTreeMap<String, String>,
}

/// A group as it is described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: LogGroupName,
    /// When it was created.
    pub created: Timestamp,
    /// Its class, such as `STANDARD`.
    pub class: String,
    /// Days after which events expire; never, if absent.
    pub retention_days: Option<u32>,
    /// Bytes of its events' messages, 26 more for each, as the service counts them.
    pub stored_bytes: u64,
}

/// A stream as it is described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Its name.
    pub name: LogStreamName,
    /// When it was created.
    pub created: Timestamp,
    /// The earliest event's time; none while there is no event.
    pub first_event: Option<Timestamp>,
    /// The latest event's time.
    pub last_event: Option<Timestamp>,
    /// When the last event arrived.
    pub last_ingestion: Option<Timestamp>,
}

/// Some of many, and where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// At most as many as were asked for.
    pub items: Vec<T>,
    /// Opaque; absent at the end.
    pub next: Option<String>,
}

/// Which groups to describe.
#[derive(Debug, Clone, Default)]
pub struct DescribeGroups {
    /// Only names that begin so.
    pub prefix: Option<String>,
    /// Only names that hold this text.
    pub pattern: Option<String>,
    /// Only groups of this class.
    pub class: Option<String>,
    /// 1 to 50.
    pub limit: Option<usize>,
    /// From the page before.
    pub next: Option<String>,
}

/// The order in which streams are described.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StreamOrder {
    /// By name.
    #[default]
    Name,
    /// By the time of the latest event; streams without events come first.
    LastEvent,
}

/// Which streams to describe.
#[derive(Debug, Clone, Default)]
pub struct DescribeStreams {
    /// Only names that begin so; not together with [`StreamOrder::LastEvent`].
    pub prefix: Option<String>,
    /// The order.
    pub order: StreamOrder,
    /// Last first.
    pub descending: bool,
    /// 1 to 50.
    pub limit: Option<usize>,
    /// From the page before.
    pub next: Option<String>,
}

/// An event to be stored.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// When it happened; the service's own unit is milliseconds.
    pub at: Timestamp,
    /// What happened, 1 byte or more.
    pub message: Bytes,
}

/// Which events of a put were refused for their time; all others are stored. Indexes count from zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rejected {
    /// Events from this index on lie more than two hours ahead.
    pub too_new_start: Option<usize>,
    /// Events before this index are older than fourteen days.
    pub too_old_end: Option<usize>,
    /// Events before this index are older than the group keeps them.
    pub expired_end: Option<usize>,
}

/// A stored event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Unique in the platform: 56 digits that sort by time, then by arrival.
    pub id: String,
    /// The stream that it is in.
    pub stream: LogStreamName,
    /// When it happened.
    pub at: Timestamp,
    /// When it arrived.
    pub ingested: Timestamp,
    /// What happened: text, where the function wrote text.
    pub message: Bytes,
}

/// Which events of one stream to read.
#[derive(Debug, Clone, Default)]
pub struct GetEvents {
    /// Not before; in milliseconds since the Unix epoch.
    pub start_ms: Option<u64>,
    /// Before; in milliseconds since the Unix epoch.
    pub end_ms: Option<u64>,
    /// Without a token: the earliest events instead of the latest.
    pub from_head: bool,
    /// 1 to 10,000.
    pub limit: Option<usize>,
    /// A token of an earlier answer, either direction.
    pub next: Option<String>,
}

/// Events of one stream, in the order of their times, and the ways on from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamEvents {
    /// May be empty although there is more in the other direction.
    pub events: Vec<Event>,
    /// What follows; the token that was given, where nothing does.
    pub forward: String,
    /// What precedes; the token that was given, where nothing does.
    pub backward: String,
}

/// Which streams of a group to search.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Streams {
    /// All.
    #[default]
    All,
    /// These, at most 100; each must exist.
    Named(Vec<LogStreamName>),
    /// Those whose names begin so.
    Prefix(String),
}

/// Which events of a group to find.
#[derive(Debug, Clone, Default)]
pub struct FilterEvents {
    /// In these streams.
    pub streams: Streams,
    /// Not before; in milliseconds since the Unix epoch.
    pub start_ms: Option<u64>,
    /// Not after; in milliseconds since the Unix epoch.
    pub end_ms: Option<u64>,
    /// Whose messages match.
    pub pattern: Pattern,
    /// 1 to 10,000.
    pub limit: Option<usize>,
    /// From the page before.
    pub next: Option<String>,
}

/// Why an operation was not done. `Display` is what the caller is told; the source is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The group is there already.
    #[error("The specified log group already exists")]
    GroupExists,
    /// The stream is there already.
    #[error("The specified log stream already exists")]
    StreamExists,
    /// No such group.
    #[error("The specified log group does not exist.")]
    NoGroup,
    /// No such stream.
    #[error("The specified log stream does not exist.")]
    NoStream,
    /// The request asks for what is not allowed.
    #[error("{0}")]
    Invalid(String),
    /// More groups than an account may have.
    #[error("Resource limit exceeded.")]
    LimitExceeded,
    /// Somebody else changed the same resource all the while; trying again may help.
    #[error("A conflicting operation is currently in progress against this resource. Please try again.")]
    Conflict,
    /// The log writer does not keep up; trying again may help.
    #[error("The service cannot complete the request: the log writer is behind.")]
    Busy,
    /// The state could not be read or written.
    #[error("The service cannot complete the request: its storage failed.")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<BadPattern> for LogsError {
    fn from(bad: BadPattern) -> Self {
        Self::Invalid(bad.to_string())
    }
}

//! The limits of groups, streams and events, most of them CloudWatch's own.

use std::time::Duration;

use base::sizes::MIB;
use store::segments::PAYLOAD_BYTES_MAX;

/// Groups that an account may have in a region.
pub const GROUPS_MAX: usize = 100_000;
/// Tags of a group (CloudWatch Logs API reference, CreateLogGroup).
pub const TAGS_PER_GROUP_MAX: usize = 50;

/// A stream's name in bytes. The service allows 512 characters; nearly all of those names are shorter than this.
pub const STREAM_NAME_BYTES_MAX: usize = 1900;

/// Groups or streams in one page, which is also the default (API reference, DescribeLimit).
pub const DESCRIBED_PER_PAGE_MAX: usize = 50;
/// Groups that one request looks at, where a pattern or class hides most of them; the page's token goes on.
pub const GROUPS_SCANNED_MAX: usize = 10_000;

/// Events in one put (API reference, PutLogEvents).
pub const EVENTS_PER_PUT_MAX: usize = 10_000;
/// Bytes of one put: messages, and [`EVENT_OVERHEAD_BYTES`] for each.
pub const PUT_BYTES_MAX: usize = 1_048_576;
/// What an event counts beside its message.
pub const EVENT_OVERHEAD_BYTES: usize = 26;
/// The earliest and the latest event of a put are at most so far apart.
pub const PUT_SPAN_MAX: Duration = Duration::from_secs(24 * 3600);
/// An older event is refused.
pub const EVENT_AGE_MAX: Duration = Duration::from_secs(14 * 24 * 3600);
/// An event further ahead is refused.
pub const EVENT_LEAD_MAX: Duration = Duration::from_secs(2 * 3600);
/// A put waits this long for a writer that is behind.
pub const PUT_WAIT_MAX: Duration = Duration::from_secs(5);

/// Events in one page, which is also the default (API reference, EventsLimit).
pub const EVENTS_PER_PAGE_MAX: usize = 10_000;
/// Bytes of one page: messages, and [`EVENT_OVERHEAD_BYTES`] for each.
pub const PAGE_BYTES_MAX: usize = MIB;
/// Streams that a search may name (API reference, FilterLogEvents).
pub const STREAMS_PER_SEARCH_MAX: usize = 100;
/// Events that one search looks at; where fewer match than the page holds, the page's token goes on.
pub const EVENTS_SCANNED_MAX: usize = 200_000;

/// Events that are scanned at a time.
pub const SCAN_ITEMS: usize = 4096;
/// Bytes that are scanned at a time.
pub const SCAN_BYTES: usize = 4 * MIB;
/// Scans of one request; each is a bounded amount of work. Where that does not reach the end, the page's token goes on.
pub const SCANS_PER_REQUEST_MAX: usize = 256;

/// Bytes of functions' lines that wait for their groups and streams to be created, of one stream.
pub const WAITING_BYTES_PER_STREAM_MAX: usize = MIB;
/// The same of all streams together.
pub const WAITING_BYTES_MAX: usize = 64 * MIB;
/// Streams that are created at a time.
pub const OPENING_AT_ONCE_MAX: usize = 256;
/// A read waits this long for streams that are just being created, so that a function's first lines are found at once.
pub const SETTLE_WAIT_MAX: Duration = Duration::from_secs(2);
/// Whoever must know that lines are written waits so long for a disk that does not take them.
pub const WRITTEN_WAIT_MAX: Duration = Duration::from_secs(2);
/// Changed times and sizes of streams are written after so long.
pub const STATISTICS_EVERY: Duration = Duration::from_secs(5);
/// Streams whose statistics are written in one commit.
pub const STATISTICS_PER_COMMIT_MAX: usize = 64;
/// A clock that steps back less than this does not disorder a function's lines.
pub const CLOCK_STEP_HIDDEN: Duration = Duration::from_secs(1);

const _: () = assert!(STREAM_NAME_BYTES_MAX + 12 + 64 + 1 + 32 <= store::segments::STREAM_BYTES_MAX);
const _: () = assert!(PUT_BYTES_MAX - EVENT_OVERHEAD_BYTES + crate::payload::HEAD_BYTES_MAX <= PAYLOAD_BYTES_MAX);
const _: () = assert!(model::limits::LOG_LINE_BYTES_MAX + crate::payload::HEAD_BYTES_MAX <= PAYLOAD_BYTES_MAX);
const _: () = assert!(SCAN_ITEMS <= store::limits::PAGE_ITEMS_MAX && SCAN_BYTES <= store::limits::PAGE_BYTES_MAX);
const _: () = assert!(SCAN_ITEMS * SCANS_PER_REQUEST_MAX >= EVENTS_SCANNED_MAX);
const _: () = assert!(WAITING_BYTES_PER_STREAM_MAX <= WAITING_BYTES_MAX);
const _: () = assert!(model::limits::LOG_LINE_BYTES_MAX + EVENT_OVERHEAD_BYTES <= PAGE_BYTES_MAX);
const _: () = assert!(EVENTS_PER_PAGE_MAX <= EVENTS_SCANNED_MAX);

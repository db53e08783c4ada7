//! Every limit has a name; those that are AWS's own say so.

use base::sizes::{KIB, MIB};

/// Request payload of a synchronous invocation (Lambda quota "Invocation payload, synchronous").
pub const PAYLOAD_BYTES_MAX: usize = 6_291_456;
/// Response payload of a synchronous invocation: 100 bytes more than the request, as Lambda enforces.
pub const ANSWER_BYTES_MAX: usize = 6_291_556;
/// Request payload of an event invocation (Lambda quota, 1 MB since October 2025).
pub const EVENT_BYTES_MAX: usize = 1024 * KIB;
/// The `X-Amz-Client-Context` header, base64-encoded (Lambda API reference, Invoke).
pub const CLIENT_CONTEXT_BYTES_MAX: usize = 3583;
/// The last part of the log that `LogType=Tail` returns.
pub const LOG_TAIL_BYTES: usize = 4 * KIB;

/// Zip file in a request (Lambda quota "Deployment package", zipped, direct upload).
pub const PACKAGE_ZIPPED_BYTES_MAX: usize = 52_428_800;
/// Package and layers, unpacked (Lambda quota "Deployment package", unzipped).
pub const PACKAGE_UNZIPPED_BYTES_MAX: u64 = 262_144_000;
/// Entries of a package. Lambda names no number; a million empty files would fill the inode table of a small disk.
pub const PACKAGE_ENTRIES_MAX: usize = 100_000;

/// Memory of a function (Lambda quota).
pub const MEMORY_MIB_MIN: u32 = 128;
/// Memory of a function (Lambda quota).
pub const MEMORY_MIB_MAX: u32 = 10_240;
/// Memory that has the weight of one processor (Lambda: "at 1,769 MB, a function has the equivalent of one vCPU").
pub const MEMORY_MIB_OF_ONE_CORE: u32 = 1769;
/// Size of `/tmp` (Lambda quota).
pub const EPHEMERAL_MIB_MIN: u32 = 512;
/// Size of `/tmp` (Lambda quota).
pub const EPHEMERAL_MIB_MAX: u32 = 10_240;
/// Time-out of a function (Lambda quota).
pub const TIMEOUT_SECS_MAX: u32 = 900;
/// Time for a function's init before it is started again within the first invocation (Lambda execution environment).
pub const INIT_SECS_MAX: u32 = 10;
/// A function's environment as JSON without white space (Lambda quota).
pub const ENVIRONMENT_BYTES_MAX: usize = 4 * KIB;

/// Tags of a function (Lambda developer guide, "Tag requirements").
pub const TAGS_MAX: usize = 50;

/// Body of any API request other than the upload of a package.
pub const REQUEST_BODY_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + MIB;
/// Body of an API request that carries a zip file as base64 in JSON (as Lambda says when it refuses a larger one).
pub const PACKAGE_BODY_BYTES_MAX: usize = 70_167_211;

/// Attempts of an event invocation whose function fails (Lambda: two retries).
pub const EVENT_ATTEMPTS_MAX: u32 = 3;
/// An event invocation is dropped when it is older (Lambda: six hours).
pub const EVENT_AGE_SECS_MAX: u64 = 6 * 3600;

/// One line of a guest's output; a longer one is cut into several (CloudWatch Logs: 1 MB an event).
pub const LOG_LINE_BYTES_MAX: usize = 256 * KIB;
/// Output of one invocation that is kept; what comes after is counted and dropped.
pub const LOG_BYTES_PER_INVOCATION_MAX: usize = 8 * MIB;

const _: () = assert!(PAYLOAD_BYTES_MAX < REQUEST_BODY_BYTES_MAX);
const _: () = assert!(EVENT_BYTES_MAX <= PAYLOAD_BYTES_MAX);
const _: () = assert!(PACKAGE_ZIPPED_BYTES_MAX / 3 * 4 < PACKAGE_BODY_BYTES_MAX);
const _: () = assert!(LOG_TAIL_BYTES < LOG_BYTES_PER_INVOCATION_MAX);
const _: () = assert!(LOG_LINE_BYTES_MAX <= LOG_BYTES_PER_INVOCATION_MAX);

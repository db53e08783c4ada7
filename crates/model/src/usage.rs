//! Facts for the bill: one for each attempt of an invocation.

use base::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{FunctionId, InvocationId};

/// How an attempt ended, as the bill sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageOutcome {
    /// The function answered.
    Success,
    /// The function failed.
    FunctionError,
    /// The platform failed.
    PlatformFailure,
}

/// What one attempt used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageFact {
    /// When the attempt ended.
    pub at: Timestamp,
    /// Whose code ran.
    pub function: FunctionId,
    /// Which version of it, `$LATEST` or a number.
    pub version: String,
    /// The invocation; with `attempt`, the fact's identity.
    pub invocation: InvocationId,
    /// 1 for the first.
    pub attempt: u32,
    /// Time that the function ran, in microseconds.
    pub duration_us: u64,
    /// Time that is billed, in whole milliseconds, init included as Lambda does since August 2025.
    pub billed_ms: u64,
    /// Init of an instance that was started for this attempt, in microseconds.
    pub init_us: Option<u64>,
    /// Memory of the function's configuration.
    pub memory_mib: u32,
    /// Memory that was used at most.
    pub memory_used_mib: u32,
    /// How it ended.
    pub outcome: UsageOutcome,
    /// Bytes of the event.
    pub bytes_in: u64,
    /// Bytes of the answer.
    pub bytes_out: u64,
}

//! One call of a function: what goes in and what becomes of it.

use std::time::Duration;

use base::time::Timestamp;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ids::InvocationId;

/// What a function is called with.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The same over all attempts.
    pub id: InvocationId,
    /// The event, as the caller sent it.
    pub payload: Bytes,
    /// `X-Amz-Client-Context`, decoded from base64: a JSON document. `None` if absent.
    pub client_context: Option<String>,
    /// The X-Ray trace header, as received or made.
    pub trace_header: String,
    /// When the function's time runs out.
    pub deadline: Timestamp,
}

/// Whose fault it is when something did not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// The request was wrong.
    Caller,
    /// The function's code failed.
    Function,
    /// The platform could not do its work.
    Platform,
}

/// What became of an invocation that reached the function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The function answered.
    Success(Bytes),
    /// The function failed; `X-Amz-Function-Error: Unhandled` in the Lambda API.
    FunctionError(FunctionError),
    /// The platform lost the instance or could not start one, through no fault of the function.
    PlatformFailure(String),
}

/// A failure of the function's code, as Lambda words it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionError {
    /// What kind it is, for logs, metrics and retries.
    pub kind: FunctionErrorKind,
    /// The JSON document for the caller: `errorMessage`, `errorType`, and what else the runtime sent.
    pub payload: Bytes,
}

/// How a function failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FunctionErrorKind {
    /// The handler raised, or the runtime reported an error.
    Raised,
    /// The time ran out.
    TimedOut,
    /// The process used more memory than configured.
    OutOfMemory,
    /// The process ended while it had an invocation.
    Exited,
    /// The code could not be loaded or its init raised.
    Init,
    /// The answer was larger than the limit.
    AnswerTooLarge,
}

/// What one attempt used, measured at the wall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Measured {
    /// From handing over the event to the answer.
    pub duration: Duration,
    /// Init of this instance, if it was started for this attempt.
    pub init: Option<Duration>,
    /// The most memory the instance has used so far.
    pub memory_used_mib: u32,
    /// Bytes of the guest's output that were dropped.
    pub log_bytes_dropped: u64,
}

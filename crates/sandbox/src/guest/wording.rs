//! The words of failures that the platform itself sees, as Lambda writes them.

use bytes::Bytes;
use model::invocation::{FunctionError, FunctionErrorKind};
use model::limits::ANSWER_BYTES_MAX;
use serde::de::IgnoredAny;
use serde_json::json;

use crate::wall::Exit;

/// `{"errorType": …, "errorMessage": …}`.
pub(crate) fn function_error(kind: FunctionErrorKind, error_type: &str, message: &str) -> FunctionError {
    let payload = json!({ "errorType": error_type, "errorMessage": message });
    FunctionError { kind, payload: Bytes::from(payload.to_string()) }
}

/// The function's time ran out.
pub(crate) fn timed_out(request: &str, timeout_secs: u32) -> FunctionError {
    let message = format!("RequestId: {request} Error: Task timed out after {timeout_secs}.00 seconds");
    function_error(FunctionErrorKind::TimedOut, "Sandbox.Timedout", &message)
}

/// The answer was over Lambda's limit.
pub(crate) fn answer_too_large() -> FunctionError {
    let message = format!("Response payload size exceeded maximum allowed payload size ({ANSWER_BYTES_MAX} bytes).");
    function_error(FunctionErrorKind::AnswerTooLarge, "Function.ResponseSizeTooLarge", &message)
}

/// The process ended while it had an invocation, or before it asked for one.
pub(crate) fn exited(exit: Exit, request: Option<&str>) -> FunctionError {
    let (kind, error_type) = match exit {
        Exit::OutOfMemory => (FunctionErrorKind::OutOfMemory, "Runtime.OutOfMemory"),
        _ => (FunctionErrorKind::Exited, "Runtime.ExitError"),
    };
    function_error(kind, error_type, &about(request, &exit_reason(exit)))
}

/// A package for `provided*` brings no `bootstrap`.
pub(crate) fn no_bootstrap(request: Option<&str>) -> FunctionError {
    let message = about(request, "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]");
    function_error(FunctionErrorKind::Init, "Runtime.InvalidEntrypoint", &message)
}

/// The guest's side of a channel broke its rules.
pub(crate) fn broke_protocol(request: Option<&str>, reason: &str) -> FunctionError {
    let message = about(request, &broke_reason(reason));
    function_error(FunctionErrorKind::Exited, "Runtime.ExitError", &message)
}

/// The answer was to be a stream.
pub(crate) fn streaming_refused(request: &str) -> FunctionError {
    let message = about(Some(request), "response streaming is not served yet");
    function_error(FunctionErrorKind::Raised, "Runtime.StreamingNotSupported", &message)
}

/// What the log says of a process that ended after it had reported its error.
pub(crate) fn exit_message(exit: Exit, request: &str) -> String {
    about(Some(request), &exit_reason(exit))
}

/// What the log says when a guest's process ends during its init: one event.
pub(crate) fn exit_log_line(exit: Exit) -> String {
    let error_type = if exit == Exit::OutOfMemory { "Runtime.OutOfMemory" } else { "Runtime.ExitError" };
    format!("{}\n{error_type}", about(None, &exit_reason(exit)))
}

/// An error document that a guest sent: its own JSON, or its words as JSON.
pub(crate) fn raised(kind: FunctionErrorKind, document: Bytes, error_type: Option<&str>) -> FunctionError {
    if serde_json::from_slice::<IgnoredAny>(&document).is_ok() {
        return FunctionError { kind, payload: document };
    }
    function_error(kind, error_type.unwrap_or("Runtime.Unknown"), &String::from_utf8_lossy(&document))
}

fn about(request: Option<&str>, reason: &str) -> String {
    match request {
        Some(request) => format!("RequestId: {request} Error: {reason}"),
        None => format!("Error: {reason}"),
    }
}

fn broke_reason(reason: &str) -> String {
    format!("Runtime was ended because it broke its protocol: {reason}")
}

fn exit_reason(exit: Exit) -> String {
    match exit {
        Exit::Code(0) => "Runtime exited without providing a reason".to_owned(),
        Exit::Code(code) => format!("Runtime exited with error: exit status {code}"),
        Exit::Signal(signal) => format!("Runtime exited with error: signal: {}", signal_name(signal)),
        Exit::OutOfMemory => "Runtime exited with error: signal: killed".to_owned(),
        Exit::PlatformLost => "the platform lost the sandbox".to_owned(),
    }
}

/// As Go's `syscall.Signal` says it on Linux: Lambda's own words.
fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGHUP => "hangup",
        libc::SIGINT => "interrupt",
        libc::SIGQUIT => "quit",
        libc::SIGILL => "illegal instruction",
        libc::SIGTRAP => "trace/breakpoint trap",
        libc::SIGABRT => "aborted",
        libc::SIGBUS => "bus error",
        libc::SIGFPE => "floating point exception",
        libc::SIGKILL => "killed",
        libc::SIGUSR1 => "user defined signal 1",
        libc::SIGSEGV => "segmentation fault",
        libc::SIGUSR2 => "user defined signal 2",
        libc::SIGPIPE => "broken pipe",
        libc::SIGALRM => "alarm clock",
        libc::SIGTERM => "terminated",
        libc::SIGSYS => "bad system call",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

//! The platform's own log lines, worded as Lambda words them: pure text.

use std::fmt::Write as _;
use std::time::Duration;

use base::time::Timestamp;
use model::ids::InvocationId;
use model::invocation::{FunctionErrorKind, Outcome};

/// How an invocation ended, as far as the log tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// With an answer, or with an error that the runtime reported: an ordinary end to Lambda's report.
    Answered,
    /// The function's time, in seconds, ran out.
    TimedOut(u32),
    /// The process used more memory than configured.
    OutOfMemory,
    /// The process ended; in the platform's words.
    Exited(String),
    /// The code could not be loaded.
    InitFailed {
        /// The error's own type, a plain word.
        error_type: String,
        /// What the platform saw, where the runtime could not say it.
        seen: Option<String>,
    },
    /// The platform lost the instance; in words.
    Lost(String),
    /// The platform stopped.
    CutOff,
}

/// What a `REPORT` line says.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// The invocation.
    pub id: InvocationId,
    /// Time that the function ran.
    pub duration: Duration,
    /// Init of an instance that was started for it.
    pub init: Option<Duration>,
    /// Memory of the configuration.
    pub memory_mib: u32,
    /// Memory used at most.
    pub memory_used_mib: u32,
    /// How it ended.
    pub ending: &'a Ending,
}

impl Ending {
    /// Reads an outcome.
    pub fn of(outcome: &Outcome, timeout_secs: u32) -> Self {
        match outcome {
            Outcome::Success(_) => Self::Answered,
            Outcome::PlatformFailure(reason) => Self::Lost(reason.clone()),
            Outcome::FunctionError(error) => match error.kind {
                FunctionErrorKind::TimedOut => Self::TimedOut(timeout_secs),
                FunctionErrorKind::OutOfMemory => Self::OutOfMemory,
                FunctionErrorKind::Exited => Self::Exited(text_of(&error.payload, "errorMessage").unwrap_or_default()),
                FunctionErrorKind::Init => Self::InitFailed { error_type: error_type(&error.payload), seen: None },
                FunctionErrorKind::Raised | FunctionErrorKind::AnswerTooLarge => Self::Answered,
            },
        }
    }
}

/// Whole milliseconds that are billed: duration and init, rounded up (Lambda pricing, since August 2025).
pub fn billed_ms(duration: Duration, init: Option<Duration>) -> u64 {
    let micros = (duration + init.unwrap_or_default()).as_micros();
    u64::try_from(micros.div_ceil(1000)).unwrap_or(u64::MAX).max(1)
}

/// `START RequestId: ID Version: VERSION`.
pub fn start(id: InvocationId, version: &str) -> String {
    format!("START RequestId: {id} Version: {version}\n")
}

/// `END RequestId: ID`.
pub fn end(id: InvocationId) -> String {
    format!("END RequestId: {id}\n")
}

/// `REPORT RequestId: ID`, then tab-separated facts.
pub fn report(report: &Report<'_>) -> String {
    let mut line = format!(
        "REPORT RequestId: {}\tDuration: {:.2} ms\tBilled Duration: {} ms\tMemory Size: {} MB\tMax Memory Used: {} MB\t",
        report.id,
        millis(report.duration),
        billed_ms(report.duration, report.init),
        report.memory_mib,
        report.memory_used_mib,
    );
    if let Some(init) = report.init {
        write!(line, "Init Duration: {:.2} ms\t", millis(init)).expect("text grows");
    }
    match report.ending {
        Ending::Answered => {}
        Ending::TimedOut(_) => line.push_str("Status: timeout\t"),
        Ending::OutOfMemory => push_error(&mut line, "Runtime.OutOfMemory"),
        Ending::Exited(_) => push_error(&mut line, "Runtime.ExitError"),
        Ending::InitFailed { error_type, .. } => push_error(&mut line, error_type),
        Ending::Lost(_) => push_error(&mut line, "Platform.InstanceLost"),
        Ending::CutOff => push_error(&mut line, "Platform.Stopped"),
    }
    line.push('\n');
    line
}

fn push_error(line: &mut String, error_type: &str) {
    write!(line, "Status: error\tError Type: {error_type}\t").expect("text grows");
}

/// What Lambda adds when an invocation ends without an answer; `None` where the runtime has said it all.
pub fn failure(id: InvocationId, at: Timestamp, ending: &Ending) -> Option<String> {
    let line = match ending {
        Ending::Answered | Ending::InitFailed { seen: None, .. } => return None,
        Ending::TimedOut(secs) => format!("{} {id} Task timed out after {secs}.00 seconds\n\n", at.iso8601_millis()),
        Ending::OutOfMemory => {
            format!("RequestId: {id} Error: Runtime exited with error: signal: killed\nRuntime.OutOfMemory\n")
        }
        Ending::Exited(message) => format!("{message}\nRuntime.ExitError\n"),
        Ending::InitFailed { error_type, seen: Some(message) } => format!("{message}\n{error_type}\n"),
        Ending::Lost(reason) => format!("RequestId: {id} Error: the platform lost it: {reason}\n"),
        Ending::CutOff => format!("RequestId: {id} Error: cut off, because the platform stopped\n"),
    };
    Some(line)
}

/// The type that an error document names. The guest wrote it: only a plain word goes into a line of the platform.
pub fn error_type(payload: &[u8]) -> String {
    let plain = |it: &String| it.len() <= 100 && it.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
    text_of(payload, "errorType").filter(plain).unwrap_or_else(|| "Runtime.Unknown".to_owned())
}

/// A text of an error document.
pub fn text_of(payload: &[u8], name: &str) -> Option<String> {
    let document: serde_json::Value = serde_json::from_slice(payload).ok()?;
    document.get(name)?.as_str().map(str::to_owned)
}

/// `INIT_START`, before the first line of an instance.
pub fn init_start(runtime: &str) -> String {
    format!("INIT_START Runtime Version: {runtime}\n")
}

/// `INIT_REPORT` of an init that did not end well.
pub fn init_report(init: Duration, error_type: &str) -> String {
    format!("INIT_REPORT Init Duration: {:.2} ms\tPhase: init\tStatus: error\tError Type: {error_type}\n", millis(init))
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use expect_test::{Expect, expect};
    use model::invocation::FunctionError;

    use super::*;

    fn id() -> InvocationId {
        InvocationId::from_random([1; 16])
    }

    fn failed(kind: FunctionErrorKind) -> Ending {
        let payload = Bytes::from_static(
            br#"{"errorType":"Boom","errorMessage":"RequestId: x Error: Runtime exited with error: exit status 3"}"#,
        );
        Ending::of(&Outcome::FunctionError(FunctionError { kind, payload }), 3)
    }

    fn check(ending: &Ending, init: Option<u64>, expected: Expect) {
        let line = report(&Report {
            id: id(),
            duration: Duration::from_micros(1234),
            init: init.map(Duration::from_micros),
            memory_mib: 128,
            memory_used_mib: 30,
            ending,
        });
        let extra = failure(id(), Timestamp::from_millis(1_700_000_000_000), ending).unwrap_or_default();
        expected.assert_eq(&format!("{extra}{line}"));
    }

    #[test]
    fn reports_read_like_lambdas() {
        check(
            &Ending::of(&Outcome::Success(Bytes::new()), 3),
            Some(10_000),
            expect![[r#"
            REPORT RequestId: 01010101-0101-4101-8101-010101010101	Duration: 1.23 ms	Billed Duration: 12 ms	Memory Size: 128 MB	Max Memory Used: 30 MB	Init Duration: 10.00 ms	
        "#]],
        );
        check(
            &failed(FunctionErrorKind::Raised),
            None,
            expect![[r#"
            REPORT RequestId: 01010101-0101-4101-8101-010101010101	Duration: 1.23 ms	Billed Duration: 2 ms	Memory Size: 128 MB	Max Memory Used: 30 MB	
        "#]],
        );
        check(
            &failed(FunctionErrorKind::TimedOut),
            None,
            expect![[r#"
            2023-11-14T22:13:20.000Z 01010101-0101-4101-8101-010101010101 Task timed out after 3.00 seconds

            REPORT RequestId: 01010101-0101-4101-8101-010101010101	Duration: 1.23 ms	Billed Duration: 2 ms	Memory Size: 128 MB	Max Memory Used: 30 MB	Status: timeout	
        "#]],
        );
        check(
            &failed(FunctionErrorKind::OutOfMemory),
            None,
            expect![[r#"
            RequestId: 01010101-0101-4101-8101-010101010101 Error: Runtime exited with error: signal: killed
            Runtime.OutOfMemory
            REPORT RequestId: 01010101-0101-4101-8101-010101010101	Duration: 1.23 ms	Billed Duration: 2 ms	Memory Size: 128 MB	Max Memory Used: 30 MB	Status: error	Error Type: Runtime.OutOfMemory	
        "#]],
        );
        check(
            &failed(FunctionErrorKind::Exited),
            None,
            expect![[r#"
            RequestId: x Error: Runtime exited with error: exit status 3
            Runtime.ExitError
            REPORT RequestId: 01010101-0101-4101-8101-010101010101	Duration: 1.23 ms	Billed Duration: 2 ms	Memory Size: 128 MB	Max Memory Used: 30 MB	Status: error	Error Type: Runtime.ExitError	
        "#]],
        );
    }

    #[test]
    fn a_failed_init_is_named_in_the_report() {
        check(
            &failed(FunctionErrorKind::Init),
            None,
            expect![[r#"
            REPORT RequestId: 01010101-0101-4101-8101-010101010101	Duration: 1.23 ms	Billed Duration: 2 ms	Memory Size: 128 MB	Max Memory Used: 30 MB	Status: error	Error Type: Boom	
        "#]],
        );
        let seen = "RequestId: x Error: Runtime exited with error: exit status 3".to_owned();
        let ending = Ending::InitFailed { error_type: "Runtime.ExitError".to_owned(), seen: Some(seen) };
        check(
            &ending,
            None,
            expect![[r#"
            RequestId: x Error: Runtime exited with error: exit status 3
            Runtime.ExitError
            REPORT RequestId: 01010101-0101-4101-8101-010101010101	Duration: 1.23 ms	Billed Duration: 2 ms	Memory Size: 128 MB	Max Memory Used: 30 MB	Status: error	Error Type: Runtime.ExitError	
        "#]],
        );
    }

    #[test]
    fn what_the_platform_did_is_said() {
        check(
            &Ending::of(&Outcome::PlatformFailure("gone".to_owned()), 3),
            None,
            expect![[r#"
            RequestId: 01010101-0101-4101-8101-010101010101 Error: the platform lost it: gone
            REPORT RequestId: 01010101-0101-4101-8101-010101010101	Duration: 1.23 ms	Billed Duration: 2 ms	Memory Size: 128 MB	Max Memory Used: 30 MB	Status: error	Error Type: Platform.InstanceLost	
        "#]],
        );
        check(
            &Ending::CutOff,
            None,
            expect![[r#"
            RequestId: 01010101-0101-4101-8101-010101010101 Error: cut off, because the platform stopped
            REPORT RequestId: 01010101-0101-4101-8101-010101010101	Duration: 1.23 ms	Billed Duration: 2 ms	Memory Size: 128 MB	Max Memory Used: 30 MB	Status: error	Error Type: Platform.Stopped	
        "#]],
        );
    }

    #[test]
    fn a_type_that_a_guest_names_adds_no_words_to_a_line() {
        assert_eq!(error_type(br#"{"errorType":"Runtime.ImportModuleError"}"#), "Runtime.ImportModuleError");
        assert_eq!(error_type(br#"{"errorType":"x\tStatus: success"}"#), "Runtime.Unknown");
        assert_eq!(error_type(b"no document"), "Runtime.Unknown");
    }

    #[test]
    fn a_started_millisecond_is_billed() {
        assert_eq!(billed_ms(Duration::ZERO, None), 1);
        assert_eq!(billed_ms(Duration::from_micros(1000), None), 1);
        assert_eq!(billed_ms(Duration::from_micros(1001), None), 2);
        assert_eq!(billed_ms(Duration::from_micros(1001), Some(Duration::from_micros(999))), 2);
    }
}

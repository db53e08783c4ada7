//! The platform's own log lines, worded as Lambda words them: pure text.

use std::fmt::Write as _;
use std::time::Duration;

use base::time::Timestamp;
use model::ids::InvocationId;
use model::invocation::{FunctionErrorKind, Outcome};

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
    pub outcome: &'a Outcome,
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
    match report.outcome {
        Outcome::FunctionError(error) => match error.kind {
            FunctionErrorKind::TimedOut => line.push_str("Status: timeout\t"),
            FunctionErrorKind::OutOfMemory => line.push_str("Status: error\tError Type: Runtime.OutOfMemory\t"),
            FunctionErrorKind::Exited => line.push_str("Status: error\tError Type: Runtime.ExitError\t"),
            // An error that the handler raised is an ordinary end to Lambda's report.
            FunctionErrorKind::Raised | FunctionErrorKind::Init | FunctionErrorKind::AnswerTooLarge => {}
        },
        Outcome::PlatformFailure(_) => line.push_str("Status: error\tError Type: Platform.InstanceLost\t"),
        Outcome::Success(_) => {}
    }
    line.push('\n');
    line
}

/// What Lambda adds when an invocation ends without an answer; `None` where the runtime has said it all.
pub fn failure(id: InvocationId, at: Timestamp, timeout_secs: u32, outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::FunctionError(error) => match error.kind {
            FunctionErrorKind::TimedOut => {
                Some(format!("{} {id} Task timed out after {timeout_secs}.00 seconds\n\n", at.iso8601_millis()))
            }
            FunctionErrorKind::OutOfMemory => {
                Some(format!("RequestId: {id} Error: Runtime exited with error: signal: killed\nRuntime.OutOfMemory\n"))
            }
            FunctionErrorKind::Exited => {
                let text = error_message(&error.payload)?;
                Some(format!("{text}\nRuntime.ExitError\n"))
            }
            FunctionErrorKind::Raised | FunctionErrorKind::Init | FunctionErrorKind::AnswerTooLarge => None,
        },
        Outcome::PlatformFailure(reason) => Some(format!("RequestId: {id} Error: the platform lost it: {reason}\n")),
        Outcome::Success(_) => None,
    }
}

fn error_message(payload: &[u8]) -> Option<String> {
    let document: serde_json::Value = serde_json::from_slice(payload).ok()?;
    document.get("errorMessage")?.as_str().map(str::to_owned)
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

    fn failed(kind: FunctionErrorKind) -> Outcome {
        let payload =
            Bytes::from_static(br#"{"errorMessage":"RequestId: x Error: Runtime exited with error: exit status 3"}"#);
        Outcome::FunctionError(FunctionError { kind, payload })
    }

    fn check(outcome: &Outcome, init: Option<u64>, expected: Expect) {
        let line = report(&Report {
            id: id(),
            duration: Duration::from_micros(1234),
            init: init.map(Duration::from_micros),
            memory_mib: 128,
            memory_used_mib: 30,
            outcome,
        });
        let extra = failure(id(), Timestamp::from_millis(1_700_000_000_000), 3, outcome).unwrap_or_default();
        expected.assert_eq(&format!("{extra}{line}"));
    }

    #[test]
    fn reports_read_like_lambdas() {
        check(
            &Outcome::Success(Bytes::new()),
            Some(10_000),
            expect![[r#"
            REPORT RequestId: 01010101-0101-4101-8101-010101010101	Duration: 1.23 ms	Billed Duration: 12 ms	Memory Size: 128 MB	Max Memory Used: 30 MB	Init Duration: 10.00 ms	
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
    fn a_started_millisecond_is_billed() {
        assert_eq!(billed_ms(Duration::ZERO, None), 1);
        assert_eq!(billed_ms(Duration::from_micros(1000), None), 1);
        assert_eq!(billed_ms(Duration::from_micros(1001), None), 2);
        assert_eq!(billed_ms(Duration::from_micros(1001), Some(Duration::from_micros(999))), 2);
    }
}

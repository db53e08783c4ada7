//! What becomes of an event after an attempt: pure.

use std::time::Duration;

use base::backoff::Backoff;
use base::time::Timestamp;
use model::invocation::Outcome;

use super::record::EventState;

/// When an event is tried again, and when it is given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPolicy {
    /// Pauses after the first, second … failure of the function; as many retries as pauses (Lambda: one, two minutes).
    pub function_retries: Vec<Duration>,
    /// Pauses after throttles and failures of the platform, which are not counted (Lambda: one second to five minutes).
    pub platform_backoff: Backoff,
    /// An older event is given up (Lambda: six hours).
    pub age_max: Duration,
}

impl Default for EventPolicy {
    fn default() -> Self {
        Self {
            function_retries: vec![Duration::from_secs(60), Duration::from_secs(120)],
            platform_backoff: Backoff { first: Duration::from_secs(1), max: Duration::from_secs(300) },
            age_max: Duration::from_secs(model::limits::EVENT_AGE_SECS_MAX),
        }
    }
}

/// How an attempt ended, as far as retries are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The function answered.
    Success,
    /// The function failed.
    FunctionError,
    /// The platform failed after an instance may have seen the event; in words.
    Platform(String),
    /// No instance saw the event: the platform failed or had no room; in words.
    Undelivered(String),
    /// No instance saw the event, because the platform stops.
    Stopping,
    /// There is no such function any more.
    Gone,
}

impl Ended {
    /// Reads an outcome.
    pub fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Success(_) => Self::Success,
            Outcome::FunctionError(_) => Self::FunctionError,
            Outcome::PlatformFailure(reason) => Self::Platform(reason),
        }
    }
}

/// What is to be done with the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is done.
    Done,
    /// It is tried again.
    Again {
        /// How far it has come.
        state: EventState,
        /// When.
        at: Timestamp,
    },
    /// It is given up; in words why.
    Drop(String),
}

/// An attempt begins.
pub(crate) fn begin(state: &EventState) -> EventState {
    EventState { begun: state.begun + 1, running: true, ..state.clone() }
}

/// What an attempt leaves of the state in which it began: one that no instance saw was none. It was recorded as begun only
/// because nobody could have told after a crash.
pub(crate) fn count(begun: &EventState, ended: &Ended) -> EventState {
    match ended {
        Ended::Undelivered(_) | Ended::Stopping | Ended::Gone => {
            EventState { begun: begun.begun.saturating_sub(1), ..begun.clone() }
        }
        Ended::Success | Ended::FunctionError | Ended::Platform(_) => begun.clone(),
    }
}

/// Whether the event has grown too old to be tried at all.
pub(crate) fn expired(state: &EventState, now: Timestamp, policy: &EventPolicy) -> Option<Decision> {
    (now.since(state.accepted) >= policy.age_max).then(|| too_old(policy))
}

/// An attempt has ended, and was counted or not.
pub(crate) fn end(state: &EventState, ended: &Ended, now: Timestamp, policy: &EventPolicy) -> Decision {
    let (state, pause) = match ended {
        Ended::Success => return Decision::Done,
        Ended::Gone => return Decision::Drop("the function was deleted".to_owned()),
        Ended::FunctionError => {
            let failures = state.function_errors + 1;
            let Some(pause) = policy.function_retries.get(failures as usize - 1) else {
                return Decision::Drop(format!("the function failed {failures} times"));
            };
            let state = EventState { function_errors: failures, platform_failures: 0, running: false, ..state.clone() };
            (state, *pause)
        }
        Ended::Stopping => {
            return Decision::Again { state: EventState { running: false, ..state.clone() }, at: state.next };
        }
        Ended::Platform(_) | Ended::Undelivered(_) => {
            let failures = state.platform_failures.saturating_add(1);
            let pause = policy.platform_backoff.delay(failures);
            (EventState { platform_failures: failures, running: false, ..state.clone() }, pause)
        }
    };
    let at = now.plus(pause);
    if at.since(state.accepted) >= policy.age_max {
        return too_old(policy);
    }
    Decision::Again { state: EventState { next: at, ..state }, at }
}

fn too_old(policy: &EventPolicy) -> Decision {
    Decision::Drop(format!("it is older than {} seconds", policy.age_max.as_secs()))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    /// Plays attempts one after the other and shows what is decided; `f` the function fails, `p` the platform, `u` before
    /// an instance saw it, `t` the platform stops, `s` it succeeds, `g` the function is gone.
    fn check(attempts: &str, expected: Expect) {
        let policy = EventPolicy::default();
        let accepted = Timestamp::from_millis(1_000_000);
        let mut now = accepted;
        let mut state =
            EventState { accepted, begun: 0, function_errors: 0, platform_failures: 0, next: accepted, running: false };
        let mut shown = Vec::new();
        for letter in attempts.chars() {
            state = begin(&state);
            assert!(state.running);
            let ended = match letter {
                's' => Ended::Success,
                'f' => Ended::FunctionError,
                'p' => Ended::Platform("lost".to_owned()),
                'u' => Ended::Undelivered("no room".to_owned()),
                't' => Ended::Stopping,
                _ => Ended::Gone,
            };
            state = count(&state, &ended);
            match end(&state, &ended, now, &policy) {
                Decision::Done => shown.push(format!("attempt {}: done", state.begun)),
                Decision::Drop(why) => shown.push(format!("attempt {}: dropped, {why}", state.begun)),
                Decision::Again { state: next, at } => {
                    shown.push(format!("attempt {}: again in {} s", state.begun, at.since(now).as_secs()));
                    assert!(!next.running && next.next == at);
                    now = at;
                    state = next;
                }
            }
        }
        expected.assert_eq(&shown.join("\n"));
    }

    #[test]
    fn a_failing_function_is_tried_three_times() {
        check(
            "fff",
            expect![[r#"
            attempt 1: again in 60 s
            attempt 2: again in 120 s
            attempt 3: dropped, the function failed 3 times"#]],
        );
    }

    #[test]
    fn failures_of_the_platform_do_not_count() {
        check(
            "pppfpfs",
            expect![[r#"
            attempt 1: again in 1 s
            attempt 2: again in 2 s
            attempt 3: again in 4 s
            attempt 4: again in 60 s
            attempt 5: again in 1 s
            attempt 6: again in 120 s
            attempt 7: done"#]],
        );
    }

    #[test]
    fn what_no_instance_saw_is_no_attempt() {
        check(
            "uufug",
            expect![[r#"
            attempt 0: again in 1 s
            attempt 0: again in 2 s
            attempt 1: again in 60 s
            attempt 1: again in 1 s
            attempt 1: dropped, the function was deleted"#]],
        );
    }

    #[test]
    fn what_waits_when_the_platform_stops_waits_on_as_it_was() {
        check(
            "futs",
            expect![[r#"
            attempt 1: again in 60 s
            attempt 1: again in 1 s
            attempt 1: again in 0 s
            attempt 2: done"#]],
        );
    }

    #[test]
    fn nothing_is_tried_beyond_its_age() {
        let policy = EventPolicy { age_max: Duration::from_secs(90), ..EventPolicy::default() };
        let accepted = Timestamp::from_millis(1_000_000);
        let state =
            EventState { accepted, begun: 1, function_errors: 0, platform_failures: 0, next: accepted, running: true };
        let at = |secs| accepted.plus(Duration::from_secs(secs));
        assert!(matches!(end(&state, &Ended::FunctionError, at(29), &policy), Decision::Again { .. }));
        assert!(matches!(end(&state, &Ended::FunctionError, at(30), &policy), Decision::Drop(_)));
        assert!(expired(&state, at(89), &policy).is_none());
        assert!(expired(&state, at(90), &policy).is_some());
    }

    #[test]
    fn a_deleted_function_ends_its_events() {
        check("g", expect![[r#"attempt 0: dropped, the function was deleted"#]]);
    }
}

//! Every metric of the platform, its handles resolved once.
//!
//! Labels are closed sets: outcomes, states, and the operations of the generated table. Nothing that a caller chooses
//! (a function's name, a path) becomes a label, so the number of series has a limit.

use std::time::Duration;

use model::usage::UsageOutcome;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// What [`Metrics::render`] returns, as a `Content-Type`.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Label pairs whose values are compiled in.
type Labels<const N: usize> = [(&'static str, &'static str); N];

/// Upper bounds of the buckets for durations, in seconds: a warm answer takes a fraction of a millisecond, the longest
/// time-out is 900 s.
const DURATION_BUCKETS: [f64; 17] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0, 900.0];
/// Upper bounds of the buckets for init, in seconds; init may take ten.
const INIT_BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What a caller who needed a new instance waited for, one after the other; in seconds.
#[derive(Debug, Clone)]
pub struct StartPhases {
    /// For room, for a place among the starts, and for the platform itself.
    pub queue: Histogram,
    /// Until the guest's process stood inside its wall.
    pub sandbox: Histogram,
    /// Until the language pack ran.
    pub interpreter: Histogram,
    /// For the function's own init.
    pub init: Histogram,
}

/// One counter for each outcome of an attempt.
#[derive(Debug, Clone, Default)]
pub struct OutcomeCounters {
    success: Counter,
    function_error: Counter,
    platform_failure: Counter,
}

impl OutcomeCounters {
    /// The counter of this outcome.
    pub fn of(&self, outcome: UsageOutcome) -> &Counter {
        match outcome {
            UsageOutcome::Success => &self.success,
            UsageOutcome::FunctionError => &self.function_error,
            UsageOutcome::PlatformFailure => &self.platform_failure,
        }
    }
}

/// How many instances are in each state now.
#[derive(Debug, Clone, Default)]
pub struct InstanceGauges {
    /// Being started, init included.
    pub starting: Gauge,
    /// Waiting for an invocation.
    pub idle: Gauge,
    /// Running an invocation.
    pub busy: Gauge,
}

/// All metrics. Share it in an `Arc`; every handle is cheap to clone and keep.
#[derive(Debug)]
pub struct Metrics {
    /// Attempts that ended, by outcome.
    pub invocations: OutcomeCounters,
    /// Invocations refused for want of concurrency.
    pub throttles: Counter,
    /// Event invocations that were put back to be tried again.
    pub event_retries: Counter,
    /// Event invocations given up after their last attempt or their maximum age.
    pub events_dropped: Counter,
    /// Attempts that had to start an instance.
    pub cold_starts: Counter,
    /// Instances by state.
    pub instances: InstanceGauges,
    /// Bytes of guests' output that were not kept: over a limit, or while the log writer was behind.
    pub log_bytes_dropped: Counter,
    /// Usage facts that were not kept because the writer was behind.
    pub usage_facts_dropped: Counter,
    /// Time that functions ran, in seconds.
    pub duration: Histogram,
    /// Time that inits took, in seconds.
    pub init: Histogram,
    /// What starts of instances took, by phase.
    pub starts: StartPhases,
    api_requests: Family<Labels<3>, Counter>,
    registry: Registry,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("pinfold");
        let outcomes = Family::<Labels<1>, Counter>::default();
        registry.register("invocations", "Attempts that ended, by outcome", outcomes.clone());
        let outcome = |name| outcomes.get_or_create_owned(&[("outcome", name)]);
        let invocations = OutcomeCounters {
            success: outcome("success"),
            function_error: outcome("function_error"),
            platform_failure: outcome("platform_failure"),
        };
        let states = Family::<Labels<1>, Gauge>::default();
        registry.register("instances", "Instances by state", states.clone());
        let state = |name| states.get_or_create_owned(&[("state", name)]);
        let instances = InstanceGauges { starting: state("starting"), idle: state("idle"), busy: state("busy") };

        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let throttles = counter("throttles", "Invocations refused for want of concurrency");
        let event_retries = counter("event_retries", "Event invocations put back to be tried again");
        let events_dropped = counter("events_dropped", "Event invocations given up");
        let cold_starts = counter("cold_starts", "Attempts that had to start an instance");
        let log_bytes_dropped = counter("log_bytes_dropped", "Bytes of functions' output that were not kept");
        let usage_facts_dropped = counter("usage_facts_dropped", "Usage facts that were not kept");

        let api_requests = Family::<Labels<3>, Counter>::default();
        registry.register("api_requests", "API requests by service, operation and status", api_requests.clone());
        let duration = Histogram::new(DURATION_BUCKETS);
        registry.register_with_unit("invocation_duration", "Time that functions ran", Unit::Seconds, duration.clone());
        let init = Histogram::new(INIT_BUCKETS);
        registry.register_with_unit("init_duration", "Time that inits took", Unit::Seconds, init.clone());
        let phases = Family::<Labels<1>, Histogram>::new_with_constructor(|| Histogram::new(DURATION_BUCKETS));
        registry.register_with_unit(
            "start_phase",
            "Time that callers waited for new instances, by phase",
            Unit::Seconds,
            phases.clone(),
        );
        let phase = |name| phases.get_or_create_owned(&[("phase", name)]);
        let starts = StartPhases {
            queue: phase("queue"),
            sandbox: phase("sandbox"),
            interpreter: phase("interpreter"),
            init: phase("init"),
        };
        Self {
            starts,
            invocations,
            throttles,
            event_retries,
            events_dropped,
            cold_starts,
            instances,
            log_bytes_dropped,
            usage_facts_dropped,
            duration,
            init,
            api_requests,
            registry,
        }
    }

    /// Counts one answered API request. Service and operation come from the generated table (`"-"` where a request names
    /// none), never from the caller.
    pub fn api_request(&self, service: &'static str, operation: &'static str, status: u16) {
        let labels = [("service", service), ("operation", operation), ("status", status_label(status))];
        self.api_requests.get_or_create(&labels).inc();
    }

    /// Counts an attempt that ended: outcome, time that the function ran, and init if it had one.
    pub fn attempt(&self, outcome: UsageOutcome, duration: Duration, init: Option<Duration>) {
        self.invocations.of(outcome).inc();
        self.duration.observe(duration.as_secs_f64());
        if let Some(init) = init {
            self.init.observe(init.as_secs_f64());
        }
    }

    /// All metrics as text in the OpenMetrics format, which Prometheus reads; see [`CONTENT_TYPE`].
    pub fn render(&self) -> String {
        let mut page = String::new();
        text::encode(&mut page, &self.registry).expect("writing to a string does not fail");
        page
    }
}

/// The statuses that the platform answers with; any other by its class, so that the set is closed.
fn status_label(status: u16) -> &'static str {
    match status {
        200 => "200",
        201 => "201",
        202 => "202",
        204 => "204",
        400 => "400",
        403 => "403",
        404 => "404",
        409 => "409",
        413 => "413",
        429 => "429",
        500 => "500",
        501 => "501",
        502 => "502",
        503 => "503",
        504 => "504",
        other => match other / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(act: impl FnOnce(&Metrics), expected: &[&str]) {
        let metrics = Metrics::new();
        act(&metrics);
        let page = metrics.render();
        for line in expected {
            assert!(page.lines().any(|found| found == *line), "no line {line:?} in\n{page}");
        }
        assert!(page.ends_with("# EOF\n"), "{page}");
    }

    #[test]
    fn every_series_is_there_before_anything_happened() {
        check(
            |_| {},
            &[
                "pinfold_invocations_total{outcome=\"success\"} 0",
                "pinfold_invocations_total{outcome=\"function_error\"} 0",
                "pinfold_invocations_total{outcome=\"platform_failure\"} 0",
                "pinfold_instances{state=\"starting\"} 0",
                "pinfold_instances{state=\"idle\"} 0",
                "pinfold_instances{state=\"busy\"} 0",
                "pinfold_throttles_total 0",
                "pinfold_event_retries_total 0",
                "pinfold_events_dropped_total 0",
                "pinfold_cold_starts_total 0",
                "pinfold_log_bytes_dropped_total 0",
                "pinfold_usage_facts_dropped_total 0",
                "pinfold_invocation_duration_seconds_count 0",
                "pinfold_init_duration_seconds_count 0",
            ],
        );
    }

    #[test]
    fn an_attempt_counts_once_in_its_outcome_and_its_histograms() {
        check(
            |metrics| {
                metrics.attempt(
                    UsageOutcome::FunctionError,
                    Duration::from_micros(600),
                    Some(Duration::from_millis(30)),
                );
                metrics.attempt(UsageOutcome::Success, Duration::from_secs(1000), None);
            },
            &[
                "pinfold_invocations_total{outcome=\"function_error\"} 1",
                "pinfold_invocations_total{outcome=\"success\"} 1",
                "pinfold_invocation_duration_seconds_bucket{le=\"0.0005\"} 0",
                "pinfold_invocation_duration_seconds_bucket{le=\"0.001\"} 1",
                "pinfold_invocation_duration_seconds_bucket{le=\"+Inf\"} 2",
                "pinfold_init_duration_seconds_bucket{le=\"0.025\"} 0",
                "pinfold_init_duration_seconds_bucket{le=\"0.05\"} 1",
            ],
        );
    }

    #[test]
    fn requests_are_counted_by_a_closed_set_of_statuses() {
        check(
            |metrics| {
                metrics.api_request("lambda", "Invoke", 200);
                metrics.api_request("lambda", "Invoke", 200);
                metrics.api_request("logs", "PutLogEvents", 418);
                metrics.api_request("-", "-", 599);
            },
            &[
                "pinfold_api_requests_total{service=\"lambda\",operation=\"Invoke\",status=\"200\"} 2",
                "pinfold_api_requests_total{service=\"logs\",operation=\"PutLogEvents\",status=\"4xx\"} 1",
                "pinfold_api_requests_total{service=\"-\",operation=\"-\",status=\"5xx\"} 1",
            ],
        );
    }
}

//! Medians and tails of durations.

use std::time::Duration;

/// Durations, to be looked at in order.
#[derive(Debug, Default, Clone)]
pub(crate) struct Durations(Vec<Duration>);

impl Durations {
    pub(crate) fn push(&mut self, duration: Duration) {
        self.0.push(duration);
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The duration that this share of all does not exceed; zero if there are none.
    pub(crate) fn percentile(&self, percent: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index within the list")]
        let index = ((last as f64) * percent / 100.0).round() as usize;
        sorted.get(index).copied().unwrap_or_default()
    }

    pub(crate) fn median(&self) -> Duration {
        self.percentile(50.0)
    }

    /// `p50 … p99 … max …` in microseconds.
    pub(crate) fn line(&self) -> String {
        let show = |percent| format!("{:.0}", self.percentile(percent).as_secs_f64() * 1e6);
        format!(
            "p50 {:>6} µs   p90 {:>6} µs   p99 {:>6} µs   max {:>6} µs",
            show(50.0),
            show(90.0),
            show(99.0),
            show(100.0)
        )
    }
}

/// The difference in microseconds, signed.
pub(crate) fn micros_over(ours: Duration, bound: Duration) -> f64 {
    (ours.as_secs_f64() - bound.as_secs_f64()) * 1e6
}

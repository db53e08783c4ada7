//! Usage facts, recorded without ever blocking an invocation, and the metrics of the whole platform.
//!
//! Nothing here waits: a fact goes into a bounded queue, a metric is an atomic. What a full queue refuses is counted in
//! `pinfold_usage_facts_dropped_total`.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod metrics;

mod encoding;
mod meter;

pub use meter::{FACTS_PER_PAGE_MAX, Meter, MeterError};
pub use metrics::Metrics;

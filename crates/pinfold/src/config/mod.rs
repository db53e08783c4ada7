//! Configuration: written raw in layers, then resolved into [`Settings`], every mistake reported at once.

pub mod keys;
pub mod layers;
pub mod resolve;
pub mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use base::backoff::Backoff;
use model::ids::AccountId;
use model::names::Region;

/// What a server needs to start: checked, typed, with every path absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the API listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// The master key; never inside `data_dir`.
    pub key_file: PathBuf,
    /// The account that the first start creates.
    pub account: AccountId,
    /// The region in ARNs and for functions.
    pub region: Region,
    /// Any access key is accepted on `listen`, which is then a loopback address.
    pub trust_loopback: bool,
    /// Functions run although the machine cannot wall them off.
    pub allow_weak_isolation: bool,
    /// A `tracing_subscriber::EnvFilter` for the platform's own log.
    pub log: String,
    /// How long a stop waits for running invocations.
    pub drain_max: Duration,
    /// Limits of the instances.
    pub instances: Instances,
    /// When event invocations are tried again.
    pub events: Events,
    /// Limits of log lines.
    pub logs: Logs,
    /// Limits of every listener.
    pub connections: Connections,
}

/// Limits of the instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instances {
    /// Memory of all instances together.
    pub memory_mib_max: u64,
    /// Instances alive at once.
    pub count_max: u32,
    /// An instance that was idle for so long is stopped.
    pub idle_max: Duration,
    /// Synchronous invocations that may wait for an instance.
    pub waiting_max: u32,
}

/// When event invocations are tried again (Lambda: one minute, then two; from one second to five minutes; six hours).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Events {
    /// Delays after the first and the second function error.
    pub function_error_delays: [Duration; 2],
    /// Delays after throttles and platform failures.
    pub platform_backoff: Backoff,
    /// Older ones are dropped.
    pub age_max: Duration,
}

/// Limits of log lines and usage facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logs {
    /// All lines together; the oldest are deleted first.
    pub total_bytes_max: u64,
    /// Lines and facts are deleted when older.
    pub age_max: Duration,
}

/// Limits of every listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connections {
    /// Connections served at once.
    pub count_max: usize,
    /// Time for a request's head to arrive; an idle connection is closed after it.
    pub head_max: Duration,
    /// Time for a request's body to arrive.
    pub body_max: Duration,
}

//! The wall: start, feed and stop guest code; the Runtime API; language packs.

#![deny(missing_docs)]

mod instance;
mod packs;
mod ports;
mod spec;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use base::time::{Clock, SystemClock};

pub use instance::Instance;
pub use packs::{Interpreter, MissingInterpreter, Packs, Served};
pub use ports::{LogSink, SdkConnection, SdkDoor, SdkSlot};
pub use spec::{ColdStart, GuestCredentials, InitFailure, InstanceSpec, LaunchError, Ran, Work};

/// How this machine's wall is built.
#[derive(Clone)]
pub struct SandboxOptions {
    /// Identifies the data directory: leftovers with the same label are swept before the first start.
    pub label: String,
    /// A folder of the platform's own for what the wall needs on disk; emptied at every start.
    pub state_dir: PathBuf,
    /// Accept a machine on which the wall has no user namespaces.
    pub allow_weak: bool,
    /// As root, instances get host user ids from here on; never 0.
    pub uid_base: u32,
    /// How many prepared places the launcher keeps, so that a start does not wait for the kernel.
    pub spares: usize,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

impl SandboxOptions {
    /// Usual values for a data directory.
    pub fn new(label: impl Into<String>, state_dir: impl Into<PathBuf>) -> Self {
        Self {
            label: label.into(),
            state_dir: state_dir.into(),
            allow_weak: false,
            uid_base: 700_000,
            spares: 2,
            clock: Arc::new(SystemClock),
        }
    }
}

/// How much of the wall this machine can enforce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tier {
    /// Everything.
    Full,
    /// Everything but what is named; guests run.
    Reduced {
        /// What is missing, each with its fix, in words for the operator.
        missing: Vec<String>,
    },
    /// No user namespaces; guests run only because the operator allowed it.
    Weak {
        /// What is missing, each with its fix, in words for the operator.
        missing: Vec<String>,
    },
    /// Guests do not run.
    Refused {
        /// What is missing, each with its fix, in words for the operator.
        missing: Vec<String>,
    },
}

/// The platform could not make its wall.
#[derive(Debug, thiserror::Error)]
#[error("start the sandbox launcher")]
pub struct StartError(#[from] std::io::Error);

/// Starts instances behind the wall. Cheap to clone.
#[derive(Clone)]
pub struct Sandbox {
    inner: Arc<Inner>,
}

struct Inner {
    packs: Packs,
    clock: Arc<dyn Clock>,
    sdk_door: OnceLock<Arc<dyn SdkDoor>>,
}

impl Sandbox {
    /// Starts the launcher, sweeps what an earlier platform with the same label left behind, and probes what the machine
    /// can enforce. Call it before the async runtime starts its threads.
    pub fn start(options: SandboxOptions) -> Result<Self, StartError> {
        Ok(Self { inner: Arc::new(Inner { packs: Packs::new(), clock: options.clock, sdk_door: OnceLock::new() }) })
    }

    /// How much of the wall this machine can enforce.
    pub fn tier(&self) -> &Tier {
        &Tier::Full
    }

    /// The interpreters of this machine.
    pub fn packs(&self) -> &Packs {
        &self.inner.packs
    }

    /// Where guests' SDK connections go from now on; until this is called they are closed at once. Only the first call
    /// has an effect.
    pub fn open_sdk_door(&self, door: Arc<dyn SdkDoor>) {
        let _ = self.inner.sdk_door.set(door);
    }

    /// Starts an instance and returns once its init is done. An init that exceeds
    /// [`model::limits::INIT_SECS_MAX`] is ended and run again within the first invocation, as Lambda does.
    pub async fn launch(&self, spec: InstanceSpec, sink: Arc<dyn LogSink>) -> Result<Instance, LaunchError> {
        let _ = (&self.inner.clock, sink);
        Err(LaunchError::Sandbox {
            function: spec.function.arn(),
            source: std::io::Error::from(std::io::ErrorKind::Unsupported),
        })
    }
}

//! The wall: start, feed and stop guest code; the Runtime API; language packs.

#![deny(missing_docs)]

pub mod bare;
mod cell;
mod guest;
mod instance;
mod packs;
mod ports;
mod spec;
mod unpack;
pub mod wall;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use base::time::{Clock, SystemClock};

use cell::Maker;
pub use instance::Instance;
use instance::Surroundings;
pub use packs::{Interpreter, MissingInterpreter, Packs, Served};
pub use ports::{LogSink, SdkConnection, SdkDoor, SdkSlot};
pub use spec::{ColdStart, GuestCredentials, InitFailure, InstanceSpec, LaunchError, Ran, Work};
pub use unpack::{NativeFile, Refusal, UnpackError, UnpackReport};
pub use wall::{Probes, StartError, Tier, launcher_main};
use wall::{Wall, WallOptions, Weaken};

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
    /// The program that serves `__launcher`; `None`: this one.
    pub program: Option<PathBuf>,
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
            program: None,
            clock: Arc::new(SystemClock),
        }
    }
}

/// Starts instances behind the wall. Cheap to clone.
#[derive(Clone)]
pub struct Sandbox {
    packs: Arc<Packs>,
    wall: Wall,
    surroundings: Surroundings,
}

impl Sandbox {
    /// Starts the launcher, sweeps what an earlier platform with the same label left behind, and probes what the machine
    /// can enforce. Call it before the async runtime starts its threads.
    pub fn start(options: SandboxOptions) -> Result<Self, StartError> {
        let wall = Wall::start(WallOptions {
            label: options.label,
            state_dir: options.state_dir,
            allow_weak: options.allow_weak,
            uid_base: options.uid_base,
            spares: options.spares,
            program: options.program,
            weaken: Weaken::default(),
        })?;
        let maker = Maker::Walled(wall.clone());
        let surroundings = Surroundings { maker, clock: options.clock, sdk_door: Arc::new(OnceLock::new()) };
        let packs = if wall.guests_pass_as_others() { Packs::for_others() } else { Packs::new() };
        Ok(Self { packs: Arc::new(packs), wall, surroundings })
    }

    /// How much of the wall this machine can enforce.
    pub fn tier(&self) -> Tier {
        self.wall.tier()
    }

    /// Whether guests need a way through the host's folders to their code, as users of their own: in the weak tier as root.
    pub fn guests_pass_as_others(&self) -> bool {
        self.wall.guests_pass_as_others()
    }

    /// What was probed at the start.
    pub fn probes(&self) -> &Probes {
        self.wall.probes()
    }

    /// What the operator should know about the wall, a sentence each; none if all of it stands.
    pub fn tier_notices(&self) -> Vec<String> {
        self.wall.probes().missing()
    }

    /// Ends every instance and removes what was made for them on this machine, whoever still holds a clone. Nothing can be
    /// started any more.
    pub async fn close(&self) {
        let wall = self.wall.clone();
        if tokio::task::spawn_blocking(move || wall.close()).await.is_err() {
            tracing::error!("closing the sandbox panicked");
        }
    }

    /// Returns when the wall is gone because its launcher was killed: the platform can start nothing any more and should end.
    pub async fn gone(&self) {
        self.wall.launcher_gone().await;
    }

    /// Unpacks a code package in a sandboxed child.
    pub async fn unpack(&self, zip: &Path, into: &Path) -> Result<UnpackReport, UnpackError> {
        self.wall.unpack(zip, into).await
    }

    /// The interpreters of this machine.
    pub fn packs(&self) -> &Packs {
        &self.packs
    }

    /// Where guests' SDK connections go from now on; until this is called they are closed at once. Only the first call
    /// has an effect.
    pub fn open_sdk_door(&self, door: Arc<dyn SdkDoor>) {
        let _ = self.surroundings.sdk_door.set(door);
    }

    /// Starts an instance and returns once its init is done. An init that exceeds
    /// [`model::limits::INIT_SECS_MAX`] is ended and run again within the first invocation, as Lambda does.
    pub async fn launch(&self, spec: InstanceSpec, sink: Arc<dyn LogSink>) -> Result<Instance, LaunchError> {
        Instance::launch(self.surroundings.clone(), &self.packs, spec, sink).await
    }
}

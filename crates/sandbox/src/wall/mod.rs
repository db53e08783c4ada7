//! The wall itself: a launcher that makes prepared cells, and the cells in which guest code runs.
//!
//! ```text
//! server ──request──▶ launcher ──clone──▶ init (pid 1 of the cell: mounts, listeners, reaper) ──clone──▶ guest (waits)
//! server ◀──────────── pidfd, listeners ── init                                                            │
//! server ──spec, descriptors─────────────▶ init ──what the package needs is mounted──spec─────────────────▶ exec
//! ```
//! The launcher never sees a function's secrets, and all of a cell dies with the platform.

mod cell;
mod cgroup;
mod confine;
mod guest;
mod host;
mod init;
mod launcher;
mod message;
mod mounts;
pub mod probes;
mod seccomp;
mod sweep;
pub(crate) mod sys;
mod syscalls;
mod tree;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

pub use cell::Cell;
pub(crate) use confine::restrict_calls;
pub use host::Wall;
pub(crate) use host::receive;
pub(crate) use launcher::fork_into;
pub use launcher::launcher_main;
pub(crate) use message::{Report, UnpackRequest, send};
pub(crate) use mounts::{InStep, Step, make_empty_root};
pub use probes::{Probes, Tier};

/// The user and group that a guest sees itself as, as on Lambda.
pub const GUEST_UID: u32 = 993;
/// Processes and threads of one cell (Lambda quota "processes and threads"); see [`processes_max`].
pub const PROCESSES_MAX: u32 = 1024;
/// Processes and threads that even the smallest cell may have.
const PROCESSES_MIN: u32 = 64;
/// Processes and threads of a cell of this memory: a cell with a small share of the processor that forks a thousand times
/// holds locks which all programs need (those of the mapped system libraries) for longer than its neighbours can wait.
pub(crate) fn processes_max(memory_mib: u32) -> u32 {
    PROCESSES_MIN.saturating_add(memory_mib).min(PROCESSES_MAX)
}

/// The same where no control group weighs a cell against the platform: a fork bomb of the full number would hold up the
/// platform's own death (seen: by a second on two cores).
pub const PROCESSES_UNWEIGHED_MAX: u32 = 256;
/// Open files of one process of a guest (Lambda quota "file descriptors").
pub const OPEN_FILES_MAX: u64 = 1024;
/// Files and folders that `/tmp` can hold, for each MiB of its size.
pub const TMP_INODES_PER_MIB: u64 = 256;
/// Where a guest finds the Runtime API, in every network namespace.
pub const RUNTIME_ADDRESS: &str = "127.0.0.1:9001";
/// Where a guest finds the AWS API, in every network namespace.
pub const SDK_ADDRESS: &str = "127.0.0.1:4566";
/// Where the code package is mounted.
pub const TASK_DIR: &str = "/var/task";
/// Where the runtime's own files are.
pub const RUNTIME_DIR: &str = "/var/runtime";
/// Cells that exist at once, spares included: bounds the host's user ids and control groups.
pub const CELLS_MAX: u32 = 4096;

/// How the wall of one platform is built.
#[derive(Debug, Clone)]
pub struct WallOptions {
    /// Identifies the data directory: letters, digits and `-` only. Leftovers with the same label are swept at the start.
    pub label: String,
    /// A folder of the platform's own for what cells need on disk; emptied at every start.
    pub state_dir: PathBuf,
    /// Accept a machine without user namespaces.
    pub allow_weak: bool,
    /// As root, cells get host user ids from here on; never 0. The first is the unpacker's.
    pub uid_base: u32,
    /// Cells that wait prepared, so that a start does not wait for the kernel.
    pub spares: usize,
    /// The program that serves `__launcher`; `None`: this one.
    pub program: Option<PathBuf>,
    /// Parts of the wall to leave out: for tests.
    pub weaken: Weaken,
}

/// Parts of the wall to leave out, so that tests can see the lower tiers on a machine that has all. Never from configuration.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weaken {
    /// As if no control group could be written.
    pub without_cgroups: bool,
    /// As if no pid namespace could be made.
    pub without_pid_namespace: bool,
    /// As if no namespace could be made at all.
    pub without_namespaces: bool,
}

/// What runs in a cell.
#[derive(Debug, Clone, Default)]
pub struct CellSpec {
    /// The program, an absolute path as the guest sees it, and its arguments.
    pub argv: Vec<String>,
    /// The whole environment; nothing of the platform's is inherited.
    pub env: Vec<(String, String)>,
    /// Working directory, as the guest sees it.
    pub cwd: String,
    /// A host folder, seen read-only at `/var/task`. The platform's own: no part of this path is guests'.
    pub code_dir: Option<PathBuf>,
    /// Files that appear in `/var/runtime`, read-only: name and content.
    pub runtime_files: Vec<(String, Bytes)>,
    /// The interpreter's host folder, seen read-only at the same path. Folders of the system (`/usr`) are there anyway.
    pub interpreter_prefix: Option<PathBuf>,
    /// Memory of the function.
    pub memory_mib: u32,
    /// Size of `/tmp`.
    pub ephemeral_mib: u32,
}

/// A cell whose guest runs, with the ends of everything that leads into it. The guest has its end of `frames` as
/// descriptor 3, and `output` as 1 and 2. All are non-blocking and close on exec.
#[derive(Debug)]
pub struct Launched {
    /// The life of the cell: dropping it ends the guest.
    pub cell: Cell,
    /// One end of a stream socket pair.
    pub frames: OwnedFd,
    /// Read end of the pipe that is the guest's standard output and error.
    pub output: OwnedFd,
    /// A TCP listener at [`RUNTIME_ADDRESS`] in the cell's network.
    pub runtime_listener: OwnedFd,
    /// A TCP listener at [`SDK_ADDRESS`] in the cell's network.
    pub sdk_listener: OwnedFd,
    /// Whether a prepared cell was there, and how long the wall took until the guest was let go.
    pub timing: LaunchTiming,
}

/// What a launch took.
#[derive(Debug, Clone, Copy)]
pub struct LaunchTiming {
    /// A prepared cell was used.
    pub spare: bool,
    /// From the call until init reported that the guest goes to its `execve`.
    pub wall: Duration,
}

/// How a guest's main process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It used more memory than the function has.
    OutOfMemory,
    /// The cell was lost for a reason of the platform's: its launcher or init died.
    PlatformLost,
}

/// The wall cannot stand on this machine.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The launcher could not be started or spoke nonsense.
    #[error("start the sandbox launcher")]
    Launcher(#[source] io::Error),
    /// The state folder could not be made or emptied.
    #[error("prepare the sandbox's folder {path}")]
    StateDir {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// One cell could not be made. Nothing of the guest has run.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The machine's tier forbids guests.
    #[error("this machine cannot enforce a sandbox: {missing}")]
    Refused {
        /// What is missing.
        missing: String,
    },
    /// As many cells exist as may.
    #[error("{CELLS_MAX} sandboxes exist already")]
    TooMany,
    /// The launcher is gone; the platform must be restarted.
    #[error("the sandbox launcher is gone")]
    LauncherGone,
    /// A step inside the cell failed.
    #[error("prepare the sandbox: {step}: {reason}")]
    Step {
        /// What was being done.
        step: String,
        /// What the kernel said.
        reason: String,
    },
    /// Something on the platform's side failed.
    #[error("{doing}")]
    Host {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

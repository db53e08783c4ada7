//! What a guest's process gives up before it may run guest code: limits, capabilities, keys, files, system calls.

use std::io;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};
use rustix::process::{Resource, Rlimit};

use super::mounts::SYSTEM_DIRS;
use super::{OPEN_FILES_MAX, PROCESSES_UNWEIGHED_MAX, seccomp, sys};

/// The newest version of landlock whose rights are asked for; older kernels enforce what they know.
const LANDLOCK: ABI = ABI::V6;
const READ_CONFIGURATION: &[&str] = &[
    "/etc/ld.so.cache",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/localtime",
    "/etc/passwd",
    "/etc/group",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/alternatives",
    "/etc/mime.types",
    "/etc/pki/tls/certs",
];
const READ_STATE: &[&str] =
    &["/proc/self", "/proc/meminfo", "/proc/cpuinfo", "/proc/stat", "/proc/uptime", "/proc/loadavg"];
const DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// Queued signals and timers of a cell.
const SIGNALS_PENDING_MAX: u64 = 1024;
/// Memory that may be kept from being swapped, as on Lambda.
const LOCKED_BYTES_MAX: u64 = 64 * 1024;
/// What the kernel makes for a user and that no control group counts: file below `/proc/sys/user` and number. The limits hold
/// in the guest's own user namespace and all below it.
const KERNEL_OBJECTS: &[(&str, u32)] = &[
    ("max_inotify_instances", 16),
    ("max_inotify_watches", 4096),
    ("max_fanotify_groups", 0),
    ("max_fanotify_marks", 0),
];

/// What the guest may see of the file system, for landlock.
pub(super) enum View<'a> {
    /// The cell's own root: all of it readable, `/tmp` writable.
    Cell,
    /// The host's root (weak tier): only the system, and these.
    Host { read: &'a [&'a Path], write: &'a Path },
}

/// Gives up everything that needs no path. `count_processes`: no control group counts them, so the kernel does it for the user.
pub(super) fn limit(count_processes: bool) -> Result<(), (&'static str, io::Error)> {
    let set = |resource, value: u64| {
        rustix::process::setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })
            .map_err(|error| ("set a resource limit", error.into()))
    };
    set(Resource::Nofile, OPEN_FILES_MAX)?;
    // With a limit of 0 a kernel that pipes cores to a program would still start it, as root and outside the cell; at 1 it
    // does not (core(5)).
    set(Resource::Core, 1)?;
    set(Resource::Sigpending, SIGNALS_PENDING_MAX)?;
    set(Resource::Memlock, LOCKED_BYTES_MAX)?;
    set(Resource::Rtprio, 0)?;
    if count_processes {
        set(Resource::Nproc, u64::from(PROCESSES_UNWEIGHED_MAX))?;
    }
    sys::leave_keyring();
    rustix::thread::set_no_new_privs(true).map_err(|error| ("set no_new_privs", error.into()))
}

/// Limits what is counted for each user namespace; must be called with rights in it. Best effort: kernels differ in what
/// they count.
pub(super) fn limit_kernel_objects() {
    for (name, count) in KERNEL_OBJECTS {
        let _ = std::fs::write(Path::new("/proc/sys/user").join(name), count.to_string());
    }
}

/// Landlock. A kernel without it is reported by the probes, and is no error here.
pub(super) fn restrict_files(view: &View<'_>) -> Result<(), RulesetError> {
    let read = AccessFs::Execute | AccessFs::ReadFile | AccessFs::ReadDir;
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev;
    let all = AccessFs::from_all(LANDLOCK);
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .scope(Scope::Signal | Scope::AbstractUnixSocket)?
        .create()?;
    match view {
        View::Cell => {
            rules = allow(rules, Path::new("/"), read)?;
            rules = allow(rules, Path::new("/tmp"), all)?;
            // Names of threads are set by writing there; what must not be written is read-only or another user's.
            rules = allow(rules, Path::new("/proc"), read | AccessFs::WriteFile)?;
        }
        View::Host { read: folders, write } => {
            for folder in SYSTEM_DIRS.iter().chain(READ_CONFIGURATION).chain(READ_STATE) {
                rules = allow(rules, Path::new(folder), read)?;
            }
            for folder in *folders {
                rules = allow(rules, folder, read)?;
            }
            rules = allow(rules, write, all)?;
        }
    }
    for path in DEVICES {
        rules = allow(rules, Path::new(path), device)?;
    }
    rules.restrict_self().map(drop)
}

fn allow(rules: RulesetCreated, path: &Path, rights: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    let Ok(metadata) = std::fs::metadata(path) else { return Ok(rules) };
    let Ok(fd) = PathFd::new(path) else { return Ok(rules) };
    let rights = if metadata.is_dir() { rights } else { rights & AccessFs::from_file(LANDLOCK) };
    rules.add_rule(PathBeneath::new(fd, rights))
}

/// Capabilities and the system call filter: the last step. What comes after must be in the filter's table.
/// `counted`: a control group counts all memory.
pub(crate) fn restrict_calls(counted: bool) -> io::Result<()> {
    seccomp::filter(counted).and_then(|program| sys::install_filter(&program))
}

//! Control groups, version 1 and 2: hard limits of memory and processes, processor time by weight.

mod v1;
mod v2;

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::limits::MEMORY_MIB_OF_ONE_CORE;

use super::message::CgroupEnds;
use super::{PROCESSES_MAX, processes_max};

const MIB: u64 = 1024 * 1024;

/// The control groups of one platform.
#[derive(Debug, Clone)]
pub(super) enum Groups {
    /// There are none to write to.
    None {
        /// Why.
        reason: String,
    },
    /// A hierarchy for each controller.
    V1(Arc<v1::Parent>),
    /// One for all.
    V2(Arc<v2::Parent>),
}

/// The control groups of one cell.
#[derive(Debug)]
pub(super) enum CellGroup {
    V1(v1::Group),
    V2(v2::Group),
}

/// A folder's name that says whose it is.
fn folder_name(label: &str) -> String {
    format!("pinfold-{label}")
}

impl Groups {
    /// Finds and prepares them. Whoever calls it must have swept groups of the same label before.
    pub(super) fn open(label: &str) -> Self {
        let opened = Mounts::read().and_then(|mounts| match v1::Parent::open(&mounts, label) {
            Ok(parent) => Ok(Self::V1(Arc::new(parent))),
            Err(v1_error) => match v2::Parent::open(&mounts, label) {
                Ok(parent) => Ok(Self::V2(Arc::new(parent))),
                Err(error) if mounts.v1.is_empty() => Err(error),
                Err(_) => Err(v1_error),
            },
        });
        opened.unwrap_or_else(|error| Self::None { reason: error.to_string() })
    }

    /// The controllers that hold, for the operator.
    pub(super) fn controllers(&self) -> String {
        match self {
            Self::None { .. } => String::new(),
            Self::V1(parent) => parent.controllers(),
            Self::V2(parent) => parent.controllers(),
        }
    }

    /// A group for a cell. `None` where there are none.
    pub(super) fn make(&self, slot: u32) -> io::Result<Option<CellGroup>> {
        match self {
            Self::None { .. } => Ok(None),
            Self::V1(parent) => parent.make(slot).map(|group| Some(CellGroup::V1(group))),
            Self::V2(parent) => parent.make(slot).map(|group| Some(CellGroup::V2(group))),
        }
    }

    /// Removes the platform's own folder, with what is left in it.
    pub(super) fn close(&self) {
        match self {
            Self::None { .. } => {}
            Self::V1(parent) => parent.close(),
            Self::V2(parent) => parent.close(),
        }
    }

    /// Kills and removes what an earlier platform with the same label left. Folders of other labels are never touched.
    pub(super) fn sweep(label: &str) {
        let Ok(mounts) = Mounts::read() else { return };
        for folder in mounts.candidates() {
            let leftover = folder.join(folder_name(label));
            if leftover.is_dir() {
                sweep_folder(&leftover);
            }
        }
    }
}

impl CellGroup {
    /// What the guest needs to get in, for the launcher.
    pub(super) fn ends(&self) -> io::Result<(CgroupEnds, Vec<OwnedFd>)> {
        match self {
            Self::V1(group) => group.ends(),
            Self::V2(group) => group.ends(),
        }
    }

    /// Function memory and `/tmp` count together for the kernel, since `/tmp` is memory.
    pub(super) fn limit(&self, memory_mib: u32, ephemeral_mib: u32) -> io::Result<()> {
        let bytes = (u64::from(memory_mib) + u64::from(ephemeral_mib)) * MIB;
        let processes = processes_max(memory_mib);
        match self {
            Self::V1(group) => group.limit(bytes, processes),
            Self::V2(group) => group.limit(bytes, processes),
        }
    }

    /// What is inside is about to be killed: no new processes, and all the weight there is, since dying takes processor
    /// time too, and a process that waits for it may hold a lock that others need. Best effort.
    pub(super) fn hasten(&self) {
        match self {
            Self::V1(group) => group.hasten(),
            Self::V2(group) => group.hasten(),
        }
    }

    /// Processor time when others want it too, in proportion to memory.
    pub(super) fn weigh(&self, memory_mib: u32) -> io::Result<()> {
        match self {
            Self::V1(group) => group.weigh(memory_mib),
            Self::V2(group) => group.weigh(memory_mib),
        }
    }

    /// How often the kernel killed for memory in here.
    pub(super) fn oom_kills(&self) -> u64 {
        match self {
            Self::V1(group) => group.oom_kills(),
            Self::V2(group) => group.oom_kills(),
        }
    }

    /// The most bytes that were ever charged, files and `/tmp` included. Cheap.
    pub(super) fn peak_bytes(&self) -> u64 {
        match self {
            Self::V1(group) => group.peak_bytes(),
            Self::V2(group) => group.peak_bytes(),
        }
    }

    /// Bytes charged now, without files and `/tmp`: what the function itself uses.
    pub(super) fn function_bytes(&self) -> u64 {
        match self {
            Self::V1(group) => group.function_bytes(),
            Self::V2(group) => group.function_bytes(),
        }
    }

    /// A descriptor that tells when usage passes `bytes`, and how it does that.
    pub(super) fn watch(&self, bytes: u64) -> io::Result<OwnedFd> {
        match self {
            Self::V1(group) => group.watch(bytes),
            Self::V2(group) => group.watch(bytes),
        }
    }

    /// Says that the watch was heard and files, not the function, were the reason: do not slow it down.
    pub(super) fn watched(&self) {
        if let Self::V2(group) = self {
            group.watched();
        }
    }

    /// Kills all that is inside.
    pub(super) fn kill(&self) {
        match self {
            Self::V1(group) => group.kill(),
            Self::V2(group) => group.kill(),
        }
    }

    /// Removes it. Busy for a moment after its last process died: then an error.
    pub(super) fn remove(&self) -> io::Result<()> {
        match self {
            Self::V1(group) => group.remove(),
            Self::V2(group) => group.remove(),
        }
    }
}

/// Where the control group file systems are, and where this process is in them.
#[derive(Debug, Default)]
struct Mounts {
    /// Version 1: controller, the folder of this process, the root folder.
    v1: Vec<(String, PathBuf, PathBuf)>,
    /// Version 2: the folder of this process, the root folder.
    v2: Option<(PathBuf, PathBuf)>,
}

impl Mounts {
    fn read() -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string("/proc/self/mountinfo")?, &fs::read_to_string("/proc/self/cgroup")?))
    }

    /// Formats: proc_pid_mountinfo(5), cgroups(7).
    fn parse(mountinfo: &str, membership: &str) -> Self {
        let mut mounts = Self::default();
        let own = |controller: &str| -> String {
            let lines = membership.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
            let mut found =
                lines.filter(|(names, _)| names.split(',').any(|name| name == controller)).map(|(_, path)| path);
            found.next_back().unwrap_or("/").to_owned()
        };
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let left: Vec<&str> = left.split(' ').collect();
            let right: Vec<&str> = right.split(' ').collect();
            let (Some(root), Some(point), Some(kind)) = (left.get(3), left.get(4), right.first()) else { continue };
            let place = |path: &str| {
                // A container sees only a part of the hierarchy: its own folder is below that part, or is that part.
                let below = path.strip_prefix(root.trim_end_matches('/')).unwrap_or("");
                Path::new(point).join(below.trim_start_matches('/'))
            };
            match *kind {
                "cgroup2" => mounts.v2 = Some((place(&own("")), PathBuf::from(point))),
                "cgroup" => {
                    for controller in right.get(2).unwrap_or(&"").split(',') {
                        if matches!(controller, "memory" | "pids" | "cpu") {
                            mounts.v1.push((controller.to_owned(), place(&own(controller)), PathBuf::from(point)));
                        }
                    }
                }
                _ => {}
            }
        }
        mounts
    }

    /// Folders in which a platform could have made its own.
    fn candidates(&self) -> Vec<PathBuf> {
        let v1 = self.v1.iter().flat_map(|(_, own, root)| [own.clone(), root.clone()]);
        let v2 = self.v2.iter().flat_map(|(own, root)| {
            // A platform that moved itself sits two levels below the folder it was started in.
            own.ancestors().take(3).map(Path::to_path_buf).chain([root.clone()]).collect::<Vec<_>>()
        });
        let mut folders: Vec<PathBuf> = v1.chain(v2).collect();
        folders.sort();
        folders.dedup();
        folders
    }
}

/// Kills and removes a folder with all below it. The processes in it are a dead platform's: nobody else writes there.
fn sweep_folder(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            sweep_folder(&entry.path());
        }
    }
    kill_members(folder);
    let _ = remove_folder(folder);
}

/// How often a busy folder is tried again, a millisecond apart.
const REMOVE_ATTEMPTS: u32 = 200;

fn remove_folder(folder: &Path) -> io::Result<()> {
    for _ in 0..REMOVE_ATTEMPTS {
        match fs::remove_dir(folder) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            done => return done,
        }
    }
    fs::remove_dir(folder)
}

fn kill_members(folder: &Path) {
    let own = rustix::process::getpid();
    let members = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    // Killing a folder whole includes those below: only where neither this process nor a folder can be among them.
    let leaf = !fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let own_inside = members.lines().any(|line| line.parse() == Ok(own.as_raw_nonzero().get()));
    if leaf && !own_inside && fs::write(folder.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    for pid in members.lines().filter_map(|line| line.parse().ok()).filter_map(rustix::process::Pid::from_raw) {
        if pid != own {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

fn read_number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The value of `key` in a file of lines `key value`.
fn read_field(path: &Path, key: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// A number that is read often, through an open file.
fn reread(file: &fs::File) -> Option<u64> {
    use std::os::unix::fs::FileExt;
    let mut text = [0; 32];
    let length = file.read_at(&mut text, 0).ok()?;
    std::str::from_utf8(text.get(..length)?).ok()?.trim().parse().ok()
}

/// Share of a core that memory buys, in thousandths.
fn thousandths_of_a_core(memory_mib: u32) -> u64 {
    u64::from(memory_mib) * 1000 / u64::from(MEMORY_MIB_OF_ONE_CORE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_mounts_are_found_with_the_own_folder() {
        let mounts = Mounts::parse(
            "30 25 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
             31 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
             32 25 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
            "4:memory:/a/b\n2:cpu,cpuacct:/\n0::/\n",
        );
        let memory = &mounts.v1[0];
        assert_eq!((memory.0.as_str(), memory.1.as_path()), ("memory", Path::new("/sys/fs/cgroup/memory/a/b")));
        assert_eq!(mounts.v1[1].1, Path::new("/sys/fs/cgroup/cpu,cpuacct"));
    }

    #[test]
    fn a_container_sees_its_own_folder_as_the_root() {
        let mounts = Mounts::parse(
            "30 25 0:26 /docker/x /sys/fs/cgroup ro,relatime - cgroup2 cgroup rw\n",
            "0::/docker/x/inner\n",
        );
        assert_eq!(mounts.v2.expect("version 2").0, Path::new("/sys/fs/cgroup/inner"));
    }
}

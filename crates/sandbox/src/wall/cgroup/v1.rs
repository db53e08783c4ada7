//! Control groups of version 1: a folder in each of several hierarchies, and threshold events through an eventfd.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use super::{
    CgroupEnds, Mounts, PROCESSES_MAX, folder_name, kill_members, read_field, remove_folder, reread, sweep_folder,
    thousandths_of_a_core,
};

/// One core's weight in `cpu.shares`.
const SHARES_OF_ONE_CORE: u64 = 1024;
/// The kernel takes no less.
const SHARES_MIN: u64 = 2;
/// Buffers of a cell's sockets may take this part of its memory.
const SOCKETS_PART: u64 = 8;
/// The kernel takes no more.
const SHARES_MAX: &str = "262144";

/// The platform's folder in each hierarchy.
#[derive(Debug)]
pub(in crate::wall) struct Parent {
    memory: PathBuf,
    pids: PathBuf,
    cpu: Option<PathBuf>,
}

/// A cell's folder in each hierarchy.
#[derive(Debug)]
pub(in crate::wall) struct Group {
    memory: PathBuf,
    pids: PathBuf,
    cpu: Option<PathBuf>,
    peak: File,
    usage: File,
}

impl Parent {
    pub(super) fn open(mounts: &Mounts, label: &str) -> io::Result<Self> {
        let open = |controller: &str| -> io::Result<PathBuf> {
            let mut tried = Err(io::Error::new(io::ErrorKind::NotFound, format!("no {controller} controller")));
            for (_, own, root) in mounts.v1.iter().filter(|(name, ..)| name == controller) {
                for folder in [own, root] {
                    let path = folder.join(folder_name(label));
                    match fs::create_dir(&path) {
                        Ok(()) => return Ok(path),
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(path),
                        Err(error) => {
                            tried = Err(io::Error::new(
                                error.kind(),
                                format!("cannot write {}: {error}", folder.display()),
                            ));
                        }
                    }
                }
            }
            tried
        };
        let memory = open("memory")?;
        let pids = open("pids").inspect_err(|_| {
            let _ = fs::remove_dir(&memory);
        })?;
        let cpu = open("cpu").ok();
        if let Some(cpu) = &cpu {
            // Guests together weigh as much as the machine has cores, against everything else on it.
            let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
            let _ = fs::write(cpu.join("cpu.shares"), (SHARES_OF_ONE_CORE * cores).to_string());
        }
        Ok(Self { memory, pids, cpu })
    }

    pub(super) fn controllers(&self) -> String {
        if self.cpu.is_some() { "memory, pids, cpu" } else { "memory, pids (no cpu: all weigh the same)" }.to_owned()
    }

    pub(super) fn make(&self, slot: u32) -> io::Result<Group> {
        let name = format!("cell-{slot}");
        let make = |parent: &PathBuf| -> io::Result<PathBuf> {
            let path = parent.join(&name);
            match fs::create_dir(&path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                _ => Ok(path),
            }
        };
        let memory = make(&self.memory)?;
        let pids = make(&self.pids)?;
        let cpu = self.cpu.as_ref().map(make).transpose()?;
        fs::write(pids.join("pids.max"), PROCESSES_MAX.to_string())?;
        let peak = File::open(memory.join("memory.max_usage_in_bytes"))?;
        let usage = File::open(memory.join("memory.usage_in_bytes"))?;
        Ok(Group { memory, pids, cpu, peak, usage })
    }

    pub(super) fn close(&self) {
        for folder in [Some(&self.memory), Some(&self.pids), self.cpu.as_ref()].into_iter().flatten() {
            sweep_folder(folder);
        }
    }
}

impl Group {
    fn folders(&self) -> impl Iterator<Item = &PathBuf> {
        [Some(&self.memory), Some(&self.pids), self.cpu.as_ref()].into_iter().flatten()
    }

    pub(super) fn ends(&self) -> io::Result<(CgroupEnds, Vec<OwnedFd>)> {
        let open =
            |folder: &PathBuf| OpenOptions::new().write(true).open(folder.join("cgroup.procs")).map(OwnedFd::from);
        let procs = self.folders().map(open).collect::<io::Result<Vec<_>>>()?;
        Ok((CgroupEnds::Procs(procs.len()), procs))
    }

    pub(super) fn limit(&self, bytes: u64, processes: u32) -> io::Result<()> {
        fs::write(self.pids.join("pids.max"), processes.to_string())?;
        fs::write(self.memory.join("memory.limit_in_bytes"), bytes.to_string())?;
        // Absent where swap is not accounted.
        let _ = fs::write(self.memory.join("memory.memsw.limit_in_bytes"), bytes.to_string());
        // Version 1 counts the buffers of sockets apart, and not at all without a limit. Absent where they are not accounted.
        let _ = fs::write(self.memory.join("memory.kmem.tcp.limit_in_bytes"), (bytes / SOCKETS_PART).to_string());
        Ok(())
    }

    pub(super) fn weigh(&self, memory_mib: u32) -> io::Result<()> {
        let Some(cpu) = &self.cpu else { return Ok(()) };
        let shares = (SHARES_OF_ONE_CORE * thousandths_of_a_core(memory_mib) / 1000).max(SHARES_MIN);
        fs::write(cpu.join("cpu.shares"), shares.to_string())
    }

    pub(super) fn oom_kills(&self) -> u64 {
        read_field(&self.memory.join("memory.oom_control"), "oom_kill").unwrap_or(0)
    }

    pub(super) fn peak_bytes(&self) -> u64 {
        reread(&self.peak).unwrap_or(0)
    }

    pub(super) fn function_bytes(&self) -> u64 {
        let files = read_field(&self.memory.join("memory.stat"), "cache").unwrap_or(0);
        reread(&self.usage).unwrap_or(0).saturating_sub(files)
    }

    pub(super) fn watch(&self, bytes: u64) -> io::Result<OwnedFd> {
        use rustix::event::{EventfdFlags, eventfd};
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let order = format!("{} {} {bytes}", event.as_raw_fd(), self.usage.as_raw_fd());
        fs::write(self.memory.join("cgroup.event_control"), order)?;
        Ok(event)
    }

    pub(super) fn hasten(&self) {
        let _ = fs::write(self.pids.join("pids.max"), "0");
        if let Some(cpu) = &self.cpu {
            let _ = fs::write(cpu.join("cpu.shares"), SHARES_MAX);
        }
    }

    pub(super) fn kill(&self) {
        kill_members(&self.pids);
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        self.folders().try_for_each(|folder| remove_folder(folder))
    }
}

//! Control groups of version 2: one folder for each cell, entered at the clone.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::{
    CgroupEnds, Mounts, PROCESSES_MAX, folder_name, kill_members, read_field, read_number, remove_folder, reread,
    sweep_folder, thousandths_of_a_core,
};

/// One core's weight in `cpu.weight`, which is also the kernel's default.
const WEIGHT_OF_ONE_CORE: u64 = 100;
/// The folder to which the platform moves itself: a folder with controllers for its children holds no process.
const PLATFORM_FOLDER: &str = "platform";
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

/// The platform's folder.
#[derive(Debug)]
pub(in crate::wall) struct Parent {
    folder: PathBuf,
    has_cpu: bool,
}

/// A cell's folder.
#[derive(Debug)]
pub(in crate::wall) struct Group {
    folder: PathBuf,
    has_cpu: bool,
    peak: Option<File>,
}

impl Parent {
    pub(super) fn open(mounts: &Mounts, label: &str) -> io::Result<Self> {
        let Some((own, root)) = &mounts.v2 else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no control group file system is mounted"));
        };
        // An earlier platform in this process (or the command that started it) may have moved it already.
        let own = match own.file_name() {
            Some(name) if name == PLATFORM_FOLDER => own.parent().and_then(Path::parent).unwrap_or(own),
            _ => own,
        };
        Self::open_in(own, label, own != root.as_path()).or_else(|error| {
            if own == root.as_path() { Err(error) } else { Self::open_in(root, label, false).map_err(|_| error) }
        })
    }

    /// `crowded`: processes sit in `base` itself, and must leave before it can have controllers.
    fn open_in(base: &Path, label: &str, crowded: bool) -> io::Result<Self> {
        let explain = |doing: &str, error: io::Error| {
            io::Error::new(error.kind(), format!("{doing} {}: {error}", base.display()))
        };
        let available =
            fs::read_to_string(base.join("cgroup.controllers")).map_err(|error| explain("cannot read", error))?;
        let has = |controller: &str| available.split_ascii_whitespace().any(|name| name == controller);
        if !has("memory") || !has("pids") {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("{} was given only: {}", base.display(), available.trim()),
            ));
        }
        let folder = base.join(folder_name(label));
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(explain("cannot write", error)),
            _ => {}
        }
        let wanted: Vec<String> = CONTROLLERS
            .iter()
            .filter(|controller| has(controller))
            .map(|controller| format!("+{controller}"))
            .collect();
        let enable = || -> io::Result<()> {
            if crowded {
                let platform = folder.join(PLATFORM_FOLDER);
                match fs::create_dir(&platform) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                    _ => fs::write(platform.join("cgroup.procs"), "0")?,
                }
            }
            fs::write(base.join("cgroup.subtree_control"), wanted.join(" "))?;
            fs::write(folder.join("cgroup.subtree_control"), wanted.join(" "))
        };
        if let Err(error) = enable() {
            // Back to where this process was: other processes are in there, so it cannot be divided.
            let _ = fs::write(base.join("cgroup.procs"), "0");
            let _ = fs::remove_dir(folder.join(PLATFORM_FOLDER));
            let _ = fs::remove_dir(&folder);
            return Err(explain("cannot divide", error));
        }
        Ok(Self { folder, has_cpu: has("cpu") })
    }

    pub(super) fn controllers(&self) -> String {
        if self.has_cpu { "memory, pids, cpu" } else { "memory, pids (no cpu: all weigh the same)" }.to_owned()
    }

    pub(super) fn make(&self, slot: u32) -> io::Result<Group> {
        let folder = self.folder.join(format!("cell-{slot}"));
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        fs::write(folder.join("pids.max"), PROCESSES_MAX.to_string())?;
        // What the kernel kills for memory it kills whole.
        let _ = fs::write(folder.join("memory.oom.group"), "1");
        let _ = fs::write(folder.join("memory.swap.max"), "0");
        let peak = File::open(folder.join("memory.peak")).or_else(|_| File::open(folder.join("memory.current"))).ok();
        Ok(Group { folder, has_cpu: self.has_cpu, peak })
    }

    pub(super) fn close(&self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() && entry.file_name() != PLATFORM_FOLDER {
                sweep_folder(&entry.path());
            }
        }
        if let Some(base) = self.folder.parent()
            && self.folder.join(PLATFORM_FOLDER).is_dir()
        {
            // A folder whose children have controllers takes no process: they go first.
            let without: Vec<String> = CONTROLLERS.iter().map(|controller| format!("-{controller}")).collect();
            for controller in &without {
                let _ = fs::write(self.folder.join("cgroup.subtree_control"), controller);
                let _ = fs::write(base.join("cgroup.subtree_control"), controller);
            }
            let _ = fs::write(base.join("cgroup.procs"), "0");
            let _ = fs::remove_dir(self.folder.join(PLATFORM_FOLDER));
        }
        let _ = fs::remove_dir(&self.folder);
    }
}

impl Group {
    pub(super) fn ends(&self) -> io::Result<(CgroupEnds, Vec<OwnedFd>)> {
        Ok((CgroupEnds::Folder, vec![File::open(&self.folder)?.into()]))
    }

    pub(super) fn limit(&self, bytes: u64, processes: u32) -> io::Result<()> {
        fs::write(self.folder.join("pids.max"), processes.to_string())?;
        fs::write(self.folder.join("memory.max"), bytes.to_string())
    }

    pub(super) fn weigh(&self, memory_mib: u32) -> io::Result<()> {
        if !self.has_cpu {
            return Ok(());
        }
        let weight = (WEIGHT_OF_ONE_CORE * thousandths_of_a_core(memory_mib) / 1000).clamp(1, 10_000);
        fs::write(self.folder.join("cpu.weight"), weight.to_string())
    }

    pub(super) fn oom_kills(&self) -> u64 {
        read_field(&self.folder.join("memory.events"), "oom_kill").unwrap_or(0)
    }

    pub(super) fn peak_bytes(&self) -> u64 {
        self.peak.as_ref().and_then(reread).unwrap_or(0)
    }

    pub(super) fn function_bytes(&self) -> u64 {
        let files = read_field(&self.folder.join("memory.stat"), "file").unwrap_or(0);
        read_number(&self.folder.join("memory.current")).unwrap_or(0).saturating_sub(files)
    }

    /// `memory.high` raises an event (and slows the guest until it is lifted: [`Group::watched`]).
    pub(super) fn watch(&self, bytes: u64) -> io::Result<OwnedFd> {
        use rustix::fs::inotify;
        fs::write(self.folder.join("memory.high"), bytes.to_string())?;
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        inotify::add_watch(&watch, self.folder.join("memory.events"), inotify::WatchFlags::MODIFY)?;
        Ok(watch)
    }

    pub(super) fn watched(&self) {
        let _ = fs::write(self.folder.join("memory.high"), "max");
    }

    pub(super) fn hasten(&self) {
        let _ = fs::write(self.folder.join("pids.max"), "0");
        if self.has_cpu {
            let _ = fs::write(self.folder.join("cpu.weight"), "10000");
        }
    }

    pub(super) fn kill(&self) {
        kill_members(&self.folder);
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        remove_folder(&self.folder)
    }
}

//! One running cell, seen from the server: how it ends, what memory it uses, how it is killed and cleaned up.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::Dir;
use rustix::process::Signal;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, watch};

use super::Exit;
use super::PROCESSES_UNWEIGHED_MAX;
use super::cgroup::CellGroup;
use super::host::{self, Claim};
use super::message::Report;
use super::{sys, tree};

/// How often the memory of a busy cell is looked at when the kernel cannot tell.
const WATCH_EVERY: Duration = Duration::from_millis(25);
/// Processes of a cell that are looked at in one round; more are stopped by the limit of processes.
const PROCESSES_WATCHED_MAX: usize = 2048;
/// Without control groups: a cell that has all the processes it may have for so many looks in a row is a bomb, whose failing
/// forks would keep the kernel from everybody else's business.
const LOOKS_AT_A_BOMB: u32 = 4;
/// The first process of a pid namespace.
const INIT_PID: i32 = 1;
const MIB: u64 = 1024 * 1024;

/// A cell whose guest runs. Dropping it kills the guest; cleaning up goes on in the background.
#[derive(Debug)]
pub struct Cell {
    life: Arc<Life>,
    exit: watch::Receiver<Option<Exit>>,
    ended: watch::Receiver<bool>,
}

struct Life {
    control: AsyncFd<OwnedFd>,
    pidfd: AsyncFd<OwnedFd>,
    /// The cell's `/proc`; without a pid namespace the host's, in which only what is below `init` is the cell's.
    proc: OwnedFd,
    init: Option<i32>,
    group: Option<Arc<CellGroup>>,
    memory_mib: u32,
    pid_namespace: bool,
    busy: AtomicBool,
    became_busy: Notify,
    weighed: AtomicBool,
    killed: AtomicBool,
    out_of_memory: AtomicBool,
    peak_bytes: AtomicU64,
    looks_at_a_bomb: AtomicU32,
}

impl std::fmt::Debug for Life {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Life").field("memory_mib", &self.memory_mib).finish_non_exhaustive()
    }
}

impl Cell {
    /// Takes over a cell that was let go. The kernel's threshold is set here: init's own traffic stays below any limit.
    pub(super) fn tend(
        mut claim: Claim,
        (pid, pidfd, proc): (i32, OwnedFd, OwnedFd),
        memory_mib: u32,
        pid_namespace: bool,
    ) -> io::Result<Self> {
        let (proc, init) = if pid_namespace { (proc, None) } else { (File::open("/proc")?.into(), Some(pid)) };
        let life = Arc::new(Life {
            control: claim.control.take().ok_or(io::ErrorKind::NotConnected)?,
            pidfd: sys::readable(pidfd)?,
            proc,
            init,
            group: claim.group().cloned(),
            memory_mib,
            pid_namespace,
            // Init counts as work: it may use what a call may use.
            busy: AtomicBool::new(true),
            became_busy: Notify::new(),
            weighed: AtomicBool::new(false),
            killed: AtomicBool::new(false),
            out_of_memory: AtomicBool::new(false),
            peak_bytes: AtomicU64::new(0),
            looks_at_a_bomb: AtomicU32::new(0),
        });
        let (exit_sender, exit) = watch::channel(None);
        let (ended_sender, ended) = watch::channel(false);
        tokio::spawn(live(life.clone(), claim, exit_sender, ended_sender));
        Ok(Self { life, exit, ended })
    }

    /// How the guest's main process ended, once it has; the same answer every time.
    pub async fn exited(&mut self) -> Exit {
        match self.exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.unwrap_or(Exit::PlatformLost),
            // The task that knows is gone: the runtime is shutting down.
            Err(_) => Exit::PlatformLost,
        }
    }

    /// The most memory that the function used so far, in MiB, rounded up; at most its limit.
    pub fn memory_used_mib(&self) -> u32 {
        let bytes = self.life.used_bytes();
        u32::try_from(bytes.div_ceil(MIB)).unwrap_or(u32::MAX).clamp(1, self.life.memory_mib)
    }

    /// Kills the guest with everything that it started. Returns at once.
    pub fn kill(&self) {
        self.life.kill();
    }

    /// Says whether the guest has work. The first call ends its init, during which it has a full core's weight; from then
    /// on its weight is that of its memory.
    pub fn set_busy(&self, busy: bool) {
        let life = &self.life;
        if !life.weighed.swap(true, Ordering::Relaxed)
            && let Some(group) = &life.group
            && let Err(error) = group.weigh(life.memory_mib)
        {
            tracing::debug!(%error, "could not set a sandbox's processor weight");
        }
        if life.busy.swap(busy, Ordering::Relaxed) != busy && busy {
            life.became_busy.notify_one();
        }
    }

    /// Kills what is left and returns once every process is gone and everything that was made is removed.
    pub async fn ended(mut self) {
        self.life.kill();
        // An error means that the runtime is shutting down and takes the cell with it.
        let _ = self.ended.wait_for(|ended| *ended).await;
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        self.life.kill();
    }
}

impl Life {
    fn kill(&self) {
        if self.killed.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Some(group) = &self.group {
            group.hasten();
        }
        if self.pid_namespace {
            let _ = rustix::process::pidfd_send_signal(self.pidfd.get_ref(), Signal::KILL);
        } else {
            // Init kills what it has adopted, which only it can find, and then ends.
            let _ = rustix::net::shutdown(self.control.get_ref(), rustix::net::Shutdown::Both);
            if let Some(group) = &self.group {
                group.kill();
            }
        }
    }

    fn limit_bytes(&self) -> u64 {
        u64::from(self.memory_mib) * MIB
    }

    /// Highest use so far. The kernel's own mark includes files and `/tmp`, so above the limit it says nothing.
    fn used_bytes(&self) -> u64 {
        let Some(group) = &self.group else {
            let now = self.sample();
            return self.peak_bytes.fetch_max(now, Ordering::Relaxed).max(now);
        };
        let peak = group.peak_bytes();
        if peak <= self.limit_bytes() {
            return peak;
        }
        let now = group.function_bytes();
        self.peak_bytes.fetch_max(now, Ordering::Relaxed).max(now)
    }

    /// Without control groups: what all processes of the cell have in memory that no file backs.
    fn sample(&self) -> u64 {
        let mut sum = 0;
        let processes = match self.init {
            Some(init) => tree::descendants(self.proc.as_fd(), init),
            None => processes(&self.proc),
        };
        let is_full = processes.len() as u32 >= PROCESSES_UNWEIGHED_MAX * 9 / 10;
        let looks = if is_full { self.looks_at_a_bomb.load(Ordering::Relaxed) + 1 } else { 0 };
        self.looks_at_a_bomb.store(looks, Ordering::Relaxed);
        for pid in processes.iter().copied() {
            sum += unbacked_bytes(&self.proc, pid).unwrap_or(0);
        }
        if sum <= self.limit_bytes() {
            return sum;
        }
        // Forked processes share pages that were counted for each of them: ask for exact shares, which is dearer.
        processes.iter().map(|&pid| proportional_bytes(&self.proc, pid).unwrap_or(0)).sum()
    }

    /// Looks whether the function is over its limit, and kills it if so.
    fn enforce(&self) {
        let bytes = match &self.group {
            Some(group) => group.function_bytes(),
            None => self.sample(),
        };
        self.peak_bytes.fetch_max(bytes, Ordering::Relaxed);
        if bytes > self.limit_bytes() {
            self.out_of_memory.store(true, Ordering::Relaxed);
            self.kill();
        } else if self.looks_at_a_bomb.load(Ordering::Relaxed) >= LOOKS_AT_A_BOMB {
            tracing::info!("a function forks without end; its instance is ended");
            self.kill();
        }
    }

    fn is_out_of_memory(&self) -> bool {
        self.out_of_memory.load(Ordering::Relaxed) || self.group.as_ref().is_some_and(|group| group.oom_kills() > 0)
    }
}

/// The whole life of a cell on this side: until its end, then its removal.
async fn live(life: Arc<Life>, mut claim: Claim, exit: watch::Sender<Option<Exit>>, ended: watch::Sender<bool>) {
    let status = tokio::select! {
        status = until_end(&life) => status,
        never = watch_memory(&life) => match never {},
    };
    // Whatever end it was: with init gone or going, nothing of the cell may go on.
    let known = match status {
        _ if life.is_out_of_memory() => Exit::OutOfMemory,
        Some(status) if libc::WIFEXITED(status) => Exit::Code(libc::WEXITSTATUS(status)),
        Some(status) => Exit::Signal(libc::WTERMSIG(status)),
        None if life.killed.load(Ordering::Relaxed) => Exit::Signal(libc::SIGKILL),
        None => Exit::PlatformLost,
    };
    exit.send_replace(Some(known));
    // A process descriptor becomes readable when the process is gone, and with a pid namespace all that it held before it.
    let _ = life.pidfd.readable().await;
    // From here on its control group may be another cell's: whoever kills this one must not touch it.
    life.killed.store(true, Ordering::Relaxed);
    let _ = tokio::task::spawn_blocking(move || {
        claim.clean();
        ended.send_replace(true);
    })
    .await;
}

/// The guest's raw wait status; `None` if init went without telling.
async fn until_end(life: &Life) -> Option<i32> {
    loop {
        match host::receive(&life.control).await {
            Ok(Some((Report::Ended { status }, _))) => return Some(status),
            Ok(Some((Report::Failed { step, reason }, _))) => {
                tracing::warn!(%step, %reason, "a sandbox's init failed");
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

/// Kills the cell when the function uses more than it has. Sleeps in the kernel until usage as a whole passes the limit;
/// from then on it must look, since files and `/tmp` may be the reason, but only while the guest works.
async fn watch_memory(life: &Life) -> std::convert::Infallible {
    if let Some(group) = &life.group {
        // Version 1 waits for a grace period of the kernel's (10 ms) before it has noted a threshold.
        let (watching, limit) = (group.clone(), life.limit_bytes());
        let watched = tokio::task::spawn_blocking(move || watching.watch(limit)).await;
        match watched.map_err(io::Error::other).flatten().and_then(sys::readable) {
            Ok(event) => {
                // A threshold that was passed before it was set makes no event.
                while group.peak_bytes() <= life.limit_bytes() {
                    let Ok(mut ready) = event.readable().await else { break };
                    let _ = rustix::io::read(event.get_ref(), &mut [0_u8; 256]);
                    ready.clear_ready();
                    life.enforce();
                }
                group.watched();
            }
            Err(error) => tracing::warn!(%error, "the kernel gives no memory events; looking instead"),
        }
    }
    loop {
        life.enforce();
        if life.busy.load(Ordering::Relaxed) {
            tokio::time::sleep(WATCH_EVERY).await;
        } else {
            life.became_busy.notified().await;
        }
    }
}

/// The process ids in a cell's `/proc`, init excluded.
fn processes(proc: &OwnedFd) -> Vec<i32> {
    let Ok(entries) = Dir::read_from(proc) else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str().ok()?.parse().ok());
    pids.filter(|pid| *pid != INIT_PID).take(PROCESSES_WATCHED_MAX).collect()
}

/// Bytes in memory that no file on a disk backs (proc_pid_status(5)).
fn unbacked_bytes(proc: &OwnedFd, pid: i32) -> Option<u64> {
    sum_of(&tree::read_at(proc.as_fd(), &format!("{pid}/status"))?, &["RssAnon:", "RssShmem:"])
}

/// A process's share of such memory (proc_pid_smaps(5)).
fn proportional_bytes(proc: &OwnedFd, pid: i32) -> Option<u64> {
    sum_of(&tree::read_at(proc.as_fd(), &format!("{pid}/smaps_rollup"))?, &["Pss_Anon:", "Pss_Shmem:"])
}

/// Adds up lines such as `RssAnon:  12 kB`; `None` if there is none of them.
fn sum_of(text: &str, names: &[&str]) -> Option<u64> {
    let kib = |name: &&str| {
        let line = text.lines().find_map(|line| line.strip_prefix(*name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    names.iter().filter_map(kib).reduce(|one, other| one + other).map(|kib| kib * 1024)
}

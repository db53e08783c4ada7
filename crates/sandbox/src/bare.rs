//! A guest without any wall: the same language packs in an ordinary process, for benchmarks that measure what the wall
//! costs and for tests of what does not concern it. **Never for code that is not trusted.**

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};

use base::time::SystemClock;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tempfile::TempDir;
use tokio::io::unix::AsyncFd;

use crate::cell::{Cell, Made, Maker};
use crate::guest::watch;
use crate::instance::{Instance, Surroundings};
use crate::packs::{Packs, Start};
use crate::ports::LogSink;
use crate::spec::{InstanceSpec, LaunchError};
use crate::wall::{Exit, RUNTIME_ADDRESS, RUNTIME_DIR, SDK_ADDRESS, TASK_DIR};

/// Where a guest finds its channel.
const CHANNEL: i32 = 3;

/// Starts an instance **without any wall**: for benchmarks and tests only. Needs a tokio runtime.
pub async fn launch(packs: &Packs, spec: InstanceSpec, sink: Arc<dyn LogSink>) -> Result<Instance, LaunchError> {
    let surroundings =
        Surroundings { maker: Maker::Bare, clock: Arc::new(SystemClock), sdk_door: Arc::new(OnceLock::new()) };
    Instance::launch(surroundings, packs, spec, sink).await
}

/// An ordinary process in a process group of its own.
pub(crate) struct BareCell {
    child: Child,
    pid: Pid,
    pidfd: AsyncFd<OwnedFd>,
    exit: Option<Exit>,
    _runtime_dir: TempDir,
}

/// Starts the process. What the guest would see at fixed places is replaced by where it really is.
pub(crate) fn make(start: &Start, code_dir: &Path) -> io::Result<Made> {
    let (frames, guest_frames) = UnixStream::pair()?;
    let (output, guest_output) = io::pipe()?;
    let runtime_listener = TcpListener::bind("127.0.0.1:0")?;
    let sdk_listener = TcpListener::bind("127.0.0.1:0")?;
    let runtime_dir = tempfile::tempdir()?;
    for (name, content) in &start.runtime_files {
        std::fs::write(runtime_dir.path().join(name), content)?;
    }
    let places = [
        (RUNTIME_ADDRESS, runtime_listener.local_addr()?.to_string()),
        (SDK_ADDRESS, sdk_listener.local_addr()?.to_string()),
        (TASK_DIR, code_dir.to_string_lossy().into_owned()),
        (RUNTIME_DIR, runtime_dir.path().to_string_lossy().into_owned()),
    ];
    let real = |text: &String| places.iter().fold(text.clone(), |text, (seen, real)| text.replace(seen, real));

    let channel = guest_frames.as_raw_fd();
    let mut command = Command::new(real(&start.argv[0]));
    command
        .args(start.argv[1..].iter().map(real))
        .env_clear()
        .envs(start.env.iter().map(|(name, value)| (name, real(value))))
        .current_dir(code_dir)
        .stdin(Stdio::null())
        .stdout(guest_output.try_clone()?)
        .stderr(guest_output)
        .process_group(0);
    let place_channel = move || {
        // SAFETY: both calls are async-signal-safe and touch only this new process's descriptors.
        let done = unsafe {
            if channel == CHANNEL { libc::fcntl(CHANNEL, libc::F_SETFD, 0) } else { libc::dup2(channel, CHANNEL) }
        };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: the closure allocates nothing and makes only async-signal-safe calls.
    unsafe { command.pre_exec(place_channel) };
    let child = command.spawn()?;
    let pid = Pid::from_child(&child);
    let pidfd = watch(pidfd_open(pid, PidfdFlags::NONBLOCK)?)?;
    let cell = BareCell { child, pid, pidfd, exit: None, _runtime_dir: runtime_dir };
    Ok(Made {
        cell: Cell::Bare(cell),
        frames: frames.into(),
        output: output.into(),
        runtime_listener: runtime_listener.into(),
        sdk_listener: sdk_listener.into(),
    })
}

impl BareCell {
    pub(crate) async fn exited(&mut self) -> Exit {
        loop {
            if let Some(exit) = self.exit {
                return exit;
            }
            if self.pidfd.readable().await.is_err() {
                return Exit::PlatformLost;
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                self.exit = Some(status.signal().map_or_else(|| Exit::Code(status.code().unwrap_or(-1)), Exit::Signal));
            }
        }
    }

    /// The peak resident size.
    pub(crate) fn memory_used_mib(&self) -> u32 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse::<u32>().ok());
        kib.unwrap_or(0).div_ceil(1024)
    }

    /// Also ends what the guest left in its process group.
    pub(crate) fn kill(&self) {
        let _ = kill_process_group(self.pid, Signal::KILL);
    }

    pub(crate) async fn ended(mut self) {
        self.kill();
        self.exited().await;
    }
}

impl Drop for BareCell {
    fn drop(&mut self) {
        self.kill();
        if self.exit.is_none() {
            // A killed process ends within moments; without this it would stay a zombie.
            let _ = self.child.wait();
        }
    }
}

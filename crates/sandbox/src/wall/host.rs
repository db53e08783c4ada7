//! The server's side of the wall: keeps the launcher, prepared cells, their slots and control groups.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tokio::io::unix::AsyncFd;

use super::cell::Cell;
use super::cgroup::{CellGroup, Groups};
use super::launcher::LAUNCHER_WORD;
use super::message::{self, CgroupEnds, Place, Report, Request, Work};
use super::probes::{Found, Probes, Tier};
use super::{
    CELLS_MAX, CellSpec, LaunchError, LaunchTiming, Launched, RUNTIME_ADDRESS, RUNTIME_DIR, SDK_ADDRESS, StartError,
    TASK_DIR, WallOptions, Weaken, sweep, sys,
};

/// A launcher that has not probed the machine by then is stuck.
const PROBE_MAX: Duration = Duration::from_secs(30);
/// A cell that takes longer to be prepared is given up.
const PREPARE_MAX: Duration = Duration::from_secs(30);

/// Makes cells. Cheap to clone. The launcher ends when the last clone and the last cell are gone, and with this process.
#[derive(Clone)]
pub struct Wall {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    launcher: Launcher,
    options: WallOptions,
    probes: Probes,
    pub(super) place: Option<Place>,
    groups: Groups,
    spares: Mutex<VecDeque<Spare>>,
    slots: Mutex<Slots>,
}

/// Which slots are taken. A slot names a control group and, as root, a host user id.
#[derive(Default)]
struct Slots {
    taken: BTreeSet<u32>,
    last: u32,
}

/// A slot while it is taken.
pub(super) struct Slot {
    inner: Arc<Inner>,
    pub(super) number: u32,
}

/// What was made for one cell on this side. If it is dropped, the cell ends (its init sees the end of its socket) and the
/// rest is removed in the background.
pub(super) struct Claim {
    pub(super) control: Option<AsyncFd<OwnedFd>>,
    traces: Option<Traces>,
}

/// What a cell leaves on this machine. Dropping it removes nothing but frees the slot.
struct Traces {
    group: Option<Arc<CellGroup>>,
    own_dir: Option<PathBuf>,
    slot: Slot,
}

impl Claim {
    fn control(&self) -> Result<&AsyncFd<OwnedFd>, LaunchError> {
        self.control.as_ref().ok_or(LaunchError::LauncherGone)
    }

    fn slot(&self) -> u32 {
        self.traces.as_ref().map_or(0, |traces| traces.slot.number)
    }

    pub(super) fn group(&self) -> Option<&Arc<CellGroup>> {
        self.traces.as_ref().and_then(|traces| traces.group.as_ref())
    }

    fn own_dir(&self) -> Option<&Path> {
        self.traces.as_ref().and_then(|traces| traces.own_dir.as_deref())
    }

    /// Removes the group and the folder. Blocks while the kernel lets go of dead processes.
    pub(super) fn clean(&mut self) {
        if let Some(traces) = self.traces.take() {
            traces.clean();
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.control = None;
        let Some(traces) = self.traces.take() else { return };
        // Without a runtime, or with one that is ending and drops this unrun, the platform ends: then the last clone of the
        // wall removes all groups, and the next start all folders.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || traces.clean());
        }
    }
}

impl Traces {
    fn clean(self) {
        if let Some(group) = self.group {
            group.kill();
            if let Err(error) = group.remove() {
                tracing::warn!(%error, "could not remove a sandbox's control group");
            }
        }
        if let Some(own_dir) = self.own_dir
            && let Err(error) = fs::remove_dir_all(&own_dir)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, folder = %own_dir.display(), "could not remove a sandbox's folder");
        }
        drop(self.slot);
    }
}

/// A cell on its way or waiting.
struct Spare {
    control: OwnedFd,
    group: Option<CellGroup>,
    /// Only the number: a spare that `Inner` keeps must not keep `Inner`.
    slot: u32,
}

pub(super) struct Launcher {
    socket: OwnedFd,
    child: Mutex<Child>,
    pub(super) found: Found,
}

impl Launcher {
    /// Ends it, and with it all cells, which are tied to it.
    fn end(&self) {
        let mut child = self.child.lock();
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        self.end();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.inner.slots.lock().taken.remove(&self.number);
    }
}

impl Slots {
    fn take(&mut self) -> Option<u32> {
        if self.taken.len() >= CELLS_MAX as usize {
            return None;
        }
        // The longest unused first: an id that something still hangs on is not handed out again soon.
        let after = (1..=CELLS_MAX).map(|step| (self.last + step - 1) % CELLS_MAX + 1);
        let free = after.into_iter().find(|number| !self.taken.contains(number))?;
        self.taken.insert(free);
        self.last = free;
        Some(free)
    }
}

/// Starts the launcher and hears what it found. Blocks for some milliseconds.
pub(super) fn spawn_launcher(program: Option<&Path>, label: &str, weaken: Weaken) -> io::Result<Launcher> {
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let child = Command::new(program.unwrap_or(Path::new("/proc/self/exe")))
        .arg(LAUNCHER_WORD)
        .arg(label)
        .args(weaken.words())
        .env_clear()
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()?;
    // From here on an error must not leave the process behind.
    let unprobed = Found { seccomp: false, landlock_abi: 0, attempts: Vec::new(), place: None };
    let mut launcher = Launcher { socket: ours, child: Mutex::new(child), found: unprobed };
    let timeout = rustix::time::Timespec { tv_sec: PROBE_MAX.as_secs().cast_signed(), tv_nsec: 0 };
    if rustix::event::poll(&mut [PollFd::new(&launcher.socket, PollFlags::IN)], Some(&timeout))? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    match message::receive(&launcher.socket)? {
        Some((Report::Probed(found), _)) => launcher.found = found,
        _ => {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the launcher ended before it had probed the machine",
            ));
        }
    }
    Ok(launcher)
}

impl Wall {
    /// Sweeps what an earlier platform with the same label left, starts the launcher, probes the machine and asks for the
    /// first spares. Blocks for some tens of milliseconds; needs no async runtime.
    pub fn start(options: WallOptions) -> Result<Self, StartError> {
        sweep::sweep_processes(&options.label);
        Groups::sweep(&options.label);
        empty(&options.state_dir).map_err(|source| StartError::StateDir { path: options.state_dir.clone(), source })?;
        let groups = if options.weaken.without_cgroups {
            Groups::None { reason: "left out".to_owned() }
        } else {
            Groups::open(&options.label)
        };
        let launcher = spawn_launcher(options.program.as_deref(), &options.label, options.weaken)
            .inspect_err(|_| groups.close())
            .map_err(StartError::Launcher)?;
        let probes = Probes::of(&launcher.found, &groups, options.allow_weak);
        let place = place_of(&probes, &launcher.found);
        let inner = Arc::new(Inner {
            launcher,
            options,
            probes,
            place,
            groups,
            spares: Mutex::default(),
            slots: Mutex::default(),
        });
        let wall = Self { inner };
        wall.refill();
        Ok(wall)
    }

    /// How much of the wall stands on this machine.
    pub fn tier(&self) -> Tier {
        self.inner.probes.tier
    }

    /// Whether guests are users of their own in the host's own file system: they must then be able to pass to their code.
    pub fn guests_pass_as_others(&self) -> bool {
        self.inner.place.is_some_and(|place| !place.namespaces && place.host_uid.is_some())
    }

    /// What was probed, with what is missing and its fix.
    pub fn probes(&self) -> &Probes {
        &self.inner.probes
    }

    /// Starts a program in a cell. Returns once the guest's process goes to its `execve`; must be called within a tokio
    /// runtime that lives as long as the cell.
    pub async fn launch(&self, spec: CellSpec) -> Result<Launched, LaunchError> {
        let begin = Instant::now();
        let place =
            self.inner.place.ok_or_else(|| LaunchError::Refused { missing: self.inner.probes.missing().join("; ") })?;
        let (mut claim, mut spare) = self.claim(true)?;
        let wall = self.clone();
        // Not on this request's time: making a group takes the kernel's global locks.
        tokio::task::spawn_blocking(move || wall.refill());
        let Prepared { process, runtime_listener, sdk_listener } = match prepare(&mut claim, &spec).await {
            Ok(prepared) => prepared,
            // Something killed it while it waited; nothing of the function was in it.
            Err(_) if spare => {
                (claim, spare) = self.claim(false)?;
                prepare(&mut claim, &spec).await?
            }
            Err(error) => return Err(error),
        };
        let own_dir = self.inner.own_dir(place, claim.slot());
        if let Some(traces) = &mut claim.traces {
            traces.own_dir = own_dir;
        }
        let control = claim.control()?;
        let work =
            self.inner.resolve(place, &spec, (claim.slot(), claim.own_dir()), &runtime_listener, &sdk_listener)?;
        let memfd = message::write_work(&work, &spec.runtime_files).map_err(host("write the work"))?;
        let (output, output_end) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|error| host("make the output pipe")(error.into()))?;
        let (frames, frames_end) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .map_err(|error| host("make the frames' socket")(error.into()))?;
        for ours in [&output, &frames] {
            rustix::io::ioctl_fionbio(ours, true).map_err(|error| host("prepare the cell's ends")(error.into()))?;
        }
        sys::send(control.get_ref(), b"work", &[memfd.as_fd(), output_end.as_fd(), frames_end.as_fd()])
            .map_err(|_| LaunchError::LauncherGone)?;
        drop((output_end, frames_end));
        loop {
            match hear(control).await? {
                Some((Report::Let, _)) => break,
                Some((Report::Failed { step, reason }, _)) => return Err(LaunchError::Step { step, reason }),
                Some(_) => {}
                None => return Err(LaunchError::LauncherGone),
            }
        }
        let timing = LaunchTiming { spare, wall: begin.elapsed() };
        let cell = Cell::tend(claim, process, spec.memory_mib, place.pid_namespace).map_err(host("watch the cell"))?;
        Ok(Launched { cell, frames, output, runtime_listener, sdk_listener, timing })
    }

    /// A prepared cell if there is one and `spare` allows it, otherwise one on its way; and whether it was prepared.
    fn claim(&self, spare: bool) -> Result<(Claim, bool), LaunchError> {
        let taken = if spare { self.inner.spares.lock().pop_front() } else { None };
        let prepared = taken.is_some();
        let Spare { control, group, slot } = match taken {
            Some(spare) => spare,
            None => self.inner.make_spare()?,
        };
        let slot = Slot { inner: self.inner.clone(), number: slot };
        let traces = Some(Traces { group: group.map(Arc::new), own_dir: None, slot });
        let mut claim = Claim { control: None, traces };
        claim.control = Some(sys::readable(control).map_err(host("watch the cell's socket"))?);
        Ok((claim, prepared))
    }

    /// Makes spares until there are as many as wanted. What fails is tried again by the next launch.
    fn refill(&self) {
        while self.inner.place.is_some() && self.inner.spares.lock().len() < self.inner.options.spares {
            match self.inner.make_spare() {
                Ok(spare) => self.inner.spares.lock().push_back(spare),
                Err(error) => {
                    tracing::warn!(%error, "could not prepare a spare sandbox");
                    return;
                }
            }
        }
    }

    /// Ends every cell and removes what was made for them. Nothing can be started any more. Blocks while the kernel lets go
    /// of dead processes.
    pub fn close(&self) {
        self.inner.close();
    }

    /// Returns when the launcher has ended, and every cell with it: nothing can be started any more.
    pub async fn launcher_gone(&self) {
        let pid = self.inner.launcher.child.lock().id();
        let opened = rustix::process::Pid::from_raw(pid.cast_signed())
            .and_then(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::NONBLOCK).ok())
            .and_then(|pidfd| sys::readable(pidfd).ok());
        // Readable means ended, an error that the runtime is shutting down; a process that was reaped cannot be opened.
        if let Some(pidfd) = opened {
            drop(pidfd.readable().await);
        }
    }

    pub(crate) fn request_unpack(
        &self,
        limits: (u64, usize),
        zip: BorrowedFd<'_>,
        folder: BorrowedFd<'_>,
    ) -> io::Result<OwnedFd> {
        let (user_namespace, _) = self.inner.launcher.found.place.unwrap_or((false, false));
        let request = message::UnpackRequest {
            namespaces: self.inner.launcher.found.place.is_some(),
            user_namespace,
            host_uid: self.unpack_uid(),
            bytes_max: limits.0,
            entries_max: limits.1,
        };
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        message::send(&self.inner.launcher.socket, &Request::Unpack(request), &[theirs.as_fd(), zip, folder])?;
        Ok(ours)
    }

    /// The host's user id of the child that unpacks; `None`: this process's own.
    pub(crate) fn unpack_uid(&self) -> Option<u32> {
        let own = matches!(self.inner.launcher.found.place, Some((true, _)));
        (rustix::process::geteuid().is_root() && !own).then_some(self.inner.options.uid_base)
    }
}

impl Inner {
    fn close(&self) {
        self.launcher.end();
        self.spares.lock().clear();
        self.groups.close();
    }

    fn make_spare(&self) -> Result<Spare, LaunchError> {
        let place = self.place.ok_or(LaunchError::LauncherGone)?;
        let slot = self.slots.lock().take().ok_or(LaunchError::TooMany)?;
        self.make_spare_in(place, slot).inspect_err(|_| {
            self.slots.lock().taken.remove(&slot);
        })
    }

    fn make_spare_in(&self, mut place: Place, slot: u32) -> Result<Spare, LaunchError> {
        let group = self.groups.make(slot).map_err(host("make a control group"))?;
        let (kind, ends) = match &group {
            Some(group) => group.ends().map_err(host("open a control group"))?,
            None => (CgroupEnds::None, Vec::new()),
        };
        place.cgroups = kind;
        place.host_uid = place.host_uid.map(|_| self.options.uid_base + slot);
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(|error| host("make the cell's socket")(error.into()))?;
        rustix::io::ioctl_fionbio(&ours, true).map_err(|error| host("make the cell's socket")(error.into()))?;
        let mut fds = vec![theirs.as_fd()];
        fds.extend(ends.iter().map(AsFd::as_fd));
        message::send(&self.launcher.socket, &Request::Cell(place), &fds).map_err(|_| LaunchError::LauncherGone)?;
        Ok(Spare { control: ours, group, slot })
    }

    /// Weak tier: the cell has no root of its own, but a folder.
    fn own_dir(&self, place: Place, slot: u32) -> Option<PathBuf> {
        (!place.namespaces).then(|| self.options.state_dir.join(format!("cell-{slot}")))
    }

    /// Turns what the caller said into what init can do: paths without links, and in the weak tier real ones.
    fn resolve(
        &self,
        place: Place,
        spec: &CellSpec,
        (slot, own_dir): (u32, Option<&Path>),
        runtime_listener: &OwnedFd,
        sdk_listener: &OwnedFd,
    ) -> Result<Work, LaunchError> {
        let text = |path: PathBuf| -> io::Result<String> {
            path.into_os_string()
                .into_string()
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a path is not UTF-8"))
        };
        let real = |path: &PathBuf| fs::canonicalize(path).and_then(text);
        let code_dir = spec.code_dir.as_ref().map(real).transpose().map_err(host("find the code"))?;
        let prefix = spec.interpreter_prefix.as_ref().map(|path| Ok((real(path)?, text(path.clone())?)));
        let prefix = prefix.transpose().map_err(host("find the interpreter"))?;
        let mut work = Work::of(spec, code_dir, prefix);
        if let Some(own_dir) = own_dir
            && !place.namespaces
        {
            let uid = place.host_uid.map(|_| self.options.uid_base + slot);
            Self::relocate(&mut work, spec, own_dir, uid, [runtime_listener, sdk_listener])
                .map_err(host("make the cell's folder"))?;
        }
        Ok(work)
    }

    fn relocate(
        work: &mut Work,
        spec: &CellSpec,
        own_dir: &Path,
        uid: Option<u32>,
        listeners: [&OwnedFd; 2],
    ) -> io::Result<()> {
        let (runtime, tmp) = (own_dir.join("runtime"), own_dir.join("tmp"));
        fs::create_dir_all(&runtime)?;
        fs::create_dir_all(&tmp)?;
        if let Some(uid) = uid {
            std::os::unix::fs::chown(&tmp, Some(uid), Some(uid))?;
        }
        for (name, content) in &spec.runtime_files {
            fs::write(runtime.join(name), content)?;
        }
        let addresses = listeners.map(|listener| -> io::Result<String> {
            let address = std::net::SocketAddrV4::try_from(rustix::net::getsockname(listener)?)?;
            Ok(address.to_string())
        });
        let [runtime_address, sdk_address] = addresses;
        let changes = [
            (RUNTIME_ADDRESS, runtime_address?),
            (SDK_ADDRESS, sdk_address?),
            (RUNTIME_DIR, runtime.to_string_lossy().into_owned()),
            (TASK_DIR, work.code_dir.clone().unwrap_or_default()),
        ];
        let change = |text: &mut String| {
            for (from, to) in &changes {
                *text = text.replace(from, to);
            }
        };
        work.argv.iter_mut().for_each(change);
        work.env.iter_mut().for_each(|(_, value)| change(value));
        change(&mut work.cwd);
        work.env.push(("TMPDIR".to_owned(), tmp.to_string_lossy().into_owned()));
        work.own_dir = Some(own_dir.to_string_lossy().into_owned());
        work.files.clear();
        Ok(())
    }
}

fn place_of(probes: &Probes, found: &Found) -> Option<Place> {
    if probes.tier == Tier::Refused {
        return None;
    }
    let (user_namespace, pid_namespace) = found.place.unwrap_or((false, false));
    Some(Place {
        namespaces: found.place.is_some(),
        user_namespace,
        pid_namespace,
        // Only whether there is one: each cell gets its own. Also without namespaces root's guests are never root.
        host_uid: (rustix::process::geteuid().is_root() && !user_namespace).then_some(0),
        cgroups: CgroupEnds::None,
    })
}

/// What a cell that waits has given out.
struct Prepared {
    /// Init's process id, a descriptor of it, and `/proc` as the cell sees it.
    process: (i32, OwnedFd, OwnedFd),
    runtime_listener: OwnedFd,
    sdk_listener: OwnedFd,
}

/// Limits a cell that was claimed and waits until it is ready.
async fn prepare(claim: &mut Claim, spec: &CellSpec) -> Result<Prepared, LaunchError> {
    if let Some(group) = claim.group() {
        group.limit(spec.memory_mib, spec.ephemeral_mib).map_err(host("limit the memory"))?;
    }
    let waited = tokio::time::timeout(PREPARE_MAX, prepared(claim.control()?)).await;
    waited.map_err(|_| LaunchError::Step {
        step: "prepare a cell".to_owned(),
        reason: format!("not done after {} s", PREPARE_MAX.as_secs()),
    })?
}

/// Waits until the process exists and says that it is ready.
async fn prepared(control: &AsyncFd<OwnedFd>) -> Result<Prepared, LaunchError> {
    let (mut born, mut ready) = (None, None);
    loop {
        match hear(control).await? {
            // The launcher and init speak on the same socket: either may be first.
            Some((Report::Born { pid }, fds)) => born = fds.into_iter().next().map(|pidfd| (pid, pidfd)),
            Some((Report::Ready, fds)) => ready = <[OwnedFd; 3]>::try_from(fds).ok(),
            Some((Report::Failed { step, reason }, _)) => return Err(LaunchError::Step { step, reason }),
            Some(_) => {}
            None => return Err(LaunchError::LauncherGone),
        }
        (born, ready) = match (born, ready) {
            (Some((pid, pidfd)), Some([runtime_listener, sdk_listener, proc])) => {
                return Ok(Prepared { process: (pid, pidfd, proc), runtime_listener, sdk_listener });
            }
            not_yet => not_yet,
        };
    }
}

async fn hear(control: &AsyncFd<OwnedFd>) -> Result<Option<(Report, Vec<OwnedFd>)>, LaunchError> {
    receive(control).await.map_err(host("hear the cell"))
}

/// The next report. `None`: nobody is left who could speak.
pub(crate) async fn receive(control: &AsyncFd<OwnedFd>) -> io::Result<Option<(Report, Vec<OwnedFd>)>> {
    loop {
        let mut guard = control.readable().await?;
        match guard.try_io(|control| message::receive(control.get_ref())) {
            Ok(received) => return received,
            Err(_would_block) => {}
        }
    }
}

fn host(doing: &'static str) -> impl Fn(io::Error) -> LaunchError {
    move |source| LaunchError::Host { doing, source }
}

fn empty(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

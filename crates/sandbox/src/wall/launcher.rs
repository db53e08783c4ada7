//! The small process that makes cells: it has one thread, touches little memory, and never sees a function's secrets.

use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};

use super::message::{self, Place, Report, Request};
use super::mounts::{InStep, Step};
use super::probes::{Attempt, Found};
use super::sys::{self, Cloned};
use super::{Weaken, init};

/// The command line's first word.
pub(super) const LAUNCHER_WORD: &str = "__launcher";
/// A trial cell that takes longer is stuck.
const TRIAL_MAX: Duration = Duration::from_secs(5);
/// The host id that a trial cell of root's gets; any but 0 serves.
const TRIAL_UID: u32 = 65_534;

/// Serves as the launcher until the server is gone; `main` calls this when the first argument is `__launcher`, before
/// anything else. The further arguments are the label, then what a test leaves out.
pub fn launcher_main() -> ! {
    let code = match serve() {
        Ok(()) => 0,
        Err(_) => 1,
    };
    std::process::exit(code)
}

fn serve() -> io::Result<()> {
    // The socket to the server came as standard input, so that the server could start this without a fork of its own.
    let server = sys::take_input()?;
    let weaken = Weaken::from_words(std::env::args().skip(3));
    sys::reap_children_unseen();
    take_own_session();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    std::env::set_current_dir("/")?;
    message::send(&server, &Report::Probed(probe(weaken)), &[])?;
    loop {
        let Some((request, fds)) = message::receive::<Request>(&server)? else { return Ok(()) };
        let mut fds = fds.into_iter();
        let Some(control) = fds.next() else { continue };
        let made = match request {
            Request::Cell(place) => make_cell(place, &control, fds.collect(), Some(&server)),
            Request::Unpack(request) => crate::unpack::make_child(request, &control, fds.collect(), &server),
        };
        let report = match made {
            Ok((pid, pidfd)) => message::send(&control, &Report::Born { pid }, &[pidfd.as_fd()]),
            Err(Step { name, source }) => {
                message::send(&control, &Report::Failed { step: name, reason: source.to_string() }, &[])
            }
        };
        // The server gave this cell up meanwhile: its init sees the same end of file.
        let _ = report;
    }
}

/// A session of one's own: no signal of a terminal's arrives, and where the kernel shares the processor out by session, a
/// process with little to do gets its turn at once.
pub(super) fn take_own_session() {
    // Refused to the leader of a group, which then has a session already or shares it with nobody.
    let _ = rustix::process::setsid();
}

/// Forks into the namespaces of `place`. The child gives up `foreign`, which is the launcher's own.
pub(crate) fn fork_into(
    namespaces: i32,
    user_namespace: bool,
    foreign: Option<&OwnedFd>,
    life: impl FnOnce() -> Infallible,
) -> Result<(i32, OwnedFd), Step> {
    use std::os::fd::AsRawFd;
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let flags = namespaces | if user_namespace { libc::CLONE_NEWUSER } else { 0 };
    let (go, wait) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map(|(read, write)| (write, read))
        .step("make a pipe")?;
    match sys::clone_process(flags, None).step("make namespaces")? {
        Cloned::Parent(pid, pidfd) => {
            drop(wait);
            if user_namespace {
                init::write_id_maps(&format!("/proc/{pid}"), uid, gid)?;
            }
            rustix::io::write(&go, b"!").step("let the child go")?;
            Ok((pid, pidfd))
        }
        Cloned::Child => sys::child_life(|| {
            drop(go);
            if let Some(foreign) = foreign {
                sys::close(foreign.as_raw_fd());
            }
            // End of file instead of the byte: the launcher could not map this process's ids.
            if !matches!(rustix::io::read(&wait, &mut [0; 1]), Ok(1)) {
                sys::exit_now(1)
            }
            life()
        }),
    }
}

fn make_cell(
    place: Place,
    control: &OwnedFd,
    groups: Vec<OwnedFd>,
    foreign: Option<&OwnedFd>,
) -> Result<(i32, OwnedFd), Step> {
    let mut namespaces = 0;
    if place.namespaces {
        namespaces |= libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    }
    if place.pid_namespace {
        namespaces |= libc::CLONE_NEWPID;
    }
    let control = control.try_clone().step("keep the cell's socket")?;
    fork_into(namespaces, place.user_namespace, foreign, move || init::life(place, control, groups))
}

/// Finds the strongest cell that this machine can make, by making it.
fn probe(weaken: Weaken) -> Found {
    let root = rustix::process::geteuid().is_root();
    let mut found =
        Found { seccomp: sys::has_seccomp(), landlock_abi: sys::landlock_abi(), attempts: Vec::new(), place: None };
    let candidates = [(root, false, true), (true, true, true), (root, false, false), (true, true, false)];
    for (possible, user_namespace, pid_namespace) in candidates {
        if !possible || weaken.without_namespaces || (pid_namespace && weaken.without_pid_namespace) {
            continue;
        }
        let place = Place {
            namespaces: true,
            user_namespace,
            pid_namespace,
            host_uid: (!user_namespace).then_some(TRIAL_UID),
            cgroups: message::CgroupEnds::None,
        };
        match trial(place) {
            Ok(()) => {
                found.place = Some((user_namespace, pid_namespace));
                break;
            }
            Err(step) => found.attempts.push(Attempt {
                user_namespace,
                pid_namespace,
                step: step.name,
                reason: step.source.to_string(),
            }),
        }
    }
    found
}

/// Makes a cell up to where it waits for work, and lets it end.
fn trial(place: Place) -> Result<(), Step> {
    let (ours, theirs) = rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .step("make a socket")?;
    make_cell(place, &theirs, Vec::new(), Some(&ours))?;
    drop(theirs);
    let timeout = rustix::time::Timespec { tv_sec: TRIAL_MAX.as_secs().cast_signed(), tv_nsec: 0 };
    let ready =
        rustix::event::poll(&mut [PollFd::new(&ours, PollFlags::IN)], Some(&timeout)).step("wait for a trial cell")?;
    if ready == 0 {
        return Err(io::Error::from(io::ErrorKind::TimedOut)).step("wait for a trial cell");
    }
    match message::receive(&ours).step("hear a trial cell")? {
        Some((Report::Ready, _)) => Ok(()),
        Some((Report::Failed { step, reason }, _)) => Err(Step { name: step, source: io::Error::other(reason) }),
        _ => Err(io::Error::from(io::ErrorKind::UnexpectedEof)).step("hear a trial cell"),
    }
}

impl Weaken {
    /// As words of the launcher's command line.
    pub(super) fn words(self) -> Vec<&'static str> {
        [
            (self.without_cgroups, "without-cgroups"),
            (self.without_pid_namespace, "without-pid-namespace"),
            (self.without_namespaces, "without-namespaces"),
        ]
        .iter()
        .filter_map(|(set, word)| set.then_some(*word))
        .collect()
    }

    fn from_words(words: impl Iterator<Item = String>) -> Self {
        let words: Vec<String> = words.collect();
        let has = |word: &str| words.iter().any(|given| given == word);
        Self {
            without_cgroups: has("without-cgroups"),
            without_pid_namespace: has("without-pid-namespace"),
            without_namespaces: has("without-namespaces"),
        }
    }
}

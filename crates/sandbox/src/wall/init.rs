//! The first process of a cell: builds it, starts the guest, reaps orphans, and takes everything down when it ends.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{DumpableBehavior, Pid, Signal, WaitOptions};

use super::message::{self, CgroupEnds, Place, Report};
use super::mounts::{self, InStep, Step};
use super::sys::{self, Cloned};
use super::{GUEST_UID, RUNTIME_ADDRESS, SDK_ADDRESS, guest, launcher, tree};

/// Guests are the first to go when the host's memory runs out.
const GUEST_OOM_SCORE: &str = "900";
/// Init must get the processor while a fork bomb burns beside it.
const INIT_PRIORITY: i32 = -20;

/// What the pid of a guest and the ends that belong to it are.
struct Guest {
    pid: Pid,
    socket: OwnedFd,
}

/// Never returns. `groups`: what [`Place::cgroups`] says.
pub(super) fn life(place: Place, control: OwnedFd, groups: Vec<OwnedFd>) -> Infallible {
    // Without a pid namespace init finds what it has to kill in the host's /proc, which it will not see later.
    let proc = if place.pid_namespace { None } else { fs::File::open("/proc").ok() };
    if let Err(step) = run(place, &control, groups) {
        let failed = Report::Failed { step: step.name, reason: step.source.to_string() };
        // If the platform is gone too there is nobody left to tell.
        let _ = message::send(&control, &failed, &[]);
    }
    // With a pid namespace the kernel kills the rest, without one init must.
    if let Some(proc) = proc {
        kill_descendants(proc.as_fd());
    }
    sys::exit_now(0)
}

fn run(place: Place, control: &OwnedFd, groups: Vec<OwnedFd>) -> Result<(), Step> {
    if place.pid_namespace {
        tie_to_launcher()?;
    } else {
        set_subreaper().step("adopt orphans")?;
    }
    let _ = rustix::process::setpriority_process(None, INIT_PRIORITY);
    sys::prefer_early_turns();
    launcher::take_own_session();
    if place.host_uid.is_some() {
        sys::drop_groups().step("drop groups")?;
    }
    let listeners = if place.namespaces {
        rustix::system::sethostname(b"localhost").step("name the cell")?;
        mounts::build(place.pid_namespace)?;
        sys::loopback_up().step("bring the loopback up")?;
        [listen(RUNTIME_ADDRESS)?, listen(SDK_ADDRESS)?]
    } else {
        [listen("127.0.0.1:0")?, listen("127.0.0.1:0")?]
    };
    let signals = sys::child_signals().step("watch children")?;
    let guest = start_guest(place, groups)?;
    if place.namespaces && !place.pid_namespace {
        mounts::show_own_process(guest.pid.as_raw_nonzero().get())?;
    }
    match message::receive(&guest.socket).step("wait for the guest")? {
        Some((Report::Ready, _)) => {}
        Some((Report::Failed { step, reason }, _)) => {
            return Err(Step { name: step, source: io::Error::other(reason) });
        }
        _ => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)).step("wait for the guest"),
    }
    let proc = fs::File::open("/proc").step("open /proc")?;
    let ends = [listeners[0].as_fd(), listeners[1].as_fd(), proc.as_fd()];
    message::send(control, &Report::Ready, &ends).step("report the cell ready")?;
    drop((listeners, proc));
    serve(place, control, &signals, guest)
}

/// Dies with the launcher, whatever else goes wrong.
fn tie_to_launcher() -> Result<(), Step> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).step("tie the cell to its launcher")
}

fn set_subreaper() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Pid::from_raw(1))?)
}

fn listen(address: &str) -> Result<TcpListener, Step> {
    let listener = TcpListener::bind(address).step("listen inside the cell")?;
    listener.set_nonblocking(true).step("listen inside the cell")?;
    Ok(listener)
}

fn start_guest(place: Place, mut groups: Vec<OwnedFd>) -> Result<Guest, Step> {
    let (ours, theirs) = rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .step("make a socket for the guest")?;
    let folder = if place.cgroups == CgroupEnds::Folder { groups.pop() } else { None };
    // As root the guest makes its user namespace itself, once it is the cell's user: what the kernel counts for each user is
    // then counted for that one, not for root.
    let flags = if place.namespaces && place.host_uid.is_none() { libc::CLONE_NEWUSER } else { 0 };
    let cloned = sys::clone_process(flags, folder.as_ref().map(AsFd::as_fd)).step("make the guest's process")?;
    let Cloned::Parent(pid, _) = cloned else {
        drop(ours);
        sys::child_life(|| guest::life(place, theirs, groups))
    };
    if place.namespaces {
        if place.host_uid.is_some() {
            await_namespace(&ours)?;
        }
        let (uid, gid) = match place.host_uid {
            Some(uid) => (uid, uid),
            None => (GUEST_UID, GUEST_UID),
        };
        // Without a pid namespace the cell has no /proc of its own yet.
        let proc = if place.pid_namespace { format!("/proc/{pid}") } else { format!("/.host/proc/{pid}") };
        write_id_maps(&proc, uid, gid)?;
        fs::write(format!("{proc}/oom_score_adj"), GUEST_OOM_SCORE).step("mark the guest for the kernel")?;
    } else {
        let _ = fs::write(format!("/proc/{pid}/oom_score_adj"), GUEST_OOM_SCORE);
    }
    sys::send(&ours, b"mapped", &[]).step("tell the guest who it is")?;
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidData).map_err(io::Error::from).step("know the guest")?;
    Ok(Guest { pid, socket: ours })
}

fn await_namespace(guest: &OwnedFd) -> Result<(), Step> {
    match message::receive(guest).step("wait for the guest's namespace")? {
        Some((Report::Ready, _)) => Ok(()),
        Some((Report::Failed { step, reason }, _)) => Err(Step { name: step, source: io::Error::other(reason) }),
        _ => Err(io::Error::from(io::ErrorKind::UnexpectedEof)).step("wait for the guest's namespace"),
    }
}

/// Maps the one id that a process in a new user namespace has. `proc`: that process's folder.
pub(super) fn write_id_maps(proc: &str, host_uid: u32, host_gid: u32) -> Result<(), Step> {
    fs::write(format!("{proc}/setgroups"), "deny").step("close the groups of the user namespace")?;
    fs::write(format!("{proc}/uid_map"), format!("{GUEST_UID} {host_uid} 1")).step("map the user")?;
    fs::write(format!("{proc}/gid_map"), format!("{GUEST_UID} {host_gid} 1")).step("map the group")
}

/// Gives the guest its work once it comes, and returns when the guest or the platform has ended.
fn serve(place: Place, control: &OwnedFd, signals: &OwnedFd, guest: Guest) -> Result<(), Step> {
    let mut worked = false;
    loop {
        let mut polled = [PollFd::new(control, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        match rustix::event::poll(&mut polled, None) {
            Err(rustix::io::Errno::INTR) => continue,
            done => done.step("wait")?,
        };
        let [from_platform, from_kernel] = polled.map(|fd| !fd.revents().is_empty());
        if from_kernel {
            let mut unread = [0; 1024];
            let _ = rustix::io::read(signals, &mut unread);
            if let Some(status) = reap(guest.pid) {
                return message::send(control, &Report::Ended { status }, &[]).step("report the guest's end");
            }
        }
        if from_platform {
            let Some((_, fds)) = sys::receive(control).step("hear the platform")? else { return Ok(()) };
            if !worked {
                worked = true;
                give_work(place, control, &guest, fds)?;
            }
        }
    }
}

fn give_work(place: Place, control: &OwnedFd, guest: &Guest, fds: Vec<OwnedFd>) -> Result<(), Step> {
    let [memfd, output, frames] =
        <[OwnedFd; 3]>::try_from(fds).map_err(|_| io::Error::from(io::ErrorKind::InvalidData)).step("take the work")?;
    let (work, contents) = message::read_work(&memfd).step("read the work")?;
    if place.namespaces {
        mounts::finish(&work, &contents)?;
    }
    give_up_rights(place)?;
    sys::send(&guest.socket, b"work", &[memfd.as_fd(), output.as_fd(), frames.as_fd()])
        .step("give the guest its work")?;
    message::send(control, &Report::Let, &[]).step("report the guest let go")
}

/// From here on guest code runs beside init: it keeps nothing that would be worth attacking.
fn give_up_rights(place: Place) -> Result<(), Step> {
    // Without a pid namespace the guest could signal init if they were the same user.
    if let Some(uid) = place.host_uid
        && place.pid_namespace
    {
        sys::become_user(uid, uid).step("become the cell's user")?;
        tie_to_launcher()?;
    }
    let kept =
        if place.pid_namespace || place.host_uid.is_none() { sys::clear_capabilities() } else { sys::keep_killing() };
    kept.step("give up capabilities")?;
    rustix::thread::set_no_new_privs(true).step("give up new privileges")?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).step("hide init's memory")
}

/// Reaps all that ended; the raw status if the guest's main process is among it.
fn reap(guest: Pid) -> Option<i32> {
    let mut ended = None;
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid == guest {
            ended = Some(status.as_raw());
        }
    }
    ended
}

/// Kills all below this process until nothing is left. A process that is being killed cannot fork, so what a round misses
/// was forked by a process that the same round killed: it is adopted, and found in the next.
fn kill_descendants(proc: BorrowedFd<'_>) {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    loop {
        for pid in tree::descendants(proc, own).into_iter().filter_map(Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        // The first waits for one to end, the others take what has ended meanwhile.
        let mut options = WaitOptions::empty();
        loop {
            match rustix::process::wait(options) {
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => options = WaitOptions::NOHANG,
                Ok(None) => break,
                // No child is left.
                Err(_) => return,
            }
        }
    }
}

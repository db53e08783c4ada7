//! The guest's process before it is the guest's: gives up all rights, waits for its work, becomes the program.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::process::Signal;

use super::confine::{self, View};
use super::message::{self, CgroupEnds, Place, Report};
use super::mounts::{InStep, Step};
use super::{GUEST_UID, sys};

/// What a guest's process has when a program could not be started: the shell's words for "not found".
const EXIT_NOT_STARTED: i32 = 127;
/// Where no control group weighs guests against the platform, they are a little nicer than it.
const PRIORITY_UNWEIGHED: i32 = 5;
/// The guest's end of the frames.
const FRAMES_FD: i32 = 3;
/// Descriptors are parked from here on while the lowest ones are filled.
const PARK_FROM: i32 = 16;

/// Never returns: the process ends or becomes the guest's program. `procs`: the control groups to enter.
pub(super) fn life(place: Place, init: OwnedFd, procs: Vec<OwnedFd>) -> Infallible {
    let work = match prepare(place, &init, procs) {
        Ok(Some(work)) => work,
        Ok(None) => sys::exit_now(0),
        Err(step) => {
            let failed = Report::Failed { step: step.name, reason: step.source.to_string() };
            // If init is gone too there is nobody left to tell.
            let _ = message::send(&init, &failed, &[]);
            sys::exit_now(EXIT_NOT_STARTED)
        }
    };
    drop(init);
    let error = start(place, work);
    // Descriptor 2 is the guest's output by now, or nothing.
    let _ = writeln!(io::stderr(), "cannot start the runtime: {} ({})", error.name, error.source);
    sys::exit_now(EXIT_NOT_STARTED)
}

/// Gives up what can be given up early, and waits. `None`: init is gone.
fn prepare(place: Place, init: &OwnedFd, procs: Vec<OwnedFd>) -> Result<Option<[OwnedFd; 3]>, Step> {
    for procs in procs {
        File::from(procs).write_all(b"0").step("enter a control group")?;
    }
    // Init's own priority is not for guests.
    let _ = rustix::process::setsid();
    let priority = if place.cgroups == CgroupEnds::None { PRIORITY_UNWEIGHED } else { 0 };
    rustix::process::setpriority_process(None, priority).step("give up priority")?;
    // Where the kernel groups processes by session, the session's priority counts. Best effort: it allows few changes a second.
    let _ = std::fs::write("/proc/self/autogroup", priority.to_string());
    if place.namespaces
        && let Some(uid) = place.host_uid
    {
        sys::drop_groups().step("drop groups")?;
        sys::become_user(uid, uid).step("become the cell's user")?;
        sys::own_user_namespace().step("make the guest's user namespace")?;
        message::send(init, &Report::Ready, &[]).step("say that the guest has a namespace")?;
    }
    // Init writes the id map from outside and says when.
    if sys::receive(init).step("wait for an identity")?.is_none() {
        return Ok(None);
    }
    if place.namespaces {
        sys::become_user(GUEST_UID, GUEST_UID).step("become the guest's user")?;
        confine::limit_kernel_objects();
        // Best effort: the path of its control group would tell a guest its place on the host.
        let _ = sys::own_cgroup_namespace();
        sys::drop_capabilities().step("give up capabilities")?;
    } else {
        if let Some(uid) = place.host_uid {
            sys::drop_groups().step("drop groups")?;
            sys::become_user(uid, uid).step("become the cell's user")?;
        }
        sys::drop_capabilities_if_possible().step("give up capabilities")?;
    }
    if !place.pid_namespace {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).step("tie the guest to its init")?;
    }
    confine::limit(place.cgroups == CgroupEnds::None)
        .map_err(|(name, source)| Step { name: name.to_owned(), source })?;
    sys::reset_signals();
    if place.namespaces {
        confine::restrict_files(&View::Cell).map_err(io::Error::other).step("restrict files")?;
        confine::restrict_calls(place.cgroups != CgroupEnds::None).step("restrict system calls")?;
    }
    message::send(init, &Report::Ready, &[]).step("say that the guest waits")?;
    let Some((_, fds)) = sys::receive(init).step("wait for work")? else { return Ok(None) };
    fds.try_into().map(Some).map_err(|_| io::Error::from(io::ErrorKind::InvalidData)).step("take the work")
}

/// Returns only if the program cannot be started.
fn start(place: Place, [memfd, output, frames]: [OwnedFd; 3]) -> Step {
    match try_start(place, memfd, output, frames) {
        Ok(never) => match never {},
        Err(step) => step,
    }
}

fn try_start(place: Place, memfd: OwnedFd, output: OwnedFd, frames: OwnedFd) -> Result<Infallible, Step> {
    let park = |fd: OwnedFd| rustix::io::fcntl_dupfd_cloexec(&fd, PARK_FROM).step("take the work");
    let (memfd, output, frames) = (park(memfd)?, park(output)?, park(frames)?);
    for target in [1, 2] {
        sys::place(output.as_fd(), target).step("place the output")?;
    }
    let null =
        rustix::fs::open(c"/dev/null", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).step("open /dev/null")?;
    sys::place(null.as_fd(), 0).step("place the input")?;
    sys::place(frames.as_fd(), FRAMES_FD).step("place the frames")?;
    let (work, _) = message::read_work(&memfd).step("read the work")?;
    if !place.namespaces
        && let Some(own_dir) = &work.own_dir
    {
        let own_dir = Path::new(own_dir);
        let (runtime, tmp) = (own_dir.join("runtime"), own_dir.join("tmp"));
        let mut read = vec![runtime.as_path()];
        read.extend(work.code_dir.as_deref().map(Path::new));
        read.extend(work.prefix.as_ref().map(|(from, _)| Path::new(from)));
        let view = View::Host { read: &read, write: &tmp };
        confine::restrict_files(&view).map_err(io::Error::other).step("restrict files")?;
        confine::restrict_calls(place.cgroups != CgroupEnds::None).step("restrict system calls")?;
    }
    rustix::process::chdir(work.cwd.as_str()).step("enter the working directory")?;
    let argv = c_strings(work.argv.iter().cloned()).step("read the arguments")?;
    let env = c_strings(work.env.iter().map(|(name, value)| format!("{name}={value}"))).step("read the environment")?;
    // All that is open above is ours and closes on exec; this catches what was inherited without that flag.
    sys::mark_from(FRAMES_FD + 1);
    let program = work.argv.first().cloned().unwrap_or_default();
    Err(sys::execute(&argv, &env)).step(&program)
}

fn c_strings(strings: impl Iterator<Item = String>) -> io::Result<Vec<CString>> {
    strings.map(|string| CString::new(string).map_err(io::Error::from)).collect()
}

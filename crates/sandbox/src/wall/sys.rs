//! The system calls that no safe library offers, each behind a safe function: nearly all of the project's `unsafe` is here.
#![expect(unsafe_code, reason = "raw system calls; every block says why it is sound")]

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use rustix::thread::{CapabilitySet, CapabilitySets};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Descriptors in one message.
pub(super) const MESSAGE_FDS_MAX: usize = 8;
/// Bytes in one message; larger things travel in a memfd.
pub(super) const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// Which side of a clone this is.
pub(super) enum Cloned {
    /// The new process.
    Child,
    /// The old one: the child's process id here, and a descriptor of it.
    Parent(i32, OwnedFd),
}

/// Forks with new namespaces and, on cgroup v2, straight into a control group.
pub(super) fn clone_process(flags: i32, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    let mut pidfd: RawFd = -1;
    // SAFETY: all of clone_args' fields are integers, for which zero is a valid value.
    let mut args: libc::clone_args = unsafe { MaybeUninit::zeroed().assume_init() };
    args.flags = u64::from(flags.cast_unsigned()) | u64::from(libc::CLONE_PIDFD.cast_unsigned());
    args.pidfd = (&raw mut pidfd).addr() as u64;
    args.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    if let Some(cgroup) = cgroup {
        // The constant is out of the range of i32 that the other flags have.
        args.flags |= 0x2_0000_0000;
        args.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    // SAFETY: without CLONE_VM and with no stack given this is a fork: the child gets a copy of this address space. The
    // launcher and init have one thread, so no lock can be held by a thread that the child lacks.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        // SAFETY: on success the kernel stored a new descriptor that nobody else owns.
        pid => Ok(Cloned::Parent(pid as i32, unsafe { OwnedFd::from_raw_fd(pidfd) })),
    }
}

/// Sets mount attributes (`MOUNT_ATTR_*`) and propagation (`MS_PRIVATE`, `MS_SLAVE` or 0) of a mount, or of a whole tree.
pub(super) fn set_mount(path: &CStr, recursive: bool, attributes: u64, propagation: u64) -> io::Result<()> {
    let attr = libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation, userns_fd: 0 };
    let flags = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: path is a C string and attr a mount_attr of the size given; both outlive the call, which keeps neither.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
            &raw const attr,
            size_of_val(&attr),
        )
    };
    check(done as libc::c_int)
}

/// Brings the loopback interface of this network namespace up.
pub(super) fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: ifreq is plain data, for which zero is a valid value.
    let mut request: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo\0") {
        *to = from.cast_signed() as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: request is an ifreq with a terminated name, as SIOCSIFFLAGS wants it, and outlives the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as libc::Ioctl, &raw const request) })
}

/// Installs a seccomp filter for this process; `no_new_privs` must be set.
pub(super) fn install_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    let length = libc::c_ushort::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies the program during the call and does not write to it.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) }
        as libc::c_int)
}

/// Whether the kernel knows seccomp filters with the action "kill the process".
pub(super) fn has_seccomp() -> bool {
    let action: u32 = libc::SECCOMP_RET_KILL_PROCESS;
    // SAFETY: the call reads one u32.
    let done = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) };
    done == 0
}

/// Landlock's version, or 0.
pub(super) fn landlock_abi() -> i32 {
    const CREATE_RULESET_VERSION: u32 = 1;
    // SAFETY: with this flag the kernel reads no memory.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, ptr::null::<u8>(), 0_usize, CREATE_RULESET_VERSION) };
    i32::try_from(version).map_or(0, |version| version.max(0))
}

/// Lets every descriptor from `first` on close on exec.
pub(super) fn mark_from(first: RawFd) {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: changes flags of descriptors only. It cannot fail with these arguments on a kernel that has pidfds in clone3
    // and mount_setattr, both of which are newer.
    unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) };
}

/// Closes, in a cloned child, a descriptor that belongs to the parent's side.
pub(super) fn close(fd: RawFd) {
    // SAFETY: the OwnedFd of this number lives in frames of the parent's code, to which a child never returns.
    unsafe { libc::close(fd) };
}

/// Makes `target` a copy of `fd` that survives `execve`.
pub(super) fn place(fd: BorrowedFd<'_>, target: RawFd) -> io::Result<()> {
    if fd.as_raw_fd() == target {
        // SAFETY: changes flags of a descriptor that is open.
        return check(unsafe { libc::fcntl(target, libc::F_SETFD, 0) });
    }
    // SAFETY: replaces a descriptor number; the caller chooses numbers that no OwnedFd here stands for.
    check(unsafe { libc::dup2(fd.as_raw_fd(), target) })
}

/// Takes what this process was given as standard input, and leaves it an empty one.
pub(super) fn take_input() -> io::Result<OwnedFd> {
    const FIRST_FREE: RawFd = 3;
    let taken = rustix::io::fcntl_dupfd_cloexec(io::stdin(), FIRST_FREE)?;
    let null = rustix::fs::open(c"/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty())?;
    place(null.as_fd(), 0)?;
    Ok(taken)
}

/// Becomes a user and group with no supplementary rights.
pub(crate) fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: changes credentials only; this process has one thread.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) } as libc::c_int)?;
    // SAFETY: as above.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) } as libc::c_int)
}

/// Moves this process into a user namespace of its own, which belongs to the user that it is now.
pub(super) fn own_user_namespace() -> io::Result<()> {
    // SAFETY: this process has one thread, and shares nothing that the namespace would take from another.
    check(unsafe { libc::unshare(libc::CLONE_NEWUSER) })
}

/// From now on this process sees the control group that it is in as the root of all.
pub(super) fn own_cgroup_namespace() -> io::Result<()> {
    // SAFETY: as above.
    check(unsafe { libc::unshare(libc::CLONE_NEWCGROUP) })
}

/// Drops all supplementary groups.
pub(crate) fn drop_groups() -> io::Result<()> {
    // SAFETY: an empty list, so nothing is read.
    check(unsafe { libc::setgroups(0, ptr::null()) })
}

/// Gives up every capability, also those that a program could get back.
pub(super) fn drop_capabilities() -> io::Result<()> {
    for capability in 0..64 {
        // SAFETY: plain prctl with integer arguments. Numbers that the kernel does not know are refused: that ends the list.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
            let error = io::Error::last_os_error();
            if error.raw_os_error() == Some(libc::EINVAL) {
                break;
            }
            return Err(error);
        }
    }
    clear_capabilities()
}

/// As [`drop_capabilities`], for a process that may have had none to begin with: then its bounding set stays, which
/// `no_new_privs` makes worthless.
pub(super) fn drop_capabilities_if_possible() -> io::Result<()> {
    drop_capabilities().or_else(|_| clear_capabilities())
}

/// Gives up the capabilities of this process but not its bounding set.
pub(crate) fn clear_capabilities() -> io::Result<()> {
    set_capabilities(CapabilitySet::empty())
}

/// Keeps only the right to end other users' processes.
pub(super) fn keep_killing() -> io::Result<()> {
    set_capabilities(CapabilitySet::KILL)
}

fn set_capabilities(kept: CapabilitySet) -> io::Result<()> {
    // Kernels before 4.3 have no ambient set: nothing to clear there.
    let _ = rustix::thread::clear_ambient_capability_set();
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

/// Asks the scheduler for short turns, and so for early ones: what has little to do gets the processor soon after it wakes,
/// however many others want it (sched(7); honoured since Linux 6.12, harmless before).
pub(super) fn prefer_early_turns() {
    const TURN_NANOS: u64 = 100_000;
    let nice = rustix::process::getpriority_process(None).unwrap_or(0);
    // SAFETY: sched_attr is plain data, for which zero is a valid value.
    let mut attributes: libc::sched_attr = unsafe { MaybeUninit::zeroed().assume_init() };
    attributes.size = size_of::<libc::sched_attr>() as u32;
    attributes.sched_nice = nice;
    attributes.sched_runtime = TURN_NANOS;
    // SAFETY: the kernel reads `size` bytes during the call.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
}

/// Leaves the session keyring that was inherited for an empty one.
pub(crate) fn leave_keyring() {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name makes an anonymous keyring. Kernels without keyrings answer ENOSYS: nothing to leave there.
    unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, ptr::null::<u8>()) };
}

/// Blocks SIGCHLD and gives a descriptor that is readable when one came.
pub(super) fn child_signals() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset before it is used; all pointers are to locals. The default disposition
    // replaces the launcher's, under which the kernel would reap the children itself.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD);
        check(libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut()))?;
        let fd = libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        check(fd)?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Lets the kernel reap this process's children.
pub(super) fn reap_children_unseen() {
    // SAFETY: SIG_IGN is a valid disposition.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// Signal mask and dispositions as a program expects them at its start.
pub(super) fn reset_signals() {
    // SAFETY: dispositions become the default, no handler of ours is ever installed; the set is initialised before its use.
    unsafe {
        for signal in [libc::SIGPIPE, libc::SIGCHLD] {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), ptr::null_mut());
    }
}

/// Becomes another program. Returns only if that fails.
pub(super) fn execute(argv: &[CString], env: &[CString]) -> io::Error {
    let Some(program) = argv.first() else { return io::ErrorKind::InvalidInput.into() };
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(argv), pointers(env));
    // SAFETY: both lists end with a null pointer and point to C strings that outlive the call.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Ends this process at once, without destructors of state that it shares with its parent.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit never returns and touches no memory.
    unsafe { libc::_exit(code) }
}

/// Sends one message with descriptors over a socket that keeps message bounds.
pub(super) fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MESSAGE_FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    loop {
        match rustix::net::sendmsg(&socket, &[io::IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            done => return done.map(drop).map_err(Into::into),
        }
    }
}

/// Receives one message. `None`: the other side is gone.
pub(super) fn receive(socket: impl AsFd) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MESSAGE_FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = vec![0; MESSAGE_BYTES_MAX];
    let length = loop {
        let mut parts = [io::IoSliceMut::new(&mut bytes)];
        match rustix::net::recvmsg(&socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            // What is left unread when a peer closes makes the first read an error instead of the end.
            Err(Errno::CONNRESET) => return Ok(None),
            done => break done?.bytes,
        }
    };
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    if length == 0 && fds.is_empty() {
        return Ok(None);
    }
    bytes.truncate(length);
    Ok(Some((bytes, fds)))
}

/// A descriptor that the async runtime tells about when it is readable. Must be called within a runtime.
pub(crate) fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd stays open and the same for as long as the AsyncFd owns it, and gives no way to replace it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

/// Turns what a system call returned into a result.
fn check(returned: libc::c_int) -> io::Result<()> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Runs the life of a cloned child: whatever it returns or panics with, the child never goes on in its parent's code.
pub(super) fn child_life(life: impl FnOnce() -> Infallible) -> ! {
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(life));
    match ended {
        Ok(never) => match never {},
        Err(_) => exit_now(70),
    }
}

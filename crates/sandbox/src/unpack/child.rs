//! The child that unpacks: nothing but the zip file and an empty folder is within its reach.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr, RulesetCreatedAttr, Scope,
};
use rustix::process::{Resource, Rlimit, Signal};

use super::archive;
use crate::wall::{InStep, Report, Step, UnpackRequest, fork_into, make_empty_root, restrict_calls, send, sys};

/// Memory of the child. The list of a package's entries is the largest thing in it.
const MEMORY_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Processor time of the child.
const CPU_SECS_MAX: u64 = 60;
const OPEN_FILES_MAX: u64 = 32;
const LANDLOCK: ABI = ABI::V6;

/// Forks the child; called in the launcher. Descriptors: the zip file, the folder.
pub(crate) fn make_child(
    request: UnpackRequest,
    control: &OwnedFd,
    fds: Vec<OwnedFd>,
    foreign: &OwnedFd,
) -> Result<(i32, OwnedFd), Step> {
    let [zip, folder] = <[OwnedFd; 2]>::try_from(fds)
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
        .step("take the package")?;
    let control = control.try_clone().step("keep the unpacker's socket")?;
    let namespaces = if request.namespaces {
        libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS
    } else {
        0
    };
    fork_into(namespaces, request.user_namespace, Some(foreign), move || life(request, &control, zip, folder))
}

fn life(request: UnpackRequest, control: &OwnedFd, zip: OwnedFd, folder: OwnedFd) -> Infallible {
    // If the platform is gone there is nobody left to tell.
    let _ = match unpack(request, zip, folder) {
        Ok(Ok(report)) => send(control, &Report::Unpacked, &[report.as_fd()]),
        Ok(Err(refusal)) => send(control, &Report::PackageRefused(refusal), &[]),
        Err(Step { name, source }) => send(control, &Report::Failed { step: name, reason: source.to_string() }, &[]),
    };
    sys::exit_now(0)
}

fn unpack(request: UnpackRequest, zip: OwnedFd, folder: OwnedFd) -> Result<Result<OwnedFd, super::Refusal>, Step> {
    confine(request, &folder)?;
    let report = match archive::extract(File::from(zip), &folder, request.bytes_max, request.entries_max) {
        Ok(report) => report,
        Err(archive::Failure::Refused(refusal)) => return Ok(Err(refusal)),
        Err(archive::Failure::Disk(source)) => return Err(source).step("write the package's files"),
    };
    let memfd = rustix::fs::memfd_create(c"report", rustix::fs::MemfdFlags::CLOEXEC).step("report")?;
    let text = serde_json::to_vec(&report).map_err(io::Error::from).step("report")?;
    File::from(memfd.try_clone().step("report")?).write_all(&text).step("report")?;
    Ok(Ok(memfd))
}

fn confine(request: UnpackRequest, folder: &OwnedFd) -> Result<(), Step> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).step("tie the unpacker to the launcher")?;
    if request.namespaces {
        make_empty_root()?;
    }
    if let Some(uid) = request.host_uid {
        sys::drop_groups().step("drop groups")?;
        sys::become_user(uid, uid).step("become the unpacker's user")?;
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .step("tie the unpacker to the launcher")?;
    }
    sys::clear_capabilities().step("give up capabilities")?;
    let limits = [
        (Resource::Data, MEMORY_BYTES_MAX),
        (Resource::Cpu, CPU_SECS_MAX),
        (Resource::Fsize, request.bytes_max),
        (Resource::Nofile, OPEN_FILES_MAX),
        (Resource::Nproc, 0),
        (Resource::Core, 0),
    ];
    for (resource, value) in limits {
        rustix::process::setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })
            .step("set a limit")?;
    }
    sys::leave_keyring();
    rustix::thread::set_no_new_privs(true).step("give up new privileges")?;
    let all = AccessFs::from_all(LANDLOCK);
    let restrict = || {
        Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(all)?
            .scope(Scope::Signal | Scope::AbstractUnixSocket)?
            .create()?
            .add_rule(PathBeneath::new(folder, all))?
            .restrict_self()
    };
    restrict().map_err(io::Error::other).step("restrict files")?;
    restrict_calls(true).step("restrict system calls")
}

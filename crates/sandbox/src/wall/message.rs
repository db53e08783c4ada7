//! What server, launcher and init say to each other: JSON, small, one message a packet; contents of files travel in a memfd.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::probes::Found;
use super::{CellSpec, sys};

/// What the server asks of the launcher. The first descriptor is always the cell's end of its own socket.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Make a cell that waits. Further descriptors: what `Place::cgroups` says.
    Cell(Place),
    /// Unpack a package. Further descriptors: the zip file, the folder.
    Unpack(UnpackRequest),
}

/// Where a cell stands: what is made around it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Place {
    /// New namespaces at all; without them only seccomp, landlock and limits hold (weak tier).
    pub namespaces: bool,
    /// A new user namespace comes first, because this user may not make the others.
    pub user_namespace: bool,
    /// A new pid namespace.
    pub pid_namespace: bool,
    /// The host's user and group id of the guest; `None` when it can only be the platform's own.
    pub host_uid: Option<u32>,
    /// What the further descriptors are.
    pub cgroups: CgroupEnds,
}

/// How the guest gets into its control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum CgroupEnds {
    /// There are none.
    None,
    /// That many `cgroup.procs` files to write to.
    Procs(usize),
    /// One folder of cgroup v2, to clone into.
    Folder,
}

/// A package to be unpacked by a sandboxed child.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct UnpackRequest {
    /// Namespaces as for cells.
    pub namespaces: bool,
    /// As for cells.
    pub user_namespace: bool,
    /// The host's user id of the child; `None`: the platform's own.
    pub host_uid: Option<u32>,
    /// Bytes that the package may have when unpacked.
    pub bytes_max: u64,
    /// Entries that it may have.
    pub entries_max: usize,
}

/// What comes out of the launcher, init and the unpacker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The launcher's first words.
    Probed(Found),
    /// The process exists. Descriptor: of the process.
    Born {
        /// Its id where the launcher lives.
        pid: i32,
    },
    /// The cell waits for its work. Descriptors: both listeners, then `/proc` as the cell sees it.
    Ready,
    /// The guest was let go.
    Let,
    /// The guest's main process ended: the raw wait status.
    Ended {
        /// As `waitpid` gives it.
        status: i32,
    },
    /// The package is unpacked. Descriptor: a memfd with the report as JSON.
    Unpacked,
    /// The package is refused.
    PackageRefused(crate::unpack::Refusal),
    /// A step failed; the sender ends.
    Failed {
        /// What was being done.
        step: String,
        /// Why it failed.
        reason: String,
    },
}

/// The work of a cell, as it lies in the memfd: this header as JSON, then the files' contents one after the other.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Work {
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    pub cwd: String,
    pub code_dir: Option<String>,
    pub prefix: Option<(String, String)>,
    pub ephemeral_mib: u32,
    pub files: Vec<(String, usize)>,
    /// Weak tier: the cell's own folder, with `runtime` and `tmp` inside.
    pub own_dir: Option<String>,
}

pub(crate) fn send(socket: impl AsFd, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > sys::MESSAGE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "message too long"));
    }
    sys::send(socket, &bytes, fds)
}

/// `None`: the other side is gone.
pub(super) fn receive<T: DeserializeOwned>(socket: impl AsFd) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let Some((bytes, fds)) = sys::receive(socket)? else { return Ok(None) };
    Ok(Some((serde_json::from_slice(&bytes)?, fds)))
}

/// Puts work into a memfd.
pub(super) fn write_work(work: &Work, files: &[(String, Bytes)]) -> io::Result<OwnedFd> {
    let header = serde_json::to_vec(work)?;
    let length = u32::try_from(header.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut bytes =
        Vec::with_capacity(4 + header.len() + files.iter().map(|(_, content)| content.len()).sum::<usize>());
    bytes.extend(length.to_le_bytes());
    bytes.extend(header);
    for (_, content) in files {
        bytes.extend(content);
    }
    let mut file = File::from(rustix::fs::memfd_create(c"work", rustix::fs::MemfdFlags::CLOEXEC)?);
    file.write_all(&bytes)?;
    Ok(file.into())
}

/// Reads work, and the contents of its files.
pub(super) fn read_work(memfd: &OwnedFd) -> io::Result<(Work, Vec<Vec<u8>>)> {
    let mut file = File::from(memfd.try_clone()?);
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or(io::ErrorKind::UnexpectedEof)?;
    let (header, mut rest) =
        rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or(io::ErrorKind::UnexpectedEof)?;
    let work: Work = serde_json::from_slice(header)?;
    let mut contents = Vec::new();
    for (_, length) in &work.files {
        let (content, after) = rest.split_at_checked(*length).ok_or(io::ErrorKind::UnexpectedEof)?;
        contents.push(content.to_vec());
        rest = after;
    }
    Ok((work, contents))
}

impl Work {
    /// The work of `spec`; paths must be resolved already.
    pub(super) fn of(spec: &CellSpec, code_dir: Option<String>, prefix: Option<(String, String)>) -> Self {
        Self {
            argv: spec.argv.clone(),
            env: spec.env.clone(),
            cwd: spec.cwd.clone(),
            code_dir,
            prefix,
            ephemeral_mib: spec.ephemeral_mib,
            files: spec.runtime_files.iter().map(|(name, content)| (name.clone(), content.len())).collect(),
            own_dir: None,
        }
    }
}

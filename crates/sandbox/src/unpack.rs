//! Unpacks a code package in a sandboxed child, since a package is hostile until it has been read.

mod archive;
mod child;

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::path::Path;
use std::time::Duration;

use model::limits::{PACKAGE_ENTRIES_MAX, PACKAGE_UNZIPPED_BYTES_MAX};
use serde::{Deserialize, Serialize};

use crate::wall::{Report, Wall, sys};

pub(crate) use child::make_child;

/// A package that takes longer is refused: a quarter of a gigabyte takes seconds.
const UNPACK_MAX: Duration = Duration::from_secs(60);
/// What the child may report: native files of the largest packages take some tens of kilobytes.
const REPORT_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Temporary folders beside the target begin so; those found at a start are a dead platform's.
const TEMPORARY_PREFIX: &str = ".unpacking-";

/// A file of a package that holds machine code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NativeFile {
    /// Its path in the package.
    pub path: String,
    /// `e_machine` of the ELF header: 62 is x86-64, 183 is AArch64.
    pub machine: u16,
}

/// What a package turned out to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnpackReport {
    /// All files together, unpacked.
    pub bytes: u64,
    /// Files, folders and links in the zip file.
    pub entries: u64,
    /// ELF files, by path.
    pub native: Vec<NativeFile>,
    /// Native Python modules (`*.cpython-312-x86_64-linux-gnu.so`, `*.abi3.so`), by path.
    pub python_modules: Vec<String>,
    /// Names at the top of the package.
    pub top_level: Vec<String>,
}

/// Why the package's author must change it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The bytes are no zip file, or one that uses what is not supported; in words.
    #[error("not a usable zip file: {0}")]
    NotZip(String),
    /// Larger than a package may be.
    #[error("larger than {PACKAGE_UNZIPPED_BYTES_MAX} bytes when unpacked")]
    TooLarge,
    /// An entry is dangerous or more than allowed; in words.
    #[error("{0}")]
    Entry(String),
}

/// Why a package was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The package is at fault.
    #[error("the package is refused")]
    Refused(#[source] Refusal),
    /// It took too long, or too much memory.
    #[error("unpacking the package did not end in time or took too much memory")]
    GaveUp,
    /// The platform is at fault.
    #[error("{doing}")]
    Platform {
        /// What was being done.
        doing: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl Wall {
    /// Unpacks a zip file into the new folder `into`, whole or not at all. A folder that is there already is left as it is:
    /// it was put there by an earlier unpacking. Files become 0644 or 0755, folders 0755. Must be called within a runtime.
    pub async fn unpack(&self, zip: &Path, into: &Path) -> Result<UnpackReport, UnpackError> {
        let nofollow = libc::O_NOFOLLOW | libc::O_CLOEXEC;
        let zip = File::options().read(true).custom_flags(nofollow).open(zip).map_err(platform("open the package"))?;
        let parent = into.parent().ok_or_else(|| platform("place the package")(io::ErrorKind::InvalidInput.into()))?;
        fs::create_dir_all(parent).map_err(platform("make the folder of packages"))?;
        // Removed when dropped, also when this future is.
        let temporary = tempfile::Builder::new()
            .prefix(TEMPORARY_PREFIX)
            .tempdir_in(parent)
            .map_err(platform("make a temporary folder"))?;
        if let Some(uid) = self.unpack_uid() {
            chown(temporary.path(), Some(uid), Some(uid)).map_err(platform("give the folder to the unpacker"))?;
        }
        let folder = File::options()
            .read(true)
            .custom_flags(nofollow | libc::O_DIRECTORY)
            .open(temporary.path())
            .map_err(platform("open the temporary folder"))?;
        let control = self
            .request_unpack((PACKAGE_UNZIPPED_BYTES_MAX, PACKAGE_ENTRIES_MAX), zip.as_fd(), folder.as_fd())
            .and_then(sys::readable)
            .map_err(platform("ask the launcher"))?;
        drop((zip, folder));
        let reported = tokio::time::timeout(UNPACK_MAX, report(&control)).await;
        // The child sees the end of its socket and ends, if it has not yet.
        let report = reported.map_err(|_| UnpackError::GaveUp)??;
        match fs::rename(temporary.path(), into) {
            Ok(()) => {
                // What it named is no longer there under that name.
                let _ = temporary.keep();
                Ok(report)
            }
            Err(_) if into.is_dir() => Ok(report),
            Err(error) => Err(platform("put the package in place")(error)),
        }
    }
}

async fn report(control: &tokio::io::unix::AsyncFd<OwnedFd>) -> Result<UnpackReport, UnpackError> {
    let mut child = None;
    loop {
        let heard = crate::wall::receive(control).await.map_err(platform("hear the unpacker"))?;
        match heard {
            Some((Report::Born { .. }, fds)) => child = Some(Child(fds)),
            Some((Report::Unpacked, fds)) => return read_report(fds),
            Some((Report::PackageRefused(refusal), _)) => return Err(UnpackError::Refused(refusal)),
            Some((Report::Failed { step, reason }, _)) => {
                return Err(UnpackError::Platform { doing: step, source: io::Error::other(reason) });
            }
            Some(_) => {}
            // Its limits ended it.
            None => {
                drop(child);
                return Err(UnpackError::GaveUp);
            }
        }
    }
}

/// Kills the child when the wait for it ends, however that is.
struct Child(Vec<OwnedFd>);

impl Drop for Child {
    fn drop(&mut self) {
        for pidfd in &self.0 {
            let _ = rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::KILL);
        }
    }
}

fn read_report(fds: Vec<OwnedFd>) -> Result<UnpackReport, UnpackError> {
    let read = || -> io::Result<UnpackReport> {
        let mut file = File::from(fds.into_iter().next().ok_or(io::ErrorKind::UnexpectedEof)?);
        file.rewind()?;
        let mut text = Vec::new();
        file.take(REPORT_BYTES_MAX).read_to_end(&mut text)?;
        Ok(serde_json::from_slice(&text)?)
    };
    read().map_err(platform("read the unpacker's report"))
}

fn platform(doing: &'static str) -> impl Fn(io::Error) -> UnpackError {
    move |source| UnpackError::Platform { doing: doing.to_owned(), source }
}

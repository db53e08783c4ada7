//! What talks with guest code: frames, the Runtime API, its output, its SDK connections, and the words of its failures.

pub(crate) mod frames;
pub(crate) mod output;
pub(crate) mod runtime_api;
pub(crate) mod sdk;
pub(crate) mod splitter;
pub(crate) mod wording;

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Tells when the descriptor can be read.
pub(crate) fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by what is returned: it stays open and the same until it is deregistered.
    let registered = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
    Ok(registered?)
}

//! The pipe that is a guest's standard output and error: read as fast as the guest writes, handed to the splitter.

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use base::sizes::{KIB, MIB};
use base::time::Clock;
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use crate::guest::splitter::Splitter;
use crate::guest::watch;
use crate::ports::LogSink;

const READ_BYTES: usize = 16 * KIB;
/// Reads in a row before others get their turn.
const READS_PER_TURN: usize = 16;
/// What was written before an answer stands in the pipe, which holds no more than this (fs.pipe-max-size).
const PIPE_BYTES_MAX: usize = MIB;

/// A guest's output. Nothing is read while the guest has nothing to do: late output waits in the pipe for the next
/// invocation, and costs nothing.
pub(crate) struct Output {
    pipe: AsyncFd<OwnedFd>,
    splitter: Splitter,
    sink: Arc<dyn LogSink>,
    clock: Arc<dyn Clock>,
}

enum Read {
    Some(usize),
    Empty,
    Ended,
}

impl Output {
    pub(crate) fn new(pipe: OwnedFd, sink: Arc<dyn LogSink>, clock: Arc<dyn Clock>) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&pipe, true)?;
        let pipe = watch(pipe)?;
        Ok(Self { pipe, splitter: Splitter::default(), sink, clock })
    }

    /// Reads for as long as it is polled. Cancel-safe.
    pub(crate) async fn pump(&mut self) -> Infallible {
        loop {
            let Ok(mut ready) = self.pipe.readable().await else { return std::future::pending().await };
            let mut last = Read::Empty;
            for _ in 0..READS_PER_TURN {
                last = read(ready.get_inner(), &mut self.splitter, &*self.sink, &*self.clock);
                if !matches!(last, Read::Some(_)) {
                    break;
                }
            }
            match last {
                Read::Some(_) => tokio::task::yield_now().await,
                Read::Empty => ready.clear_ready(),
                Read::Ended => return std::future::pending().await,
            }
        }
    }

    /// Reads what stands in the pipe and ends the invocation's output. Returns the bytes that were dropped in it.
    pub(crate) fn finish(&mut self) -> u64 {
        let mut total = 0;
        while total < PIPE_BYTES_MAX {
            match read(self.pipe.get_ref(), &mut self.splitter, &*self.sink, &*self.clock) {
                Read::Some(count) => total += count,
                Read::Empty | Read::Ended => break,
            }
        }
        self.splitter.finish(self.clock.now(), &*self.sink)
    }
}

fn read(pipe: &OwnedFd, splitter: &mut Splitter, sink: &dyn LogSink, clock: &dyn Clock) -> Read {
    let mut buffer = [0; READ_BYTES];
    loop {
        return match rustix::io::read(pipe, &mut buffer) {
            Ok(0) => Read::Ended,
            Ok(count) => {
                splitter.feed(&buffer[..count], clock.now(), sink);
                Read::Some(count)
            }
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => Read::Empty,
            Err(_) => Read::Ended,
        };
    }
}

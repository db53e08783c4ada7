//! `pinfold down`: asks the server of a data directory to end, and waits until it has.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::json;

use crate::cli::{Context, Exit, Failure};
use crate::client::Connection;
use crate::config::values;

#[derive(Debug, Args)]
pub struct Down {
    /// Wait so long for running invocations to end
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = values::duration)]
    timeout: Duration,
}

pub fn run(command: &Down, context: &Context) -> Result<Exit, Failure> {
    let data_dir = context.data_dir()?;
    let file = Connection::file_in(&data_dir);
    let nothing = || {
        Failure::unreachable(format!("nothing runs on {}", data_dir.display()))
            .hint("name the data directory of the server with --data-dir")
    };
    let connection = Connection::read(&file)?.ok_or_else(nothing)?;
    let pid = i32::try_from(connection.pid).ok().and_then(Pid::from_raw).ok_or_else(nothing)?;
    // The descriptor stands for this one process, even if the number is given to another later.
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Err(nothing()),
        Err(error) => return Err(Failure::new(format!("look at process {}: {error}", connection.pid))),
        Ok(process) => process,
    };
    // Another program may have the number by now.
    if !holds_files_of(connection.pid, &data_dir) {
        return Err(nothing());
    }
    let started = Instant::now();
    match pidfd_send_signal(&process, Signal::TERM) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(error) => return Err(Failure::new(format!("ask process {} to end: {error}", connection.pid))),
    }
    if !ended_within(&process, command.timeout) {
        let waited = values::show_duration(command.timeout);
        return Err(Failure::new(format!("process {} has not ended within {waited}; it was asked to", connection.pid))
            .hint("run `pinfold down` again to make it end at once; nothing that was acknowledged is lost"));
    }
    let secs = started.elapsed().as_secs_f64();
    if context.out.is_json() {
        context.out.json(&json!({ "stopped": connection.pid, "data_dir": data_dir, "seconds": secs }));
    } else {
        context.out.line(format_args!("stopped process {} on {} in {secs:.1} s", connection.pid, data_dir.display()));
    }
    Ok(Exit::Done)
}

/// Whether a process has a file of this directory open, as every server has its lock.
fn holds_files_of(pid: u32, data_dir: &Path) -> bool {
    let data_dir = fs::canonicalize(data_dir).unwrap_or_else(|_| data_dir.to_owned());
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    open.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| target.starts_with(&data_dir))
}

fn ended_within(process: &OwnedFd, timeout: Duration) -> bool {
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let wait =
            Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&wait)) {
            Ok(0) => return false,
            Err(Errno::INTR) => {}
            // An error cannot be waited out; the signal was delivered.
            Ok(_) | Err(_) => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_known_by_the_files_that_it_holds() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(!holds_files_of(std::process::id(), dir.path()));
        let _held = fs::File::create(dir.path().join("lock")).expect("a file");
        assert!(holds_files_of(std::process::id(), dir.path()));
    }

    #[test]
    fn the_end_of_a_process_is_seen() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep runs");
        let pid = Pid::from_raw(child.id() as i32).expect("a process");
        let process = pidfd_open(pid, PidfdFlags::empty()).expect("it is there");
        assert!(!ended_within(&process, Duration::from_millis(1)));
        pidfd_send_signal(&process, Signal::TERM).expect("it is ours");
        assert!(ended_within(&process, Duration::from_secs(10)));
        child.wait().expect("it has ended");
    }
}

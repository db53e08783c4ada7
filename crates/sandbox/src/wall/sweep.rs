//! Ends what an earlier platform with the same data directory left behind, and nobody else's.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::launcher::LAUNCHER_WORD;

/// Killed processes that take longer to vanish are left to the kernel.
const VANISH_MAX: Duration = Duration::from_secs(2);

/// Kills launchers (and the inits cloned from them) whose command line carries `label`. Returns how many there were.
pub(super) fn sweep_processes(label: &str) -> usize {
    let own_user = rustix::process::geteuid().as_raw();
    let own = rustix::process::getpid();
    let mut dying = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        let Some(pid) = pid.filter(|pid| *pid != own) else { continue };
        let Ok(command) = fs::read(entry.path().join("cmdline")) else { continue };
        if !is_launcher(&command, label) {
            continue;
        }
        // Root's cells have left root's id; another user's launcher is not ours, whatever it is labelled.
        let owned = entry.metadata().is_ok_and(|metadata| metadata.uid() == own_user || own_user == 0);
        let Ok(pidfd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { continue };
        if owned && rustix::process::pidfd_send_signal(&pidfd, Signal::KILL).is_ok() {
            dying.push(pidfd);
        }
    }
    let deadline = Instant::now() + VANISH_MAX;
    for pidfd in &dying {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout =
            rustix::time::Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        let _ = rustix::event::poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&timeout));
    }
    dying.len()
}

fn is_launcher(command: &[u8], label: &str) -> bool {
    let mut words = command.split(|byte| *byte == 0).skip(1);
    words.next() == Some(LAUNCHER_WORD.as_bytes()) && words.next() == Some(label.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_label_is_a_leftover() {
        assert!(is_launcher(b"/proc/self/exe\0__launcher\0a1\0", "a1"));
        assert!(is_launcher(b"pinfold\0__launcher\0a1\0without-cgroups\0", "a1"));
        assert!(!is_launcher(b"pinfold\0__launcher\0a12\0", "a1"));
        assert!(!is_launcher(b"pinfold\0up\0__launcher\0a1\0", "a1"));
    }
}

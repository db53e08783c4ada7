//! The processes below one process, for cells that have no pid namespace of their own.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Dir, Mode, OFlags};

/// Processes that are looked at in one round; a cell may have fewer.
const PROCESSES_MAX: usize = 4096;

/// All processes below `root`, parents first. `proc`: a `/proc` in which `root` has that number. What forks meanwhile may
/// be missed: ask again until there is nothing.
pub(super) fn descendants(proc: BorrowedFd<'_>, root: i32) -> Vec<i32> {
    let mut found = vec![root];
    let mut at = 0;
    while let Some(pid) = found.get(at).copied()
        && found.len() < PROCESSES_MAX
    {
        at += 1;
        found.extend(children(proc, pid));
    }
    found.remove(0);
    found
}

/// Any thread can have children (proc_pid_task_tid_children(5)).
fn children(proc: BorrowedFd<'_>, pid: i32) -> Vec<i32> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(tasks) = rustix::fs::openat(proc, format!("{pid}/task"), flags, Mode::empty()) else { return Vec::new() };
    let Ok(entries) = Dir::read_from(&tasks) else { return Vec::new() };
    let mut found = Vec::new();
    for name in entries.flatten().filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned)) {
        let text = read_at(tasks.as_fd(), &format!("{name}/children")).unwrap_or_default();
        found.extend(text.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
    }
    found
}

/// A small file below an open folder.
pub(super) fn read_at(folder: BorrowedFd<'_>, path: &str) -> Option<String> {
    let file: OwnedFd =
        rustix::fs::openat(folder, Path::new(path), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut text = String::new();
    File::from(file).read_to_string(&mut text).ok()?;
    Some(text)
}

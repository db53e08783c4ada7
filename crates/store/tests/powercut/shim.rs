//! The recorder: compiles it, runs a process under it, reads what it wrote.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The recorder, compiled into a folder.
pub(crate) struct Shim(PathBuf);

/// What happened, in order.
#[derive(Debug)]
pub(crate) enum Event {
    Create { inode: u64, path: PathBuf },
    Write { inode: u64, offset: u64, bytes: Vec<u8> },
    Truncate { inode: u64, length: u64 },
    Sync { inode: u64 },
    SyncDir { path: PathBuf },
    MakeDir { path: PathBuf },
    Rename { from: PathBuf, to: PathBuf },
    Link { from: PathBuf, to: PathBuf },
    Remove { path: PathBuf },
    Said { text: String },
}

impl Shim {
    /// Compiles the recorder with the system's C compiler.
    pub(crate) fn compile(folder: &Path) -> Self {
        let library = folder.join("shim.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/powercut/shim.c");
        let arguments = ["-shared", "-fPIC", "-O1", "-o"];
        let status = Command::new("cc").args(arguments).arg(&library).arg(source).arg("-ldl").status();
        assert!(status.expect("a C compiler").success(), "the recorder compiles");
        Self(library)
    }

    /// A helper test of this binary as a process of its own, under the recorder.
    pub(crate) fn command(&self, helper: &str, root: &Path) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("known"));
        command.args(["--exact", helper, "--ignored", "--nocapture", "--test-threads=1"]);
        command.env("LD_PRELOAD", &self.0).env("STORE_SHIM_ROOT", root);
        command
    }
}

/// Reads what the recorder wrote.
pub(crate) fn read(log: &Path) -> Vec<Event> {
    let content = fs::read(log).expect("a log");
    let mut rest = &content[..];
    let mut events = Vec::new();
    while !rest.is_empty() {
        let kind = take(&mut rest, 1)[0];
        let (a, b) = (number(take(&mut rest, 8)), number(take(&mut rest, 8)));
        let (one, two) = (number(take(&mut rest, 4)), number(take(&mut rest, 4)));
        let (one, two) = (take(&mut rest, one as usize), take(&mut rest, two as usize));
        events.push(match kind {
            b'C' => Event::Create { inode: a, path: path(one) },
            b'W' => Event::Write { inode: a, offset: b, bytes: one.to_vec() },
            b'T' => Event::Truncate { inode: a, length: b },
            b'S' => Event::Sync { inode: a },
            b'D' => Event::SyncDir { path: path(one) },
            b'N' => Event::MakeDir { path: path(one) },
            b'R' => Event::Rename { from: path(one), to: path(two) },
            b'L' => Event::Link { from: path(one), to: path(two) },
            b'U' => Event::Remove { path: path(one) },
            b'A' => Event::Said { text: String::from_utf8_lossy(one).into_owned() },
            other => panic!("a record of kind {other}"),
        });
    }
    events
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, left) = rest.split_at(length);
    *rest = left;
    taken
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

fn path(bytes: &[u8]) -> PathBuf {
    OsString::from_vec(bytes.to_vec()).into()
}

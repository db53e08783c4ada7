//! Runs other programs, says what is run and how long it took, and finds the folders that they share.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The root of the repository: of the clone that cargo runs this program for, since several can share one target directory
/// and then also the program that was built in another.
pub(crate) fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let here =
            std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        here.parent().expect("the manifest of this crate stands in a folder of the root").to_owned()
    });
    &ROOT
}

/// `cargo` as the one that runs this program.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs a command with its output on this terminal; an exit code other than zero is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    if status != 0 {
        bail!("`{}` ended with exit code {status}", shown(command));
    }
    Ok(())
}

/// Runs a command with its output on this terminal and returns its exit code (-1 for a signal).
pub(crate) fn status(command: &mut Command) -> Result<i32> {
    let started = Instant::now();
    eprintln!("\n\u{2500}\u{2500} {}", shown(command));
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("run `{}`", shown(command)))?;
    eprintln!("\u{2500}\u{2500} {:.1} s", started.elapsed().as_secs_f32());
    Ok(status.code().unwrap_or(-1))
}

/// Runs a command quietly and returns what it wrote to its standard output; an exit code other than zero is an error
/// that holds what it wrote to its standard error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run `{}`", shown(command)))?;
    if !output.status.success() {
        bail!("`{}` failed: {}", shown(command), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What `cargo metadata` says about the workspace itself, without its dependencies.
pub(crate) fn metadata() -> Result<Value> {
    let text = output(cargo().args(["metadata", "--format-version", "1", "--no-deps", "--locked"]))?;
    serde_json::from_str(&text).context("read the answer of cargo metadata")
}

/// The folder that cargo builds into.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let metadata = metadata()?;
    Ok(PathBuf::from(metadata["target_directory"].as_str().context("cargo metadata names no target directory")?))
}

/// The first program of this name in the search path, other than one of pyenv's stand-ins, which take 90 ms to start
/// and may stand for nothing.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .filter(|folder| folder.file_name() != Some(OsStr::new("shims")))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| Path::new(word).strip_prefix(root()).map_or(word, Path::as_os_str)).collect();
    let mut shown = String::new();
    for word in words {
        if !shown.is_empty() {
            shown.push(' ');
        }
        shown.push_str(&word.to_string_lossy());
    }
    shown
}

//! Formatting, clippy and cargo-deny.

use anyhow::{Context, Result};
use std::process::Command;

use crate::commands;
use crate::tools::Tools;

/// Formats the workspace and the workspace of heavy clients, or with `check` fails where that would change a file.
pub(crate) fn format(check: bool) -> Result<()> {
    for manifest in ["Cargo.toml", "tests/clients/Cargo.toml"] {
        let mut command = commands::cargo();
        command.args(["fmt", "--all", "--manifest-path", manifest]);
        if check {
            command.args(["--", "--check"]);
        }
        commands::run(&mut command).with_context(|| format!("format the workspace of {manifest}"))?;
    }
    Ok(())
}

/// Clippy over everything, and what the dependencies may be.
pub(crate) fn run(tools: &Tools) -> Result<()> {
    clippy()?;
    deny(tools)
}

/// Clippy over all crates and all targets, with warnings as errors.
pub(crate) fn clippy() -> Result<()> {
    commands::run(commands::cargo().args([
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

/// Bans, licences and sources. Advisories need the internet, so they are no part of this.
pub(crate) fn deny(tools: &Tools) -> Result<()> {
    let mut command = Command::new(&tools.deny);
    command.current_dir(commands::root());
    commands::run(command.args(["--locked", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"]))
}

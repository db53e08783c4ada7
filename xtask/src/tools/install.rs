//! Installs what is missing: Debian's packages in one go, then each pinned set into its own folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{AWS_V1_LOCK, DENY_VERSION, NEXTEST_VERSION, NODE_LOCK, PYTHON_LOCK, Part, Tools, cache_dir, venv_of};
use crate::commands;

/// Installs the missing parts. Two runs at the same time wait for each other.
pub(crate) fn install(tools: &Tools, missing: &[Part]) -> Result<()> {
    let cache = cache_dir()?;
    fs::create_dir_all(&cache).with_context(|| format!("create {}", cache.display()))?;
    let lock = File::create(cache.join("lock")).context("create the lock file of the tools folder")?;
    lock.lock().context("wait for another installation to end")?;

    let debian: Vec<&str> =
        missing.iter().filter_map(|part| if let Part::Debian(name) = part { Some(*name) } else { None }).collect();
    if !debian.is_empty() {
        debian_packages(&debian)?;
    }
    for part in missing.iter().filter(|part| !part.is_there(tools)) {
        match part {
            Part::Debian(_) => {}
            Part::Python => virtual_environment(&venv_of(&tools.python), PYTHON_LOCK)?,
            Part::AwsV1 => virtual_environment(&venv_of(&tools.aws_v1), AWS_V1_LOCK)?,
            Part::NodeModules => node_modules(&tools.node_modules)?,
            Part::Nextest => cargo_program(&cache, "cargo-nextest", NEXTEST_VERSION, &["--no-default-features"])?,
            Part::Deny => cargo_program(&cache, "cargo-deny", DENY_VERSION, &[])?,
        }
    }
    Ok(())
}

/// The interpreter that virtual environments are made from: Debian's own, or else the first in the search path.
pub(crate) fn python() -> PathBuf {
    let debian = PathBuf::from("/usr/bin/python3");
    if debian.is_file() { debian } else { commands::find_program("python3").unwrap_or(debian) }
}

/// Debian splits `venv` off its Python, and without it an environment has no pip.
pub(crate) fn python_has_venv() -> bool {
    commands::output(Command::new(python()).args(["-c", "import ensurepip, venv"])).is_ok()
}

fn debian_packages(names: &[&str]) -> Result<()> {
    let root = commands::output(Command::new("id").arg("-u"))?.trim() == "0";
    if !root && commands::output(Command::new("sudo").args(["-n", "true"])).is_err() {
        bail!("only root can install Debian's packages; install these, then try again: {}", names.join(" "));
    }
    let apt = |args: &[&str]| {
        let mut command = if root { Command::new("env") } else { Command::new("sudo") };
        if !root {
            command.args(["-n", "env"]);
        }
        commands::run(command.arg("DEBIAN_FRONTEND=noninteractive").arg("apt-get").args(args))
    };
    apt(&["update", "-qq"])?;
    apt(&[&["install", "-y", "-qq", "--no-install-recommends"], names].concat())
}

fn virtual_environment(folder: &Path, lock: &str) -> Result<()> {
    complete(folder, || {
        commands::run(Command::new(python()).arg("-m").arg("venv").arg(folder))?;
        let mut pip = Command::new(folder.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        pip.args(["--require-hashes", "--no-deps", "--only-binary", ":all:", "-r"]);
        commands::run(pip.arg(commands::root().join(lock)))
    })
}

fn node_modules(folder: &Path) -> Result<()> {
    let npm = commands::find_program("npm").context("npm is not in the search path")?;
    complete(folder, || {
        let lock = commands::root().join(NODE_LOCK);
        fs::copy(lock.with_file_name("package.json"), folder.join("package.json")).context("copy package.json")?;
        fs::copy(&lock, folder.join("package-lock.json")).context("copy package-lock.json")?;
        let mut command = Command::new(npm);
        command.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
        commands::run(command.current_dir(folder))
    })
}

/// Builds a program of a pinned version. It is built for a short build, not for speed: it runs for seconds.
fn cargo_program(cache: &Path, name: &str, version: &str, features: &[&str]) -> Result<()> {
    let folder = cache.join(format!("{name}-{version}"));
    let target = cache.join(format!("{name}-build"));
    complete(&folder, || {
        let mut command = Command::new("cargo");
        command.args(["install", "--quiet", "--locked", "--version", version, name]).args(features);
        command.arg("--root").arg(&folder).env("CARGO_TARGET_DIR", &target);
        command.envs([
            ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
            ("CARGO_PROFILE_RELEASE_LTO", "off"),
            ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
            ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
        ]);
        // Not in the workspace: its configuration must not reach this build.
        commands::run(command.current_dir(cache))
    })?;
    fs::remove_dir_all(&target).or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(error).with_context(|| format!("remove {}", target.display())),
    })
}

/// Fills a folder from nothing and marks it as complete at the end, so that an interrupted one is made anew.
fn complete(folder: &Path, fill: impl FnOnce() -> Result<()>) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("remove the incomplete {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    fill()?;
    fs::write(folder.join("complete"), "").with_context(|| format!("mark {} as complete", folder.display()))
}

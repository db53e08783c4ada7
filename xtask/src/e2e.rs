//! The end-to-end tests: builds the binary and the heavy clients, then hands them to pytest with the pinned tools.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::commands;
use crate::counts::Counts;
use crate::tools::Tools;

/// How the binary under test is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Build {
    Dev,
    Release,
}

/// Runs pytest over `tests/e2e`, or over what `rest` names.
pub(crate) fn run(tools: &Tools, rest: &[String]) -> Result<Counts> {
    run_with(tools, Build::Dev, rest, &[])
}

/// The same with another build, or with variables that make a test longer.
pub(crate) fn run_with(tools: &Tools, build: Build, rest: &[String], environment: &[(&str, &str)]) -> Result<Counts> {
    let binary = binary(build)?;
    let bootstrap = client(tools, "bootstrap-rust")?;
    let counts_file = commands::target_dir()?.join("e2e-counts.json");
    if counts_file.exists() {
        fs::remove_file(&counts_file).context("remove the counts of the last run")?;
    }

    let mut pytest = Command::new(&tools.python);
    pytest.current_dir(commands::root()).args(["-B", "-m", "pytest", "-c", "tests/e2e/pytest.ini"]);
    pytest.args(["--rootdir", "tests/e2e"]);
    if !rest.iter().any(|word| word.starts_with("tests/e2e")) {
        pytest.arg("tests/e2e");
    }
    pytest.args(rest);
    // Nothing of the caller's AWS settings may reach a test, nor its settings for Pinfold.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_") || name.starts_with("PINFOLD_")) {
        pytest.env_remove(name);
    }
    pytest.env("E2E_BINARY", &binary).env("E2E_BOOTSTRAP_RUST", &bootstrap);
    pytest.env("E2E_AWS_V1_PYTHON", &tools.aws_v1).env("E2E_AWS_V2", &tools.aws_v2);
    pytest.env("E2E_NODE_MODULES", tools.node_modules.join("node_modules")).env("E2E_COUNTS", &counts_file);
    pytest.envs(environment.iter().copied());
    let status = commands::status(&mut pytest)?;
    read_counts(&counts_file, status)
}

fn read_counts(file: &Path, status: i32) -> Result<Counts> {
    let Ok(text) = fs::read_to_string(file) else {
        bail!("pytest ended with exit code {status} and counted nothing");
    };
    let value: Value = serde_json::from_str(&text).context("read the counts of pytest")?;
    let number = |name: &str| value[name].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let counts = Counts { passed: number("passed"), failed: number("failed"), skipped: number("skipped") };
    if status != 0 && counts.failed == 0 {
        bail!("pytest ended with exit code {status}");
    }
    Ok(counts)
}

/// Builds the binary under test and returns where it is.
fn binary(build: Build) -> Result<PathBuf> {
    let mut command = commands::cargo();
    command.args(["build", "--locked", "--package", "pinfold", "--bin", "pinfold"]);
    let folder = match build {
        Build::Dev => "debug",
        Build::Release => {
            command.arg("--release");
            "release"
        }
    };
    commands::run(&mut command)?;
    Ok(commands::target_dir()?.join(folder).join("pinfold"))
}

/// Builds a client of the workspace `tests/clients`, which keeps its dependencies out of the product's lock file.
fn client(tools: &Tools, name: &str) -> Result<PathBuf> {
    let mut command = commands::cargo();
    command.args(["build", "--release", "--locked", "--manifest-path", "tests/clients/Cargo.toml", "--package", name]);
    commands::run(command.arg("--target-dir").arg(&tools.clients))?;
    Ok(tools.clients.join("release").join(name))
}

//! Starts the benchmarks, which compare ours with a bound in one run.

use anyhow::{Result, bail};

use crate::commands;

/// Runs `warm` or `cold` of the crate `bench`, built for release.
pub(crate) fn run(what: &str, rest: &[String]) -> Result<()> {
    if !matches!(what, "warm" | "cold") {
        bail!("there is no benchmark `{what}`: warm, cold");
    }
    if !commands::root().join("bench/Cargo.toml").is_file() {
        bail!("the crate `bench` does not exist yet, and `bench {what}` is to be found there");
    }
    commands::run(commands::cargo().args(["run", "--release", "--locked", "--package", "bench", "--", what]).args(rest))
}

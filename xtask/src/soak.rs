//! The long forms of tests that run in short everywhere else.

use anyhow::Result;

use crate::tools::{Choice, For, Tools};
use crate::{commands, e2e, unit};

/// What can be run for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Long {
    /// The platform is killed at random instants under load: 200 rounds.
    Kill,
    /// The power fails: the data directory is rebuilt from what was synced at 500 points.
    Powercut,
    /// 1,000 functions are deployed and idle: memory, processor time, and the time of a restart. Built for release.
    Idle,
}

/// Runs one long form; `count` is rounds, points or functions.
pub(crate) fn run(what: Long, choice: &Choice, count: Option<u32>) -> Result<()> {
    let counts = match what {
        Long::Kill => {
            let tools = Tools::ready(choice, For::EndToEnd)?;
            let rounds = count.unwrap_or(200).to_string();
            e2e::run_with(
                &tools,
                e2e::Build::Dev,
                &["tests/e2e/test_crash.py".into()],
                &[("E2E_KILL_ROUNDS", &rounds)],
            )?
        }
        Long::Idle => {
            let tools = Tools::ready(choice, For::EndToEnd)?;
            let functions = count.unwrap_or(1000).to_string();
            let file = "tests/e2e/test_idle.py".into();
            e2e::run_with(&tools, e2e::Build::Release, &[file], &[("E2E_IDLE_FUNCTIONS", &functions)])?
        }
        Long::Powercut => {
            let points = count.unwrap_or(500).to_string();
            let mut command = commands::cargo();
            command.args(["test", "--locked", "--package", "store", "--test", "powercut", "--", "--nocapture"]);
            unit::counted(command.env("STORE_POWERCUT_POINTS", points))?
        }
    };
    counts.verdict()
}

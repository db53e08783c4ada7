//! The words of CI: each command checks one thing or makes one thing, and `test` says all of them.

#![forbid(unsafe_code)]

mod bench;
mod commands;
mod counts;
mod e2e;
mod generate;
mod lint;
mod soak;
mod test;
mod tidy;
mod tools;
mod unit;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The words of CI", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    word: Word,
}

#[derive(Subcommand)]
enum Word {
    /// Write the wire's shapes from the service models.
    Generate {
        /// Write nothing; fail if what is checked in is not what would be written.
        #[arg(long)]
        check: bool,
    },
    /// Compare the code with its map: layers, module names, promises, lengths, forbidden words.
    Tidy,
    /// Format the code.
    Fmt {
        /// Write nothing; fail if a file is not formatted.
        #[arg(long)]
        check: bool,
    },
    /// Run clippy with warnings as errors, and cargo-deny on licences, bans and sources.
    Lint(tools::Choice),
    /// Run the tests of the crates.
    Unit {
        #[command(flatten)]
        tools: tools::Choice,
        /// Handed to the test runner: a filter, for example.
        #[arg(last = true)]
        rest: Vec<String>,
    },
    /// Run the end-to-end tests with real clients against the real binary.
    E2e {
        #[command(flatten)]
        tools: tools::Choice,
        /// Handed to pytest: a file, `-k name`, `-x`.
        #[arg(last = true)]
        rest: Vec<String>,
    },
    /// Measure, beside a bound in the same run.
    Bench {
        /// `warm` or `cold`.
        what: String,
        /// Handed to the benchmark.
        #[arg(last = true)]
        rest: Vec<String>,
    },
    /// Run the long forms of tests.
    Soak {
        what: soak::Long,
        #[command(flatten)]
        tools: tools::Choice,
        /// Rounds of `kill`, points of `powercut`, functions of `idle`, instead of the usual number.
        #[arg(long)]
        count: Option<u32>,
    },
    /// Run everything that CI runs, and count the tests.
    Test(tools::Choice),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().word {
        Word::Generate { check } => generate::run(check),
        Word::Tidy => tidy::run().and_then(counts::Counts::verdict),
        Word::Fmt { check } => lint::format(check),
        Word::Lint(choice) => tools::Tools::ready(&choice, tools::For::Lint).and_then(|tools| lint::run(&tools)),
        Word::Unit { tools, rest } => tools::Tools::ready(&tools, tools::For::Unit)
            .and_then(|tools| unit::run(&tools, &rest))
            .and_then(counts::Counts::verdict),
        Word::E2e { tools, rest } => tools::Tools::ready(&tools, tools::For::EndToEnd)
            .and_then(|tools| e2e::run(&tools, &rest))
            .and_then(counts::Counts::verdict),
        Word::Bench { what, rest } => bench::run(&what, &rest),
        Word::Soak { what, tools, count } => soak::run(what, &tools, count),
        Word::Test(choice) => test::run(&choice),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is::<counts::Failed>() {
                eprintln!("\nxtask: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

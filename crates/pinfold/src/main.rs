//! Pinfold: the binary. Arguments, wiring, signals, drain.

#![forbid(unsafe_code)]
#![expect(unreachable_pub, reason = "a binary exports nothing; here `pub` says what other modules may use")]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod cli;
mod client;
mod commands;
mod config;
mod serve;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // The wall starts this program again as its launcher, which must stay small: nothing may run before this.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "__launcher") {
        sandbox::launcher_main();
    }
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return cli::explain(&error),
    };
    let context = cli::Context::new(cli.global);
    match commands::run(cli.command, &context) {
        Ok(_) if context.out.has_failed() => {
            context.out.remark("error: the result could not be written to standard output");
            cli::Exit::Failed.into()
        }
        Ok(exit) => exit.into(),
        Err(failure) => {
            if context.out.is_json() {
                context.out.remark(failure.json());
            } else {
                context.out.remark(failure.text(context.out.colour_err()));
            }
            failure.exit.into()
        }
    }
}

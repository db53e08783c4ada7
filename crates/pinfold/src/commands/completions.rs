//! `pinfold completions SHELL`: a script that completes commands and flags.

use clap::{Args, CommandFactory};

use crate::cli::{Cli, Context, Exit, Failure};

#[derive(Debug, Args)]
pub struct Completions {
    /// For this shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

pub fn run(command: &Completions, context: &Context) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(command.shell, &mut Cli::command(), "pinfold", &mut script);
    context.out.bytes(&script);
    Ok(Exit::Done)
}

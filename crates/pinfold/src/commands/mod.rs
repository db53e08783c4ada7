//! The commands, one file each; those that need a running server talk to it as any client would.

pub mod completions;
pub mod config;
pub mod demo;
pub mod deploy;
pub mod doctor;
pub mod down;
pub mod env;
pub mod functions;
pub mod init;
pub mod interpreters;
pub mod invoke;
pub mod logs;
pub mod profile;
pub mod server_args;
pub mod status;
pub mod up;

use crate::cli::{Command, Context, Exit, Failure};

/// Runs a command.
pub fn run(command: Command, context: &Context) -> Result<Exit, Failure> {
    match command {
        Command::Up(command) => up::run(command, context),
        Command::Down(command) => down::run(&command, context),
        Command::Demo(command) => demo::run(command, context),
        Command::Env(command) => env::run(&command, context),
        Command::Init(command) => init::run(&command, context),
        Command::Deploy(command) => wait_for(deploy::run(command, context)),
        Command::Invoke(command) => wait_for(invoke::run(command, context)),
        Command::Logs(command) => wait_for(logs::run(command, context)),
        Command::Functions(command) => wait_for(functions::run(command, context)),
        Command::Status(command) => wait_for(status::run(command, context)),
        Command::Doctor(command) => doctor::run(&command, context),
        Command::Config(command) => config::run(&command, context),
        Command::Completions(command) => completions::run(&command, context),
    }
}

/// Client commands need one thread.
fn wait_for(work: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::new(format!("cannot start: {error}")))?.block_on(work)
}

//! The command line: what can be typed, and how results and failures are shown.

pub mod failure;
pub mod print;

pub use failure::{Exit, Failure};
pub use print::{Format, Printer};

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::client::{Client, Connection, find};
use crate::commands;
use crate::config::layers::{Layers, Source};
use crate::config::resolve::{self, Surroundings};

const AFTER_HELP: &str = "\
Client commands find the server and its key by --endpoint, then AWS_ENDPOINT_URL and its AWS_* companions, then the file \
that a running server leaves in its data directory.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 server unreachable, 4 the function failed.";

/// A serverless platform in one binary that speaks the AWS Lambda API.
#[derive(Debug, Parser)]
#[command(name = "pinfold", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// How results and errors are printed
    #[arg(long, value_enum, default_value_t, global = true, hide_possible_values = true, value_name = "text|json")]
    pub output: Format,
    /// A configuration file (TOML); PINFOLD_* variables and flags replace what it says
    #[arg(long, value_name = "FILE", env = "PINFOLD_CONFIG", global = true)]
    pub config: Option<PathBuf>,
    /// Where everything is kept [default: pinfold in the user's data home]
    #[arg(long, value_name = "DIR", global = true)]
    pub data_dir: Option<PathBuf>,
}

/// Says what is wrong with a command line, or what was asked about it (`--help`, `--version`).
pub fn explain(error: &clap::Error) -> ExitCode {
    let mut words = std::env::args().skip(1).take_while(|word| word != "--");
    let is_json = words.any(|word| word == "--output=json")
        || std::env::args().collect::<Vec<_>>().windows(2).any(|pair| pair[0] == "--output" && pair[1] == "json");
    if is_json && error.use_stderr() {
        let text = error.render().to_string();
        let failure = Failure::usage(text.trim_end().trim_start_matches("error: "));
        Printer::new(Format::Json).remark(failure.json());
    } else {
        // Whoever closed the stream does not want to read it.
        let _ = error.print();
    }
    if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() }
}

/// How a client command finds its server.
#[derive(Debug, Clone, Default, Args)]
pub struct Endpoint {
    /// The server's address, such as http://127.0.0.1:4566
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
}

/// What Pinfold can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the platform
    Up(commands::up::Up),
    /// Stop the platform that runs on a data directory
    Down(commands::down::Down),
    /// See it work: two functions, called, logged and metered
    Demo(commands::demo::Demo),
    /// Print exports for a shell's AWS tools, or write an AWS profile
    Env(commands::env::Env),
    /// Write a small function to start from
    Init(commands::init::Init),
    /// Create or update one function from a directory
    Deploy(commands::deploy::Deploy),
    /// Invoke a function; prints the answer, the end of its log and the time it took
    Invoke(commands::invoke::Invoke),
    /// Print the log lines of one function, or of all
    Logs(commands::logs::Logs),
    /// List the functions, or delete one
    Functions(commands::functions::Functions),
    /// Ask the server how it is
    Status(commands::status::Status),
    /// Say what this machine can enforce and run, and how to get the rest
    Doctor(commands::doctor::Doctor),
    /// Look at the configuration
    Config(commands::config::Config),
    /// Print a completion script for a shell
    Completions(commands::completions::Completions),
}

/// What every command gets: how to print, and what was written about the configuration.
pub struct Context {
    pub global: Global,
    pub out: Printer,
}

impl Context {
    /// For these global options.
    pub fn new(global: Global) -> Self {
        let out = Printer::new(global.output);
        Self { global, out }
    }

    /// File and environment, with the data directory as the first flag.
    pub fn layers(&self) -> Layers {
        let mut layers = Layers::default();
        if let Some(path) = &self.global.config {
            layers.add_file_at(path);
        }
        // A name that is no text cannot be one of ours.
        for (name, value) in std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value))) {
            match value.into_string() {
                Ok(value) => layers.add_environment([(name, value)]),
                Err(_) if name.starts_with("PINFOLD_") => layers.add_no_text(Source::Environment(name), ""),
                Err(_) => {}
            }
        }
        match self.global.data_dir.as_ref().map(|path| path.to_str()) {
            Some(Some(path)) => layers.add_flag("data_dir", path.to_owned()),
            Some(None) => layers.add_no_text(Source::Flag, "data_dir"),
            None => {}
        }
        layers
    }

    /// The data directory, without looking at the rest of the configuration.
    pub fn data_dir(&self) -> Result<PathBuf, Failure> {
        Ok(resolve::data_dir(&self.layers(), &Surroundings::of_this_process())?)
    }

    /// The server that a client command talks to.
    pub fn target(&self, endpoint: &Endpoint) -> Result<find::Target, Failure> {
        let file = Connection::file_in(&self.data_dir()?);
        Ok(find::find(endpoint.endpoint.as_deref(), |name| std::env::var(name).ok(), file)?)
    }

    /// A client of that server.
    pub fn client(&self, endpoint: &Endpoint) -> Result<Client, Failure> {
        Ok(Client::new(self.target(endpoint)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_do_not_contradict_each_other() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn commands_are_read_as_documented() {
        for line in [
            "up --listen 127.0.0.1:0 --temporary --ready-file f -d --account-id 123456789012 --set events.age_max=1m",
            "down --data-dir x",
            "demo --once",
            "env --profile",
            "env --profile mine",
            "init python",
            "init node dir",
            "deploy . --name f --env A=B --env C=D=E --memory 256 --timeout 5",
            "invoke f -d {}",
            "invoke f -e - --async --output json",
            "logs",
            "logs f -f --since 10m",
            "functions",
            "functions delete f",
            "status --endpoint http://127.0.0.1:1",
            "doctor",
            "config check",
            "completions bash",
        ] {
            let words = std::iter::once("pinfold").chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
        }
        for line in ["", "frob", "invoke", "invoke f -d {} -e f", "deploy . --env A", "logs --since 10", "up --set x"] {
            let words = std::iter::once("pinfold").chain(line.split(' ').filter(|word| !word.is_empty()));
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
    }
}

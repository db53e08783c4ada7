//! `pinfold deploy`: one function from a directory, created or updated, and waited for.

pub mod guess;
pub mod package;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use model::limits::{MEMORY_MIB_MAX, MEMORY_MIB_MIN, TIMEOUT_SECS_MAX};
use model::names::FunctionName;
use model::runtime::Language;
use serde_json::{Value, json};

use super::server_args::key_and_value;
use crate::cli::print::{Look, bytes_for_people};
use crate::cli::{Context, Endpoint, Exit, Failure};
use crate::client::Client;
use crate::client::platform::shown;

/// A function is ready long before, or something is wrong.
const READY_MAX: Duration = Duration::from_secs(120);
const POLL_FIRST: Duration = Duration::from_millis(20);
const POLL_MAX: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub struct Deploy {
    /// The directory around the handler; all of it is the function's code
    dir: PathBuf,
    /// The function's name [default: the directory's]
    #[arg(long)]
    name: Option<String>,
    /// Such as python3.13, nodejs22.x or provided.al2023 [default: guessed]
    #[arg(long)]
    runtime: Option<String>,
    /// Such as app.handler [default: guessed]
    #[arg(long)]
    handler: Option<String>,
    /// A variable of the function; those that are given replace all that it has
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    env: Vec<(String, String)>,
    /// Memory in MB
    #[arg(long, value_name = "MB", value_parser = clap::value_parser!(u32).range(MEMORY_MIB_MIN as i64..=MEMORY_MIB_MAX as i64))]
    memory: Option<u32>,
    /// Longest run, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=TIMEOUT_SECS_MAX as i64))]
    timeout: Option<u32>,
    /// The ARN of its role [default: the account's role pinfold]
    #[arg(long, value_name = "ARN")]
    role: Option<String>,
    #[command(flatten)]
    endpoint: Endpoint,
}

/// Everything that a deployment asks for.
#[derive(Debug, Default)]
pub struct Wanted {
    pub name: String,
    /// What an update changes, and a creation sets: properties of CreateFunction.
    pub given: serde_json::Map<String, Value>,
    /// What only a creation needs.
    pub guessed: serde_json::Map<String, Value>,
}

/// What came of it.
#[derive(Debug)]
pub struct Deployed {
    pub created: bool,
    /// The function's configuration.
    pub function: Value,
    /// What the server warns of.
    pub warnings: Vec<String>,
}

pub async fn run(command: Deploy, context: &Context) -> Result<Exit, Failure> {
    let (wanted, reason) = wanted(&command)?;
    let package = package::pack(&command.dir)?;
    let client = context.client(&command.endpoint)?;
    let deployed = deploy(&client, &wanted, &package.zip).await?;
    let Deployed { created, function, warnings } = &deployed;
    let out = &context.out;
    if out.is_json() {
        out.json(
            &json!({ "created": created, "function": function, "warnings": warnings, "left_out": package.left_out }),
        );
        return Ok(Exit::Done);
    }
    let verb = if *created { "created" } else { "updated" };
    out.line(format_args!("{} {}", out.paint(Look::Good, verb), out.paint(Look::Bold, &wanted.name)));
    let why = |key: &str| match (wanted.given.contains_key(key), created, &reason) {
        (true, _, _) => "as given".to_owned(),
        (false, true, Some(reason)) => format!("guessed: {reason}"),
        (false, true, None) => "default".to_owned(),
        (false, false, _) => "as before".to_owned(),
    };
    let plain = |key: &str| {
        if wanted.given.contains_key(key) {
            "as given"
        } else if *created {
            "default"
        } else {
            "as before"
        }
    };
    let fact = |name: &str, value: String, why: &str| {
        out.line(format_args!("  {name:<8} {value:<28} {}", out.paint(Look::Dim, why)))
    };
    fact("runtime", shown(&function["Runtime"]), &why("Runtime"));
    fact("handler", shown(&function["Handler"]), &why("Handler"));
    fact("memory", format!("{} MB", shown(&function["MemorySize"])), plain("MemorySize"));
    fact("timeout", format!("{} s", shown(&function["Timeout"])), plain("Timeout"));
    let left_out = match package.left_out.as_slice() {
        [] => String::new(),
        names => format!("left out: {}", names.iter().take(5).cloned().collect::<Vec<_>>().join(", ")),
    };
    fact("code", format!("{}, {} files", bytes_for_people(package.zip.len() as u64), package.files), &left_out);
    for warning in warnings {
        out.line(format_args!("  {} {warning}", out.paint(Look::Bad, "warning:")));
    }
    out.line(format_args!("try it: pinfold invoke {} -d '{{}}'", wanted.name));
    Ok(Exit::Done)
}

/// Creates the function, or updates it, and waits until it can run.
pub async fn deploy(client: &Client, wanted: &Wanted, zip: &[u8]) -> Result<Deployed, Failure> {
    let Wanted { name, given, guessed } = wanted;
    let created = client.function(name).await?.is_none();
    let mut warnings = Vec::new();
    if created {
        let mut properties = guessed.clone();
        properties.extend(given.clone());
        properties.insert("FunctionName".to_owned(), name.as_str().into());
        (_, warnings) = client.create_function(Value::Object(properties), zip).await?;
    } else {
        // Code and configuration change one after the other, each only when the one before has taken effect.
        wait_until_ready(client, name).await?;
        if !given.is_empty() {
            (_, warnings) = client.update_configuration(name, &Value::Object(given.clone())).await?;
            wait_until_ready(client, name).await?;
        }
        warnings.extend(client.update_code(name, zip).await?.1);
        warnings.dedup();
    }
    Ok(Deployed { created, function: wait_until_ready(client, name).await?, warnings })
}

/// The function's configuration once it is active and its last update is through.
async fn wait_until_ready(client: &Client, name: &str) -> Result<Value, Failure> {
    let started = tokio::time::Instant::now();
    let mut pause = POLL_FIRST;
    loop {
        let Some(function) = client.function(name).await? else {
            return Err(Failure::new(format!("{name} was deleted meanwhile")));
        };
        let states = (function["State"].as_str(), function["LastUpdateStatus"].as_str());
        let failed = |reason: &str, code: &str| {
            let code = function[code].as_str().unwrap_or("Failed");
            Failure {
                code: code.to_owned(),
                ..Failure::new(format!("{name} cannot run: {}", shown(&function[reason])))
            }
        };
        match states {
            (Some("Failed"), _) => return Err(failed("StateReason", "StateReasonCode")),
            (_, Some("Failed")) => return Err(failed("LastUpdateStatusReason", "LastUpdateStatusReasonCode")),
            (Some("Pending"), _) | (_, Some("InProgress")) => {}
            _ => return Ok(function),
        }
        if started.elapsed() > READY_MAX {
            return Err(
                Failure::new(format!("{name} is not ready after {} s", READY_MAX.as_secs())).hint("`pinfold status`")
            );
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(POLL_MAX);
    }
}

/// Checks the flags, and guesses what is absent; with the reason for the guess.
fn wanted(command: &Deploy) -> Result<(Wanted, Option<String>), Failure> {
    let name = match &command.name {
        Some(name) => FunctionName::parse(name).map_err(|error| Failure::usage(error.to_string()))?.to_string(),
        None => guess::name_of(&command.dir)?,
    };
    let mut given = serde_json::Map::new();
    let mut give = |key: &str, value: Option<Value>| given.extend(value.map(|value| (key.to_owned(), value)));
    give("Runtime", command.runtime.as_deref().map(Into::into));
    give("Handler", command.handler.as_deref().map(Into::into));
    give("MemorySize", command.memory.map(Into::into));
    give("Timeout", command.timeout.map(Into::into));
    give("Role", command.role.as_deref().map(Into::into));
    if !command.env.is_empty() {
        let variables: BTreeMap<&str, &str> =
            command.env.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        give("Environment", Some(json!({ "Variables": variables })));
    }
    let (guessed, reason) = guesses(&command.dir, command.runtime.as_deref(), command.handler.as_deref())?;
    Ok((Wanted { name, given, guessed }, reason))
}

fn guesses(
    dir: &Path,
    runtime: Option<&str>,
    handler: Option<&str>,
) -> Result<(serde_json::Map<String, Value>, Option<String>), Failure> {
    let mut guessed = serde_json::Map::new();
    guessed.insert("Role".to_owned(), "arn:aws:iam::000000000000:role/pinfold".into());
    let given_kind = runtime.and_then(Language::of_runtime).map(|language| match language {
        Language::Python { .. } => guess::Kind::Python,
        Language::Node { .. } => guess::Kind::Node,
        Language::Provided => guess::Kind::Provided,
    });
    let reason = match (runtime, handler, guess::guess(dir)) {
        (Some(_), Some(_), _) => None,
        // Whatever it is called, a bootstrap of its own is the handler.
        (Some(_), None, _) if given_kind == Some(guess::Kind::Provided) => {
            guessed.insert("Handler".to_owned(), "bootstrap".into());
            None
        }
        (_, _, Err(failure)) => return Err(failure),
        (Some(runtime), None, Ok(found)) if given_kind.is_some_and(|kind| kind != found.language) => {
            let message = format!("{} looks like {:?}, not like {runtime}", dir.display(), found.language);
            return Err(Failure::usage(message).hint("name the handler with --handler"));
        }
        (_, _, Ok(found)) => {
            guessed.insert("Runtime".to_owned(), found.language.runtime().into());
            guessed.insert("Handler".to_owned(), found.handler.into());
            Some(found.reason)
        }
    };
    Ok((guessed, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(runtime: Option<&str>, handler: Option<&str>, expected: Result<(Option<&str>, Option<&str>), &str>) {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("app.py"), "def handler(event, context): ...").expect("write");
        let shown = guesses(dir.path(), runtime, handler).map(|(guessed, _)| {
            let get = |key: &str| guessed.get(key).and_then(Value::as_str).map(str::to_owned);
            (get("Runtime").map(|runtime| runtime[..7].to_owned()), get("Handler"))
        });
        let shown = shown.map_err(|failure| failure.message);
        match (&shown, expected) {
            (Ok((runtime, handler)), Ok(expected)) => assert_eq!((runtime.as_deref(), handler.as_deref()), expected),
            (Err(message), Err(part)) => assert!(message.contains(part), "{message}"),
            (shown, expected) => panic!("{shown:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn what_is_absent_is_guessed() {
        check(None, None, Ok((Some("python3"), Some("app.handler"))));
        check(None, Some("other.main"), Ok((Some("python3"), Some("app.handler"))));
        check(Some("python3.9"), Some("other.main"), Ok((None, None)));
        check(Some("provided.al2023"), None, Ok((None, Some("bootstrap"))));
        check(Some("nodejs22.x"), None, Err("looks like Python, not like nodejs22.x"));
    }
}

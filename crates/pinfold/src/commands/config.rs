//! `pinfold config check`: every key with its value and origin, or every mistake; nothing is started.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::server_args::{self, ServerArgs};
use crate::cli::{Context, Exit, Failure};
use crate::config::keys;

#[derive(Debug, Args)]
pub struct Config {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print every key with its value and where that comes from, or every mistake
    Check(ServerArgs),
}

pub fn run(command: &Config, context: &Context) -> Result<Exit, Failure> {
    let Action::Check(args) = &command.action;
    let (_, resolved) = server_args::resolve(&args.layers(context))?;
    let meaning = |key: &str| keys::find(key).map_or("", |key| key.meaning);
    if context.out.is_json() {
        let settings: serde_json::Map<String, Value> = resolved
            .iter()
            .map(|resolved| {
                let (value, source) = (&resolved.text, resolved.source.to_string());
                (resolved.key.to_owned(), json!({ "value": value, "source": source, "meaning": meaning(resolved.key) }))
            })
            .collect();
        context.out.json(&Value::Object(settings));
        return Ok(Exit::Done);
    }
    let rows: Vec<Vec<String>> = resolved
        .iter()
        .map(|resolved| {
            vec![
                resolved.key.to_owned(),
                resolved.text.clone(),
                resolved.source.to_string(),
                meaning(resolved.key).to_owned(),
            ]
        })
        .collect();
    context.out.table(&["KEY", "VALUE", "FROM", "MEANING"], &rows);
    Ok(Exit::Done)
}

//! `pinfold functions`: lists them, or deletes one.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::print::bytes_for_people;
use crate::cli::{Context, Endpoint, Exit, Failure};
use crate::client::platform::shown;

#[derive(Debug, Args)]
pub struct Functions {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    endpoint: Endpoint,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List all functions
    List,
    /// Delete a function; its log lines are kept
    Delete {
        /// Name or ARN
        name: String,
    },
}

pub async fn run(command: Functions, context: &Context) -> Result<Exit, Failure> {
    let client = context.client(&command.endpoint)?;
    let out = &context.out;
    if let Some(Action::Delete { name }) = command.action {
        client.delete_function(&name).await?;
        if out.is_json() {
            out.json(&json!({ "deleted": name }));
        } else {
            out.line(format_args!("deleted {name}"));
        }
        return Ok(Exit::Done);
    }
    let functions = client.functions().await?;
    if out.is_json() {
        out.json(&Value::Array(functions));
    } else if functions.is_empty() {
        out.line("there are no functions yet; `pinfold init python hello`, then `pinfold deploy hello`");
    } else {
        let rows: Vec<Vec<String>> = functions.iter().map(row).collect();
        out.table(&["NAME", "RUNTIME", "HANDLER", "MEMORY", "TIMEOUT", "CODE", "MODIFIED"], &rows);
    }
    Ok(Exit::Done)
}

fn row(function: &Value) -> Vec<String> {
    let modified = shown(&function["LastModified"]);
    vec![
        shown(&function["FunctionName"]),
        shown(&function["Runtime"]),
        shown(&function["Handler"]),
        format!("{} MB", shown(&function["MemorySize"])),
        format!("{} s", shown(&function["Timeout"])),
        function["CodeSize"].as_u64().map_or_else(|| "-".to_owned(), bytes_for_people),
        modified.get(..19).unwrap_or(&modified).replace('T', " "),
    ]
}

//! `pinfold status`: the server's own account of how it is.

use clap::Args;
use serde_json::Value;

use crate::cli::print::{Look, seconds_for_people};
use crate::cli::{Context, Endpoint, Exit, Failure};
use crate::client::platform::shown;

#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    endpoint: Endpoint,
}

pub async fn run(command: Status, context: &Context) -> Result<Exit, Failure> {
    let client = context.client(&command.endpoint)?;
    let status = client.status().await?;
    let out = &context.out;
    if out.is_json() {
        out.json(&status);
        return Ok(Exit::Done);
    }
    out.line(format_args!("{} at {}", out.paint(Look::Good, "running"), client.target().endpoint));
    for (key, value) in status.as_object().into_iter().flatten() {
        let (name, value) = match (key.as_str(), value.as_u64()) {
            ("uptime_secs", Some(secs)) => ("uptime".to_owned(), seconds_for_people(secs)),
            _ => (key.replace('_', " "), list(value)),
        };
        out.line(format_args!("  {name:<16} {value}"));
    }
    Ok(Exit::Done)
}

fn list(value: &Value) -> String {
    match value {
        Value::Array(items) => items.iter().map(list).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| format!("{} {}", list(value), name.replace('_', " ")))
            .collect::<Vec<_>>()
            .join(", "),
        other => shown(other),
    }
}

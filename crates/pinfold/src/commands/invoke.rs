//! `pinfold invoke`: the answer goes to standard output, log and times to standard error.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bytes::Bytes;
use clap::{ArgAction, Args};
use serde_json::{Value, json};

use crate::cli::print::{Look, micros_for_people};
use crate::cli::{Context, Endpoint, Exit, Failure};
use crate::client::lambda::{Invoked, Waiting};

#[derive(Debug, Args)]
pub struct Invoke {
    /// Name or ARN
    name: String,
    /// The event [default: {}]
    #[arg(short, long, value_name = "JSON", conflicts_with = "event_file")]
    data: Option<String>,
    /// A file with the event; - reads standard input
    #[arg(short, long = "event", value_name = "FILE")]
    event_file: Option<PathBuf>,
    /// Do not wait: the event is kept and run in the background, again if the function fails
    #[arg(long = "async", action = ArgAction::SetTrue)]
    no_wait: bool,
    #[command(flatten)]
    endpoint: Endpoint,
}

/// The numbers of a REPORT line.
#[derive(Debug, Default, PartialEq)]
pub struct Report {
    pub duration_ms: Option<f64>,
    pub billed_ms: Option<f64>,
    pub init_ms: Option<f64>,
    pub memory_used_mb: Option<f64>,
}

pub async fn run(command: Invoke, context: &Context) -> Result<Exit, Failure> {
    let event = event(&command)?;
    let client = context.client(&command.endpoint)?;
    let waiting = if command.no_wait { Waiting::Nobody } else { Waiting::Caller };
    let started = Instant::now();
    let invoked = client.invoke(&command.name, event, waiting).await?;
    let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    if context.out.is_json() {
        context.out.json(&as_json(&invoked, micros));
    } else if waiting == Waiting::Nobody {
        context.out.line(format_args!("accepted as {}; see `pinfold logs {}`", invoked.request_id, command.name));
    } else {
        print(&invoked, micros, context);
    }
    Ok(if invoked.function_error.is_some() { Exit::FunctionFailed } else { Exit::Done })
}

fn event(command: &Invoke) -> Result<Bytes, Failure> {
    let event = match (&command.data, &command.event_file) {
        (Some(text), _) => text.clone().into_bytes(),
        (None, Some(path)) => read(path)?,
        (None, None) => b"{}".to_vec(),
    };
    if event.len() > model::limits::PAYLOAD_BYTES_MAX {
        let (has, max) = (event.len(), model::limits::PAYLOAD_BYTES_MAX);
        return Err(Failure::usage(format!("the event has {has} bytes; Lambda takes {max}")));
    }
    if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&event) {
        return Err(Failure::usage(format!("the event is not JSON: {error}"))
            .hint("a text needs double quotes inside the shell's own: -d '\"text\"'"));
    }
    Ok(event.into())
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    // One byte over the limit is enough to see that it is too much.
    let limit = model::limits::PAYLOAD_BYTES_MAX as u64 + 1;
    let mut event = Vec::new();
    let done = if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut event)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut event))
    };
    done.map(|_| event).map_err(|error| Failure::usage(format!("read the event from {}: {error}", path.display())))
}

fn print(invoked: &Invoked, micros: u64, context: &Context) {
    let out = &context.out;
    for line in invoked.log_tail.lines() {
        out.remark(out.paint_remark(Look::Dim, crate::cli::print::harmless(line)));
    }
    out.bytes(&invoked.payload);
    if !invoked.payload.ends_with(b"\n") {
        out.bytes(b"\n");
    }
    let report = Report::find(&invoked.log_tail);
    let mut facts = vec![format!("{} in all", micros_for_people(micros))];
    let mut fact = |value: Option<f64>, name: &str| facts.extend(value.map(|value| format!("{name} {value} ms")));
    fact(report.duration_ms, "ran");
    fact(report.init_ms, "init");
    fact(report.billed_ms, "billed");
    facts.extend(report.memory_used_mb.map(|used| format!("{used} MB used")));
    let verdict = match &invoked.function_error {
        None => out.paint_remark(Look::Good, "done"),
        Some(kind) => out.paint_remark(Look::Bad, format_args!("the function failed ({kind})")),
    };
    out.remark(format_args!("{verdict}: {}", facts.join(", ")));
}

fn as_json(invoked: &Invoked, micros: u64) -> Value {
    let report = Report::find(&invoked.log_tail);
    json!({
        "status": invoked.status,
        "request_id": invoked.request_id,
        "function_error": invoked.function_error,
        "answer": invoked.payload_json(),
        "log": invoked.log_tail.lines().collect::<Vec<_>>(),
        "total_ms": micros as f64 / 1000.0,
        "duration_ms": report.duration_ms,
        "billed_ms": report.billed_ms,
        "init_ms": report.init_ms,
        "memory_used_mb": report.memory_used_mb,
    })
}

impl Report {
    /// Reads the last REPORT line of a log, as Lambda writes it.
    pub fn find(log: &str) -> Self {
        let Some(line) = log.lines().rev().find(|line| line.starts_with("REPORT ")) else {
            return Self::default();
        };
        let number = |name: &str| {
            let field = line.split('\t').find_map(|field| field.trim().strip_prefix(name))?;
            field.split_whitespace().next()?.parse().ok()
        };
        Self {
            duration_ms: number("Duration:"),
            billed_ms: number("Billed Duration:"),
            init_ms: number("Init Duration:"),
            memory_used_mb: number("Max Memory Used:"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_line_is_understood() {
        let log = "START RequestId: x\nREPORT RequestId: x\tDuration: 1.25 ms\tBilled Duration: 80 ms\tMemory Size: 128 MB\t\
                   Max Memory Used: 31 MB\tInit Duration: 78.20 ms\t\n";
        let report = Report::find(log);
        assert_eq!(
            report,
            Report { duration_ms: Some(1.25), billed_ms: Some(80.0), init_ms: Some(78.2), memory_used_mb: Some(31.0) }
        );
        assert_eq!(Report::find("no report"), Report::default());
    }
}

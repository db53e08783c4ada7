//! `pinfold logs`: log lines of one function or of all, once or as they come.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use base::time::{Clock, SystemClock, Timestamp};
use clap::{ArgAction, Args};
use serde_json::json;

use crate::cli::print::{Look, harmless};
use crate::cli::{Context, Endpoint, Exit, Failure};
use crate::client::Client;
use crate::client::logs::{GROUP_PREFIX, LogEvent};
use crate::config::values;

/// How often new lines are asked for.
const POLL: Duration = Duration::from_millis(500);
/// Lines may arrive so much later than the time that they bear.
const OVERLAP_MS: u64 = 10_000;
/// So many failed questions in a row end `-f`.
const FAILURES_MAX: u32 = 20;

#[derive(Debug, Args)]
pub struct Logs {
    /// A function's name; without it, all functions
    name: Option<String>,
    /// Go on with new lines until Ctrl-C
    #[arg(short, long, action = ArgAction::SetTrue)]
    follow: bool,
    /// Only lines of the last 90s, 10m, 6h …
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = values::duration)]
    since: Duration,
    #[command(flatten)]
    endpoint: Endpoint,
}

/// What of a group has been printed.
struct Seen {
    from_ms: u64,
    newest_ms: u64,
    /// Events at or after `newest_ms` minus the overlap.
    ids: HashSet<String>,
    times: BTreeMap<u64, Vec<String>>,
}

pub async fn run(command: Logs, context: &Context) -> Result<Exit, Failure> {
    let client = context.client(&command.endpoint)?;
    let from_ms = SystemClock.now().minus(command.since).as_millis();
    let mut groups: BTreeMap<String, Seen> = BTreeMap::new();
    let mut failures = 0;
    if let Some(name) = &command.name
        && client.function(name).await?.is_none()
        && client.log_events(&group_of(name), from_ms, None).await?.is_none()
    {
        return Err(Failure::new(format!("there is no function {name}, and no log of one"))
            .hint("`pinfold functions` lists what there is"));
    }
    let stop = tokio::signal::ctrl_c();
    tokio::pin!(stop);
    loop {
        let round = tokio::select! {
            round = round(&client, &command, from_ms, &mut groups) => round,
            _ = &mut stop => return Ok(Exit::Done),
        };
        match round {
            Ok(events) => {
                failures = 0;
                print(events, &command, context);
            }
            // A server that is started again is found again.
            Err(failure) if command.follow && failures < FAILURES_MAX && !groups.is_empty() => {
                if failures == 0 {
                    context.out.remark(failure.text(context.out.colour_err()));
                }
                failures += 1;
            }
            Err(failure) => return Err(failure),
        }
        if !command.follow || context.out.is_closed() {
            return Ok(Exit::Done);
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            _ = &mut stop => return Ok(Exit::Done),
        }
    }
}

/// Every line that was not printed yet, oldest first, with its group.
async fn round(
    client: &Client,
    command: &Logs,
    from_ms: u64,
    groups: &mut BTreeMap<String, Seen>,
) -> Result<Vec<(String, LogEvent)>, Failure> {
    let names = match &command.name {
        Some(name) => vec![group_of(name)],
        None => client.function_log_groups().await?,
    };
    let mut fresh = Vec::new();
    for name in names {
        let seen = groups.entry(name.clone()).or_insert_with(|| Seen::new(from_ms));
        let mut next: Option<String> = None;
        while let Some(page) = client.log_events(&name, seen.from_ms, next.as_deref()).await? {
            fresh.extend(page.events.into_iter().filter(|event| seen.is_new(event)).map(|event| (name.clone(), event)));
            if page.next.is_none() || page.next == next {
                break;
            }
            next = page.next;
        }
        seen.forget_old();
    }
    fresh.sort_by_key(|(_, event)| event.timestamp);
    Ok(fresh)
}

fn group_of(name: &str) -> String {
    // An ARN ends with the name, perhaps followed by a qualifier.
    let name = match name.split_once(":function:") {
        Some((_, rest)) => rest.split(':').next().unwrap_or(rest),
        None => name,
    };
    format!("{GROUP_PREFIX}{name}")
}

fn print(events: Vec<(String, LogEvent)>, command: &Logs, context: &Context) {
    let out = &context.out;
    for (group, event) in events {
        let function = group.strip_prefix(GROUP_PREFIX).unwrap_or(&group);
        let at = Timestamp::from_millis(event.timestamp);
        if out.is_json() {
            let LogEvent { log_stream_name, message, .. } = &event;
            out.line(json!({ "at": at.iso8601_millis(), "function": function, "stream": log_stream_name, "message": message }));
            continue;
        }
        let at = out.paint(Look::Dim, at.format("%Y-%m-%d %H:%M:%S.%3f"));
        let whose =
            if command.name.is_some() { String::new() } else { format!(" {}", out.paint(Look::Name, function)) };
        out.line(format_args!("{at}{whose} {}", harmless(event.message.trim_end())));
    }
}

impl Seen {
    fn new(from_ms: u64) -> Self {
        Self { from_ms, newest_ms: from_ms, ids: HashSet::new(), times: BTreeMap::new() }
    }

    fn is_new(&mut self, event: &LogEvent) -> bool {
        if !self.ids.insert(event.event_id.clone()) {
            return false;
        }
        self.times.entry(event.timestamp).or_default().push(event.event_id.clone());
        self.newest_ms = self.newest_ms.max(event.timestamp);
        true
    }

    /// Moves the start of the next question on, and forgets the ids that it cannot give any more.
    fn forget_old(&mut self) {
        self.from_ms = self.from_ms.max(self.newest_ms.saturating_sub(OVERLAP_MS));
        let kept = self.times.split_off(&self.from_ms);
        for id in std::mem::replace(&mut self.times, kept).into_values().flatten() {
            self.ids.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, timestamp: u64) -> LogEvent {
        LogEvent { event_id: id.into(), timestamp, log_stream_name: "s".into(), message: "m".into() }
    }

    #[test]
    fn a_line_is_printed_once_even_if_it_arrives_late() {
        let mut seen = Seen::new(0);
        assert!(seen.is_new(&event("a", 20_000)));
        seen.forget_old();
        assert_eq!(seen.from_ms, 10_000);
        assert!(!seen.is_new(&event("a", 20_000)), "it was printed");
        assert!(seen.is_new(&event("late", 15_000)), "it bears an older time");
        assert!(seen.is_new(&event("b", 40_000)));
        seen.forget_old();
        assert_eq!((seen.from_ms, seen.ids.len()), (30_000, 1), "what cannot come again is forgotten");
    }

    #[test]
    fn an_arn_has_the_same_log_as_the_name() {
        for name in ["f", "arn:aws:lambda:us-east-1:000000000000:function:f", "arn:aws:lambda:r:0:function:f:$LATEST"] {
            assert_eq!(group_of(name), "/aws/lambda/f");
        }
    }
}

//! CloudWatch Logs as the command line needs it.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Call, Client, ClientError};

/// Where Lambda writes, by function.
pub const GROUP_PREFIX: &str = "/aws/lambda/";

/// One line, as FilterLogEvents gives it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogEvent {
    /// Unique in its group.
    pub event_id: String,
    /// Milliseconds since the Unix epoch.
    pub timestamp: u64,
    /// One instance's stream.
    pub log_stream_name: String,
    /// May hold line ends.
    pub message: String,
}

/// A part of the events that were asked for.
#[derive(Debug)]
pub struct LogPage {
    /// Oldest first.
    pub events: Vec<LogEvent>,
    /// Asks for the rest; absent at the end.
    pub next: Option<String>,
}

impl Client {
    /// The next page of a group's events from a time on; `None` if there is no such group.
    pub async fn log_events(
        &self,
        group: &str,
        from_ms: u64,
        next: Option<&str>,
    ) -> Result<Option<LogPage>, ClientError> {
        let mut input = json!({ "logGroupName": group, "startTime": from_ms });
        if let Some(next) = next {
            input["nextToken"] = next.into();
        }
        let mut page = match self.logs("FilterLogEvents", &input).await {
            Err(error) if error.code() == Some("ResourceNotFoundException") => return Ok(None),
            answer => answer?,
        };
        let events = serde_json::from_value(page["events"].take())
            .map_err(|error| self.strange(format!("log events with a mistake ({error})")))?;
        Ok(Some(LogPage { events, next: page["nextToken"].as_str().map(str::to_owned) }))
    }

    /// The names of every function's log group.
    pub async fn function_log_groups(&self) -> Result<Vec<String>, ClientError> {
        let mut all = Vec::new();
        let mut input = json!({ "logGroupNamePrefix": GROUP_PREFIX });
        loop {
            let page = self.logs("DescribeLogGroups", &input).await?;
            let groups = page["logGroups"].as_array().into_iter().flatten();
            all.extend(groups.filter_map(|group| group["logGroupName"].as_str()).map(str::to_owned));
            match page["nextToken"].as_str() {
                Some(next) if input["nextToken"].as_str() != Some(next) => input["nextToken"] = next.into(),
                Some(_) => return Err(self.strange("the same page twice")),
                None => return Ok(all),
            }
        }
    }

    async fn logs(&self, operation: &str, input: &Value) -> Result<Value, ClientError> {
        let mut call =
            Call::new("logs", Method::POST, "/").header("x-amz-target", format!("Logs_20140328.{operation}"));
        call.headers.push(("content-type", "application/x-amz-json-1.1".to_owned()));
        call.body = input.to_string().into();
        self.ask(call).await
    }
}

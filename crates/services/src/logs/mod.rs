//! CloudWatch Logs: groups, streams and events. The caller has authorized the operation already.

mod events;
mod groups;
mod streams;
#[cfg(test)]
mod tests;

use base::chain::Chain;
use logs::{Home, Logs, LogsError};
use model::ids::AccountId;
use model::names::{LogGroupName, LogStreamName, Region};
use wire::logs::{Input, Output, errors};

/// Does one operation in the caller's account and region.
pub(crate) async fn handle(
    logs: &Logs,
    account: AccountId,
    region: &Region,
    input: Input,
) -> Result<Output, wire::Error> {
    let home = Home { account, region: region.clone() };
    match input {
        Input::CreateLogGroup(input) => groups::create(logs, &home, input).await,
        Input::DeleteLogGroup(input) => groups::delete(logs, &home, input).await,
        Input::DescribeLogGroups(input) => groups::describe(logs, &home, input).await,
        Input::CreateLogStream(input) => streams::create(logs, &home, input).await,
        Input::DeleteLogStream(input) => streams::delete(logs, &home, input).await,
        Input::DescribeLogStreams(input) => streams::describe(logs, &home, input).await,
        Input::PutLogEvents(input) => events::put(logs, &home, input).await,
        Input::GetLogEvents(input) => events::get(logs, &home, input).await,
        Input::FilterLogEvents(input) => events::filter(logs, &home, input).await,
    }
}

/// The exception that says it in the service's words; what failed inside goes to the operator.
fn refuse(error: LogsError) -> wire::Error {
    let message = error.to_string();
    match error {
        LogsError::GroupExists | LogsError::StreamExists => errors::resource_already_exists(message),
        LogsError::NoGroup | LogsError::NoStream => errors::resource_not_found(message),
        LogsError::Invalid(_) => errors::invalid_parameter(message),
        LogsError::LimitExceeded => errors::limit_exceeded(message),
        LogsError::Conflict => errors::operation_aborted(message),
        LogsError::Busy => errors::service_unavailable(message),
        LogsError::Storage(_) => {
            tracing::error!("answer a request about logs: {}", Chain(&error));
            errors::service_unavailable(message)
        }
    }
}

fn invalid(message: impl Into<String>) -> wire::Error {
    errors::invalid_parameter(message)
}

fn group_name(name: &str) -> Result<LogGroupName, wire::Error> {
    LogGroupName::parse(name).map_err(|bad| invalid(bad.to_string()))
}

fn stream_name(name: &str) -> Result<LogStreamName, wire::Error> {
    LogStreamName::parse(name).map_err(|bad| invalid(bad.to_string()))
}

/// The group that a request names, by exactly one of name and identifier.
fn named_group(home: &Home, name: Option<String>, identifier: Option<String>) -> Result<LogGroupName, wire::Error> {
    match (name, identifier) {
        (Some(name), None) => group_name(&name),
        (None, Some(identifier)) => identified_group(home, &identifier),
        (Some(_), Some(_)) => Err(invalid("logGroupName and logGroupIdentifier cannot be given together.")),
        (None, None) => Err(invalid("Either logGroupName or logGroupIdentifier is required.")),
    }
}

/// A group by its name or its ARN, with or without `:*`. Another account's or region's group does not exist here.
fn identified_group(home: &Home, identifier: &str) -> Result<LogGroupName, wire::Error> {
    let Some(rest) = identifier.strip_prefix("arn:") else { return group_name(identifier) };
    let parts: Vec<&str> = rest.splitn(6, ':').collect();
    match parts.as_slice() {
        [_, "logs", region, account, "log-group", name] => {
            let name = group_name(name.strip_suffix(":*").unwrap_or(name))?;
            let is_here = *region == home.region.as_str() && *account == home.account.as_str();
            if is_here { Ok(name) } else { Err(refuse(LogsError::NoGroup)) }
        }
        _ => Err(invalid(format!("{identifier} is not the ARN of a log group."))),
    }
}

/// A limit or a time in milliseconds; the model refuses negative ones.
fn count<T: TryInto<R>, R: Default>(value: T) -> R {
    value.try_into().unwrap_or_default()
}

/// A time or a size as the wire has it.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

//! Log groups: CreateLogGroup, DeleteLogGroup, DescribeLogGroups.

use logs::{DescribeGroups, Group, Home, Logs, LogsError, NewGroup};
use wire::logs as shapes;
use wire::logs::{LogGroupClass, Output};

use super::{count, group_name, identified_group, invalid, number, refuse};

pub(super) async fn create(
    logs: &Logs,
    home: &Home,
    input: shapes::CreateLogGroupRequest,
) -> Result<Output, wire::Error> {
    let group = group_name(&input.log_group_name)?;
    if group.as_str().starts_with("aws/") {
        return Err(invalid("Log groups starting with AWS/ are reserved for AWS."));
    }
    if input.kms_key_id.is_some() {
        return Err(invalid("kmsKeyId is not supported: log groups are not encrypted with keys of their own."));
    }
    if input.deletion_protection_enabled == Some(true) {
        return Err(invalid("deletionProtectionEnabled is not supported."));
    }
    let class = match input.log_group_class {
        // Kept and shown; both are stored and searched in the same way.
        None | Some(LogGroupClass::Standard | LogGroupClass::InfrequentAccess) => input.log_group_class,
        Some(other) => return Err(invalid(format!("logGroupClass {other} is not supported."))),
    };
    let new = NewGroup { class: class.map(|class| class.as_str().to_owned()), tags: input.tags.unwrap_or_default() };
    logs.create_group(home, &group, new).await.map_err(refuse)?;
    Ok(Output::CreateLogGroup)
}

pub(super) async fn delete(
    logs: &Logs,
    home: &Home,
    input: shapes::DeleteLogGroupRequest,
) -> Result<Output, wire::Error> {
    logs.delete_group(home, &group_name(&input.log_group_name)?).await.map_err(refuse)?;
    Ok(Output::DeleteLogGroup)
}

pub(super) async fn describe(
    logs: &Logs,
    home: &Home,
    input: shapes::DescribeLogGroupsRequest,
) -> Result<Output, wire::Error> {
    if let Some(identifiers) = &input.log_group_identifiers {
        if input.log_group_name_prefix.is_some() || input.log_group_name_pattern.is_some() {
            return Err(invalid("logGroupIdentifiers cannot be given together with a name prefix or a name pattern."));
        }
        return describe_identified(logs, home, identifiers).await;
    }
    let ask = DescribeGroups {
        prefix: input.log_group_name_prefix,
        pattern: input.log_group_name_pattern,
        class: input.log_group_class.map(|class| class.as_str().to_owned()),
        limit: input.limit.map(count),
        next: input.next_token,
    };
    let page = logs.describe_groups(home, &ask).await.map_err(refuse)?;
    let groups = page.items.iter().map(|group| shape(home, group)).collect();
    let response = shapes::DescribeLogGroupsResponse { log_groups: Some(groups), next_token: page.next };
    Ok(Output::DescribeLogGroups(response))
}

/// Groups that do not exist are left out.
async fn describe_identified(logs: &Logs, home: &Home, identifiers: &[String]) -> Result<Output, wire::Error> {
    let mut groups = Vec::with_capacity(identifiers.len());
    for identifier in identifiers {
        match logs.describe_group(home, &identified_group(home, identifier)?).await {
            Ok(group) => groups.push(shape(home, &group)),
            Err(LogsError::NoGroup) => {}
            Err(error) => return Err(refuse(error)),
        }
    }
    let response = shapes::DescribeLogGroupsResponse { log_groups: Some(groups), next_token: None };
    Ok(Output::DescribeLogGroups(response))
}

fn shape(home: &Home, group: &Group) -> shapes::LogGroup {
    let arn = home.group_arn(&group.name);
    shapes::LogGroup {
        arn: Some(format!("{arn}:*")),
        log_group_arn: Some(arn),
        log_group_name: Some(group.name.to_string()),
        creation_time: Some(number(group.created.as_millis())),
        log_group_class: LogGroupClass::from_name(&group.class),
        metric_filter_count: Some(0),
        retention_in_days: group.retention_days.map(count),
        stored_bytes: Some(number(group.stored_bytes)),
        ..shapes::LogGroup::default()
    }
}

//! Log streams: CreateLogStream, DeleteLogStream, DescribeLogStreams.

use base::time::Timestamp;
use logs::{DescribeStreams, Home, Logs, Stream, StreamOrder};
use model::names::LogGroupName;
use wire::logs as shapes;
use wire::logs::{OrderBy, Output};

use super::{count, group_name, named_group, number, refuse, stream_name};

pub(super) async fn create(
    logs: &Logs,
    home: &Home,
    input: shapes::CreateLogStreamRequest,
) -> Result<Output, wire::Error> {
    let (group, stream) = (group_name(&input.log_group_name)?, stream_name(&input.log_stream_name)?);
    logs.create_stream(home, &group, &stream).await.map_err(refuse)?;
    Ok(Output::CreateLogStream)
}

pub(super) async fn delete(
    logs: &Logs,
    home: &Home,
    input: shapes::DeleteLogStreamRequest,
) -> Result<Output, wire::Error> {
    let (group, stream) = (group_name(&input.log_group_name)?, stream_name(&input.log_stream_name)?);
    logs.delete_stream(home, &group, &stream).await.map_err(refuse)?;
    Ok(Output::DeleteLogStream)
}

pub(super) async fn describe(
    logs: &Logs,
    home: &Home,
    input: shapes::DescribeLogStreamsRequest,
) -> Result<Output, wire::Error> {
    let group = named_group(home, input.log_group_name, input.log_group_identifier)?;
    let ask = DescribeStreams {
        prefix: input.log_stream_name_prefix,
        order: match input.order_by {
            None | Some(OrderBy::LogStreamName) => StreamOrder::Name,
            Some(OrderBy::LastEventTime) => StreamOrder::LastEvent,
        },
        descending: input.descending.unwrap_or(false),
        limit: input.limit.map(count),
        next: input.next_token,
    };
    let page = logs.describe_streams(home, &group, &ask).await.map_err(refuse)?;
    let streams = page.items.iter().map(|stream| shape(home, &group, stream)).collect();
    let response = shapes::DescribeLogStreamsResponse { log_streams: Some(streams), next_token: page.next };
    Ok(Output::DescribeLogStreams(response))
}

fn shape(home: &Home, group: &LogGroupName, stream: &Stream) -> shapes::LogStream {
    let millis = |at: Timestamp| number(at.as_millis());
    shapes::LogStream {
        arn: Some(home.stream_arn(group, &stream.name)),
        creation_time: Some(millis(stream.created)),
        first_event_timestamp: stream.first_event.map(millis),
        last_event_timestamp: stream.last_event.map(millis),
        last_ingestion_time: stream.last_ingestion.map(millis),
        log_stream_name: Some(stream.name.to_string()),
        // The service reports zero for streams since 2019.
        stored_bytes: Some(0),
        upload_sequence_token: None,
    }
}

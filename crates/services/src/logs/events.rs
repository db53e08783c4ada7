//! Log events: PutLogEvents, GetLogEvents, FilterLogEvents.

use base::time::Timestamp;
use bytes::Bytes;
use logs::{FilterEvents, GetEvents, Home, Logs, NewEvent, Pattern, Rejected, Streams};
use wire::logs as shapes;
use wire::logs::Output;

use super::{count, group_name, invalid, named_group, number, refuse, stream_name};

/// The service ignores sequence tokens since 2023, but clients from before that pass on what they are given.
const NEXT_SEQUENCE_TOKEN: &str = "00000000000000000000000000000000000000000000000000000000";

pub(super) async fn put(logs: &Logs, home: &Home, input: shapes::PutLogEventsRequest) -> Result<Output, wire::Error> {
    let (group, stream) = (group_name(&input.log_group_name)?, stream_name(&input.log_stream_name)?);
    let event = |event: shapes::InputLogEvent| NewEvent {
        at: Timestamp::from_millis(count(event.timestamp)),
        message: Bytes::from(event.message),
    };
    let events: Vec<NewEvent> = input.log_events.into_iter().map(event).collect();
    let rejected = logs.put_events(home, &group, &stream, &events).await.map_err(refuse)?;
    let info = |rejected: Rejected| shapes::RejectedLogEventsInfo {
        too_new_log_event_start_index: rejected.too_new_start.map(count),
        too_old_log_event_end_index: rejected.too_old_end.map(count),
        expired_log_event_end_index: rejected.expired_end.map(count),
    };
    Ok(Output::PutLogEvents(shapes::PutLogEventsResponse {
        next_sequence_token: Some(NEXT_SEQUENCE_TOKEN.to_owned()),
        rejected_entity_info: None,
        rejected_log_events_info: (rejected != Rejected::default()).then(|| info(rejected)),
    }))
}

pub(super) async fn get(logs: &Logs, home: &Home, input: shapes::GetLogEventsRequest) -> Result<Output, wire::Error> {
    let group = named_group(home, input.log_group_name, input.log_group_identifier)?;
    let stream = stream_name(&input.log_stream_name)?;
    let ask = GetEvents {
        start_ms: input.start_time.map(count),
        end_ms: input.end_time.map(count),
        from_head: input.start_from_head.unwrap_or(false),
        limit: input.limit.map(count),
        next: input.next_token,
    };
    let found = logs.get_events(home, &group, &stream, &ask).await.map_err(refuse)?;
    let event = |event: logs::Event| shapes::OutputLogEvent {
        ingestion_time: Some(number(event.ingested.as_millis())),
        message: Some(text(&event.message)),
        timestamp: Some(number(event.at.as_millis())),
    };
    Ok(Output::GetLogEvents(shapes::GetLogEventsResponse {
        events: Some(found.events.into_iter().map(event).collect()),
        next_backward_token: Some(found.backward),
        next_forward_token: Some(found.forward),
    }))
}

pub(super) async fn filter(
    logs: &Logs,
    home: &Home,
    input: shapes::FilterLogEventsRequest,
) -> Result<Output, wire::Error> {
    let group = named_group(home, input.log_group_name, input.log_group_identifier)?;
    if input.start_from_head == Some(false) {
        return Err(invalid("startFromHead=false is not supported: events are returned from the earliest on."));
    }
    let streams = match (input.log_stream_names, input.log_stream_name_prefix) {
        (None, None) => Streams::All,
        (None, Some(prefix)) => Streams::Prefix(prefix),
        (Some(names), None) => Streams::Named(names.iter().map(|name| stream_name(name)).collect::<Result<_, _>>()?),
        (Some(_), Some(_)) => {
            return Err(invalid("logStreamNames and logStreamNamePrefix cannot be given together."));
        }
    };
    let pattern = Pattern::parse(input.filter_pattern.as_deref().unwrap_or_default());
    let ask = FilterEvents {
        streams,
        start_ms: input.start_time.map(count),
        end_ms: input.end_time.map(count),
        pattern: pattern.map_err(|bad| refuse(bad.into()))?,
        limit: input.limit.map(count),
        next: input.next_token,
    };
    let page = logs.filter_events(home, &group, &ask).await.map_err(refuse)?;
    let event = |event: logs::Event| shapes::FilteredLogEvent {
        event_id: Some(event.id),
        ingestion_time: Some(number(event.ingested.as_millis())),
        log_stream_name: Some(event.stream.to_string()),
        message: Some(text(&event.message)),
        timestamp: Some(number(event.at.as_millis())),
    };
    Ok(Output::FilterLogEvents(shapes::FilterLogEventsResponse {
        events: Some(page.items.into_iter().map(event).collect()),
        next_token: page.next,
        // Empty since 2019: every search covers all that it was asked for.
        searched_log_streams: Some(Vec::new()),
    }))
}

/// Functions may write what is not UTF-8; JSON cannot carry that.
fn text(message: &Bytes) -> String {
    String::from_utf8_lossy(message).into_owned()
}

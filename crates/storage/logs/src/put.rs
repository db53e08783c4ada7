//! Puts: which events of a batch are taken, and their way into the segments.

use std::ops::Range;
use std::sync::Arc;

use base::time::Timestamp;
use model::names::{LogGroupName, LogStreamName};
use store::segments::Dropped;

use crate::Logs;
use crate::door::OpenKey;
use crate::limits::{
    EVENT_AGE_MAX, EVENT_LEAD_MAX, EVENT_OVERHEAD_BYTES, EVENTS_PER_PUT_MAX, PUT_BYTES_MAX, PUT_SPAN_MAX, PUT_WAIT_MAX,
};
use crate::records::{EventsKey, StreamRecord};
use crate::types::{Home, LogsError, NewEvent, Rejected};

impl Logs {
    /// Stores events of one stream, which must exist. When it returns, they survive a power cut and are found by every
    /// read.
    ///
    /// # Errors
    /// `Invalid` for a batch that breaks a rule as a whole, `NoGroup`, `NoStream`, `Busy` if the writer is behind (then a
    /// part may be stored), `Storage` if the disk fails or is full.
    pub async fn put_events(
        &self,
        home: &Home,
        group: &LogGroupName,
        stream: &LogStreamName,
        events: &[NewEvent],
    ) -> Result<Rejected, LogsError> {
        check_batch(events)?;
        let shared = &self.shared;
        let mut deadline = tokio::time::Instant::now() + PUT_WAIT_MAX;
        let mut deletions = shared.deletions();
        let (mut key, retention_days) = self.open_key(home, group, stream).await?;
        let now = shared.now();
        let (rejected, taken) = judge(events, now, retention_days);
        let door = shared.door(home, group, stream);
        // Refused as a whole while the disk takes nothing: it would be kept, though the caller is told that it failed.
        if shared.segments.is_failing() {
            let taken = shared.segments.flush_within(PUT_WAIT_MAX).await;
            taken.map_err(|error| LogsError::Storage(Box::new(error)))?;
        }
        let mut waiting = &events[taken];
        loop {
            {
                let mut state = door.state.lock();
                let was_dirty = state.is_dirty;
                if shared.deletions() == deletions {
                    // A function's lines may wait at the same door.
                    state.open(shared, key.clone());
                    while let [event, rest @ ..] = waiting {
                        match state.put(shared, &key, event.at, now, &event.message) {
                            Ok(()) => waiting = rest,
                            Err(Dropped::QueueFull) => break,
                            Err(Dropped::TooLarge | Dropped::Closed) => {
                                deadline = tokio::time::Instant::now();
                                break;
                            }
                        }
                    }
                }
                if state.is_dirty && !was_dirty {
                    shared.note_dirty(Arc::clone(&door));
                }
            }
            if waiting.is_empty() {
                // Acknowledged one by one, unlike the lines of functions: so it must survive a power cut.
                shared.segments.sync().await.map_err(|error| LogsError::Storage(Box::new(error)))?;
                return Ok(rejected);
            }
            let _ = shared.segments.flush_within(deadline.saturating_duration_since(tokio::time::Instant::now())).await;
            if tokio::time::Instant::now() >= deadline {
                return Err(LogsError::Busy);
            }
            // The writer is behind, or something was deleted: perhaps this stream.
            deletions = shared.deletions();
            key = self.open_key(home, group, stream).await?.0;
        }
    }

    /// Where the events of an existing stream go, and how many days its group keeps them.
    async fn open_key(
        &self,
        home: &Home,
        group: &LogGroupName,
        stream: &LogStreamName,
    ) -> Result<(OpenKey, Option<u32>), LogsError> {
        let (record, _) = self.shared.group(home, group).await?;
        let stream_key = home.stream_key(record.incarnation, stream);
        let (found, _) = self.shared.get::<StreamRecord>(&stream_key).await?.ok_or(LogsError::NoStream)?;
        let key = EventsKey {
            home: home.clone(),
            group: record.incarnation,
            stream: found.incarnation,
            name: stream.clone(),
        };
        Ok((OpenKey::new(&key), record.retention_days))
    }
}

/// The rules for a batch as a whole (CloudWatch Logs API reference, PutLogEvents).
fn check_batch(events: &[NewEvent]) -> Result<(), LogsError> {
    let refuse = |text: String| Err(LogsError::Invalid(text));
    if events.is_empty() || events.len() > EVENTS_PER_PUT_MAX {
        return refuse(format!(
            "A put holds between 1 and {EVENTS_PER_PUT_MAX} log events; this one holds {}.",
            events.len()
        ));
    }
    if events.iter().any(|event| event.message.is_empty()) {
        return refuse("A log event's message holds at least one character.".to_owned());
    }
    let size: usize = events.iter().map(|event| event.message.len() + EVENT_OVERHEAD_BYTES).sum();
    if size > PUT_BYTES_MAX {
        return refuse(format!("Upload too large: {size} bytes exceeds limit of {PUT_BYTES_MAX}"));
    }
    if !events.is_sorted_by_key(|event| event.at) {
        return refuse("Log events in a single PutLogEvents request must be in chronological order.".to_owned());
    }
    let (first, last) = (events[0].at, events[events.len() - 1].at);
    if last.since(first) > PUT_SPAN_MAX {
        let text = "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.";
        return refuse(text.to_owned());
    }
    Ok(())
}

/// Which events are refused for their times, and the indexes of those that are taken. The events are in order.
fn judge(events: &[NewEvent], now: Timestamp, retention_days: Option<u32>) -> (Rejected, Range<usize>) {
    let older_than = |limit: Timestamp| events.partition_point(|event| event.at < limit);
    let too_old = older_than(now.minus(EVENT_AGE_MAX));
    let days = |days: u32| std::time::Duration::from_secs(u64::from(days) * 24 * 3600);
    let expired = retention_days.map_or(0, |kept| older_than(now.minus(days(kept))));
    let too_new = events.partition_point(|event| event.at <= now.plus(EVENT_LEAD_MAX));
    let rejected = Rejected {
        too_new_start: (too_new < events.len()).then_some(too_new),
        too_old_end: (too_old > 0).then_some(too_old),
        expired_end: (expired > 0).then_some(expired),
    };
    let start = too_old.max(expired);
    (rejected, start..too_new.max(start))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const NOW_SECS: i64 = 1_700_000_000;
    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;

    fn event(offset_secs: i64, size: usize) -> NewEvent {
        let at = u64::try_from(NOW_SECS + offset_secs).expect("after the epoch");
        NewEvent { at: Timestamp::from_millis(at * 1000), message: Bytes::from(vec![b'x'; size]) }
    }

    /// `offsets` in seconds from now.
    fn check(offsets: &[i64], retention_days: Option<u32>, rejected: [Option<usize>; 3], taken: Range<usize>) {
        let events: Vec<NewEvent> = offsets.iter().map(|offset| event(*offset, 1)).collect();
        let now = Timestamp::from_millis(u64::try_from(NOW_SECS).expect("after the epoch") * 1000);
        let [too_new_start, too_old_end, expired_end] = rejected;
        let expected = (Rejected { too_new_start, too_old_end, expired_end }, taken);
        assert_eq!(judge(&events, now, retention_days), expected, "{offsets:?}");
    }

    #[test]
    fn events_out_of_their_time_are_rejected_and_the_others_taken() {
        check(&[-10, 0, 10], None, [None, None, None], 0..3);
        check(&[-14 * DAY, 2 * HOUR], None, [None, None, None], 0..2);
        check(&[-14 * DAY - 1, -14 * DAY, 0], None, [None, Some(1), None], 1..3);
        check(&[0, 2 * HOUR, 2 * HOUR + 1, 3 * HOUR], None, [Some(2), None, None], 0..2);
        check(&[-15 * DAY, -15 * DAY], None, [None, Some(2), None], 2..2);
        check(&[3 * HOUR], None, [Some(0), None, None], 0..0);
        check(&[-2 * DAY, -DAY, 0], Some(1), [None, None, Some(1)], 1..3);
        check(&[-15 * DAY, -2 * DAY, 0, 3 * HOUR], Some(1), [Some(3), Some(1), Some(2)], 2..3);
    }

    fn check_rule(events: &[NewEvent], expected: Result<(), &str>) {
        let found = check_batch(events).map_err(|error| error.to_string());
        assert_eq!(found, expected.map_err(str::to_owned));
    }

    #[test]
    fn a_batch_that_breaks_a_rule_is_refused_as_a_whole() {
        let order = "Log events in a single PutLogEvents request must be in chronological order.";
        let span = "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.";
        check_rule(&[event(0, 1), event(0, 1)], Ok(()));
        check_rule(&[event(1, 1), event(0, 1)], Err(order));
        check_rule(&[event(0, 1), event(DAY, 1)], Ok(()));
        check_rule(&[event(0, 1), event(DAY + 1, 1)], Err(span));
        check_rule(&[], Err("A put holds between 1 and 10000 log events; this one holds 0."));
        check_rule(
            &vec![event(0, 1); EVENTS_PER_PUT_MAX + 1],
            Err("A put holds between 1 and 10000 log events; this one holds 10001."),
        );
        check_rule(&[event(0, 0)], Err("A log event's message holds at least one character."));
        check_rule(&[event(0, PUT_BYTES_MAX - EVENT_OVERHEAD_BYTES)], Ok(()));
        check_rule(
            &[event(0, PUT_BYTES_MAX - EVENT_OVERHEAD_BYTES + 1)],
            Err("Upload too large: 1048577 bytes exceeds limit of 1048576"),
        );
    }
}

//! Streams: created, deleted and described.

use model::names::{LogGroupName, LogStreamName};
use store::{Batch, Cursor, Direction, Key, Read, Revision, Scan, Stored};

use crate::Logs;
use crate::groups::{ensure_room, new_group, page_limit};
use crate::limits::STREAM_NAME_BYTES_MAX;
use crate::records::{EventsKey, GroupRecord, Incarnation, StreamRecord};
use crate::shared::{CONFLICTS_MAX, Refused, Shared};
use crate::tokens::{fingerprint, list_token, read_list_token};
use crate::types::{DescribeStreams, Home, LogsError, NewGroup, Page, Stream, StreamOrder};

impl Logs {
    /// Creates a stream in an existing group.
    ///
    /// # Errors
    /// `NoGroup`, `StreamExists`; `Conflict` if the group is changed all the while.
    pub async fn create_stream(
        &self,
        home: &Home,
        group: &LogGroupName,
        stream: &LogStreamName,
    ) -> Result<(), LogsError> {
        if stream.as_str().len() > STREAM_NAME_BYTES_MAX {
            let text = format!("The log stream's name is longer than {STREAM_NAME_BYTES_MAX} bytes.");
            return Err(LogsError::Invalid(text));
        }
        let shared = &self.shared;
        for _ in 0..CONFLICTS_MAX {
            let (record, revision) = shared.group(home, group).await?;
            if shared.get::<StreamRecord>(&home.stream_key(record.incarnation, stream)).await?.is_some() {
                return Err(LogsError::StreamExists);
            }
            let mut batch = shared.batch();
            batch.require_revision(&home.group_key(group), revision);
            plan_stream(shared, &mut batch, home, record.incarnation, stream);
            match shared.commit(batch).await {
                Ok(_) => return Ok(()),
                Err(Refused::Conflict) => {}
                Err(Refused::Failed(error)) => return Err(error),
            }
        }
        Err(LogsError::Conflict)
    }

    /// Deletes a stream; its events are hidden at once and their space is freed later.
    ///
    /// # Errors
    /// `NoGroup`, `NoStream`; `Conflict` if the stream is changed all the while.
    pub async fn delete_stream(
        &self,
        home: &Home,
        group: &LogGroupName,
        stream: &LogStreamName,
    ) -> Result<(), LogsError> {
        let shared = &self.shared;
        shared.statistics_written().await;
        for _ in 0..CONFLICTS_MAX {
            let (record, _) = shared.group(home, group).await?;
            let key = home.stream_key(record.incarnation, stream);
            let (old, revision) = shared.get::<StreamRecord>(&key).await?.ok_or(LogsError::NoStream)?;
            let mut batch = shared.batch();
            batch.require_revision(&key, revision);
            batch.delete(&key);
            batch.delete(&home.latest_key(record.incarnation, old.last_event, stream.as_str()));
            batch.add(&home.bytes_key(record.incarnation), -i64::try_from(old.bytes).unwrap_or(i64::MAX));
            match shared.commit(batch).await {
                Ok(_) => {
                    shared.close_doors(home, group, |key| key.stream == old.incarnation);
                    return Ok(());
                }
                Err(Refused::Conflict) => {}
                Err(Refused::Failed(error)) => return Err(error),
            }
        }
        Err(LogsError::Conflict)
    }

    /// A page of a group's streams.
    ///
    /// # Errors
    /// `NoGroup`; `Invalid` for a limit out of range, a foreign token, or a prefix in the order of events.
    pub async fn describe_streams(
        &self,
        home: &Home,
        group: &LogGroupName,
        ask: &DescribeStreams,
    ) -> Result<Page<Stream>, LogsError> {
        let limit = page_limit(ask.limit)?;
        if ask.order == StreamOrder::LastEvent && ask.prefix.is_some() {
            return Err(LogsError::Invalid("Cannot order by LastEventTime with a logStreamNamePrefix.".to_owned()));
        }
        let shared = &self.shared;
        shared.statistics_written().await;
        let (record, _) = shared.group(home, group).await?;
        let incarnation = record.incarnation;
        let prefix = ask.prefix.as_deref().unwrap_or_default();
        let asked = fingerprint([
            incarnation.to_string().as_bytes(),
            prefix.as_bytes(),
            &[ask.order as u8 + 1, u8::from(ask.descending) + 1],
        ]);
        let place = ask.next.as_deref().map(|token| read_list_token(token, asked)).transpose()?;
        let (range, after) = match ask.order {
            StreamOrder::Name => {
                let after = place.map(|(_, name)| home.shard_key(&["stream", &incarnation.to_string(), &name]));
                (home.streams_range(incarnation, prefix), after)
            }
            StreamOrder::LastEvent => {
                let time = |(micros, name): (u64, String)| {
                    home.latest_key(incarnation, Some(base::time::Timestamp::from_micros(micros)), &name)
                };
                (home.latest_range(incarnation), place.map(time))
            }
        };
        let mut scan = Scan::new(range).items(limit).after(after.as_ref().map(Cursor::at));
        if ask.descending {
            scan.direction = Direction::Backward;
        }
        let page = shared.store.read(Read::scan(scan)).await?.scan.into_iter().next().unwrap_or_default();
        let next = match (page.next, page.records.last()) {
            (Some(_), Some((last, _))) => Some(token_after(last, asked)),
            _ => None,
        };
        let streams = match ask.order {
            StreamOrder::Name => page.records,
            StreamOrder::LastEvent => named(shared, home, incarnation, page.records).await?,
        };
        let mut items = Vec::with_capacity(streams.len());
        for (key, stored) in streams {
            let Some(name) = key.parts().pop().and_then(|name| LogStreamName::parse(&name).ok()) else { continue };
            let record = store::decode_stored::<StreamRecord>(&key, &stored)?;
            items.push(Stream {
                name,
                created: record.created,
                first_event: record.first_event,
                last_event: record.last_event,
                last_ingestion: record.last_ingestion,
            });
        }
        Ok(Page { items, next })
    }
}

/// Goes on after an entry of either order: `stream · GROUP · NAME` or `latest · GROUP · TIME · NAME`.
fn token_after(last: &Key, asked: u64) -> String {
    let parts = last.parts();
    let micros = parts.get(2).filter(|_| parts.len() == 4).and_then(|time| u64::from_str_radix(time, 16).ok());
    list_token(micros.unwrap_or(0), parts.last().map_or("", String::as_str), asked)
}

/// The streams that entries of the order by latest event name.
async fn named(
    shared: &Shared,
    home: &Home,
    group: Incarnation,
    entries: Vec<(Key, Stored)>,
) -> Result<Vec<(Key, Stored)>, LogsError> {
    let names = entries.iter().filter_map(|(key, _)| key.parts().pop());
    let get: Vec<Key> = names.map(|name| home.shard_key(&["stream", &group.to_string(), &name])).collect();
    let found = shared.store.read(Read { get: get.clone(), scan: Vec::new() }).await?.get;
    Ok(get.into_iter().zip(found).filter_map(|(key, stored)| Some((key, stored?))).collect())
}

/// Plans the creation of a stream; the batch conflicts if it is there already. Returns its incarnation.
fn plan_stream(
    shared: &Shared,
    batch: &mut Batch,
    home: &Home,
    group: Incarnation,
    stream: &LogStreamName,
) -> Incarnation {
    let record = StreamRecord::new(shared.now(), &*shared.entropy);
    let key = home.stream_key(group, stream);
    batch.require_absent(&key);
    batch.put_record(&key, &record);
    batch.put(&home.latest_key(group, None, stream.as_str()), Vec::new());
    record.incarnation
}

/// Where the events of a stream go; group and stream are created where they are missing.
pub(crate) async fn ensure_stream(
    shared: &Shared,
    home: &Home,
    group: &LogGroupName,
    stream: &LogStreamName,
) -> Result<EventsKey, LogsError> {
    for _ in 0..CONFLICTS_MAX {
        let mut batch = shared.batch();
        let group_key = home.group_key(group);
        let found: Option<(GroupRecord, Revision)> = shared.get(&group_key).await?;
        let group = match found {
            Some((record, revision)) => {
                let found: Option<(StreamRecord, Revision)> =
                    shared.get(&home.stream_key(record.incarnation, stream)).await?;
                if let Some((found, _)) = found {
                    return Ok(EventsKey {
                        home: home.clone(),
                        group: record.incarnation,
                        stream: found.incarnation,
                        name: stream.clone(),
                    });
                }
                batch.require_revision(&group_key, revision);
                record.incarnation
            }
            None => {
                ensure_room(shared, home).await?;
                let record = new_group(shared, NewGroup::default());
                batch.require_absent(&group_key);
                batch.put_record(&group_key, &record);
                batch.add(&home.groups_count_key(), 1);
                record.incarnation
            }
        };
        let incarnation = plan_stream(shared, &mut batch, home, group, stream);
        match shared.commit(batch).await {
            Ok(_) => {
                return Ok(EventsKey { home: home.clone(), group, stream: incarnation, name: stream.clone() });
            }
            Err(Refused::Conflict) => {}
            Err(Refused::Failed(error)) => return Err(error),
        }
    }
    Err(LogsError::Conflict)
}

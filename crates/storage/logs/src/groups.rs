//! Groups: created, deleted and described.

use model::names::LogGroupName;
use store::{Cursor, Read, Scan};

use crate::Logs;
use crate::limits::{DESCRIBED_PER_PAGE_MAX, GROUPS_MAX, GROUPS_SCANNED_MAX, TAGS_PER_GROUP_MAX};
use crate::records::{GroupRecord, Incarnation};
use crate::shared::{CONFLICTS_MAX, Refused, Shared};
use crate::tokens::{fingerprint, list_token, read_list_token};
use crate::types::{DescribeGroups, Group, Home, LogsError, NewGroup, Page};

/// The class of a group that is given none.
const CLASS_DEFAULT: &str = "STANDARD";

impl Logs {
    /// Creates a group.
    ///
    /// # Errors
    /// `GroupExists`, `LimitExceeded`, `Invalid` for too many tags; `Conflict` if the group is changed all the while.
    pub async fn create_group(&self, home: &Home, group: &LogGroupName, new: NewGroup) -> Result<(), LogsError> {
        if new.tags.len() > TAGS_PER_GROUP_MAX {
            return Err(LogsError::Invalid(format!("A log group has at most {TAGS_PER_GROUP_MAX} tags.")));
        }
        let shared = &self.shared;
        ensure_room(shared, home).await?;
        let record = new_group(shared, new);
        let key = home.group_key(group);
        for _ in 0..CONFLICTS_MAX {
            if shared.get::<GroupRecord>(&key).await?.is_some() {
                return Err(LogsError::GroupExists);
            }
            let mut batch = shared.batch();
            batch.require_absent(&key);
            batch.put_record(&key, &record);
            batch.add(&home.groups_count_key(), 1);
            match shared.commit(batch).await {
                Ok(_) => return Ok(()),
                Err(Refused::Conflict) => {}
                Err(Refused::Failed(error)) => return Err(error),
            }
        }
        Err(LogsError::Conflict)
    }

    /// Deletes a group with its streams; its events are hidden at once and their space is freed later.
    ///
    /// # Errors
    /// `NoGroup`; `Conflict` if the group is changed all the while.
    pub async fn delete_group(&self, home: &Home, group: &LogGroupName) -> Result<(), LogsError> {
        let shared = &self.shared;
        for _ in 0..CONFLICTS_MAX {
            let (record, revision) = shared.group(home, group).await?;
            let key = home.group_key(group);
            let mut batch = shared.batch();
            batch.require_revision(&key, revision);
            batch.delete(&key);
            batch.delete_range(home.streams_range(record.incarnation, ""));
            batch.delete_range(home.latest_range(record.incarnation));
            batch.delete(&home.bytes_key(record.incarnation));
            batch.add(&home.groups_count_key(), -1);
            match shared.commit(batch).await {
                Ok(_) => {
                    shared.close_doors(home, group, |key| key.group == record.incarnation);
                    return Ok(());
                }
                Err(Refused::Conflict) => {}
                Err(Refused::Failed(error)) => return Err(error),
            }
        }
        Err(LogsError::Conflict)
    }

    /// One group.
    ///
    /// # Errors
    /// `NoGroup`.
    pub async fn describe_group(&self, home: &Home, group: &LogGroupName) -> Result<Group, LogsError> {
        self.shared.statistics_written().await;
        let (record, _) = self.shared.group(home, group).await?;
        let mut groups = with_bytes(&self.shared, home, vec![(group.clone(), record)]).await?;
        groups.pop().ok_or(LogsError::NoGroup)
    }

    /// A page of groups in the order of their names.
    ///
    /// # Errors
    /// `Invalid` for a limit out of range, a foreign token, or a prefix together with a pattern.
    pub async fn describe_groups(&self, home: &Home, ask: &DescribeGroups) -> Result<Page<Group>, LogsError> {
        let limit = page_limit(ask.limit)?;
        if ask.prefix.is_some() && ask.pattern.is_some() {
            let text = "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.";
            return Err(LogsError::Invalid(text.to_owned()));
        }
        let prefix = ask.prefix.as_deref().unwrap_or_default();
        let pattern = ask.pattern.as_deref().unwrap_or_default();
        let asked = fingerprint([
            home.account.as_str().as_bytes(),
            home.region.as_str().as_bytes(),
            prefix.as_bytes(),
            pattern.as_bytes(),
            ask.class.as_deref().unwrap_or_default().as_bytes(),
        ]);
        let mut after = match &ask.next {
            Some(token) => {
                let (_, name) = read_list_token(token, asked)?;
                let name = LogGroupName::parse(&name).map_err(|bad| LogsError::Invalid(bad.to_string()))?;
                Some(Cursor::at(&home.group_key(&name)))
            }
            None => None,
        };
        self.shared.statistics_written().await;

        let mut found: Vec<(LogGroupName, GroupRecord)> = Vec::new();
        let mut scanned = 0;
        let next = 'pages: loop {
            let scan = Scan::new(home.groups_range(prefix)).items(limit + 1).after(after.take());
            let (records, next) = store::scan_records::<GroupRecord>(&*self.shared.store, scan).await?;
            for (key, record, _) in records {
                let Some(name) = key.parts().pop().and_then(|name| LogGroupName::parse(&name).ok()) else { continue };
                let is_wanted =
                    name.as_str().contains(pattern) && ask.class.as_ref().is_none_or(|class| *class == record.class);
                if !is_wanted {
                    scanned += 1;
                    if scanned >= GROUPS_SCANNED_MAX {
                        break 'pages Some(list_token(0, name.as_str(), asked));
                    }
                    continue;
                }
                if found.len() == limit {
                    break 'pages found.last().map(|(last, _)| list_token(0, last.as_str(), asked));
                }
                found.push((name, record));
            }
            match next {
                Some(cursor) => after = Some(cursor),
                None => break None,
            }
        };
        Ok(Page { items: with_bytes(&self.shared, home, found).await?, next })
    }
}

/// Refuses where the account has all groups that it may have. Two requests at once may pass this by one.
pub(crate) async fn ensure_room(shared: &Shared, home: &Home) -> Result<(), LogsError> {
    let answer = shared.store.read(Read::get(home.groups_count_key())).await?;
    let stored = answer.get.into_iter().next().flatten();
    let count = stored.and_then(|stored| store::batch::counter(&stored.value)).unwrap_or(0);
    if usize::try_from(count).unwrap_or(0) >= GROUPS_MAX { Err(LogsError::LimitExceeded) } else { Ok(()) }
}

/// The record of a group that is being created.
pub(crate) fn new_group(shared: &Shared, new: NewGroup) -> GroupRecord {
    GroupRecord {
        created: shared.now(),
        incarnation: Incarnation::new(&*shared.entropy),
        class: new.class.unwrap_or_else(|| CLASS_DEFAULT.to_owned()),
        retention_days: None,
        tags: new.tags,
    }
}

/// 1 to 50, which is also the default.
pub(crate) fn page_limit(limit: Option<usize>) -> Result<usize, LogsError> {
    match limit.unwrap_or(DESCRIBED_PER_PAGE_MAX) {
        limit @ 1..=DESCRIBED_PER_PAGE_MAX => Ok(limit),
        limit => Err(LogsError::Invalid(format!("limit {limit} is not between 1 and {DESCRIBED_PER_PAGE_MAX}"))),
    }
}

async fn with_bytes(
    shared: &Shared,
    home: &Home,
    groups: Vec<(LogGroupName, GroupRecord)>,
) -> Result<Vec<Group>, LogsError> {
    let get = groups.iter().map(|(_, record)| home.bytes_key(record.incarnation)).collect();
    let counters = shared.store.read(Read { get, scan: Vec::new() }).await?.get;
    let describe = |((name, record), stored): ((LogGroupName, GroupRecord), Option<store::Stored>)| Group {
        name,
        created: record.created,
        class: record.class,
        retention_days: record.retention_days,
        stored_bytes: stored
            .and_then(|stored| store::batch::counter(&stored.value))
            .and_then(|bytes| u64::try_from(bytes).ok())
            .unwrap_or(0),
    };
    Ok(groups.into_iter().zip(counters).map(describe).collect())
}

//! What is stored of groups and streams, and under which keys.
//!
//! ```text
//! shard  logs · ACCOUNT · REGION
//! group  · NAME                               GroupRecord
//! stream · GROUP INCARNATION · NAME           StreamRecord
//! latest · GROUP INCARNATION · TIME · NAME    nothing: streams in the order of their latest events
//! bytes  · GROUP INCARNATION                  counter: bytes of the group's events
//! groups                                      counter: how many groups there are
//! shard  logs
//! tallied                                     TalliedRecord
//! ```
//! Events lie in segments under ACCOUNT, REGION, both incarnations and the stream's name. A group or stream that is made
//! again has another incarnation, so what was deleted stays hidden.

use std::collections::BTreeMap;
use std::fmt;

use base::entropy::Entropy;
use base::time::Timestamp;
use bytes::{BufMut, Bytes, BytesMut};
use model::names::{LogGroupName, LogStreamName};
use serde::{Deserialize, Serialize};
use store::key::number;
use store::{Key, KeyRange, Record, Shard};

use crate::types::Home;

/// Tells a group or stream from earlier ones of the same name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Incarnation([u8; 16]);

impl Incarnation {
    pub(crate) fn new(entropy: &dyn Entropy) -> Self {
        Self(entropy.id())
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Incarnation> for String {
    fn from(incarnation: Incarnation) -> Self {
        incarnation.to_string()
    }
}

impl TryFrom<String> for Incarnation {
    type Error = std::num::ParseIntError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        u128::from_str_radix(&text, 16).map(|number| Self(number.to_be_bytes()))
    }
}

/// A group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct GroupRecord {
    pub(crate) created: Timestamp,
    pub(crate) incarnation: Incarnation,
    pub(crate) class: String,
    pub(crate) retention_days: Option<u32>,
    pub(crate) tags: BTreeMap<String, String>,
}

impl Record for GroupRecord {
    const KIND: &'static str = "log-group";
    const VERSION: u32 = 1;
}

/// A stream, with what is known of its events; that may lag behind by seconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StreamRecord {
    pub(crate) created: Timestamp,
    pub(crate) incarnation: Incarnation,
    pub(crate) first_event: Option<Timestamp>,
    pub(crate) last_event: Option<Timestamp>,
    pub(crate) last_ingestion: Option<Timestamp>,
    pub(crate) bytes: u64,
}

impl Record for StreamRecord {
    const KIND: &'static str = "log-stream";
    const VERSION: u32 = 1;
}

impl StreamRecord {
    /// A stream without events.
    pub(crate) fn new(now: Timestamp, entropy: &dyn Entropy) -> Self {
        Self {
            created: now,
            incarnation: Incarnation::new(entropy),
            first_event: None,
            last_event: None,
            last_ingestion: None,
            bytes: 0,
        }
    }
}

/// Up to which position the events are counted in their streams' records.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct TalliedRecord {
    pub(crate) position: u64,
}

impl Record for TalliedRecord {
    const KIND: &'static str = "log-tallied";
    const VERSION: u32 = 1;
}

pub(crate) fn tallied_key() -> Key {
    Shard::new(&["logs"]).key(&["tallied"])
}

impl Home {
    fn shard(&self) -> Shard {
        Shard::new(&["logs", self.account.as_str(), self.region.as_str()])
    }

    /// A key of this home by its parts, for names that were read from a token and not parsed.
    pub(crate) fn shard_key(&self, parts: &[&str]) -> Key {
        self.shard().key(parts)
    }

    pub(crate) fn group_key(&self, group: &LogGroupName) -> Key {
        self.shard().key(&["group", group.as_str()])
    }

    pub(crate) fn groups_range(&self, prefix: &str) -> KeyRange {
        self.shard().starting(&["group"], prefix)
    }

    pub(crate) fn groups_count_key(&self) -> Key {
        self.shard().key(&["groups"])
    }

    pub(crate) fn bytes_key(&self, group: Incarnation) -> Key {
        self.shard().key(&["bytes", &group.to_string()])
    }

    pub(crate) fn stream_key(&self, group: Incarnation, stream: &LogStreamName) -> Key {
        self.shard().key(&["stream", &group.to_string(), stream.as_str()])
    }

    pub(crate) fn streams_range(&self, group: Incarnation, prefix: &str) -> KeyRange {
        self.shard().starting(&["stream", &group.to_string()], prefix)
    }

    pub(crate) fn latest_key(&self, group: Incarnation, last: Option<Timestamp>, stream: &str) -> Key {
        let time = number(last.map_or(0, Timestamp::as_micros));
        self.shard().key(&["latest", &group.to_string(), &time, stream])
    }

    pub(crate) fn latest_range(&self, group: Incarnation) -> KeyRange {
        self.shard().under(&["latest", &group.to_string()])
    }
}

/// Whose events these are: the key of a stream in the segments, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct EventsKey {
    pub(crate) home: Home,
    pub(crate) group: Incarnation,
    pub(crate) stream: Incarnation,
    pub(crate) name: LogStreamName,
}

impl EventsKey {
    /// The bytes that every stream's key of a group begins with.
    pub(crate) fn group_prefix(home: &Home, group: Incarnation) -> BytesMut {
        let mut bytes = BytesMut::with_capacity(128);
        bytes.put_slice(home.account.as_str().as_bytes());
        bytes.put_slice(home.region.as_str().as_bytes());
        bytes.put_u8(0);
        bytes.put_slice(&group.0);
        bytes
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = Self::group_prefix(&self.home, self.group);
        bytes.put_slice(&self.stream.0);
        bytes.put_slice(self.name.as_str().as_bytes());
        bytes.freeze()
    }

    /// Nothing, if this is no key of ours.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (account, rest) = bytes.split_at_checked(12)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        let (region, rest) = rest.split_at(end);
        let (group, rest) = rest[1..].split_first_chunk::<16>()?;
        let (stream, name) = rest.split_first_chunk::<16>()?;
        Some(Self {
            home: Home {
                account: model::ids::AccountId::parse(std::str::from_utf8(account).ok()?).ok()?,
                region: model::names::Region::parse(std::str::from_utf8(region).ok()?).ok()?,
            },
            group: Incarnation(*group),
            stream: Incarnation(*stream),
            name: LogStreamName::parse(std::str::from_utf8(name).ok()?).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use base::entropy::SeededEntropy;
    use model::ids::AccountId;
    use model::names::Region;

    use super::*;

    #[test]
    fn a_key_of_events_is_read_back() {
        let entropy = SeededEntropy::new(1);
        let key = EventsKey {
            home: Home { account: AccountId::DEFAULT, region: Region::parse("us-east-1").expect("a region") },
            group: Incarnation::new(&entropy),
            stream: Incarnation::new(&entropy),
            name: LogStreamName::parse("2026/11/22/[$LATEST]ü").expect("a name"),
        };
        let bytes = key.encode();
        assert_eq!(EventsKey::decode(&bytes), Some(key.clone()));
        assert!(bytes.starts_with(&EventsKey::group_prefix(&key.home, key.group)));
        for cut in 0..bytes.len() - key.name.as_str().len() {
            assert_eq!(EventsKey::decode(&bytes[..cut]), None, "{cut} bytes");
        }
        let text = key.group.to_string();
        assert_eq!((text.len(), Incarnation::try_from(text)), (32, Ok(key.group)));
    }
}

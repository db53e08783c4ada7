//! How an event is stored.

use base::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use model::ids::{FunctionId, InvocationId};
use serde::{Deserialize, Serialize};
use store::{Key, Record, Shard};

use super::NewEvent;

/// How far an event has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventState {
    /// When it was accepted.
    pub accepted: Timestamp,
    /// Attempts that were begun, each recorded before it ran.
    pub begun: u32,
    /// Attempts in which the function failed: these are limited.
    pub function_errors: u32,
    /// Failures of the platform and throttles in a row: these only wait longer each time.
    pub platform_failures: u32,
    /// Not to be tried before: its place in the line says the same.
    pub next: Timestamp,
    /// Whether an attempt was begun that has not ended. It has no place in the line then.
    pub running: bool,
}

/// What was accepted; does not change.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Event {
    pub(crate) id: InvocationId,
    pub(crate) function: FunctionId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) qualifier: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client_context: Option<String>,
    pub(crate) trace_header: String,
    /// The payload in base64; absent if it is a blob.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct EventRecord {
    pub(crate) event: Event,
    pub(crate) state: EventState,
}

impl Record for EventRecord {
    const KIND: &'static str = "event";
    const VERSION: u32 = 1;
}

impl EventRecord {
    pub(crate) fn new(event: NewEvent, inline: bool, now: Timestamp) -> Self {
        let state =
            EventState { accepted: now, begun: 0, function_errors: 0, platform_failures: 0, next: now, running: false };
        let event = Event {
            id: event.id,
            function: event.function,
            qualifier: event.qualifier,
            client_context: event.client_context,
            trace_header: event.trace_header,
            payload: inline.then(|| STANDARD.encode(&event.payload)),
        };
        Self { event, state }
    }

    /// The payload, unless it is a blob.
    pub(crate) fn inline_payload(&self) -> Option<Bytes> {
        let encoded = self.event.payload.as_ref()?;
        STANDARD.decode(encoded).ok().map(Bytes::from)
    }
}

pub(crate) fn shard() -> Shard {
    Shard::new(&["events"])
}

pub(crate) fn key(id: InvocationId) -> Key {
    shard().key(&[id.to_string()])
}

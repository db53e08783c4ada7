//! Event invocations: durable from the moment they are accepted until they are done or given up.
//!
//! Each is a record with a due-time. Snapshot, decide, commit, perform, settle: an attempt is recorded as begun before
//! it runs, so that after a crash the next run knows that it is another one.

mod decide;
mod record;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use base::chain::Chain;
use base::entropy::Entropy;
use base::stop::Stop;
use base::time::{Clock, Timestamp};
use bytes::Bytes;
use functions::Catalogue;
use meter::metrics::Metrics;
use model::ids::{FunctionId, InvocationId};
use parking_lot::Mutex;
use store::{
    Batch, BlobCondition, BlobKey, BlobSource, Blobs, CommitError, Key, Read, Revision, Scan, Store, StoreError,
};
use tokio::sync::Notify;

use crate::driver::{Invoker, Request};
use crate::ports::LogStreams;
use crate::resolve;

pub use decide::{Decision, Ended, EventPolicy};
pub use record::EventState;

use record::EventRecord;

/// Payloads up to this size live in the record itself.
const PAYLOAD_INLINE_MAX: usize = 16 * 1024;
/// Where larger ones are kept among blobs.
const PAYLOAD_SPACE: &str = "events";
/// Attempts that run at the same time, over all functions.
const RUNNING_MAX: usize = 128;
/// Attempts of one function that run at the same time.
const RUNNING_PER_FUNCTION_MAX: usize = 32;
/// Due events that are looked at in one go; more than may run, so that one busy function does not hide the others.
const LOOKED_AT_MAX: usize = 1024;
/// Records that one step of taking up looks at.
const TAKEN_UP_MAX: usize = 256;
/// The dispatcher looks again at the latest after this time when something is due later.
const PAUSE_MAX: Duration = Duration::from_secs(3600);
/// A store that fails is asked again after this time.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// How much later than its acknowledgement the canary commits.
const CANARY_DELAY: Duration = Duration::from_millis(100);

/// What the queue of events is built on.
pub struct EventsParts {
    /// Where events are recorded.
    pub store: Arc<dyn Store>,
    /// Where large payloads are kept.
    pub blobs: Arc<dyn Blobs>,
    /// What is deployed.
    pub catalogue: Arc<Catalogue>,
    /// Runs the attempts.
    pub invoker: Invoker,
    /// Where a dropped event leaves a line.
    pub logs: Arc<dyn LogStreams>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// When to try again, and when to give up.
    pub policy: EventPolicy,
    /// Wrong on purpose: acknowledge before the commit. The canary of the crash test, which must find it out.
    pub acknowledge_early: bool,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Makes batch ids.
    pub entropy: Arc<dyn Entropy>,
}

/// An event invocation that is to be accepted.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// The invocation's id.
    pub id: InvocationId,
    /// Whose code.
    pub function: FunctionId,
    /// Version or alias, if the caller gave one.
    pub qualifier: Option<String>,
    /// The event.
    pub payload: Bytes,
    /// Decoded client context, if any.
    pub client_context: Option<String>,
    /// The X-Ray trace header.
    pub trace_header: String,
}

/// An event was not accepted, or the queue could not be read.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// The payload could not be kept.
    #[error("keep the payload of an event")]
    Payload(#[source] store::BlobError),
    /// The store refused.
    #[error("record an event")]
    Commit(#[source] CommitError),
    /// The store could not be read.
    #[error("read the queue of events")]
    Read(#[source] StoreError),
}

/// The queue of events. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    inner: Arc<Inner>,
}

struct Inner {
    parts: EventsParts,
    /// What runs now; the same event is never run twice at once.
    running: Mutex<Running>,
    wake: Notify,
}

#[derive(Default)]
struct Running {
    events: HashSet<InvocationId>,
    by_function: HashMap<FunctionId, usize>,
}

impl Events {
    /// Makes the queue; nothing runs before [`run`](Self::run).
    pub fn new(parts: EventsParts) -> Self {
        Self { inner: Arc::new(Inner { parts, running: Mutex::default(), wake: Notify::new() }) }
    }

    /// Accepts an event: when this returns it is durable.
    pub async fn accept(&self, event: NewEvent) -> Result<(), EventsError> {
        let inner = &self.inner;
        let parts = &inner.parts;
        let now = parts.clock.now();
        let inline = event.payload.len() <= PAYLOAD_INLINE_MAX;
        if !inline {
            let source = BlobSource::Bytes(event.payload.clone());
            let put = parts.blobs.put(&payload_key(event.id), source, BlobCondition::Any).await;
            put.map_err(EventsError::Payload)?;
        }
        let key = record::key(event.id);
        let record = EventRecord::new(event, inline, now);
        let mut batch = Batch::new(parts.entropy.as_ref());
        batch.require_absent(&key);
        batch.put_record(&key, &record);
        batch.due_set(&key, now, Bytes::new());
        if parts.acknowledge_early {
            let inner = inner.clone();
            tokio::spawn(async move {
                tokio::time::sleep(CANARY_DELAY).await;
                drop(inner.parts.store.commit(batch).await);
                inner.wake.notify_one();
            });
            return Ok(());
        }
        parts.store.commit(batch).await.map_err(EventsError::Commit)?;
        inner.wake.notify_one();
        Ok(())
    }

    /// How many events are waiting or running.
    pub async fn depth(&self) -> Result<usize, EventsError> {
        let mut count = 0;
        let mut after = None;
        loop {
            let scan = Scan::new(record::shard().all()).after(after);
            let page = self.inner.scan(scan).await?;
            count += page.records.len();
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(count),
            }
        }
    }

    /// Takes up what an earlier platform had begun, and removes payloads that it had not come to record. Before the
    /// first [`accept`](Self::accept), and before [`run`](Self::run).
    ///
    /// # Errors
    /// The store or the payloads cannot be read.
    pub async fn take_up(&self) -> Result<(), EventsError> {
        self.inner.take_up().await?;
        self.inner.remove_orphans().await
    }

    /// Runs what is due until asked to stop.
    pub async fn run(&self, stop: Stop) {
        loop {
            let pause = match self.inner.dispatch().await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::error!(error = %Chain(&error), "due events cannot be read; trying again");
                    STORE_PAUSE
                }
            };
            tokio::select! {
                () = stop.requested() => return,
                () = self.inner.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

impl Inner {
    async fn scan(&self, scan: Scan) -> Result<store::Page, EventsError> {
        let answer = self.parts.store.read(Read::scan(scan)).await.map_err(EventsError::Read)?;
        Ok(answer.scan.into_iter().next().unwrap_or_default())
    }

    /// Events that had begun when the last platform ended have no due-time: they get one.
    async fn take_up(&self) -> Result<(), EventsError> {
        let mut after = None;
        loop {
            let scan = Scan::new(record::shard().all()).after(after).items(TAKEN_UP_MAX);
            let (records, next) =
                store::scan_records::<EventRecord>(self.parts.store.as_ref(), scan).await.map_err(EventsError::Read)?;
            let mut batch = Batch::new(self.parts.entropy.as_ref());
            for (key, record, _) in &records {
                if record.state.running {
                    batch.due_set(key, self.parts.clock.now(), Bytes::new());
                }
            }
            if !batch.ops.is_empty() {
                self.parts.store.commit(batch).await.map_err(EventsError::Commit)?;
            }
            match next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    async fn remove_orphans(&self) -> Result<(), EventsError> {
        let mut after: Option<String> = None;
        loop {
            let names = self.parts.blobs.list(PAYLOAD_SPACE, "", after.as_deref(), TAKEN_UP_MAX).await;
            let names = names.map_err(EventsError::Payload)?;
            for id in names.iter().filter_map(|name| name.parse::<InvocationId>().ok()) {
                let key = record::key(id);
                let found = store::get_record::<EventRecord>(self.parts.store.as_ref(), &key).await;
                if found.map_err(EventsError::Read)?.is_none() {
                    self.parts.blobs.delete(&payload_key(id)).await.map_err(EventsError::Payload)?;
                }
            }
            match names.last() {
                Some(last) if names.len() == TAKEN_UP_MAX => after = Some(last.clone()),
                _ => return Ok(()),
            }
        }
    }

    /// Starts what is due and has room; answers how long nothing more will be due.
    async fn dispatch(self: &Arc<Self>) -> Result<Duration, EventsError> {
        let now = self.parts.clock.now();
        let due = self.parts.store.due(&record::shard(), Timestamp::MAX, LOOKED_AT_MAX).await;
        for due in due.map_err(EventsError::Read)? {
            if due.at > now {
                return Ok(due.at.since(now).min(PAUSE_MAX));
            }
            let Some(id) = record::id_of(&due.key) else { continue };
            if self.running.lock().events.contains(&id) {
                continue;
            }
            let found = store::get_record::<EventRecord>(self.parts.store.as_ref(), &due.key).await;
            let Some((record, revision)) = found.map_err(EventsError::Read)? else { continue };
            if record.state.next > now {
                // It was put back while the list was read: its new due-time counts.
                continue;
            }
            if !self.admit(id, &record.event.function) {
                if self.running.lock().events.len() >= RUNNING_MAX {
                    break;
                }
                continue;
            }
            let me = self.clone();
            tokio::spawn(async move {
                let function = record.event.function.clone();
                if let Err(error) = me.attempt(due.key, record, revision).await {
                    tracing::error!(event = %id, error = %Chain(&error), "an event could not be brought to its end");
                    tokio::time::sleep(STORE_PAUSE).await;
                }
                me.leave(id, &function);
            });
        }
        // Whoever ends wakes the dispatcher; until then there is nothing to look for.
        Ok(PAUSE_MAX)
    }

    fn admit(&self, id: InvocationId, function: &FunctionId) -> bool {
        let mut running = self.running.lock();
        let of_function = running.by_function.get(function).copied().unwrap_or(0);
        if running.events.len() >= RUNNING_MAX || of_function >= RUNNING_PER_FUNCTION_MAX {
            return false;
        }
        running.by_function.insert(function.clone(), of_function + 1);
        running.events.insert(id)
    }

    fn leave(&self, id: InvocationId, function: &FunctionId) {
        let mut running = self.running.lock();
        running.events.remove(&id);
        if let Some(count) = running.by_function.get_mut(function) {
            *count -= 1;
            if *count == 0 {
                running.by_function.remove(function);
            }
        }
        drop(running);
        self.wake.notify_one();
    }

    /// One attempt, from the commit that begins it to the commit that ends it.
    async fn attempt(&self, key: Key, mut record: EventRecord, revision: Revision) -> Result<(), EventsError> {
        let now = self.parts.clock.now();
        let policy = &self.parts.policy;
        if let Some(dropped) = decide::expired(&record.state, now, policy) {
            return self.conclude(&key, &record, revision, dropped).await;
        }
        record.state = decide::begin(&record.state);
        let mut batch = Batch::new(self.parts.entropy.as_ref());
        batch.require_revision(&key, revision);
        let put = batch.put_record(&key, &record);
        batch.due_clear(&key);
        let committed = self.parts.store.commit(batch).await.map_err(EventsError::Commit)?;
        let revision = committed.revision(put).unwrap_or(revision);
        let ended = match self.perform(&record).await {
            Ok(ended) => ended,
            Err(error) => Ended::Platform(Chain(&error).to_string()),
        };
        let decision = decide::end(&record.state, &ended, self.parts.clock.now(), policy);
        self.conclude(&key, &record, revision, decision).await
    }

    /// Records what becomes of an event, however long the disk is full. Once that is committed the event leaves no other
    /// trace, so what its run printed and used, and why it is dropped, must be written by then.
    async fn conclude(
        &self,
        key: &Key,
        record: &EventRecord,
        revision: Revision,
        decision: Decision,
    ) -> Result<(), EventsError> {
        if let Decision::Drop(why) = &decision {
            self.log_drop(record, why);
        }
        self.parts.logs.written().await;
        self.parts.invoker.inner.meter.written().await;
        loop {
            match self.settle(key, record, revision, decision.clone()).await {
                Err(EventsError::Commit(error)) if is_passing(&error) => {
                    tracing::error!(event = %record.event.id, error = %Chain(&error), "the end of an event is not recorded yet");
                    tokio::time::sleep(STORE_PAUSE).await;
                }
                settled => return settled,
            }
        }
    }

    async fn perform(&self, record: &EventRecord) -> Result<Ended, EventsError> {
        let event = &record.event;
        let snapshot = self.parts.catalogue.snapshot();
        let entry = match resolve::resolve(&snapshot, &event.function, event.qualifier.as_deref()) {
            Ok(entry) => entry,
            Err(_) => return Ok(Ended::Gone),
        };
        if let Err(unresolved) = resolve::admit_state(&entry) {
            return Ok(Ended::Platform(format!("{unresolved:?}")));
        }
        let payload = self.payload(record).await?;
        let arn = match &event.qualifier {
            Some(qualifier) => format!("{}:{qualifier}", event.function.arn()),
            None => event.function.arn(),
        };
        let request = Request {
            id: event.id,
            entry,
            arn,
            payload,
            client_context: event.client_context.clone(),
            trace_header: event.trace_header.clone(),
            attempt: record.state.begun,
            tail: false,
        };
        Ok(match self.parts.invoker.run(request).await {
            Ok(answered) => Ended::of(answered.outcome),
            Err(not_run) => Ended::Platform(not_run.to_string()),
        })
    }

    async fn payload(&self, record: &EventRecord) -> Result<Bytes, EventsError> {
        if let Some(payload) = record.inline_payload() {
            return Ok(payload);
        }
        self.parts.blobs.get(&payload_key(record.event.id), None).await.map_err(EventsError::Payload)
    }

    async fn settle(
        &self,
        key: &Key,
        record: &EventRecord,
        revision: Revision,
        decision: Decision,
    ) -> Result<(), EventsError> {
        let mut batch = Batch::new(self.parts.entropy.as_ref());
        batch.require_revision(key, revision);
        match &decision {
            Decision::Done | Decision::Drop(_) => {
                batch.delete(key);
                batch.due_clear(key);
            }
            Decision::Again { state, at } => {
                batch.put_record(key, &EventRecord { state: state.clone(), ..record.clone() });
                batch.due_set(key, *at, Bytes::new());
            }
        }
        self.parts.store.commit(batch).await.map_err(EventsError::Commit)?;
        match decision {
            Decision::Again { .. } => {
                self.parts.metrics.event_retries.inc();
            }
            Decision::Done => self.forget_payload(record).await,
            Decision::Drop(_) => {
                self.parts.metrics.events_dropped.inc();
                self.forget_payload(record).await;
            }
        }
        Ok(())
    }

    async fn forget_payload(&self, record: &EventRecord) {
        if record.inline_payload().is_some() {
            return;
        }
        if let Err(error) = self.parts.blobs.delete(&payload_key(record.event.id)).await {
            tracing::warn!(event = %record.event.id, error = %Chain(&error), "the payload of a finished event stays behind");
        }
    }

    fn log_drop(&self, record: &EventRecord, why: &str) {
        let function = &record.event.function;
        let group = format!("/aws/lambda/{}", function.name);
        let now = self.parts.clock.now();
        let stream = format!("{}/[events]", now.format("%Y/%m/%d"));
        let stream = self.parts.logs.open(function.account, &function.region, &group, &stream);
        let line =
            format!("RequestId: {} Event dropped after {} attempts: {why}\n", record.event.id, record.state.begun);
        stream.lines(&[(now, Bytes::from(line))]);
        tracing::warn!(event = %record.event.id, function = %function.arn(), why, "event dropped");
    }
}

/// Whether the same commit may succeed later.
fn is_passing(error: &CommitError) -> bool {
    matches!(error, CommitError::Full(_) | CommitError::Failed(_) | CommitError::Unknown(_))
}

fn payload_key(id: InvocationId) -> BlobKey {
    BlobKey::new(PAYLOAD_SPACE, &id.to_string()).expect("a UUID is made of digits, letters and hyphens")
}

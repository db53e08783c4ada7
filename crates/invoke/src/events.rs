//! Event invocations: durable from the moment they are accepted until they are done or given up.
//!
//! Each is a record, with a place in the line of its function while it waits. Snapshot, decide, commit, perform, settle: an
//! attempt is recorded as begun before it runs, so that after a crash the next run knows that it is another one.

mod decide;
mod line;
mod record;
mod schedule;

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

use crate::driver::{Attempted, Invoker, NotRun, Request};
use crate::ports::LogStreams;
use crate::resolve;

pub use decide::{Decision, Ended, EventPolicy};
pub use record::EventState;

use record::{Event, EventRecord};
use schedule::{Look, Schedule};

/// Payloads up to this size live in the record itself.
const PAYLOAD_INLINE_MAX: usize = 16 * 1024;
/// Where larger ones are kept among blobs.
const PAYLOAD_SPACE: &str = "events";
/// Payloads that are looked at in one go when they are compared with records.
const PAYLOADS_LISTED_MAX: usize = 256;
/// When something is due later the dispatcher looks at the clock this often: the clock may jump, a pause does not.
const PAUSE_MAX: Duration = Duration::from_secs(30);
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
    /// What an earlier platform left could not be taken up.
    #[error("take up the queue of events")]
    TakeUp(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The queue of events. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    inner: Arc<Inner>,
}

struct Inner {
    parts: EventsParts,
    schedule: Mutex<Schedule>,
    wake: Notify,
}

impl Events {
    /// Makes the queue; nothing runs before [`run`](Self::run).
    pub fn new(parts: EventsParts) -> Self {
        Self { inner: Arc::new(Inner { parts, schedule: Mutex::default(), wake: Notify::new() }) }
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
        let function = event.function.clone();
        let record = EventRecord::new(event, inline, now);
        let mut batch = Batch::new(parts.entropy.as_ref());
        batch.require_absent(&key);
        batch.put_record(&key, &record);
        batch.put(&line::place(&function, now, record.event.id), Bytes::new());
        if parts.acknowledge_early {
            let inner = inner.clone();
            tokio::spawn(async move {
                tokio::time::sleep(CANARY_DELAY).await;
                drop(inner.parts.store.commit(batch).await);
                inner.waits(&function, now);
            });
            return Ok(());
        }
        parts.store.commit(batch).await.map_err(EventsError::Commit)?;
        inner.waits(&function, now);
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

    /// Runs what is due until asked to stop; returns once what runs then has been settled.
    pub async fn run(&self, stop: Stop) {
        let inner = &self.inner;
        while !stop.is_requested() {
            let pause = match inner.dispatch(&stop).await {
                Ok(()) => inner.schedule.lock().pause(inner.parts.clock.now()).map(|pause| pause.min(PAUSE_MAX)),
                Err(error) => {
                    tracing::error!(error = %Chain(&error), "due events cannot be read; trying again");
                    Some(STORE_PAUSE)
                }
            };
            let pause = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    // Whoever waits or ends wakes the dispatcher; until then there is nothing to look for.
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.requested() => {}
                () = inner.wake.notified() => {}
                () = pause => {}
            }
        }
        while !inner.schedule.lock().is_quiet() {
            inner.wake.notified().await;
        }
    }
}

impl Inner {
    async fn scan(&self, scan: Scan) -> Result<store::Page, EventsError> {
        let answer = self.parts.store.read(Read::scan(scan)).await.map_err(EventsError::Read)?;
        Ok(answer.scan.into_iter().next().unwrap_or_default())
    }

    async fn take_up(&self) -> Result<(), EventsError> {
        let lines = line::take_up(self.parts.store.as_ref(), self.parts.entropy.as_ref()).await;
        let lines = lines.map_err(|error| EventsError::TakeUp(Box::new(error)))?;
        for (function, at) in lines {
            self.waits(&function, at);
        }
        Ok(())
    }

    fn waits(&self, function: &FunctionId, at: Timestamp) {
        self.schedule.lock().waits(function, at);
        self.wake.notify_one();
    }

    async fn remove_orphans(&self) -> Result<(), EventsError> {
        let mut after: Option<String> = None;
        loop {
            let names = self.parts.blobs.list(PAYLOAD_SPACE, "", after.as_deref(), PAYLOADS_LISTED_MAX).await;
            let names = names.map_err(EventsError::Payload)?;
            for id in names.iter().filter_map(|name| name.parse::<InvocationId>().ok()) {
                let key = record::key(id);
                let found = store::get_record::<EventRecord>(self.parts.store.as_ref(), &key).await;
                if found.map_err(EventsError::Read)?.is_none() {
                    self.parts.blobs.delete(&payload_key(id)).await.map_err(EventsError::Payload)?;
                }
            }
            match names.last() {
                Some(last) if names.len() == PAYLOADS_LISTED_MAX => after = Some(last.clone()),
                _ => return Ok(()),
            }
        }
    }

    /// Starts what is due and has room.
    async fn dispatch(self: &Arc<Self>, stop: &Stop) -> Result<(), EventsError> {
        while !stop.is_requested() {
            let now = self.parts.clock.now();
            let Some(look) = self.schedule.lock().choose(now) else { break };
            if let Err(error) = self.start_due(&look, now).await {
                self.schedule.lock().waits(&look.function, now);
                return Err(error);
            }
        }
        Ok(())
    }

    async fn start_due(self: &Arc<Self>, look: &Look, now: Timestamp) -> Result<(), EventsError> {
        let store = self.parts.store.as_ref();
        let front = line::front(store, &look.function, look.places).await.map_err(EventsError::Read)?;
        let begin = self.schedule.lock().looked(look, &front, now);
        let keys: Vec<Key> = begin.iter().map(|(_, id)| record::key(*id)).collect();
        let found = match store.read(Read { get: keys.clone(), scan: Vec::new() }).await {
            Ok(found) => found.get,
            Err(error) => {
                begin.iter().for_each(|(_, id)| self.schedule.lock().ended(&look.function, *id));
                return Err(EventsError::Read(error));
            }
        };
        for (((at, id), key), stored) in begin.into_iter().zip(keys).zip(found) {
            let decoded = stored.map(|stored| {
                store::decode_stored::<EventRecord>(&key, &stored).map(|record| (record, stored.revision))
            });
            match decoded {
                Some(Ok((record, revision))) if record.state.next == at => {
                    tokio::spawn(self.clone().bring_on(key, record, revision));
                }
                Some(Err(error)) => {
                    tracing::error!(event = %id, error = %Chain(&error), "an event cannot be read; it stays until the next start");
                    self.schedule.lock().ended(&look.function, id);
                }
                // It ended or was put back while the line was read.
                _ => self.schedule.lock().ended(&look.function, id),
            }
        }
        Ok(())
    }

    async fn bring_on(self: Arc<Self>, key: Key, record: EventRecord, revision: Revision) {
        let (id, function, at) = (record.event.id, record.event.function.clone(), record.state.next);
        if let Err(error) = self.attempt(key, record, revision).await {
            tracing::error!(event = %id, error = %Chain(&error), "an event could not be brought to its end");
            tokio::time::sleep(STORE_PAUSE).await;
            // If it has not even begun it still has its place.
            self.schedule.lock().waits(&function, at);
        }
        self.schedule.lock().ended(&function, id);
        self.wake.notify_one();
    }

    /// One attempt, from the commit that begins it to the commit that ends it.
    async fn attempt(&self, key: Key, mut record: EventRecord, revision: Revision) -> Result<(), EventsError> {
        if self.parts.invoker.is_stopping() {
            return Ok(());
        }
        let now = self.parts.clock.now();
        let policy = &self.parts.policy;
        if let Some(dropped) = decide::expired(&record.state, now, policy) {
            return self.conclude(&key, &record, revision, dropped).await;
        }
        record.state = decide::begin(&record.state);
        let mut batch = Batch::new(self.parts.entropy.as_ref());
        batch.require_revision(&key, revision);
        let put = batch.put_record(&key, &record);
        batch.delete(&line::place(&record.event.function, record.state.next, record.event.id));
        let committed = self.parts.store.commit(batch).await.map_err(EventsError::Commit)?;
        let revision = committed.revision(put).unwrap_or(revision);
        let ended = match self.perform(&record).await {
            Ok(Some(ended)) => ended,
            // The next start finds it begun, and runs it again as another attempt.
            Ok(None) => return Ok(()),
            Err(error) => Ended::Undelivered(Chain(&error).to_string()),
        };
        record.state = decide::count(&record.state, &ended);
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

    /// How the attempt ended; `None` if it was cut off with the platform.
    async fn perform(&self, record: &EventRecord) -> Result<Option<Ended>, EventsError> {
        let event = &record.event;
        let snapshot = self.parts.catalogue.snapshot();
        let entry = match resolve::resolve(&snapshot, &event.function, event.qualifier.as_deref()) {
            Ok(entry) => entry,
            Err(_) => return Ok(Some(Ended::Gone)),
        };
        if let Err(unresolved) = resolve::admit_state(&entry) {
            return Ok(Some(Ended::Undelivered(format!("{unresolved:?}"))));
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
        Ok(match self.parts.invoker.attempt(request).await {
            Attempted::Answered(answered) => Some(Ended::of(answered.outcome)),
            Attempted::NotRun(NotRun::Stopping) => Some(Ended::Stopping),
            Attempted::NotRun(not_run) => Some(Ended::Undelivered(not_run.to_string())),
            Attempted::Undelivered(reason) => Some(Ended::Undelivered(reason)),
            Attempted::CutOff => None,
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
        let Event { id, function, .. } = &record.event;
        let mut batch = Batch::new(self.parts.entropy.as_ref());
        batch.require_revision(key, revision);
        match &decision {
            Decision::Done | Decision::Drop(_) => {
                batch.delete(key);
                // What had grown too old was never begun.
                batch.delete(&line::place(function, record.state.next, *id));
            }
            Decision::Again { state, at } => {
                batch.put_record(key, &EventRecord { state: state.clone(), ..record.clone() });
                batch.put(&line::place(function, *at, *id), Bytes::new());
            }
        }
        self.parts.store.commit(batch).await.map_err(EventsError::Commit)?;
        match decision {
            Decision::Again { at, .. } => {
                self.parts.metrics.event_retries.inc();
                self.waits(function, at);
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

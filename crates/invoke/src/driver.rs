//! Performs what the pool decides: starts keepers, hands over invocations, tells callers what became of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base::entropy::Entropy;
use base::stop::Stop;
use base::time::{Clock, Timestamp};
use bytes::Bytes;
use functions::{Catalogue, Entry};
use meter::Meter;
use meter::metrics::Metrics;
use model::ids::{FunctionId, InstanceId, InvocationId};
use model::invocation::Outcome;
use parking_lot::Mutex;
use sandbox::Sandbox;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::keeper::{self, Job};
use crate::pool::{Census, Effect, Pool, PoolEvent, PoolLimits, Refusal, Ticket, VersionId};
use crate::ports::{Credentials, LogStreams};

/// An invocation that no instance ever saw is given to another this often.
const DELIVERIES_MAX: u32 = 3;

/// Instances get this long to be gone when the platform stops; the wall ends what is left with the platform.
const STOP_MAX: Duration = Duration::from_secs(5);

/// What the invoker is built on.
pub struct InvokerParts {
    /// What is deployed.
    pub catalogue: Arc<Catalogue>,
    /// Where instances come from.
    pub sandbox: Sandbox,
    /// Where usage facts go.
    pub meter: Arc<Meter>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where log lines go.
    pub logs: Arc<dyn LogStreams>,
    /// Where guests' credentials come from.
    pub credentials: Arc<dyn Credentials>,
    /// What the pool may use.
    pub limits: PoolLimits,
    /// An invocation waits this long for an instance.
    pub wait_max: Duration,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Makes ids.
    pub entropy: Arc<dyn Entropy>,
}

/// One attempt that is to be made now.
#[derive(Debug, Clone)]
pub struct Request {
    /// The invocation, the same over all attempts.
    pub id: InvocationId,
    /// The function as it is now.
    pub entry: Arc<Entry>,
    /// The ARN that the guest's context shows, with the qualifier if the caller gave one.
    pub arn: String,
    /// The event.
    pub payload: Bytes,
    /// Decoded client context, if any.
    pub client_context: Option<String>,
    /// The X-Ray trace header.
    pub trace_header: String,
    /// 1 for the first.
    pub attempt: u32,
    /// Whether the caller wants the last of the log.
    pub tail: bool,
}

/// An attempt that came to an end.
#[derive(Debug)]
pub struct Answered {
    /// What became of it.
    pub outcome: Outcome,
    /// The last 4 KiB of the log, if they were asked for.
    pub log_tail: Option<Bytes>,
}

/// Why no attempt was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotRun {
    /// Too many wait already.
    #[error("too many invocations wait for an instance")]
    QueueFull,
    /// No instance came free in time.
    #[error("no instance came free in time")]
    WaitedTooLong,
    /// One instance needs more memory than the platform may use.
    #[error("the function's memory is more than the platform may use for instances")]
    NeverFits,
    /// The platform stops.
    #[error("the platform is stopping")]
    Stopping,
}

/// Counts of instances, for status and metrics.
pub type Instances = Census;

/// Runs invocations. Cheap to clone.
#[derive(Clone)]
pub struct Invoker {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) sandbox: Sandbox,
    pub(crate) meter: Arc<Meter>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) logs: Arc<dyn LogStreams>,
    pub(crate) credentials: Arc<dyn Credentials>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    wait_max: Duration,
    idle_timeout: Duration,
    state: Mutex<State>,
    next_ticket: AtomicU64,
    ticking: Notify,
    stop: Stop,
}

struct State {
    pool: Pool,
    effects: Vec<Effect>,
    pending: HashMap<Ticket, Pending>,
    keepers: HashMap<InstanceId, mpsc::UnboundedSender<Job>>,
    /// The entries of versions that the pool may start, with how many tickets and instances need them.
    entries: HashMap<VersionId, Arc<Entry>>,
}

struct Pending {
    request: Request,
    arrived: Instant,
    reply: oneshot::Sender<Reply>,
}

/// What a waiting caller is told.
pub(crate) enum Reply {
    Answered(Answered),
    Refused(Refusal),
    /// The instance was gone before it saw the event.
    Undelivered(String),
    /// There is no instance, and another start would not help.
    NotStarted(String),
    /// It ran when the platform's time to stop was over.
    CutOff,
}

/// What became of an attempt, for whoever must know whether it has begun.
pub(crate) enum Attempted {
    Answered(Answered),
    /// No instance ever saw it.
    NotRun(NotRun),
    /// No instance ever saw it, by the platform's fault; in words why.
    Undelivered(String),
    /// It was ended with the platform.
    CutOff,
}

/// An invocation in the pool's hands. If its caller goes away it no longer waits; one that runs goes on to its end.
struct Waiting<'a> {
    inner: &'a Arc<Inner>,
    ticket: Option<Ticket>,
}

impl Waiting<'_> {
    /// Takes it back if it still waits.
    fn give_up(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.inner.step(PoolEvent::Abandoned(ticket));
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl Invoker {
    /// Builds the invoker and starts its clock, which runs only while there are idle instances.
    pub fn new(parts: InvokerParts) -> Self {
        let idle_timeout = parts.limits.idle_timeout;
        let inner = Arc::new(Inner {
            catalogue: parts.catalogue,
            sandbox: parts.sandbox,
            meter: parts.meter,
            metrics: parts.metrics,
            logs: parts.logs,
            credentials: parts.credentials,
            clock: parts.clock,
            entropy: parts.entropy,
            wait_max: parts.wait_max,
            idle_timeout,
            state: Mutex::new(State {
                pool: Pool::new(parts.limits),
                effects: Vec::new(),
                pending: HashMap::new(),
                keepers: HashMap::new(),
                entries: HashMap::new(),
            }),
            next_ticket: AtomicU64::new(1),
            ticking: Notify::new(),
            stop: Stop::new(),
        });
        tokio::spawn(tick(inner.clone()));
        Self { inner }
    }

    /// Makes one attempt. Once it runs it goes on to its end and is metered even if the caller no longer waits.
    pub async fn run(&self, request: Request) -> Result<Answered, NotRun> {
        match self.attempt(request).await {
            Attempted::Answered(answered) => Ok(answered),
            Attempted::NotRun(not_run) => Err(not_run),
            Attempted::Undelivered(reason) => {
                Ok(Answered { outcome: Outcome::PlatformFailure(reason), log_tail: None })
            }
            Attempted::CutOff => Err(NotRun::Stopping),
        }
    }

    pub(crate) async fn attempt(&self, request: Request) -> Attempted {
        let mut lost = String::new();
        for _ in 0..DELIVERIES_MAX {
            let (ticket, mut reply) = self.inner.arrive(request.clone());
            let mut waiting = Waiting { inner: &self.inner, ticket: Some(ticket) };
            let answer = match tokio::time::timeout(self.inner.wait_max, &mut reply).await {
                Ok(answer) => answer,
                Err(_) => {
                    // If it runs by now, the function's own time-out bounds it.
                    waiting.give_up();
                    reply.await
                }
            };
            waiting.ticket = None;
            match answer {
                Ok(Reply::Answered(answered)) => return Attempted::Answered(answered),
                Ok(Reply::Refused(refusal)) => return Attempted::NotRun(self.inner.refused(refusal)),
                Ok(Reply::Undelivered(reason)) => lost = reason,
                Ok(Reply::NotStarted(reason)) => return Attempted::Undelivered(reason),
                Ok(Reply::CutOff) => return Attempted::CutOff,
                Err(_) => {
                    // Its keeper vanished, perhaps after the guest saw it.
                    let outcome = Outcome::PlatformFailure("the instance's keeper is gone".to_owned());
                    return Attempted::Answered(Answered { outcome, log_tail: None });
                }
            }
        }
        Attempted::Undelivered(lost)
    }

    /// Counts instances and waiting invocations.
    pub fn instances(&self) -> Instances {
        self.inner.state.lock().pool.census()
    }

    /// Whether no new work is taken any more.
    pub fn is_stopping(&self) -> bool {
        self.inner.stop.is_requested()
    }

    /// Ends instances of generations that were replaced, as the catalogue reports changes. Returns when the catalogue
    /// is gone.
    pub async fn follow(&self, mut changes: mpsc::UnboundedReceiver<FunctionId>) {
        while let Some(id) = changes.recv().await {
            let current = self.inner.catalogue.get(&id).map(|entry| version_of(&entry));
            let stale: Vec<VersionId> = {
                let state = self.inner.state.lock();
                let of_function = state.entries.iter().filter(|(_, entry)| entry.function.id == id);
                of_function.map(|(version, _)| *version).filter(|version| Some(*version) != current).collect()
            };
            for version in stale {
                self.inner.step(PoolEvent::Retired(version));
            }
        }
    }

    /// Takes no new work and lets nobody wait any more, gives what runs `deadline` to end, then cuts it off and ends all
    /// instances. Answers how many invocations were cut off.
    pub async fn drain(&self, deadline: Duration) -> usize {
        self.inner.stop.request();
        self.inner.step(PoolEvent::Closed);
        let busy = || self.instances().busy;
        let until = tokio::time::Instant::now() + deadline;
        while busy() > 0 && tokio::time::Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let left = busy();
        // A keeper whose inbox closes cuts off what it runs and stops its instance.
        self.inner.state.lock().keepers.clear();
        let until = tokio::time::Instant::now() + STOP_MAX;
        while self.instances() != Instances::default() && tokio::time::Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        left
    }
}

pub(crate) fn version_of(entry: &Entry) -> VersionId {
    VersionId { incarnation: entry.function.incarnation, generation: entry.function.generation }
}

impl Inner {
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns when the platform begins to stop.
    pub(crate) async fn stopping(&self) {
        self.stop.requested().await;
    }

    fn refused(&self, refusal: Refusal) -> NotRun {
        let not_run = match refusal {
            Refusal::QueueFull => NotRun::QueueFull,
            Refusal::WaitedTooLong => NotRun::WaitedTooLong,
            Refusal::NeverFits => NotRun::NeverFits,
            Refusal::Stopping => return NotRun::Stopping,
        };
        self.metrics.throttles.inc();
        not_run
    }

    fn arrive(self: &Arc<Self>, request: Request) -> (Ticket, oneshot::Receiver<Reply>) {
        let ticket = Ticket(self.next_ticket.fetch_add(1, Ordering::Relaxed));
        let version = version_of(&request.entry);
        let memory_mib = request.entry.function.settings.memory_mib;
        let (reply, receiver) = oneshot::channel();
        let mut state = self.state.lock();
        state.entries.entry(version).or_insert_with(|| request.entry.clone());
        state.pending.insert(ticket, Pending { request, arrived: Instant::now(), reply });
        self.step_locked(&mut state, PoolEvent::Arrived { ticket, version, memory_mib });
        drop(state);
        (ticket, receiver)
    }

    pub(crate) fn step(self: &Arc<Self>, event: PoolEvent) {
        self.step_locked(&mut self.state.lock(), event);
    }

    /// The effects only send to channels and spawn tasks, so they are performed under the lock: two steps can then not
    /// be performed in another order than they were decided.
    fn step_locked(self: &Arc<Self>, state: &mut State, event: PoolEvent) {
        let mut effects = std::mem::take(&mut state.effects);
        state.pool.step(event, self.now(), &mut effects);
        for effect in effects.drain(..) {
            self.perform(state, effect);
        }
        state.effects = effects;
        match event {
            PoolEvent::Ready(_) | PoolEvent::Finished { .. } => self.ticking.notify_one(),
            PoolEvent::Stopped(_) | PoolEvent::StartFailed(_) | PoolEvent::Retired(_) => self.forget_entries(state),
            _ => {}
        }
    }

    fn perform(self: &Arc<Self>, state: &mut State, effect: Effect) {
        match effect {
            Effect::Start(instance, version) => {
                let Some(entry) = state.entries.get(&version).cloned() else { return };
                let (jobs, inbox) = mpsc::unbounded_channel();
                state.keepers.insert(instance, jobs);
                tokio::spawn(keeper::keep(self.clone(), instance, entry, inbox));
            }
            Effect::Send(instance, ticket) => {
                let Some(pending) = state.pending.remove(&ticket) else { return };
                let job = Job { request: pending.request, arrived: pending.arrived, reply: pending.reply };
                // A keeper that is gone drops the job and with it the reply: the caller sees that.
                if let Some(keeper) = state.keepers.get(&instance) {
                    drop(keeper.send(job));
                }
            }
            Effect::Stop(instance) => drop(state.keepers.remove(&instance)),
            Effect::Refuse(ticket, refusal) => {
                if let Some(pending) = state.pending.remove(&ticket) {
                    drop(pending.reply.send(Reply::Refused(refusal)));
                }
            }
            Effect::Fail(ticket, _) => {
                // The keeper has put the reason there before it reported the failure.
                if let Some(pending) = state.pending.remove(&ticket) {
                    drop(pending.reply.send(Reply::Undelivered("the instance could not be started".to_owned())));
                }
            }
        }
    }

    /// Reports a failed start; the invocation that waited longest for it gets `job` called with its request.
    pub(crate) fn start_failed(
        self: &Arc<Self>,
        instance: InstanceId,
        tell: impl FnOnce(Request, oneshot::Sender<Reply>),
    ) {
        let told = {
            let mut state = self.state.lock();
            state.keepers.remove(&instance);
            let mut effects = std::mem::take(&mut state.effects);
            state.pool.step(PoolEvent::StartFailed(instance), self.now(), &mut effects);
            let mut told = None;
            for effect in effects.drain(..) {
                match effect {
                    Effect::Fail(ticket, _) => told = state.pending.remove(&ticket),
                    other => self.perform(&mut state, other),
                }
            }
            state.effects = effects;
            self.forget_entries(&mut state);
            told
        };
        if let Some(pending) = told {
            tell(pending.request, pending.reply);
        }
    }

    fn forget_entries(&self, state: &mut State) {
        let State { pool, entries, .. } = state;
        entries.retain(|version, _| pool.knows(*version));
    }
}

/// Lets the pool look at the clock, only while it has idle instances.
async fn tick(inner: Arc<Inner>) {
    let pause = (inner.idle_timeout / 4).clamp(Duration::from_millis(20), Duration::from_secs(30));
    loop {
        tokio::select! {
            () = inner.stop.requested() => return,
            () = inner.ticking.notified() => {}
        }
        while inner.state.lock().pool.has_idle() {
            tokio::select! {
                () = inner.stop.requested() => return,
                () = tokio::time::sleep(pause) => inner.step(PoolEvent::Tick),
            }
        }
    }
}

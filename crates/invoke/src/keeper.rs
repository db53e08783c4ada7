//! The keeper of one instance: starts it, gives it one invocation after the other, writes its log, and ends it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::chain::Chain;
use base::time::Timestamp;
use functions::Entry;
use meter::metrics::StartPhases;
use model::ids::InstanceId;
use model::invocation::{Invocation, Measured, Outcome};
use model::runtime::Language;
use model::usage::{UsageFact, UsageOutcome};
use sandbox::{ColdStart, Instance, InstanceSpec, LaunchError, Work};
use tokio::sync::{mpsc, oneshot};

use crate::driver::{Answered, Inner, Reply, Request};
use crate::instance_log::InstanceLog;
use crate::lines::{self, Ending, Report};
use crate::pool::{PoolEvent, Refusal};
use crate::resolve::LATEST;

/// One invocation for the instance.
pub(crate) struct Job {
    pub(crate) request: Request,
    /// When it came to the pool.
    pub(crate) arrived: Instant,
    pub(crate) reply: oneshot::Sender<Reply>,
}

/// Lives as long as the instance. Ends it when the inbox closes.
pub(crate) async fn keep(
    inner: Arc<Inner>,
    id: InstanceId,
    entry: Arc<Entry>,
    mut inbox: mpsc::UnboundedReceiver<Job>,
) {
    let (spec, log) = match prepare(&inner, id, &entry) {
        Ok(prepared) => prepared,
        Err(reason) => return fail_start(&inner, id, |_, reply| drop(reply.send(Reply::Undelivered(reason)))),
    };
    if let Err(error) = inner.catalogue.unpacked(&entry).await {
        return blame_platform(&inner, id, &log, &error);
    }
    inner.metrics.instances.starting.inc();
    let launched = tokio::select! {
        launched = inner.sandbox.launch(spec, log.clone()) => Some(launched),
        // Nobody waits for it any more.
        () = inner.stopping() => None,
    };
    inner.metrics.instances.starting.dec();
    let mut instance = match launched {
        Some(Ok(instance)) => instance,
        Some(Err(error)) => return explain_failed_start(&inner, id, &log, error),
        None => return fail_start(&inner, id, |_, reply| drop(reply.send(Reply::Refused(Refusal::Stopping)))),
    };
    inner.metrics.cold_starts.inc();
    // One that took too long counts as the first invocation's own time.
    let mut init = Some(instance.cold_start().init_duration()).filter(|init| !init.is_zero());
    inner.metrics.instances.idle.inc();
    inner.step(PoolEvent::Ready(id));
    let mut phases = Some(instance.cold_start());
    loop {
        let job = tokio::select! {
            biased;
            job = inbox.recv() => job,
            () = instance.lost() => {
                inner.step(PoolEvent::Lost(id));
                // An invocation may have been sent in the meantime: it is then reported as undelivered.
                inbox.recv().await
            }
        };
        let Some(job) = job else { break };
        if let Some(phases) = phases.take() {
            count_start(&inner.metrics.starts, job.arrived.elapsed(), phases);
        }
        inner.metrics.instances.idle.dec();
        inner.metrics.instances.busy.inc();
        let finished = attempt(&inner, &mut instance, &log, job, &mut init, &mut inbox).await;
        inner.metrics.instances.busy.dec();
        inner.metrics.instances.idle.inc();
        // First the pool, then the caller: whoever calls again at once finds this instance free.
        inner.step(PoolEvent::Finished { instance: id, reusable: finished.reusable });
        drop(finished.reply.send(finished.answer));
    }
    inner.metrics.instances.idle.dec();
    instance.stop().await;
    inner.step(PoolEvent::Stopped(id));
}

/// A caller who came when the start was under way did not wait for all of it, and says nothing of its phases.
fn count_start(starts: &StartPhases, waited: Duration, phases: ColdStart) {
    let Some(queue) = waited.checked_sub(phases.sandbox + phases.interpreter + phases.init) else { return };
    starts.queue.observe(queue.as_secs_f64());
    starts.sandbox.observe(phases.sandbox.as_secs_f64());
    starts.interpreter.observe(phases.interpreter.as_secs_f64());
    starts.init.observe(phases.init.as_secs_f64());
}

struct Finished {
    reply: oneshot::Sender<Reply>,
    answer: Reply,
    reusable: bool,
}

async fn attempt(
    inner: &Inner,
    instance: &mut Instance,
    log: &InstanceLog,
    job: Job,
    init: &mut Option<Duration>,
    inbox: &mut mpsc::UnboundedReceiver<Job>,
) -> Finished {
    let Job { request, reply, .. } = job;
    let settings = &request.entry.function.settings;
    let (begun, began) = (inner.now(), Instant::now());
    log.begin_tail(request.tail);
    log.platform(begun, [lines::start(request.id, LATEST)]);
    let bytes_in = request.payload.len() as u64;
    let work = Work {
        invocation: Invocation {
            id: request.id,
            payload: request.payload.clone(),
            client_context: request.client_context.clone(),
            trace_header: request.trace_header.clone(),
            deadline: begun.plus(Duration::from_secs(u64::from(settings.timeout_secs))),
        },
        function_arn: request.arn.clone(),
        cognito_identity: None,
    };
    let ran = tokio::select! {
        biased;
        ran = instance.run(work) => ran,
        // Nothing comes in while it is busy: the inbox has closed.
        _ = inbox.recv() => return cut_off(inner, log, request, reply, init.take(), began.elapsed()),
    };
    if !ran.delivered
        && let Outcome::PlatformFailure(reason) = ran.outcome
    {
        let line = format!("RequestId: {} was not delivered: {reason}\n", request.id);
        log.platform(inner.now(), [line]);
        return Finished { reply, answer: Reply::Undelivered(reason), reusable: false };
    }
    let mut measured = Measured { init: init.take(), ..ran.measured };
    let ending = match ran.exited {
        Some(message) => Ending::Exited(message),
        None => Ending::of(&ran.outcome, settings.timeout_secs),
    };
    match ending {
        // It wanted more than it was given; what is left of it says nothing.
        Ending::OutOfMemory => measured.memory_used_mib = settings.memory_mib,
        Ending::TimedOut(secs) => measured.duration = measured.duration.min(Duration::from_secs(secs.into())),
        _ => {}
    }
    let ended = inner.now();
    write_end(log, ended, &request, &measured, &ending);
    record(inner, ended, &request, &measured, &ran.outcome, bytes_in);
    let log_tail = request.tail.then(|| log.end_tail());
    let answer = Reply::Answered(Answered { outcome: ran.outcome, log_tail });
    Finished { reply, answer, reusable: ran.reusable }
}

/// The platform's time to stop is over before the invocation is.
fn cut_off(
    inner: &Inner,
    log: &InstanceLog,
    request: Request,
    reply: oneshot::Sender<Reply>,
    init: Option<Duration>,
    duration: Duration,
) -> Finished {
    let ended = inner.now();
    let measured = Measured { duration, init, ..Measured::default() };
    let outcome = Outcome::PlatformFailure("cut off with the platform".to_owned());
    write_end(log, ended, &request, &measured, &Ending::CutOff);
    record(inner, ended, &request, &measured, &outcome, request.payload.len() as u64);
    tracing::warn!(invocation = %request.id, function = %request.entry.function.id.arn(), "an invocation was cut off");
    Finished { reply, answer: Reply::CutOff, reusable: false }
}

fn write_end(log: &InstanceLog, at: Timestamp, request: &Request, measured: &Measured, ending: &Ending) {
    let settings = &request.entry.function.settings;
    let report = lines::report(&Report {
        id: request.id,
        duration: measured.duration,
        init: measured.init,
        memory_mib: settings.memory_mib,
        memory_used_mib: measured.memory_used_mib,
        ending,
    });
    let failure = lines::failure(request.id, at, ending);
    log.platform(at, failure.into_iter().chain([lines::end(request.id), report]));
}

fn record(inner: &Inner, at: Timestamp, request: &Request, measured: &Measured, outcome: &Outcome, bytes_in: u64) {
    let (usage_outcome, bytes_out) = match outcome {
        Outcome::Success(answer) => (UsageOutcome::Success, answer.len()),
        Outcome::FunctionError(error) => (UsageOutcome::FunctionError, error.payload.len()),
        Outcome::PlatformFailure(_) => (UsageOutcome::PlatformFailure, 0),
    };
    inner.metrics.attempt(usage_outcome, measured.duration, measured.init);
    inner.metrics.log_bytes_dropped.inc_by(measured.log_bytes_dropped);
    let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    inner.meter.record(UsageFact {
        at,
        function: request.entry.function.id.clone(),
        version: LATEST.to_owned(),
        invocation: request.id,
        attempt: request.attempt,
        duration_us: micros(measured.duration),
        billed_ms: lines::billed_ms(measured.duration, measured.init),
        init_us: measured.init.map(micros),
        memory_mib: request.entry.function.settings.memory_mib,
        memory_used_mib: measured.memory_used_mib,
        outcome: usage_outcome,
        bytes_in,
        bytes_out: bytes_out as u64,
    });
}

fn fail_start(inner: &Arc<Inner>, id: InstanceId, tell: impl FnOnce(Request, oneshot::Sender<Reply>)) {
    inner.start_failed(id, tell);
}

/// A failed init is the function's error and is metered; anything else is the platform's.
fn explain_failed_start(inner: &Arc<Inner>, id: InstanceId, log: &InstanceLog, error: LaunchError) {
    let failure = match error {
        LaunchError::Init(failure) => failure,
        other => return blame_platform(inner, id, log, &other),
    };
    let init = failure.cold_start.init_duration();
    fail_start(inner, id, |request, reply| {
        let at = inner.now();
        let error = failure.error_for(request.id);
        let error_type = lines::error_type(&error.payload);
        log.begin_tail(request.tail);
        log.platform(at, [lines::init_report(init, &error_type), lines::start(request.id, LATEST)]);
        let seen = if failure.is_raised { None } else { lines::text_of(&error.payload, "errorMessage") };
        write_end(log, at, &request, &failure.measured, &Ending::InitFailed { error_type, seen });
        // The init is all that ran, and is counted once.
        let outcome = Outcome::FunctionError(error);
        record(inner, at, &request, &failure.measured, &outcome, request.payload.len() as u64);
        let log_tail = request.tail.then(|| log.end_tail());
        drop(reply.send(Reply::Answered(Answered { outcome, log_tail })));
    });
}

fn blame_platform(inner: &Arc<Inner>, id: InstanceId, log: &InstanceLog, error: &dyn std::error::Error) {
    let reason = Chain(error).to_string();
    tracing::error!(instance = %id, error = %reason, "an instance was not started");
    fail_start(inner, id, |request, reply| {
        let line = format!("RequestId: {} Error: {reason}\n", request.id);
        log.platform(inner.now(), [line]);
        drop(reply.send(Reply::NotStarted(reason)));
    });
}

fn prepare(inner: &Inner, id: InstanceId, entry: &Entry) -> Result<(InstanceSpec, Arc<InstanceLog>), String> {
    let function = &entry.function;
    let settings = &function.settings;
    let language = Language::of_runtime(&settings.runtime)
        .ok_or_else(|| format!("the runtime {} is not served", settings.runtime))?;
    let random = inner.entropy.id();
    let suffix: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let log_group = format!("/aws/lambda/{}", function.id.name);
    let log_stream = format!("{}/[{LATEST}]{suffix}", inner.now().format("%Y/%m/%d"));
    let stream = inner.logs.open(function.id.account, &function.id.region, &log_group, &log_stream);
    let log = Arc::new(InstanceLog::new(stream));
    let spec = InstanceSpec {
        instance: id,
        function: function.id.clone(),
        version: LATEST.to_owned(),
        runtime: settings.runtime.clone(),
        language,
        handler: settings.handler.clone(),
        environment: settings.environment.clone(),
        credentials: inner.credentials.issue(&function.id)?,
        memory_mib: settings.memory_mib,
        ephemeral_mib: settings.ephemeral_mib,
        timeout_secs: settings.timeout_secs,
        code_dir: entry.package.dir.clone(),
        log_group,
        log_stream,
    };
    log.platform(inner.now(), [lines::init_start(&settings.runtime)]);
    log.keep_init();
    Ok((spec, log))
}

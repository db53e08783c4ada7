//! One running instance: takes an invocation at a time, gives back what became of it.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use base::time::Clock;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use model::ids::InstanceId;
use model::invocation::{FunctionError, FunctionErrorKind, Measured, Outcome};
use model::limits::INIT_SECS_MAX;
use model::runtime::Language;
use tokio::time::Instant;

use crate::cell::{Cell, Made, Maker};
use crate::guest::frames::{FrameError, Frames, FromGuest, InvokeHeader};
use crate::guest::output::Output;
use crate::guest::runtime_api::{Conversation, Delivery, Report, RuntimeApi};
use crate::guest::sdk::{Door, SdkListener};
use crate::guest::wording;
use crate::packs::{Packs, Start, Talk, start};
use crate::ports::LogSink;
use crate::spec::{ColdStart, InitFailure, InstanceSpec, LaunchError, Ran, Work};
use crate::wall::Exit;

/// For a guest that has ended: how long what it said last may take to arrive.
const LAST_WORDS: Duration = Duration::from_millis(50);
/// For a guest that closed its channel: how long it may take to end, so that its exit status can be told.
const EXIT_AFTER_CLOSE: Duration = Duration::from_secs(1);

/// What instances are made of and surrounded by.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) maker: Maker,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) sdk_door: Door,
}

/// A guest that is ready for work. Dropping it ends the guest.
pub struct Instance {
    spec: InstanceSpec,
    start: Start,
    surroundings: Surroundings,
    sink: Arc<dyn LogSink>,
    cold_start: ColdStart,
    state: GuestState,
}

enum GuestState {
    /// Has nothing to do.
    Ready(Box<Guest>),
    /// Its init took too long and is run again within the first invocation.
    InitPending,
    /// Has an invocation, or was left with one.
    Busy,
    /// Cannot take an invocation any more; the cell is kept to be waited for.
    Ended(Option<Cell>),
}

struct Guest {
    channel: Channel,
    side: Side,
}

/// A guest that works on an invocation. If it is dropped, so was the run: the guest is ended, and its cell kept to be
/// waited for.
struct AtWork<'a> {
    guest: Option<Box<Guest>>,
    state: &'a mut GuestState,
}

/// Where invocations go in and answers come out.
enum Channel {
    Frames(Frames),
    Http(Arc<Conversation>),
}

/// What goes on beside an invocation.
struct Side {
    cell: Cell,
    output: Output,
    api: RuntimeApi,
    sdk: SdkListener,
}

/// How a wait for something that the guest is to do ended.
enum Waited<T> {
    Done(T),
    Exited(Exit),
    TimeUp,
}

/// Why an init did not succeed.
enum InitEnd {
    /// The guest said so.
    Raised(FunctionError),
    Exited(Exit),
    TimeUp,
    Broke(String),
}

/// What the guest says of an invocation.
enum Answered {
    Answer(Bytes),
    Error {
        document: Bytes,
        error_type: Option<String>,
        fatal: bool,
    },
    TooLarge {
        usable: bool,
    },
    StreamingRefused,
    /// The channel is closed: the exit status will tell.
    Closed,
    Broke(String),
}

/// Looks at the name only: where a link leads is the guest's business.
fn has_bootstrap(code_dir: &Path) -> bool {
    std::fs::symlink_metadata(code_dir.join("bootstrap")).is_ok()
}

impl Instance {
    /// Starts an instance and waits for its init.
    pub(crate) async fn launch(
        surroundings: Surroundings,
        packs: &Packs,
        spec: InstanceSpec,
        sink: Arc<dyn LogSink>,
    ) -> Result<Self, LaunchError> {
        let served = packs.serve(spec.language).map_err(LaunchError::Interpreter)?;
        let start = start(&spec, served.interpreter.as_ref());
        if spec.language == Language::Provided && !has_bootstrap(&spec.code_dir) {
            return Err(LaunchError::Init(Box::new(InitFailure {
                error: wording::no_bootstrap(None),
                is_raised: false,
                exit: None,
                no_bootstrap: true,
                cold_start: ColdStart::default(),
                measured: Measured::default(),
            })));
        }
        let cold_start = ColdStart::default();
        let mut instance = Self { spec, start, surroundings, sink, cold_start, state: GuestState::InitPending };
        let began = Instant::now();
        let mut guest = instance.make().await?;
        let limit = Duration::from_secs(INIT_SECS_MAX.into());
        let (cold_start, end) = guest.init(began, Instant::now() + limit).await;
        let Err(end) = end else {
            instance.cold_start = cold_start;
            instance.state = GuestState::Ready(guest);
            return Ok(instance);
        };
        let duration = cold_start.init_duration();
        let measured = guest.end(duration);
        let tell = |line: String| instance.sink.line(instance.surroundings.clock.now(), Bytes::from(line));
        let mut exit = None;
        let is_raised = matches!(end, InitEnd::Raised(_));
        let error = match end {
            InitEnd::TimeUp => {
                let millis = duration.as_micros() as f64 / 1000.0;
                tell(format!("INIT_REPORT Init Duration: {millis:.2} ms\tPhase: init\tStatus: timeout"));
                return Ok(instance);
            }
            InitEnd::Raised(error) => error,
            InitEnd::Exited(Exit::PlatformLost) => {
                let source = "the sandbox was lost during the function's init".into();
                return Err(LaunchError::Sandbox { function: instance.spec.function.arn(), source });
            }
            InitEnd::Exited(how) => {
                exit = Some(how);
                tell(wording::exit_log_line(how));
                wording::exited(how, None)
            }
            InitEnd::Broke(reason) => wording::broke_protocol(None, &reason),
        };
        let error = FunctionError { kind: FunctionErrorKind::Init, ..error };
        Err(LaunchError::Init(Box::new(InitFailure {
            error,
            is_raised,
            exit,
            no_bootstrap: false,
            cold_start,
            measured,
        })))
    }

    async fn make(&mut self) -> Result<Box<Guest>, LaunchError> {
        let failed = |source| LaunchError::Sandbox { function: self.spec.function.arn(), source };
        let made = self.surroundings.maker.make(&self.start, &self.spec).await.map_err(failed)?;
        Guest::new(made, self).map(Box::new).map_err(|error| failed(error.into()))
    }

    /// Unique while the platform runs.
    pub fn id(&self) -> InstanceId {
        self.spec.instance
    }

    /// What its start took. All zero if its init timed out and is run again within the first invocation.
    pub fn cold_start(&self) -> ColdStart {
        self.cold_start
    }

    /// Gives the guest one invocation and returns what became of it, after the output that the guest wrote before its
    /// answer has reached the sink. The lines that the platform itself writes about an invocation (START, END, REPORT,
    /// time-outs, ends of the process) are the caller's. If the future is dropped the guest is ended.
    pub async fn run(&mut self, work: Work) -> Ran {
        let request = work.invocation.id.to_string();
        let began = Instant::now();
        let until = began + work.invocation.deadline.since(self.surroundings.clock.now());
        let mut guest = match std::mem::replace(&mut self.state, GuestState::Busy) {
            GuestState::Ready(guest) => guest,
            GuestState::InitPending => match self.init_again(&request, began, until).await {
                Ok(guest) => guest,
                Err(ran) => return *ran,
            },
            GuestState::Busy | GuestState::Ended(_) => return undelivered("the instance has ended"),
        };
        if !guest.is_sound() {
            // Nobody has an invocation to blame for it.
            guest.side.cell.kill();
            self.state = GuestState::Ended(Some(guest.side.cell));
            return undelivered("the instance ended while it was idle");
        }
        guest.side.cell.set_busy(true);
        let (mut guest, waited) =
            AtWork { guest: Some(guest), state: &mut self.state }.exchange(&work, &request, until).await;
        let duration = began.elapsed();
        let mut reusable = false;
        let mut exited = None;
        let outcome = match waited {
            Waited::Done(Answered::Answer(payload)) => {
                reusable = true;
                Outcome::Success(payload)
            }
            Waited::Done(Answered::Error { document, error_type, fatal }) => {
                reusable = !fatal;
                if fatal {
                    let exit = guest.side.exit_after_close().await;
                    exited = exit.map(|exit| wording::exit_message(exit, &request));
                }
                Outcome::FunctionError(wording::raised(FunctionErrorKind::Raised, document, error_type.as_deref()))
            }
            Waited::Done(Answered::TooLarge { usable }) => {
                reusable = usable;
                Outcome::FunctionError(wording::answer_too_large())
            }
            Waited::Done(Answered::StreamingRefused) => {
                reusable = true;
                Outcome::FunctionError(wording::streaming_refused(&request))
            }
            Waited::Done(Answered::Broke(reason)) => {
                Outcome::FunctionError(wording::broke_protocol(Some(&request), &reason))
            }
            Waited::Done(Answered::Closed) => {
                Outcome::FunctionError(wording::broke_protocol(Some(&request), "it closed its channel"))
            }
            Waited::Exited(Exit::PlatformLost) => {
                Outcome::PlatformFailure("the sandbox was lost during the invocation".to_owned())
            }
            Waited::Exited(_) if !guest.was_delivered() => {
                Outcome::PlatformFailure("the instance ended while it was idle".to_owned())
            }
            Waited::Exited(exit) => Outcome::FunctionError(wording::exited(exit, Some(&request))),
            Waited::TimeUp => Outcome::FunctionError(wording::timed_out(&request, self.spec.timeout_secs)),
        };
        let delivered = guest.was_delivered();
        let memory_used_mib = guest.side.cell.memory_used_mib();
        if reusable {
            guest.side.cell.set_busy(false);
        } else {
            guest.side.cell.kill();
        }
        let log_bytes_dropped = guest.side.output.finish();
        self.state = if reusable { GuestState::Ready(guest) } else { GuestState::Ended(Some(guest.side.cell)) };
        let measured = Measured { duration, init: None, memory_used_mib, log_bytes_dropped };
        Ran { outcome, measured, delivered, reusable, exited }
    }

    /// Lambda's "suppressed init": what did not finish in its ten seconds may take the function's time.
    async fn init_again(&mut self, request: &str, began: Instant, until: Instant) -> Result<Box<Guest>, Box<Ran>> {
        self.state = GuestState::Ended(None);
        let failed = |error: LaunchError| Box::new(undelivered(&base::chain::Chain(&error).to_string()));
        let mut guest = self.make().await.map_err(failed)?;
        let (_, end) = guest.init(began, until).await;
        let Err(end) = end else {
            self.state = GuestState::Busy;
            return Ok(guest);
        };
        let measured = guest.end(began.elapsed());
        let error = match end {
            InitEnd::TimeUp => wording::timed_out(request, self.spec.timeout_secs),
            InitEnd::Raised(error) => error,
            InitEnd::Exited(Exit::PlatformLost) => return Err(Box::new(undelivered("the sandbox was lost"))),
            InitEnd::Exited(exit) => wording::exited(exit, Some(request)),
            InitEnd::Broke(reason) => wording::broke_protocol(Some(request), &reason),
        };
        Err(Box::new(Ran {
            outcome: Outcome::FunctionError(error),
            measured,
            delivered: true,
            reusable: false,
            exited: None,
        }))
    }

    /// Returns when the guest has ended by itself, or has broken its rules, while it had nothing to do. Costs nothing
    /// while it waits. Cancel-safe.
    pub async fn lost(&mut self) {
        match &mut self.state {
            GuestState::Ready(guest) => {
                let Guest { channel, side } = &mut **guest;
                match channel {
                    Channel::Frames(frames) => tokio::select! {
                        _ = side.cell.exited() => {}
                        () = frames.disturbed() => {}
                    },
                    Channel::Http(_) => {
                        side.cell.exited().await;
                    }
                }
            }
            GuestState::InitPending => std::future::pending().await,
            GuestState::Busy | GuestState::Ended(_) => {}
        }
    }

    /// Ends the guest and returns once nothing of it is left.
    pub async fn stop(self) {
        match self.state {
            GuestState::Ready(guest) => guest.side.cell.ended().await,
            GuestState::Ended(Some(cell)) => cell.ended().await,
            GuestState::InitPending | GuestState::Busy | GuestState::Ended(None) => {}
        }
    }
}

fn undelivered(reason: &str) -> Ran {
    Ran {
        outcome: Outcome::PlatformFailure(reason.to_owned()),
        measured: Measured::default(),
        delivered: false,
        reusable: false,
        exited: None,
    }
}

impl AtWork<'_> {
    async fn exchange(mut self, work: &Work, request: &str, until: Instant) -> (Box<Guest>, Waited<Answered>) {
        let guest = self.guest.as_mut().expect("it is taken only below");
        let waited = guest.exchange(work, request, until).await;
        (self.guest.take().expect("it is taken only here"), waited)
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        if let Some(guest) = self.guest.take() {
            guest.side.cell.kill();
            *self.state = GuestState::Ended(Some(guest.side.cell));
        }
    }
}

impl Guest {
    fn new(made: Made, instance: &Instance) -> std::io::Result<Self> {
        let Surroundings { clock, sdk_door, .. } = &instance.surroundings;
        let spec = &instance.spec;
        let conversation = Conversation::new(instance.start.talk == Talk::Frames);
        let api = RuntimeApi::new(made.runtime_listener, Arc::clone(&conversation))?;
        let sdk = SdkListener::new(made.sdk_listener, Arc::clone(sdk_door), spec.function.clone(), spec.instance)?;
        let output = Output::new(made.output, Arc::clone(&instance.sink), Arc::clone(clock))?;
        let channel = match instance.start.talk {
            Talk::Frames => Channel::Frames(Frames::new(made.frames)?),
            Talk::Http => Channel::Http(conversation),
        };
        Ok(Self { channel, side: Side { cell: made.cell, output, api, sdk } })
    }

    /// Waits until the guest asks for work. `began` is when its sandbox was ordered.
    async fn init(&mut self, began: Instant, until: Instant) -> (ColdStart, Result<(), InitEnd>) {
        let launched = Instant::now();
        let mut cold_start = ColdStart { sandbox: launched - began, ..ColdStart::default() };
        let mut started = launched;
        let Self { channel, side } = self;
        let ready = async {
            match channel {
                Channel::Http(conversation) => conversation.ready().await.map_err(|(document, error_type)| {
                    let error = wording::raised(FunctionErrorKind::Init, document, error_type.as_deref());
                    Some(InitEnd::Raised(error))
                }),
                Channel::Frames(frames) => loop {
                    match frames.receive().await {
                        Ok(FromGuest::Started) => started = Instant::now(),
                        Ok(FromGuest::Ready) => return Ok(()),
                        Ok(FromGuest::InitError(document)) => {
                            let error = wording::raised(FunctionErrorKind::Init, document, None);
                            return Err(Some(InitEnd::Raised(error)));
                        }
                        Ok(_) => return Err(Some(InitEnd::Broke("it answered before it was asked".to_owned()))),
                        Err(FrameError::Closed) => return Err(None),
                        Err(error) => return Err(Some(InitEnd::Broke(error.to_string()))),
                    }
                },
            }
        };
        let waited = side.until(ready, until).await;
        cold_start.interpreter = started - launched;
        cold_start.init = started.elapsed();
        let end = match waited {
            Waited::Done(Ok(())) => Ok(()),
            Waited::Done(Err(Some(end))) => Err(end),
            Waited::Done(Err(None)) => Err(match side.exit_after_close().await {
                Some(exit) => InitEnd::Exited(exit),
                None => InitEnd::Broke("it closed its channel".to_owned()),
            }),
            Waited::Exited(exit) => Err(InitEnd::Exited(exit)),
            Waited::TimeUp => Err(InitEnd::TimeUp),
        };
        if end.is_ok() {
            // Its first call ends the init, which runs with a whole core's weight.
            side.cell.set_busy(false);
            // What it printed so far belongs before its first invocation.
            side.output.finish();
        }
        (cold_start, end)
    }

    /// Ends a guest whose init failed, after its last output has reached the sink.
    fn end(mut self: Box<Self>, duration: Duration) -> Measured {
        let memory_used_mib = self.side.cell.memory_used_mib();
        self.side.cell.kill();
        let log_bytes_dropped = self.side.output.finish();
        Measured { duration, init: None, memory_used_mib, log_bytes_dropped }
    }

    /// Whether a guest that had nothing to do still stands and has kept quiet.
    fn is_sound(&mut self) -> bool {
        match &mut self.channel {
            Channel::Frames(frames) => frames.is_quiet(),
            Channel::Http(_) => true,
        }
    }

    fn was_delivered(&self) -> bool {
        match &self.channel {
            Channel::Frames(_) => true,
            Channel::Http(conversation) => conversation.was_delivered(),
        }
    }

    /// Hands over the event and waits for what the guest says of it.
    async fn exchange(&mut self, work: &Work, request: &str, until: Instant) -> Waited<Answered> {
        let Self { channel, side } = self;
        let invocation = &work.invocation;
        let answered = async {
            match channel {
                Channel::Frames(frames) => {
                    let header = InvokeHeader {
                        request_id: request,
                        deadline_ms: invocation.deadline.as_millis(),
                        function_arn: &work.function_arn,
                        trace_id: &invocation.trace_header,
                        client_context: invocation.client_context.as_deref(),
                        cognito_identity: work.cognito_identity.as_deref(),
                    };
                    if frames.invoke(&header, &invocation.payload).await.is_err() {
                        return Answered::Closed;
                    }
                    from_frame(frames.receive().await, request)
                }
                Channel::Http(conversation) => {
                    let headers = delivery_headers(work, request);
                    let event = invocation.payload.clone();
                    from_report(conversation.invoke(Delivery { request: request.to_owned(), headers, event }).await)
                }
            }
        };
        match side.until(answered, until).await {
            Waited::Done(Answered::Closed) => match side.exit_after_close().await {
                Some(exit) => Waited::Exited(exit),
                None => Waited::Done(Answered::Closed),
            },
            waited => waited,
        }
    }
}

fn from_frame(frame: Result<FromGuest, FrameError>, request: &str) -> Answered {
    let mine = |id: &[u8; 36]| id == request.as_bytes();
    match frame {
        Ok(FromGuest::Answer { request, payload }) if mine(&request) => Answered::Answer(payload),
        Ok(FromGuest::Error { request, document }) if mine(&request) => {
            Answered::Error { document, error_type: None, fatal: false }
        }
        Ok(FromGuest::FatalError { request, document }) if mine(&request) => {
            Answered::Error { document, error_type: None, fatal: true }
        }
        Ok(FromGuest::TooLarge { request }) if mine(&request) => Answered::TooLarge { usable: true },
        Ok(FromGuest::Started | FromGuest::Ready | FromGuest::InitError(_)) => {
            Answered::Broke("it spoke of its init during an invocation".to_owned())
        }
        Ok(_) => Answered::Broke("it answered for another request".to_owned()),
        Err(FrameError::Closed) => Answered::Closed,
        Err(FrameError::TooLong(_)) => Answered::TooLarge { usable: false },
        Err(error @ FrameError::Garbage(_)) => Answered::Broke(error.to_string()),
    }
}

fn from_report(report: Report) -> Answered {
    match report {
        Report::Answer(payload) => Answered::Answer(payload),
        Report::Error { document, error_type } => Answered::Error { document, error_type, fatal: false },
        Report::TooLarge => Answered::TooLarge { usable: true },
        Report::StreamingRefused => Answered::StreamingRefused,
    }
}

fn delivery_headers(work: &Work, request: &str) -> HeaderMap {
    let invocation = &work.invocation;
    let mut headers = HeaderMap::with_capacity(8);
    let mut insert = |name: &'static str, value: &str| {
        // JSON may hold newlines between its parts; a header may not.
        let value =
            value.bytes().map(|byte| if byte < b' ' || byte == 0x7f { b' ' } else { byte }).collect::<Vec<u8>>();
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    insert("content-type", "application/json");
    insert("lambda-runtime-aws-request-id", request);
    insert("lambda-runtime-deadline-ms", &invocation.deadline.as_millis().to_string());
    insert("lambda-runtime-invoked-function-arn", &work.function_arn);
    insert("lambda-runtime-trace-id", &invocation.trace_header);
    if let Some(context) = &invocation.client_context {
        insert("lambda-runtime-client-context", context);
    }
    if let Some(identity) = &work.cognito_identity {
        insert("lambda-runtime-cognito-identity", identity);
    }
    headers
}

impl Side {
    /// Waits for `goal` while output, Runtime API and SDK connections are served.
    async fn until<T>(&mut self, goal: impl Future<Output = T>, until: Instant) -> Waited<T> {
        let mut goal = pin!(goal);
        let exit = tokio::select! {
            // What the guest sent is served before what it led to is looked at.
            biased;
            never = self.api.serve() => match never {},
            never = self.output.pump() => match never {},
            never = self.sdk.serve() => match never {},
            value = &mut goal => return Waited::Done(value),
            exit = self.cell.exited() => exit,
            () = tokio::time::sleep_until(until) => return Waited::TimeUp,
        };
        // It may have answered with its last breath.
        tokio::select! {
            biased;
            never = self.api.serve() => match never {},
            never = self.output.pump() => match never {},
            value = goal => Waited::Done(value),
            () = tokio::time::sleep(LAST_WORDS) => Waited::Exited(exit),
        }
    }

    /// How the guest ended that closed its channel; `None` if it lives on.
    async fn exit_after_close(&mut self) -> Option<Exit> {
        tokio::select! {
            biased;
            never = self.output.pump() => match never {},
            exit = self.cell.exited() => Some(exit),
            () = tokio::time::sleep(EXIT_AFTER_CLOSE) => None,
        }
    }
}

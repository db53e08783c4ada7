//! The Lambda Runtime API over HTTP, for guests that bring their own runtime (AWS Lambda developer guide, "Using the
//! Lambda runtime API", 2018-06-01).
//!
//! Everything runs in the task that drives the instance: an idle instance has no task and no timer, and an invocation
//! does not wait for another thread. There is no time-out on a connection: it ends with the invocation's deadline or
//! with the instance, and its number is bounded, so that a guest that dawdles holds up only itself.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use base::sizes::{KIB, MIB};
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use model::limits::ANSWER_BYTES_MAX;
use parking_lot::Mutex;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};

use crate::guest::sdk::{accept, tcp_listener};

/// Connections that one guest may hold; more wait to be accepted. Each is a descriptor of the platform's.
const CONNECTIONS_MAX: usize = 8;
/// One whose invocations come in frames has no business here but to be told so.
const CONNECTIONS_BESIDE_FRAMES_MAX: usize = 2;
/// Answers that are taken in at the same time: one is worth it.
const BODIES_MAX: usize = 1;
/// Request line and headers together. Lambda's error causes may fill a header of some size.
const HEAD_BYTES_MAX: usize = 64 * KIB;
const HEADERS_MAX: usize = 64;
/// An answer over the limit is read to its end, so that the runtime gets to read the refusal; up to here.
const REFUSED_BYTES_MAX: usize = 512 * MIB;

const ERROR_TYPE: HeaderName = HeaderName::from_static("lambda-runtime-function-error-type");
const RESPONSE_MODE: HeaderName = HeaderName::from_static("lambda-runtime-function-response-mode");

/// An invocation as `next` hands it out.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) request: String,
    pub(crate) headers: HeaderMap,
    pub(crate) event: Bytes,
}

/// What a guest reports.
#[derive(Debug)]
pub(crate) enum Report {
    Answer(Bytes),
    Error { document: Bytes, error_type: Option<String> },
    TooLarge,
    StreamingRefused,
}

/// Where the conversation stands.
#[derive(Debug)]
enum Phase {
    /// The guest has not asked for work yet.
    Init,
    /// The guest's init has failed by its own word.
    InitFailed(Bytes, Option<String>),
    /// No invocation; `next` may be waiting.
    Idle,
    /// An invocation waits for `next`.
    Offered(Delivery),
    /// The guest has the invocation with this id.
    Busy(String),
    /// The guest has reported; the platform has not taken it yet.
    Reported(Report),
}

struct State {
    phase: Phase,
    /// The request that was reported last, to tell "again" from "unknown".
    reported: String,
}

/// The conversation between one guest and the platform.
pub(crate) struct Conversation {
    /// Frames carry this guest's invocations.
    frames_in_use: bool,
    state: Mutex<State>,
    /// The right to hold a body in memory.
    bodies: Semaphore,
    /// The guest did something.
    guest: Notify,
    /// The platform did something.
    platform: Notify,
}

impl Conversation {
    pub(crate) fn new(frames_in_use: bool) -> Arc<Self> {
        let state = State { phase: Phase::Init, reported: String::new() };
        let bodies = Semaphore::new(BODIES_MAX);
        Arc::new(Self {
            frames_in_use,
            state: Mutex::new(state),
            bodies,
            guest: Notify::new(),
            platform: Notify::new(),
        })
    }

    /// Returns once the guest asked for work, or said that its init failed.
    pub(crate) async fn ready(&self) -> Result<(), (Bytes, Option<String>)> {
        loop {
            let changed = self.guest.notified();
            match &self.state.lock().phase {
                Phase::Init => {}
                Phase::InitFailed(document, error_type) => return Err((document.clone(), error_type.clone())),
                _ => return Ok(()),
            }
            changed.await;
        }
    }

    /// Offers an invocation to `next` and returns what the guest reports of it.
    pub(crate) async fn invoke(&self, delivery: Delivery) -> Report {
        self.state.lock().phase = Phase::Offered(delivery);
        self.platform.notify_waiters();
        loop {
            let changed = self.guest.notified();
            {
                let mut state = self.state.lock();
                if let Phase::Reported(_) = state.phase
                    && let Phase::Reported(report) = std::mem::replace(&mut state.phase, Phase::Idle)
                {
                    return report;
                }
            }
            changed.await;
        }
    }

    /// Whether the guest has seen the invocation that was offered last.
    pub(crate) fn was_delivered(&self) -> bool {
        !matches!(self.state.lock().phase, Phase::Offered(_))
    }

    async fn next(&self) -> Result<Response<Full<Bytes>>, Refused> {
        if self.frames_in_use {
            return Err(frames_in_use());
        }
        {
            let mut state = self.state.lock();
            match state.phase {
                Phase::Init => state.phase = Phase::Idle,
                Phase::Idle | Phase::Offered(_) | Phase::Reported(_) => {}
                Phase::Busy(_) | Phase::InitFailed(..) => return Err(invalid_transition("next")),
            }
        }
        self.guest.notify_waiters();
        // A guest that asks on several connections gets the event on one of them; a closed one ends its wait.
        loop {
            let changed = self.platform.notified();
            {
                let mut state = self.state.lock();
                if let Phase::Offered(_) = state.phase
                    && let Phase::Offered(delivery) = std::mem::replace(&mut state.phase, Phase::Idle)
                {
                    state.phase = Phase::Busy(delivery.request);
                    let mut response = Response::new(Full::new(delivery.event));
                    *response.headers_mut() = delivery.headers;
                    return Ok(response);
                }
            }
            changed.await;
        }
    }

    fn report(&self, request: &str, report: Report) -> Result<(), Refused> {
        let mut state = self.state.lock();
        check_request(&state, request)?;
        state.phase = Phase::Reported(report);
        state.reported = request.to_owned();
        drop(state);
        self.guest.notify_waiters();
        Ok(())
    }

    async fn response(&self, request: &str, from: Request<Incoming>) -> Result<(), Refused> {
        let mode = from.headers().get(RESPONSE_MODE);
        let streams = mode.is_some_and(|mode| mode.as_bytes().eq_ignore_ascii_case(b"streaming"));
        let payload = self.take_body(from.into_body(), |state| check_request(state, request)).await?;
        if streams {
            self.report(request, Report::StreamingRefused)?;
            let message = "response streaming is not served yet";
            return Err(refused(StatusCode::NOT_IMPLEMENTED, "ResponseStreamingNotSupported", message));
        }
        match payload {
            Payload::Whole(payload) => self.report(request, Report::Answer(payload)),
            Payload::TooLarge => {
                self.report(request, Report::TooLarge)?;
                let message = format!("Exceeded maximum allowed payload size ({ANSWER_BYTES_MAX} bytes).");
                Err(refused(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message))
            }
            Payload::Broken => Err(refused(StatusCode::BAD_REQUEST, "TruncatedBody", "the body ended early")),
        }
    }

    async fn error(&self, request: &str, from: Request<Incoming>) -> Result<(), Refused> {
        let (document, error_type) = self.error_document(from, |state| check_request(state, request)).await?;
        self.report(request, Report::Error { document, error_type })
    }

    async fn init_error(&self, from: Request<Incoming>) -> Result<(), Refused> {
        let (document, error_type) = self.error_document(from, check_init).await?;
        let mut state = self.state.lock();
        check_init(&state)?;
        state.phase = Phase::InitFailed(document, error_type);
        drop(state);
        self.guest.notify_waiters();
        Ok(())
    }

    /// Takes in a body that `wanted` wants now. What nobody wants is read to its end all the same, since a connection with
    /// an unread body could not be used again, but not kept.
    async fn take_body(
        &self,
        body: Incoming,
        wanted: impl Fn(&State) -> Result<(), Refused>,
    ) -> Result<Payload, Refused> {
        let check = || {
            if self.frames_in_use { Err(frames_in_use()) } else { wanted(&self.state.lock()) }
        };
        let mut verdict = check();
        if verdict.is_ok()
            && let Ok(_one) = self.bodies.acquire().await
        {
            verdict = check();
            if verdict.is_ok() {
                return Ok(read_body(body).await);
            }
        }
        discard(body).await;
        verdict.map(|()| Payload::Broken)
    }

    async fn error_document(
        &self,
        from: Request<Incoming>,
        wanted: impl Fn(&State) -> Result<(), Refused>,
    ) -> Result<(Bytes, Option<String>), Refused> {
        let error_type = from.headers().get(ERROR_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        match self.take_body(from.into_body(), wanted).await? {
            Payload::Whole(document) => Ok((document, error_type)),
            Payload::TooLarge => {
                Err(refused(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", "the error document is too large"))
            }
            Payload::Broken => Err(refused(StatusCode::BAD_REQUEST, "TruncatedBody", "the body ended early")),
        }
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        Ok(self.act(request).await.unwrap_or_else(Refused::respond))
    }

    async fn act(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Refused> {
        let path = request.uri().path().to_owned();
        let path = path.strip_prefix("/2018-06-01/runtime/").ok_or_else(no_such_path)?;
        let parts: Vec<&str> = path.split('/').collect();
        match (request.method(), parts.as_slice()) {
            (&Method::GET, ["invocation", "next"]) => return self.next().await,
            (&Method::POST, ["invocation", id, "response"]) => self.response(id, request).await?,
            (&Method::POST, ["invocation", id, "error"]) => self.error(id, request).await?,
            (&Method::POST, ["init", "error"]) => self.init_error(request).await?,
            _ => return Err(no_such_path()),
        }
        Ok(json_response(StatusCode::ACCEPTED, json!({ "status": "OK" })))
    }
}

type Connection = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One instance's Runtime API.
pub(crate) struct RuntimeApi {
    listener: TcpListener,
    connections: FuturesUnordered<Connection>,
    conversation: Arc<Conversation>,
}

impl RuntimeApi {
    pub(crate) fn new(listener: OwnedFd, conversation: Arc<Conversation>) -> io::Result<Self> {
        Ok(Self { listener: tcp_listener(listener)?, connections: FuturesUnordered::new(), conversation })
    }

    /// Serves for as long as it is polled. Cancel-safe: connections wait where they are.
    pub(crate) async fn serve(&mut self) -> Infallible {
        loop {
            let Self { listener, connections, conversation } = self;
            let most = if conversation.frames_in_use { CONNECTIONS_BESIDE_FRAMES_MAX } else { CONNECTIONS_MAX };
            if connections.len() >= most {
                connections.next().await;
                continue;
            }
            let ended = poll_fn(|context| match connections.poll_next_unpin(context) {
                Poll::Ready(Some(())) => Poll::Ready(()),
                Poll::Ready(None) | Poll::Pending => Poll::Pending,
            });
            tokio::select! {
                biased;
                () = ended => {}
                stream = accept(listener) => connections.push(connection(stream, Arc::clone(conversation))),
            }
        }
    }
}

fn connection(stream: TcpStream, conversation: Arc<Conversation>) -> Connection {
    let service = service_fn(move |request| Arc::clone(&conversation).answer(request));
    let connection = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service);
    Box::pin(async move {
        if let Err(error) = connection.await {
            // Garbage, or a connection cut short: the guest's own business.
            tracing::debug!(%error, "a guest's Runtime API connection ended");
        }
    })
}

enum Payload {
    Whole(Bytes),
    TooLarge,
    Broken,
}

async fn read_body(mut body: Incoming) -> Payload {
    let expected = body.size_hint().lower();
    let mut whole = Vec::with_capacity(usize::try_from(expected).unwrap_or(usize::MAX).min(MIB));
    let mut first: Option<Bytes> = None;
    let mut total = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Payload::Broken };
        let Ok(data) = frame.into_data() else { continue };
        total += data.len();
        if total > REFUSED_BYTES_MAX {
            return Payload::TooLarge;
        }
        if total > ANSWER_BYTES_MAX {
            (whole, first) = (Vec::new(), None);
            continue;
        }
        // Most answers are one piece, which then is not copied.
        match first.take() {
            None if whole.is_empty() => first = Some(data),
            None => whole.extend_from_slice(&data),
            Some(earlier) => {
                whole.extend_from_slice(&earlier);
                whole.extend_from_slice(&data);
            }
        }
    }
    if total > ANSWER_BYTES_MAX {
        return Payload::TooLarge;
    }
    Payload::Whole(first.unwrap_or_else(|| Bytes::from(whole)))
}

async fn discard(mut body: Incoming) {
    let mut total = 0;
    while let Some(Ok(frame)) = body.frame().await {
        total += frame.data_ref().map_or(0, Bytes::len);
        if total > REFUSED_BYTES_MAX {
            return;
        }
    }
}

/// Whether the guest may report of this request now.
fn check_request(state: &State, request: &str) -> Result<(), Refused> {
    match &state.phase {
        Phase::Busy(current) if current == request => Ok(()),
        _ if !request.is_empty() && state.reported == request => Err(invalid_transition("response")),
        _ => Err(refused(StatusCode::BAD_REQUEST, "InvalidRequestID", "Invalid request ID")),
    }
}

/// Whether the guest may say now that its init failed.
fn check_init(state: &State) -> Result<(), Refused> {
    if matches!(state.phase, Phase::Init) { Ok(()) } else { Err(invalid_transition("init/error")) }
}

fn json_response(status: StatusCode, document: serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(document.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// What the guest asked for is not done; in the Runtime API's words.
struct Refused {
    status: StatusCode,
    error_type: &'static str,
    message: String,
}

impl Refused {
    fn respond(self) -> Response<Full<Bytes>> {
        json_response(self.status, json!({ "errorMessage": self.message, "errorType": self.error_type }))
    }
}

fn refused(status: StatusCode, error_type: &'static str, message: impl Into<String>) -> Refused {
    Refused { status, error_type, message: message.into() }
}

fn frames_in_use() -> Refused {
    refused(StatusCode::FORBIDDEN, "FramesInUse", "frames carry this instance's invocations")
}

fn invalid_transition(to: &str) -> Refused {
    let message = format!("State transition is not allowed now: {to}");
    refused(StatusCode::FORBIDDEN, "InvalidStateTransition", message)
}

fn no_such_path() -> Refused {
    refused(StatusCode::NOT_FOUND, "NotFound", "the Runtime API has no such path")
}

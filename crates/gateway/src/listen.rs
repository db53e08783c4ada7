//! Accepts connections, bounds them, serves each, and ends them in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::entropy::Entropy;
use base::sizes::MIB;
use base::stop::Stop;
use base::time::Clock;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use identity::Identity;
use meter::Metrics;
use model::limits::{PACKAGE_BODY_BYTES_MAX, REQUEST_BODY_BYTES_MAX};
use services::Services;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::api;
use crate::body::Budgets;
use crate::door::{Door, Trust};
use crate::patience::Patience;
use crate::platform::PlatformPages;

/// What the gateway is built on.
pub struct GatewayParts {
    /// Whose keys there are.
    pub identity: Arc<Identity>,
    /// What can be asked for.
    pub services: Arc<Services>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The platform's own pages below `/_pinfold/`.
    pub pages: Arc<dyn PlatformPages>,
    /// Bounds.
    pub limits: GatewayLimits,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Makes request ids.
    pub entropy: Arc<dyn Entropy>,
    /// The account of callers without a key of their own, on a trusting listener.
    pub default_account: model::ids::AccountId,
    /// The region of requests that name none, on a trusting listener.
    pub default_region: model::names::Region,
}

/// Bounds of connections and requests.
#[derive(Debug, Clone)]
pub struct GatewayLimits {
    /// Connections of the host's listener at the same time; more wait to be accepted.
    pub connections_max: usize,
    /// A request's head must come within this time; an idle connection is closed after it.
    pub head_timeout: Duration,
    /// A request's body must come within this time.
    pub body_timeout: Duration,
    /// An answer must move within this time.
    pub stall_max: Duration,
    /// Bytes of large bodies that all requests of the host together may hold.
    pub bodies_bytes_max: usize,
    /// Bytes of large bodies that all requests of guests together may hold.
    pub guest_bodies_bytes_max: usize,
    /// Bytes of large bodies that all requests of one function may hold.
    pub function_bodies_bytes_max: usize,
    /// Time that connections get to end after a stop.
    pub drain_timeout: Duration,
}

const BODIES_BYTES_MAX: usize = 512 * MIB;
const GUEST_BODIES_BYTES_MAX: usize = 128 * MIB;
const FUNCTION_BODIES_BYTES_MAX: usize = 64 * MIB;

// One body always fits, with what is lost to rounding each time that its share grows.
const _: () = assert!(PACKAGE_BODY_BYTES_MAX + MIB <= BODIES_BYTES_MAX);
const _: () = assert!(REQUEST_BODY_BYTES_MAX + MIB <= FUNCTION_BODIES_BYTES_MAX);
const _: () = assert!(FUNCTION_BODIES_BYTES_MAX <= GUEST_BODIES_BYTES_MAX);

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            connections_max: 2048,
            head_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(120),
            stall_max: Duration::from_secs(60),
            bodies_bytes_max: BODIES_BYTES_MAX,
            guest_bodies_bytes_max: GUEST_BODIES_BYTES_MAX,
            function_bodies_bytes_max: FUNCTION_BODIES_BYTES_MAX,
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else has it.
    #[error("{0} is in use by another process: stop that process, or choose another address with --listen")]
    InUse(SocketAddr),
    /// Any other reason.
    #[error("listen on {0}")]
    Other(SocketAddr, #[source] std::io::Error),
}

/// Opens the platform's listener.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => BindError::InUse(address),
        _ => BindError::Other(address, error),
    })
}

/// The door. Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) identity: Arc<Identity>,
    pub(crate) services: Arc<Services>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) pages: Arc<dyn PlatformPages>,
    pub(crate) limits: GatewayLimits,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) default_account: model::ids::AccountId,
    pub(crate) default_region: model::names::Region,
    pub(crate) budgets: Budgets,
    pub(crate) signing_keys: wire::sigv4::SigningKeys,
    connections: Arc<Semaphore>,
    open: Arc<Semaphore>,
    stop: Stop,
}

/// More connections than anybody counts: what is open is this minus what is free.
const OPEN_MAX: u32 = 1 << 20;

impl Gateway {
    /// A gateway that serves nothing yet; it ends with `stop`.
    pub fn new(parts: GatewayParts, stop: Stop) -> Self {
        let limits = &parts.limits;
        let budgets =
            Budgets::new(limits.bodies_bytes_max, limits.guest_bodies_bytes_max, limits.function_bodies_bytes_max);
        let connections = Arc::new(Semaphore::new(parts.limits.connections_max));
        let open = Arc::new(Semaphore::new(OPEN_MAX as usize));
        Self {
            inner: Arc::new(Inner {
                identity: parts.identity,
                services: parts.services,
                metrics: parts.metrics,
                pages: parts.pages,
                limits: parts.limits,
                clock: parts.clock,
                entropy: parts.entropy,
                default_account: parts.default_account,
                default_region: parts.default_region,
                budgets,
                signing_keys: wire::sigv4::SigningKeys::default(),
                connections,
                open,
                stop,
            }),
        }
    }

    /// Accepts until stopped, then lets connections end. Answers how many were cut off.
    pub async fn serve(&self, listener: TcpListener, trust: Trust) -> usize {
        loop {
            let permit = tokio::select! {
                () = self.inner.stop.requested() => break,
                permit = self.inner.connections.clone().acquire_owned() => permit,
            };
            let accepted = tokio::select! {
                () = self.inner.stop.requested() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let me = self.clone();
                    tokio::spawn(async move {
                        me.serve_stream(stream, Door::Host(trust)).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    // Out of descriptors, most likely: a pause lets others close theirs.
                    tracing::warn!(error = %base::chain::Chain(&error), "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(listener);
        let all = self.inner.open.acquire_many(OPEN_MAX);
        match tokio::time::timeout(self.inner.limits.drain_timeout, all).await {
            Ok(_) => 0,
            Err(_) => OPEN_MAX as usize - self.inner.open.available_permits(),
        }
    }

    /// Serves one connection to its end.
    pub async fn serve_stream(&self, stream: TcpStream, door: Door) {
        let Ok(_open) = self.inner.open.clone().acquire_owned().await else { return };
        // Answers are small and wanted at once.
        let _ = stream.set_nodelay(true);
        let io = TokioIo::new(Patience::new(stream, self.inner.limits.stall_max));
        let inner = self.inner.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let inner = inner.clone();
            let door = door.clone();
            async move { Ok::<Response<_>, std::convert::Infallible>(api::answer(&inner, &door, request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.inner.limits.head_timeout)
            .max_buf_size(64 * 1024)
            .serve_connection(io, service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.inner.stop.requested() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

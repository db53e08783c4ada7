//! The server of `up` and `demo`: every part, wired bottom-up, ended top-down.

mod pages;
mod ports;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use base::entropy::{Entropy, SystemEntropy};
use base::stop::Stop;
use base::time::{Clock, SystemClock};
use functions::{Catalogue, CatalogueParts};
use gateway::{BindError, Gateway, GatewayLimits, GatewayParts, Trust};
use identity::{Identity, SESSION_LIFETIME};
use invoke::events::{EventPolicy, Events, EventsParts};
use invoke::pool::PoolLimits;
use invoke::{Invoker, InvokerParts};
use logs::{Logs, LogsOptions};
use meter::{Meter, Metrics};
use model::limits::TIMEOUT_SECS_MAX;
use sandbox::{Sandbox, SandboxOptions};
use services::{Services, ServicesParts};
use store::data_dir::{DataDir, DataDirOptions};
use store::segments::{SegmentOptions, Segments};
use tokio::task::JoinHandle;

use crate::client::Connection;
use crate::config::Settings;

/// An invocation waits this long for an instance: longer than any init may take.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How often segments that have grown old are looked for.
const RETIRE_EVERY: Duration = Duration::from_secs(3600);
/// Starts of one version at the same time, for each processor: an init keeps one busy.
const STARTS_PER_CORE: usize = 2;
/// Open files of this process for one instance: its process, channel, output, listeners and some connections.
const FILES_PER_INSTANCE: u64 = 16;
/// One busy version alone leaves room for others among those who wait.
const VERSIONS_THAT_FILL_THE_QUEUE: usize = 2;
/// An instance takes no work beyond this age, so that its credentials outlive its last invocation.
const INSTANCE_AGE_MAX: Duration = Duration::from_secs(SESSION_LIFETIME.as_secs() - TIMEOUT_SECS_MAX as u64 - 60);

/// Callers whose invocation was cut off at the end of the drain get this long to read their answers.
const ANSWERS_MAX: Duration = Duration::from_secs(1);
/// Event attempts that have ended get this long to be recorded.
const SETTLE_MAX: Duration = Duration::from_secs(2);

/// A server that answers.
pub struct Running {
    /// How to reach it.
    pub connection: Connection,
    /// What its owner should know: the tier of isolation, trust, missing interpreters. One line each.
    pub notices: Vec<String>,
    drain_max: Duration,
    data_dir: Arc<DataDir>,
    sandbox: Sandbox,
    invoker: Invoker,
    logs: Arc<Logs>,
    gateway_stop: Stop,
    events_stop: Stop,
    serving: JoinHandle<usize>,
    dispatching: JoinHandle<()>,
}

/// Starts everything; returns once the API answers. Must be awaited on a thread that lives as long as the process: the
/// launcher dies with the thread that started it.
pub async fn start(settings: Settings) -> anyhow::Result<Running> {
    let begun = Instant::now();
    // Before the launcher starts: what guests may open it sets itself.
    let files_max = open_files();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);

    // The port first: that it is taken must be known before anything is made.
    let listener = gateway::bind(settings.listen).await.map_err(|error| in_use(error, &settings))?;
    let address = listener.local_addr().context("ask for the listener's address")?;
    store::seal::check_key_file(&settings.data_dir, &settings.key_file)?;
    let data_dir = Arc::new(DataDir::open(&settings.data_dir, DataDirOptions::default())?);
    let master = Arc::new(data_dir.master_key(&settings.key_file)?);
    let segments = |name: &str| {
        let options = SegmentOptions { retain_bytes: settings.logs.total_bytes_max, ..SegmentOptions::default() };
        data_dir.segments(name, options)
    };

    let metrics = Arc::new(Metrics::new());
    let (usage_segments, log_segments) = (segments("usage")?, segments("logs")?);
    let meter = Meter::open(usage_segments.clone(), metrics.clone());
    let logs = Logs::open(LogsOptions {
        store: data_dir.store(),
        segments: log_segments.clone(),
        clock: clock.clone(),
        entropy: entropy.clone(),
        metrics: metrics.clone(),
    })
    .await?;

    tokio::spawn(retire(vec![usage_segments, log_segments], settings.logs.age_max, clock.clone()));

    let label = ports::label_of(data_dir.path());
    let sandbox = Sandbox::start(SandboxOptions {
        allow_weak: settings.allow_weak_isolation,
        clock: clock.clone(),
        ..SandboxOptions::new(label, data_dir.scratch_dir())
    })?;

    if sandbox.guests_pass_as_others() {
        data_dir.let_others_pass().context(
            "without namespaces functions run as users of their own, who must reach their code: \
             name a --data-dir in a folder that others may enter, such as /var/lib/pinfold",
        )?;
    }

    let identity = Identity::open(data_dir.store(), master.clone(), settings.account, clock.as_ref(), entropy.as_ref());
    let identity = Arc::new(identity.await?);
    // Its secrets were opened with the key, or it has none yet.
    data_dir.remember_key(&master)?;
    let (catalogue, changes) = Catalogue::open(CatalogueParts {
        store: data_dir.store(),
        blobs: data_dir.blobs(),
        master,
        unpacker: Arc::new(ports::WalledUnpacker(sandbox.clone())),
        interpreters: Arc::new(ports::InstalledInterpreters(sandbox.clone())),
        unpacked_dir: data_dir.cache_dir().join("packages"),
        clock: clock.clone(),
        entropy: entropy.clone(),
    })
    .await?;

    let log_streams = Arc::new(ports::GuestLogs(logs.clone()));
    let invoker = Invoker::new(InvokerParts {
        catalogue: catalogue.clone(),
        sandbox: sandbox.clone(),
        meter: meter.clone(),
        metrics: metrics.clone(),
        logs: log_streams.clone(),
        credentials: Arc::new(ports::FunctionCredentials {
            identity: identity.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
        }),
        limits: pool_limits(&settings),
        wait_max: WAIT_MAX,
        clock: clock.clone(),
        entropy: entropy.clone(),
    });
    let follower = invoker.clone();
    tokio::spawn(async move { follower.follow(changes).await });

    let events = Events::new(EventsParts {
        store: data_dir.store(),
        blobs: data_dir.blobs(),
        catalogue: catalogue.clone(),
        invoker: invoker.clone(),
        logs: log_streams,
        metrics: metrics.clone(),
        policy: EventPolicy {
            function_retries: settings.events.function_error_delays.to_vec(),
            platform_backoff: settings.events.platform_backoff,
            age_max: settings.events.age_max,
        },
        acknowledge_early: is_canary(),
        clock: clock.clone(),
        entropy: entropy.clone(),
    });

    events.take_up().await?;

    let services = Arc::new(Services::new(ServicesParts {
        catalogue: catalogue.clone(),
        invoker: invoker.clone(),
        events: events.clone(),
        logs: logs.clone(),
        identity: identity.clone(),
        clock: clock.clone(),
    }));
    let gateway_stop = Stop::new();
    let tier = sandbox.tier().to_string();
    let gateway = Gateway::new(
        GatewayParts {
            identity: identity.clone(),
            services,
            metrics,
            pages: Arc::new(pages::Pages {
                begun,
                data_dir: data_dir.clone(),
                tier,
                catalogue,
                invoker: invoker.clone(),
                events: events.clone(),
                meter,
            }),
            limits: GatewayLimits {
                connections_max: connections_within(&settings, files_max),
                head_timeout: settings.connections.head_max,
                body_timeout: settings.connections.body_max,
                drain_timeout: settings.drain_max + ANSWERS_MAX,
                ..GatewayLimits::default()
            },
            clock: clock.clone(),
            entropy,
            default_account: settings.account,
            default_region: settings.region.clone(),
        },
        gateway_stop.clone(),
    );
    sandbox.open_sdk_door(Arc::new(ports::GuestDoor(gateway.clone())));

    let events_stop = Stop::new();
    let stop = events_stop.clone();
    let dispatching = tokio::spawn(async move { events.run(stop).await });
    let trust = if settings.trust_loopback { Trust::Loopback } else { Trust::Verify };
    let serving = tokio::spawn(async move { gateway.serve(listener, trust).await });

    let key = identity.first_key(settings.account).context("the account has no access key")?;
    let connection = Connection {
        endpoint: format!("http://{address}"),
        access_key_id: key.id.clone(),
        secret_access_key: key.secret.to_string(),
        account_id: settings.account.to_string(),
        region: settings.region.to_string(),
        pid: std::process::id(),
    };
    connection.write(&Connection::file_in(data_dir.path()))?;
    Ok(Running {
        connection,
        notices: notices(&settings, &sandbox, files_max),
        drain_max: settings.drain_max,
        data_dir,
        sandbox,
        invoker,
        logs,
        gateway_stop,
        events_stop,
        serving,
        dispatching,
    })
}

/// Raises this process's limit of open files as far as it may, and says how many that is. What is configured may need more.
fn open_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let holds = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    holds.unwrap_or(u64::MAX)
}

/// A port that this data directory's own platform has needs another remedy than a stranger's.
fn in_use(error: BindError, settings: &Settings) -> anyhow::Error {
    let found = Connection::read(&Connection::file_in(&settings.data_dir)).ok().flatten();
    let own = found.filter(|found| found.endpoint == format!("http://{}", settings.listen));
    match own.filter(|own| Path::new(&format!("/proc/{}", own.pid)).exists()) {
        Some(own) if matches!(error, BindError::InUse(_)) => anyhow::anyhow!(
            "the data directory {} is in use by process {}, which answers at {}: `pinfold down` ends it",
            settings.data_dir.display(),
            own.pid,
            own.endpoint
        ),
        _ => error.into(),
    }
}

/// Whether this is the build that the crash test must catch: never in a release.
fn is_canary() -> bool {
    cfg!(debug_assertions) && std::env::var_os("PINFOLD_TEST_ACK_EARLY").is_some()
}

/// Deletes segments of log lines and usage facts when all in them is older than configured.
async fn retire(all: Vec<Arc<Segments>>, age_max: Duration, clock: Arc<dyn Clock>) {
    loop {
        for segments in &all {
            if let Err(error) = segments.retire(clock.now().minus(age_max)).await {
                tracing::warn!(error = %base::chain::Chain(&error), "old segments were not deleted");
            }
        }
        tokio::time::sleep(RETIRE_EVERY).await;
    }
}

fn pool_limits(settings: &Settings) -> PoolLimits {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let waiting_max = settings.instances.waiting_max as usize;
    PoolLimits {
        memory_mib_max: settings.instances.memory_mib_max,
        instances_max: settings.instances.count_max as usize,
        starts_per_version_max: cores * STARTS_PER_CORE,
        waiting_per_version_max: waiting_max.div_ceil(VERSIONS_THAT_FILL_THE_QUEUE),
        waiting_max,
        idle_timeout: settings.instances.idle_max,
        age_max: INSTANCE_AGE_MAX,
    }
}

/// Connections may take at most half of the files: the rest is for instances and data.
fn connections_within(settings: &Settings, files_max: u64) -> usize {
    settings.connections.count_max.min(usize::try_from(files_max / 2).unwrap_or(usize::MAX)).max(1)
}

fn notices(settings: &Settings, sandbox: &Sandbox, files_max: u64) -> Vec<String> {
    let mut notices = sandbox.tier_notices();
    let wanted = settings.connections.count_max as u64 + u64::from(settings.instances.count_max) * FILES_PER_INSTANCE;
    if files_max < wanted {
        notices.push(format!(
            "this process may open {files_max} files, and connections.count_max and instances.count_max together may need \
             {wanted}: raise its limit (ulimit -Hn, or LimitNOFILE of its unit), or lower these"
        ));
    }
    if settings.trust_loopback {
        notices.push(format!(
            "TRUST: any access key is accepted on {}, without a signature; every program on this machine may do anything here",
            settings.listen
        ));
    }
    if sandbox.packs().is_empty() {
        notices
            .push("no Python and no Node.js found: only provided.* functions will run (see pinfold doctor)".to_owned());
    }
    notices
}

impl Running {
    /// Returns when the platform can no longer run functions: its launcher was killed. Whoever supervises it starts it
    /// again; what was accepted is kept.
    pub async fn lost(&self) {
        self.sandbox.gone().await;
    }

    /// The wall, whose cells and groups must not outlive this process when it ends without a drain.
    pub fn wall(&self) -> Sandbox {
        self.sandbox.clone()
    }

    /// Stops in phases, within the time that the settings gave: no new work and nobody waits, what runs may end, what
    /// still runs is cut off, then all is closed.
    pub async fn drain(self) {
        let begun = Instant::now();
        let _whereabouts = Whereabouts(&self.connection, Connection::file_in(self.data_dir.path()));
        self.events_stop.request();
        self.gateway_stop.request();
        let cut_off = self.invoker.drain(self.drain_max).await;
        let connections = match tokio::time::timeout(self.drain_max + ANSWERS_MAX, self.serving).await {
            Ok(Ok(open)) => open,
            _ => 0,
        };
        let _ = tokio::time::timeout(SETTLE_MAX, self.dispatching).await;
        // The parts hold each other, so none of them ends by being dropped.
        self.sandbox.close().await;
        self.logs.close().await;
        self.data_dir.close().await;
        tracing::info!(
            seconds = begun.elapsed().as_secs_f64(),
            invocations_cut_off = cut_off,
            connections_cut_off = connections,
            "drained"
        );
    }
}

/// The file that tells clients where the platform is. It goes with the drain, even with one that is given up.
struct Whereabouts<'a>(&'a Connection, PathBuf);

impl Drop for Whereabouts<'_> {
    fn drop(&mut self) {
        self.0.remove(&self.1);
    }
}

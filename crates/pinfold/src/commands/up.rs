//! `pinfold up`: the platform in the foreground, or with `-d` in the background.

use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::{ArgAction, Args};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::env::quoted;
use super::server_args::{self, ServerArgs};
use crate::cli::print::Look;
use crate::cli::{Context, Exit, Failure};
use crate::client::Connection;
use crate::config::Settings;
use crate::config::layers::Layers;
use crate::config::resolve::{self, Surroundings};
use crate::serve;

/// A platform in the background has so long until it answers.
const READY_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);
/// Work on threads of its own has so long after the end.
const LEFTOVERS_MAX: Duration = Duration::from_secs(1);
/// Where a platform in the background writes what it would have printed.
const LOG_FILE: &str = "pinfold.log";

#[derive(Debug, Args)]
pub struct Up {
    #[command(flatten)]
    server: ServerArgs,
    /// Keep everything in a new directory that is deleted at the end
    #[arg(long, action = ArgAction::SetTrue)]
    temporary: bool,
    /// Write address and key to this file (JSON, mode 0600) once the API answers
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Run in the background; returns once the API answers
    #[arg(short = 'd', long, action = ArgAction::SetTrue)]
    detach: bool,
    /// Set by `up -d` for the process that it starts
    #[arg(long, hide = true, action = ArgAction::SetTrue)]
    in_background: bool,
    /// With --in-background: written when everything has started
    #[arg(long, hide = true, value_name = "FILE")]
    started_file: Option<PathBuf>,
    /// With --in-background: deleted at the end
    #[arg(long, hide = true, value_name = "DIR")]
    temporary_root: Option<PathBuf>,
}

/// A directory of a platform that leaves nothing behind.
pub struct TemporaryRoot(PathBuf);

impl TemporaryRoot {
    /// Makes one that nobody else can look into; what is in it has rights of its own.
    pub fn new() -> Result<Self, Failure> {
        let passable = fs::Permissions::from_mode(0o711);
        let made = tempfile::Builder::new().prefix("pinfold-").permissions(passable).tempdir();
        made.map(|dir| Self(dir.keep())).map_err(|error| Failure::new(format!("make a temporary directory: {error}")))
    }

    /// Data and key go there, unless a flag says otherwise; they are kept apart as always.
    pub fn add_to(&self, layers: &mut Layers) {
        layers.add_flag("data_dir", self.data_dir().display().to_string());
        layers.add_flag("key_file", self.0.join("master.key").display().to_string());
    }

    /// From here on another process deletes it.
    fn hand_over(mut self) {
        self.0 = PathBuf::new();
    }

    /// The data directory in it.
    pub fn data_dir(&self) -> PathBuf {
        self.0.join("data")
    }
}

impl Drop for TemporaryRoot {
    fn drop(&mut self) {
        if self.0.as_os_str().is_empty() {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.0)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!("{} could not be deleted: {error}", self.0.display());
        }
    }
}

/// Checks everything that can be checked before a port opens, then starts.
pub fn run(command: Up, context: &Context) -> Result<Exit, Failure> {
    if command.temporary && context.global.data_dir.is_some() {
        return Err(Failure::usage(
            "--temporary makes its own data directory; leave out one of --temporary and --data-dir",
        ));
    }
    let root = match &command.temporary_root {
        Some(root) => Some(TemporaryRoot(root.clone())),
        None => command.temporary.then(TemporaryRoot::new).transpose()?,
    };
    let mut layers = command.server.layers(context);
    if let Some(root) = &root {
        root.add_to(&mut layers);
    }
    let (settings, _) = server_args::resolve(&layers)?;
    if command.detach {
        return detach(&command, settings, root, context);
    }
    if command.in_background {
        // Fails only for the leader of a process group, and that needs no other.
        let _ = rustix::process::setsid();
    }
    if let Some(path) = &command.ready_file {
        check_place_of(path)?;
    }
    init_log(&settings.log);
    let data_dir = settings.data_dir.clone();
    block_on(async {
        let mut stop = StopSignals::new()?;
        let running = serve::start(settings).await.map_err(cannot_start)?;
        let connection = running.connection.clone();
        let ended = match told(&command, &running, &data_dir, context) {
            Ok(()) => serve_until_stopped(running, &mut stop, context).await,
            Err(failure) => {
                running.drain().await;
                Err(failure)
            }
        };
        if let Some(path) = &command.ready_file {
            connection.remove(path);
        }
        ended
    })
}

/// Tells people and programs that the platform answers.
fn told(command: &Up, running: &serve::Running, data_dir: &Path, context: &Context) -> Result<(), Failure> {
    if let Some(path) = &command.ready_file {
        running.connection.write(path)?;
    }
    announce(running, data_dir, context);
    if let Some(path) = &command.started_file {
        print_to_log(data_dir)?;
        running.connection.write(path)?;
    }
    Ok(())
}

async fn serve_until_stopped(
    running: serve::Running,
    stop: &mut StopSignals,
    context: &Context,
) -> Result<Exit, Failure> {
    let lost = tokio::select! {
        () = stop.requested() => false,
        () = running.lost() => true,
    };
    if lost {
        running.drain().await;
        return Err(Failure::new(
            "the sandbox launcher was killed, and every running function with it: start the platform again; event \
             invocations are kept and run then",
        ));
    }
    context.out.remark("stopping: running invocations may end; once more to stop at once");
    let wall = running.wall();
    tokio::select! {
        () = running.drain() => {}
        () = stop.requested() => {
            wall.close().await;
            context.out.remark("stopped at once; event invocations are kept and run at the next start");
        }
    }
    Ok(Exit::Done)
}

/// Fails early where the ready file could not be written later.
fn check_place_of(path: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("write the ready file {}: {error}", path.display()));
    if path.is_dir() {
        return Err(failed(std::io::ErrorKind::IsADirectory.into()));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::Builder::new().prefix(".pinfold-").tempfile_in(folder).map(drop).map_err(failed)
}

/// Runs a server on this thread, which lives as long as the process, as its launcher needs.
pub fn block_on(server: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("pinfold").build();
    let runtime = built.map_err(|error| Failure::new(format!("start the runtime: {error}")))?;
    let ended = runtime.block_on(server);
    // What still blocks a thread was given its time while the server drained.
    runtime.shutdown_timeout(LEFTOVERS_MAX);
    ended
}

/// Sends the platform's own log to standard error.
pub fn init_log(filter: &str) {
    use std::io::IsTerminal;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // A closed terminal must not end the platform.
        .log_internal_errors(false)
        .finish();
    // There can be another only in tests.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// The server's reasons, with all causes, as one failure.
pub fn cannot_start(error: anyhow::Error) -> Failure {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    Failure { code: "CannotStart".to_owned(), ..Failure::new(causes.join(": ")) }
}

/// Interrupt, terminate, and the end of the terminal: all ask for an orderly end.
pub struct StopSignals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl StopSignals {
    /// From now on these signals do not end the process by themselves.
    pub fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::new(format!("listen for signals: {error}")));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Returns at the next one.
    pub async fn requested(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

fn announce(running: &serve::Running, data_dir: &Path, context: &Context) {
    let out = &context.out;
    let connection = &running.connection;
    if out.is_json() {
        let Connection { endpoint, account_id, region, pid, .. } = connection;
        let notices = &running.notices;
        return out.json(&json!({ "endpoint": endpoint, "account_id": account_id, "region": region, "pid": pid, "notices": notices }));
    }
    out.line(format_args!(
        "Pinfold {} answers at {}",
        env!("CARGO_PKG_VERSION"),
        out.paint(Look::Bold, &connection.endpoint)
    ));
    out.line(format_args!("  account {}, region {}", connection.account_id, connection.region));
    for notice in &running.notices {
        out.line(format_args!("  {notice}"));
    }
    let data_dir = data_dir_flag(data_dir);
    out.line(format_args!(
        "  point a shell at it: {}",
        out.paint(Look::Name, format_args!("eval \"$(pinfold{data_dir} env)\""))
    ));
}

/// Starts this program again in the background and waits until it answers. Nothing is written to the data directory
/// before the new process has found it good.
fn detach(command: &Up, settings: Settings, root: Option<TemporaryRoot>, context: &Context) -> Result<Exit, Failure> {
    let failed = |doing: &str, error: std::io::Error| Failure::new(format!("{doing}: {error}"));
    let start = tempfile::Builder::new().prefix("pinfold-start-").tempdir();
    let start = start.map_err(|error| failed("make a temporary directory", error))?;
    let (said_path, started_path) = (start.path().join("said"), start.path().join("started.json"));
    let said = fs::File::create(&said_path).map_err(|error| failed("make a temporary file", error))?;
    let share = || said.try_clone().map(Stdio::from).map_err(|error| failed("share a temporary file", error));

    let exe = std::env::current_exe().map_err(|error| failed("find this program", error))?;
    let mut child = Command::new(exe);
    child.args(arguments_for_background(command, &settings, root.as_ref(), context));
    child.arg("--started-file").arg(&started_path);
    child.stdin(Stdio::null()).stdout(share()?).stderr(share()?);
    let mut child = child.spawn().map_err(|error| failed("start in the background", error))?;

    let waited = wait_until_ready(&mut child, &started_path);
    let said = fs::read(&said_path).unwrap_or_default();
    let said = String::from_utf8_lossy(&said).into_owned();
    let connection = waited.map_err(|ended| not_started(ended, &said))?;
    if let Some(root) = root {
        root.hand_over();
    }
    let log = settings.data_dir.join(LOG_FILE);
    if context.out.is_json() {
        let Connection { endpoint, pid, .. } = &connection;
        context.out.json(&json!({ "endpoint": endpoint, "pid": pid, "data_dir": settings.data_dir, "log": log }));
    } else {
        context.out.bytes(said.as_bytes());
        context.out.line(format_args!(
            "  in the background as process {}, its log is {}",
            connection.pid,
            log.display()
        ));
        context.out.line(format_args!("  stop it: pinfold{} down", data_dir_flag(&settings.data_dir)));
    }
    Ok(Exit::Done)
}

fn not_started(ended: Option<i32>, said: &str) -> Failure {
    let message = said.trim_end().trim_start_matches("error: ");
    let failure = match (message, ended) {
        (_, None) => Failure::new(format!("it does not answer after {} s; stopped it again", READY_MAX.as_secs())),
        ("", Some(code)) => Failure::new(format!("it ended with exit code {code} and without a word")),
        (message, Some(_)) => Failure::new(message),
    };
    let exit = if ended == Some(Exit::Usage as i32) { Exit::Usage } else { Exit::Failed };
    Failure { exit, code: "CannotStart".to_owned(), ..failure }
}

/// From here on what this process prints goes to its log in the data directory.
fn print_to_log(data_dir: &Path) -> Result<(), Failure> {
    let path = data_dir.join(LOG_FILE);
    let log = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
    log.and_then(|log| {
        rustix::stdio::dup2_stdout(&log)?;
        Ok(rustix::stdio::dup2_stderr(&log)?)
    })
    .map_err(|error| Failure::new(format!("print to {}: {error}", path.display())))
}

/// ` --data-dir DIR` for a shell, unless it is the one that every command looks into.
pub fn data_dir_flag(data_dir: &Path) -> String {
    match resolve::data_dir(&Layers::default(), &Surroundings::of_this_process()) {
        Ok(default) if default == data_dir => String::new(),
        _ => format!(" --data-dir {}", quoted(&data_dir.display().to_string())),
    }
}

/// What this process was told, with paths that do not depend on where it stands.
fn arguments_for_background(
    command: &Up,
    settings: &Settings,
    root: Option<&TemporaryRoot>,
    context: &Context,
) -> Vec<std::ffi::OsString> {
    let mut arguments: Vec<std::ffi::OsString> = vec!["up".into(), "--in-background".into()];
    let mut flag = |name: &str, value: &std::ffi::OsStr| {
        arguments.push(name.into());
        arguments.push(value.to_owned());
    };
    for (key, value) in command.server.pairs() {
        if key != "key_file" && key != "data_dir" {
            flag("--set", format!("{key}={value}").as_ref());
        }
    }
    if let Some(path) = &context.global.config {
        flag("--config", path.as_os_str());
    }
    if let Some(path) = &command.ready_file {
        flag("--ready-file", path.as_os_str());
    }
    match root {
        Some(root) => flag("--temporary-root", root.0.as_os_str()),
        None => {
            flag("--data-dir", settings.data_dir.as_os_str());
            flag("--key-file", settings.key_file.as_os_str());
        }
    }
    arguments
}

/// What the child wrote when it was ready; else its exit code, or `None` if time ran out.
fn wait_until_ready(child: &mut Child, started: &Path) -> Result<Connection, Option<i32>> {
    let deadline = Instant::now() + READY_MAX;
    loop {
        if let Ok(Some(connection)) = Connection::read(started) {
            return Ok(connection);
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(Some(status.code().unwrap_or(-1)));
        }
        if Instant::now() >= deadline {
            // It may have ended meanwhile; both is fine.
            let _ = child.kill();
            let _ = child.wait();
            return Err(None);
        }
        std::thread::sleep(POLL);
    }
}

//! What an instance is started with, what it is given to do, and what comes of it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use model::ids::{FunctionId, InstanceId, InvocationId};
use model::invocation::{FunctionError, Invocation, Measured, Outcome};
use model::runtime::Language;

use crate::guest::wording;
use crate::packs::MissingInterpreter;
use crate::wall::Exit;

/// Everything that an instance of one version of a function is started with.
#[derive(Debug, Clone)]
pub struct InstanceSpec {
    /// Unique while the platform runs.
    pub instance: InstanceId,
    /// Whose code it runs.
    pub function: FunctionId,
    /// `$LATEST` or a number.
    pub version: String,
    /// AWS's name of the runtime, such as `python3.13`: the guest finds it in `AWS_EXECUTION_ENV`.
    pub runtime: String,
    /// The language that `runtime` stands for.
    pub language: Language,
    /// What to call in the package, such as `app.handler`.
    pub handler: String,
    /// The user's names and values. Those that Lambda reserves are overridden.
    pub environment: BTreeMap<String, String>,
    /// What the guest signs its SDK calls with.
    pub credentials: GuestCredentials,
    /// Memory that it may use.
    pub memory_mib: u32,
    /// Size of its `/tmp`.
    pub ephemeral_mib: u32,
    /// The function's time-out, as configured: it is named in the error, and bounds an init that is run again.
    pub timeout_secs: u32,
    /// The unpacked package, mounted at `/var/task`.
    pub code_dir: PathBuf,
    /// The guest finds it in `AWS_LAMBDA_LOG_GROUP_NAME`.
    pub log_group: String,
    /// The guest finds it in `AWS_LAMBDA_LOG_STREAM_NAME`.
    pub log_stream: String,
}

/// Short-lived credentials of the function itself.
#[derive(Clone, Default)]
pub struct GuestCredentials {
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: String,
    /// `AWS_SESSION_TOKEN`.
    pub session_token: String,
}

impl fmt::Debug for GuestCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestCredentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

/// One invocation for an instance.
#[derive(Debug, Clone)]
pub struct Work {
    /// The event with its id, deadline, trace header and client context.
    pub invocation: Invocation,
    /// The ARN as the caller wrote it, with its qualifier if it had one.
    pub function_arn: String,
    /// `X-Amz-Cognito-Identity`: a JSON document. `None` if absent.
    pub cognito_identity: Option<String>,
}

/// What became of one invocation.
#[derive(Debug)]
pub struct Ran {
    /// The answer or the failure.
    pub outcome: Outcome,
    /// What it used. `init` is left empty: [`crate::Instance::cold_start`] knows it.
    pub measured: Measured,
    /// Whether the guest may have seen the event. If not, another instance can be given the same work.
    pub delivered: bool,
    /// Whether the instance can take another invocation. If not, stop it.
    pub reusable: bool,
    /// How the process ended that reported an error with its last breath: the words of Lambda's log.
    pub exited: Option<String>,
}

/// What the phases of starting an instance took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ColdStart {
    /// Until the guest's process stood inside its wall.
    pub sandbox: Duration,
    /// From there to the first byte of the language pack; zero for a `bootstrap` that the package brings.
    pub interpreter: Duration,
    /// From there until the guest asked for work: the user's own init.
    pub init: Duration,
}

impl ColdStart {
    /// What Lambda calls the init duration: interpreter and user init.
    pub fn init_duration(&self) -> Duration {
        self.interpreter + self.init
    }
}

/// Why there is no instance.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// No interpreter on this machine can run the function.
    #[error("no interpreter for the function")]
    Interpreter(#[source] MissingInterpreter),
    /// The function's code failed while it was loaded: to the caller it is a function error.
    #[error("the function's init failed")]
    Init(Box<InitFailure>),
    /// The platform could not make a sandbox; nothing of the function has run.
    #[error("start a sandbox for {function}")]
    Sandbox {
        /// Whose instance it was to be.
        function: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The function's code could not be loaded, raised while it was loaded, or ended before it asked for work.
#[derive(Debug)]
pub struct InitFailure {
    /// What the caller is told. See [`InitFailure::error_for`] for a caller whose invocation is known.
    pub error: FunctionError,
    /// Whether the runtime said it itself: then it stands in its log.
    pub is_raised: bool,
    /// How the process ended, if that was the failure.
    pub(crate) exit: Option<Exit>,
    /// The package brings nothing to start.
    pub(crate) no_bootstrap: bool,
    /// How far the start came and how long that took.
    pub cold_start: ColdStart,
    /// Memory and dropped output of the attempt.
    pub measured: Measured,
}

impl InitFailure {
    /// What the caller of this invocation is told: Lambda names the request where the process ended by itself.
    pub fn error_for(&self, invocation: InvocationId) -> FunctionError {
        if self.no_bootstrap {
            return wording::no_bootstrap(Some(&invocation.to_string()));
        }
        match self.exit {
            Some(exit) => {
                let error = wording::exited(exit, Some(&invocation.to_string()));
                FunctionError { kind: self.error.kind, ..error }
            }
            None => self.error.clone(),
        }
    }
}

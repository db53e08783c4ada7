//! A function as the catalogue keeps it.

use std::collections::BTreeMap;

use base::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{FunctionId, PackageDigest, RevisionId};

/// The processor that a package was built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Architecture {
    /// Intel and AMD, 64 bits.
    #[serde(rename = "x86_64")]
    X86_64,
    /// ARM, 64 bits.
    #[serde(rename = "arm64")]
    Arm64,
}

/// Whether a function can be invoked (Lambda API reference, State).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FunctionState {
    /// Being made ready.
    Pending,
    /// Can be invoked.
    Active,
    /// Cannot be made ready.
    Failed {
        /// AWS's code for the reason, such as `InvalidRuntime`.
        code: String,
        /// The reason in words.
        reason: String,
    },
}

/// The state of the last update (Lambda API reference, LastUpdateStatus).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateStatus {
    /// Being applied.
    InProgress,
    /// Applied.
    Successful,
    /// Could not be applied; what was there before still runs.
    Failed {
        /// AWS's code for the reason.
        code: String,
        /// The reason in words.
        reason: String,
    },
}

/// What a client may set, apart from the code itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionSettings {
    /// Free text.
    pub description: String,
    /// The ARN of the role that the function runs as.
    pub role: String,
    /// AWS's runtime name, such as `python3.13`.
    pub runtime: String,
    /// What to call in the package, such as `app.handler`.
    pub handler: String,
    /// The time that an invocation may take.
    pub timeout_secs: u32,
    /// Memory, which also sets the share of the processor.
    pub memory_mib: u32,
    /// Size of `/tmp`.
    pub ephemeral_mib: u32,
    /// As the client said; interpreted code runs whatever this says.
    pub architecture: Architecture,
    /// Names and values that the code finds in its environment. Sealed where it is stored.
    pub environment: BTreeMap<String, String>,
    /// Properties that are kept and shown but have no effect, by their API name, as the client's JSON text.
    pub inert: BTreeMap<String, String>,
}

/// One version of a function's code and settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    /// Which function.
    pub id: FunctionId,
    /// Told apart from a function of the same name that was deleted before.
    pub incarnation: RevisionId,
    /// Changes with every update and every change of state.
    pub revision: RevisionId,
    /// Counts changes of code and settings: instances of an older generation take no new work.
    pub generation: u64,
    /// What it runs with.
    pub settings: FunctionSettings,
    /// What it runs.
    pub package: PackageDigest,
    /// Size of the zip file.
    pub package_bytes: u64,
    /// When it was last changed.
    pub modified: Timestamp,
    /// Whether it can be invoked.
    pub state: FunctionState,
    /// The last update.
    pub update: UpdateStatus,
    /// Tags given at creation.
    pub tags: BTreeMap<String, String>,
}

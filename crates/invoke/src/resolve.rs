//! From what a caller wrote to the function and version that runs: pure, on a snapshot.

use std::sync::Arc;

use functions::{Entry, Snapshot};
use model::function::FunctionState;
use model::ids::FunctionId;

/// The version that is being edited; the only one until versions can be published.
pub const LATEST: &str = "$LATEST";

/// Why a reference does not lead to something that can run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unresolved {
    /// No such function, or no such version or alias of it; the ARN that was looked for.
    NotFound(String),
    /// Being created.
    Pending,
    /// Cannot run; AWS's code and the reason in words.
    Failed {
        /// Such as `InvalidRuntime`.
        code: String,
        /// What is wrong.
        reason: String,
    },
}

/// Finds the function for a qualifier: `None` and `$LATEST` are the same.
pub fn resolve(snapshot: &Snapshot, id: &FunctionId, qualifier: Option<&str>) -> Result<Arc<Entry>, Unresolved> {
    let missing = || match qualifier {
        Some(qualifier) => Unresolved::NotFound(format!("{}:{qualifier}", id.arn())),
        None => Unresolved::NotFound(id.arn()),
    };
    if qualifier.is_some_and(|qualifier| qualifier != LATEST) {
        return Err(missing());
    }
    snapshot.get(id).cloned().ok_or_else(missing)
}

/// Whether it can be invoked in its present state.
pub fn admit_state(entry: &Entry) -> Result<(), Unresolved> {
    match &entry.function.state {
        FunctionState::Active => Ok(()),
        FunctionState::Pending => Err(Unresolved::Pending),
        FunctionState::Failed { code, reason } => {
            Err(Unresolved::Failed { code: code.clone(), reason: reason.clone() })
        }
    }
}

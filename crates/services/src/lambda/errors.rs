//! The catalogue's refusals in Lambda's words.

use ::functions::{ChangeError, PackageError, refusal_text};
use base::chain::Chain;
use model::ids::FunctionId;
use wire::Error;
use wire::lambda::errors;

/// Why a change of a function was not made.
pub(crate) fn of_change(id: &FunctionId, error: ChangeError) -> Error {
    match error {
        ChangeError::Exists => errors::resource_conflict(format!("Function already exist: {}", id.name)),
        ChangeError::NotFound => not_found(&id.arn()),
        ChangeError::OtherRevision => errors::precondition_failed(
            "The RevisionId provided does not match the latest RevisionId. Call the GetFunction API to retrieve the \
             latest RevisionId for your resource.",
        ),
        ChangeError::Busy(text) => errors::resource_conflict(text),
        ChangeError::Conflict => errors::resource_conflict(format!(
            "The operation cannot be performed at this time. An update is in progress for resource: {}",
            id.arn()
        )),
        ChangeError::Runtime(runtime) => super::properties::unserved_runtime(&runtime),
        ChangeError::Incompatible(text) => errors::invalid_parameter_value(text),
        ChangeError::Package(PackageError::Refused(refused)) => match refusal_text(&refused) {
            Some(text) => errors::invalid_parameter_value(text),
            None => platform(id, &format!("{refused:?}")),
        },
        other => platform(id, &Chain(&other).to_string()),
    }
}

/// There is no such function, version or alias.
pub(crate) fn not_found(arn: &str) -> Error {
    errors::resource_not_found(format!("Function not found: {arn}"))
}

/// The platform's fault: the operator gets the reason, the caller gets none of its insides.
pub(crate) fn platform(id: &FunctionId, reason: &str) -> Error {
    tracing::error!(function = %id.arn(), reason, "an operation failed");
    let text = if reason.contains("disk of the data directory is full") {
        "The platform cannot store anything: the disk of its data directory is full. Its operator must free space."
    } else {
        "The platform could not do this. Its operator finds the reason in the platform's log."
    };
    errors::service(text)
}

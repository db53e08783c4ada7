//! From what a caller wrote as `FunctionName` to a function of an account, with permission checked.

use model::arn::FunctionReference;
use model::ids::FunctionId;
use wire::Error;
use wire::lambda::errors;

use crate::{Caller, authorize};

/// A function that the caller may act on.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) id: FunctionId,
    /// Version or alias, from the name or from the parameter.
    pub(crate) qualifier: Option<String>,
}

/// Reads `FunctionName` and `Qualifier` and authorizes `action` on the function.
pub(crate) fn named(caller: &Caller, action: &str, name: &str, qualifier: Option<&str>) -> Result<Named, Error> {
    let reference = FunctionReference::parse(name).map_err(|_| invalid_name(name))?;
    let id = FunctionId {
        account: reference.account.unwrap_or_else(|| caller.principal.account()),
        region: reference.region.unwrap_or_else(|| caller.region.clone()),
        name: reference.name,
    };
    authorize::allow_on(caller, action, id.account, &id.arn())?;
    if id.region != caller.region {
        return Err(errors::resource_not_found(format!(
            "Functions from '{}' are not reachable in this region ('{}')",
            id.region, caller.region
        )));
    }
    let qualifier = match (reference.qualifier, qualifier) {
        (Some(one), Some(other)) if one != other => {
            return Err(errors::invalid_parameter_value(
                "The derived qualifier from the function name does not match the specified qualifier.",
            ));
        }
        (Some(one), _) => Some(one),
        (None, other) => other.map(str::to_owned),
    };
    Ok(Named { id, qualifier })
}

fn invalid_name(name: &str) -> Error {
    errors::invalid_parameter_value(format!(
        "1 validation error detected: Value '{}' at 'functionName' failed to satisfy constraint: a function's name is \
         1 to 64 letters, digits, hyphens and underscores, or an ARN that ends in one",
        name.chars().take(200).collect::<String>()
    ))
}

//! From what a caller wrote as `FunctionName` to a function of an account, with permission checked.

use model::arn::FunctionReference;
use model::ids::FunctionId;
use model::names::FunctionName;
use wire::lambda::errors;
use wire::{Error, Service};

use super::errors::not_found;
use crate::{Caller, authorize};

/// A function that the caller may act on.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) id: FunctionId,
    /// Version or alias, from the name or from the parameter.
    pub(crate) qualifier: Option<String>,
}

/// What a name must be beyond the model's pattern for it, which allows the length of an ARN.
const LENGTH: &str = "Member must have length less than or equal to 64";
/// What is said of a reference that passes the model's pattern and is still none.
const PATTERN: &str = "Member must satisfy regular expression pattern: (arn:(aws[a-zA-Z-]*)?:lambda:)?\
                       ([a-z]{2}(-gov)?-[a-z]+-\\d{1}:)?(\\d{12}:)?(function:)?([a-zA-Z0-9-_]+)(:(\\$LATEST|[a-zA-Z0-9-_]+))?";

/// Refuses a name under which no function can be created.
pub(crate) fn check_new(name: &str) -> Result<(), Error> {
    let reference = FunctionReference::parse(name).map_err(|_| invalid_name(name, PATTERN))?;
    reference.name.map(drop).map_err(|_| invalid_name(name, LENGTH))
}

/// Reads `FunctionName` and `Qualifier` and authorizes `action` on the function.
pub(crate) fn named(caller: &Caller, action: &str, name: &str, qualifier: Option<&str>) -> Result<Named, Error> {
    let reference = FunctionReference::parse(name).map_err(|_| invalid_name(name, PATTERN))?;
    let account = reference.account.unwrap_or_else(|| caller.principal.account());
    let region = reference.region.unwrap_or_else(|| caller.region.clone());
    let shown = reference.name.as_ref().map_or_else(String::as_str, FunctionName::as_str);
    let arn = format!("arn:aws:lambda:{region}:{account}:function:{shown}");
    authorize::allow_on(caller, action, account, &arn)?;
    if region != caller.region {
        return Err(errors::resource_not_found(format!(
            "Functions from '{region}' are not reachable in this region ('{}')",
            caller.region
        )));
    }
    // A name that no function can have is that of a function which is not there.
    let Ok(name) = reference.name else { return Err(not_found(&arn)) };
    let id = FunctionId { account, region, name };
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

fn invalid_name(name: &str, constraint: &str) -> Error {
    Error::constraint(Service::Lambda, name, "FunctionName", constraint)
}

#[cfg(test)]
mod tests {
    use model::ids::{AccountId, RequestId};
    use model::names::Region;
    use model::principal::Principal;

    use super::*;

    fn caller() -> Caller {
        Caller {
            principal: Principal::Account(AccountId::DEFAULT),
            region: Region::parse("us-east-1").expect("a region"),
            request_id: RequestId::from_random([0; 16]),
            host: "localhost".to_owned(),
            content_type: None,
            trace_header: None,
        }
    }

    #[track_caller]
    fn check(name: &str, expected: &str) {
        let found = match named(&caller(), "lambda:GetFunction", name, None) {
            Ok(named) => format!("{} {}", named.id.arn(), named.qualifier.as_deref().unwrap_or("-")),
            Err(error) => format!("{} {error}", error.status),
        };
        assert_eq!(found, expected, "{name}");
    }

    #[test]
    fn a_name_that_no_function_can_have_is_not_found() {
        check("f:7", "arn:aws:lambda:us-east-1:000000000000:function:f 7");
        check("000000000000:f:prod", "arn:aws:lambda:us-east-1:000000000000:function:f prod");
        let arn = "arn:aws:lambda:us-east-1:000000000000:function";
        for name in ["x".repeat(65), "x".repeat(140), "a.b".to_owned()] {
            check(&name, &format!("404 ResourceNotFoundException: Function not found: {arn}:{name}"));
        }
        check(
            "us-east-2:f",
            "404 ResourceNotFoundException: Functions from 'us-east-2' are not reachable in this region ('us-east-1')",
        );
    }

    #[test]
    fn another_accounts_function_is_denied_whatever_its_name() {
        for name in ["f", "a.b"] {
            let resource = format!("arn:aws:lambda:us-east-1:111111111111:function:{name}");
            let why = "because no resource-based policy allows the lambda:GetFunction action";
            check(
                &format!("111111111111:{name}"),
                &format!(
                    "403 AccessDeniedException: User: arn:aws:iam::000000000000:root is not authorized to perform: lambda:GetFunction on \
                     resource: {resource} {why}"
                ),
            );
        }
    }

    #[test]
    fn a_new_name_has_at_most_64_characters() {
        assert!(check_new(&"x".repeat(64)).is_ok());
        let sentence = |name: &str, constraint: &str| {
            format!(
                "ValidationException: 1 validation error detected: Value '{name}' at 'functionName' failed to satisfy constraint: Member \
                 must {constraint}"
            )
        };
        let long = "x".repeat(65);
        let refused = |name: &str| check_new(name).expect_err("refused").to_string();
        assert_eq!(refused(&long), sentence(&long, "have length less than or equal to 64"));
        let pattern = refused("a:b:c");
        assert!(
            pattern
                .starts_with(&sentence("a:b:c", "satisfy regular expression pattern: (arn:(aws[a-zA-Z-]*)?:lambda:)?"))
        );
    }
}

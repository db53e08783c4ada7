//! Who may do what: a pure decision from the caller, the action and the resource.
//!
//! Identity and resource policies are not evaluated yet. Until they are, the rule is short: the keys of an account may
//! do everything in that account, a function's own credentials may invoke functions of its account, and all else is
//! denied.

#![forbid(unsafe_code)]

use model::ids::AccountId;
use model::principal::Principal;

/// The one action that a function's own credentials allow.
pub const INVOKE_FUNCTION: &str = "lambda:InvokeFunction";

/// What a caller wants to do.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The action as policies write it, such as `lambda:InvokeFunction`.
    pub action: &'a str,
    /// The account that owns what the action is on.
    pub owner: AccountId,
    /// The ARN of what the action is on, or `*`.
    pub resource: &'a str,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Go on.
    Allow,
    /// Refuse; the text is AWS's for `AccessDenied` errors.
    Deny(String),
}

/// Decides; same arguments, same answer.
pub fn decide(principal: &Principal, request: &Request<'_>) -> Decision {
    let allowed = match principal {
        Principal::Account(account) => *account == request.owner,
        Principal::Function(function) => function.account == request.owner && request.action == INVOKE_FUNCTION,
    };
    if allowed {
        return Decision::Allow;
    }
    // Across accounts the owner would have to allow it too, and the caller is told of that side.
    let policy = if principal.account() == request.owner { "identity-based" } else { "resource-based" };
    Decision::Deny(format!(
        "User: {} is not authorized to perform: {} on resource: {} because no {policy} policy allows the {} action",
        caller_arn(principal),
        request.action,
        request.resource,
        request.action,
    ))
}

/// The ARN by which AWS names such a caller in messages and in `GetCallerIdentity`.
pub fn caller_arn(principal: &Principal) -> String {
    match principal {
        Principal::Account(account) => format!("arn:aws:iam::{account}:root"),
        Principal::Function(function) => {
            format!("arn:aws:sts::{}:assumed-role/{}/{}", function.account, function.name, function.name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ids::FunctionId;
    use model::names::{FunctionName, Region};

    fn account(digits: &str) -> AccountId {
        AccountId::parse(digits).expect("twelve digits")
    }

    /// `lacking` is the policy that a refusal names.
    fn check(principal: &Principal, action: &str, owner: &str, lacking: Option<&str>) {
        let resource = "arn:aws:lambda:us-east-1:000000000000:function:f";
        let expected = lacking.map_or(Decision::Allow, |policy| {
            Decision::Deny(format!(
                "User: {} is not authorized to perform: {action} on resource: {resource} because no {policy} policy allows the \
                 {action} action",
                caller_arn(principal)
            ))
        });
        assert_eq!(decide(principal, &Request { action, owner: account(owner), resource }), expected);
    }

    #[test]
    fn an_account_owns_itself_and_a_function_may_only_invoke() {
        let root = Principal::Account(account("000000000000"));
        let function = Principal::Function(FunctionId {
            account: account("000000000000"),
            region: Region::parse("us-east-1").expect("a region"),
            name: FunctionName::parse("f").expect("a name"),
        });
        check(&root, "lambda:CreateFunction", "000000000000", None);
        check(&root, "logs:FilterLogEvents", "000000000000", None);
        check(&root, "lambda:InvokeFunction", "111111111111", Some("resource-based"));
        check(&function, "lambda:InvokeFunction", "000000000000", None);
        check(&function, "lambda:InvokeFunction", "111111111111", Some("resource-based"));
        check(&function, "lambda:UpdateFunctionCode", "000000000000", Some("identity-based"));
        check(&function, "lambda:InvokeFunctionUrl", "000000000000", Some("identity-based"));
        check(&function, "logs:PutLogEvents", "000000000000", Some("identity-based"));
        check(&function, "sts:GetCallerIdentity", "000000000000", Some("identity-based"));
    }
}

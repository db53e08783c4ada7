//! The one place where an operation asks whether its caller may.

use access::{Decision, Request};
use model::ids::AccountId;

use crate::Caller;

/// Allows or refuses an action on something of the caller's own account.
pub(crate) fn allow(caller: &Caller, action: &str, resource: &str) -> Result<(), wire::Error> {
    allow_on(caller, action, caller.principal.account(), resource)
}

/// Allows or refuses an action on something of `owner`.
pub(crate) fn allow_on(caller: &Caller, action: &str, owner: AccountId, resource: &str) -> Result<(), wire::Error> {
    match access::decide(&caller.principal, &Request { action, owner, resource }) {
        Decision::Allow => Ok(()),
        Decision::Deny(message) => Err(wire::Error::access_denied(message)),
    }
}

//! STS: who am I.

use model::principal::Principal;
use wire::sts::{GetCallerIdentityResponse, Input, Output};

/// `GetCallerIdentity`.
pub(crate) fn handle(principal: &Principal, input: Input) -> Output {
    match input {
        Input::GetCallerIdentity(_) => Output::GetCallerIdentity(GetCallerIdentityResponse {
            account: Some(principal.account().to_string()),
            arn: Some(access::caller_arn(principal)),
            user_id: Some(principal.account().to_string()),
        }),
    }
}

//! Who is it: the signature of a request, or the trust of the listener that it came through.

use http::HeaderMap;
use identity::Found;
use model::ids::AccountId;
use model::names::Region;
use model::principal::Principal;
use wire::sigv4::{self, BodyHash, KeyProblem};
use wire::{Error, Parts};

use crate::door::{Door, Trust};
use crate::listen::Inner;

/// An authenticated request.
pub(crate) struct Authenticated {
    pub(crate) principal: Principal,
    pub(crate) region: Region,
}

/// Checks who makes the request.
pub(crate) fn authenticate(inner: &Inner, door: &Door, parts: &Parts<'_>, body: &[u8]) -> Result<Authenticated, Error> {
    match door.trust() {
        Trust::Loopback => Ok(believe(inner, parts.headers)),
        Trust::Verify => verify(inner, door, parts, body),
    }
}

/// Checks whether the request may come from one of our callers, by its head alone: whose key it names and when it was
/// made, not yet the signature, which covers the body.
pub(crate) fn admit(inner: &Inner, door: &Door, parts: &Parts<'_>) -> Result<(), Error> {
    if door.trust() == Trust::Loopback {
        return Ok(());
    }
    let now = inner.clock.now();
    let lookup = |key_id: &str, token: Option<&str>| match inner.identity.find(key_id, token, now) {
        Found::Valid { principal, .. } if may_come_through(door, &principal) => Ok(()),
        Found::Expired => Err(KeyProblem::Expired),
        Found::Valid { .. } | Found::Unknown => Err(KeyProblem::Unknown),
    };
    Ok(sigv4::verify_head(parts, now, lookup)?)
}

/// A guest can only be itself, wherever it may have found another key.
fn may_come_through(door: &Door, principal: &Principal) -> bool {
    match (door, principal) {
        (Door::Host(_), _) => true,
        (Door::Guest(function), Principal::Function(other)) => function == other,
        (Door::Guest(_), Principal::Account(_)) => false,
    }
}

fn verify(inner: &Inner, door: &Door, parts: &Parts<'_>, body: &[u8]) -> Result<Authenticated, Error> {
    let now = inner.clock.now();
    let mut principal = None;
    let lookup = |key_id: &str, token: Option<&str>| match inner.identity.find(key_id, token, now) {
        Found::Valid { secret, principal: found } if may_come_through(door, &found) => {
            principal = Some(found);
            Ok(secret)
        }
        Found::Expired => Err(KeyProblem::Expired),
        Found::Valid { .. } | Found::Unknown => Err(KeyProblem::Unknown),
    };
    let signed = sigv4::verify(parts, BodyHash::Of(body), now, lookup, &inner.signing_keys)?;
    let principal = principal.ok_or_else(|| Error::internal("The signature was accepted without a caller."))?;
    let region = Region::parse(&signed.region).map_err(|_| {
        Error::from(sigv4::Refusal::Incomplete("Credential should be scoped to a valid region.".to_owned()))
    })?;
    Ok(Authenticated { principal, region })
}

/// On a trusting listener any key will do: one of twelve digits names its account, any other means the default one.
fn believe(inner: &Inner, headers: &HeaderMap) -> Authenticated {
    let authorization = headers.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or("");
    let scope = authorization.split_once("Credential=").map_or("", |(_, rest)| rest);
    let mut scope = scope.split([',', ' ']).next().unwrap_or("").split('/');
    let account = scope.next().and_then(|key_id| AccountId::parse(key_id).ok()).unwrap_or(inner.default_account);
    let region = scope.nth(1).and_then(|region| Region::parse(region).ok());
    Authenticated {
        principal: Principal::Account(account),
        region: region.unwrap_or_else(|| inner.default_region.clone()),
    }
}

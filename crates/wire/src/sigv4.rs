//! AWS Signature Version 4: checked in headers, made for our own client. Pure: keys come from a look-up, time is an argument.
//!
//! Source: "Signature Version 4 signing process" in the AWS IAM user guide; wording of refusals as its troubleshooting pages have it.

mod authorization;
mod canonical;
mod keys;
mod sign;
#[cfg(test)]
mod vectors;

use std::time::Duration;

use aws_lc_rs::{constant_time, digest};
use base::time::Timestamp;
use http::header::{AUTHORIZATION, DATE, HOST};
use zeroize::Zeroizing;

use crate::error::{Common, Error};
use crate::percent::raw_pairs;
use crate::request::Parts;

pub use keys::SigningKeys;
pub use sign::{Credentials, sign};

use authorization::Authorization;
use canonical::Style;

/// How far a request's time may be from ours.
pub const SKEW_MAX: Duration = Duration::from_secs(15 * 60);

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
const X_AMZ_DATE: &str = "x-amz-date";
const X_AMZ_TOKEN: &str = "x-amz-security-token";
const X_AMZ_SHA256: &str = "x-amz-content-sha256";

/// The body of a request, or what is known of it.
#[derive(Debug, Clone, Copy)]
pub enum BodyHash<'a> {
    /// The body itself; it is only hashed if the signature covers it.
    Of(&'a [u8]),
    /// Its SHA-256, computed while it arrived.
    Known([u8; 32]),
}

impl BodyHash<'_> {
    fn sha256(self) -> [u8; 32] {
        match self {
            Self::Known(hash) => hash,
            Self::Of(body) => sha256(body),
        }
    }
}

/// Whose signature it is, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The key that signed.
    pub access_key_id: String,
    /// The region of the scope.
    pub region: String,
    /// The signing name of the service.
    pub service: String,
    /// The session token that came along; the look-up has judged it.
    pub session_token: Option<String>,
    /// The time of the signature.
    pub at: Timestamp,
}

/// Why a look-up has no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyProblem {
    /// There is no such key, it was disabled, or the token does not belong to it.
    Unknown,
    /// The session is over.
    Expired,
}

/// Why a request is not accepted. The text is for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not signed at all.
    #[error("Missing Authentication Token")]
    Missing,
    /// The authorization header is not what it should be.
    #[error("{0}")]
    Incomplete(String),
    /// A header that must occur once occurs several times.
    #[error("The header '{0}' occurs more than once.")]
    Duplicate(&'static str),
    /// The signature is not that of this request under this key.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing \
         method. Consult the service documentation for details."
    )]
    Mismatch,
    /// The body is not the one that was signed.
    #[error("The value of the header 'x-amz-content-sha256' is not the SHA-256 of the body.")]
    BodyMismatch,
    /// A header that decides something is not covered by the signature.
    #[error("'{0}' must be a 'SignedHeader' in the AWS Authorization header.")]
    NotSigned(String),
    /// Signed too long ago.
    #[error("Signature expired: {at} is now earlier than {bound} ({now} - 15 min.)")]
    TooOld {
        /// The time of the signature.
        at: String,
        /// The oldest time that is accepted.
        bound: String,
        /// Our time.
        now: String,
    },
    /// Signed in the future.
    #[error("Signature not yet current: {at} is still later than {bound} ({now} + 15 min.)")]
    TooNew {
        /// The time of the signature.
        at: String,
        /// The latest time that is accepted.
        bound: String,
        /// Our time.
        now: String,
    },
    /// The key is not known, or its token is not.
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    /// The session is over.
    #[error("The security token included in the request is expired")]
    ExpiredToken,
    /// Signed in the query.
    #[error("Presigned requests are not accepted yet: sign in the Authorization header.")]
    Presigned,
    /// The body is signed in chunks.
    #[error("The payload {0} is not accepted yet: send the whole body with its SHA-256, or UNSIGNED-PAYLOAD.")]
    Streaming(String),
}

impl From<KeyProblem> for Refusal {
    fn from(problem: KeyProblem) -> Self {
        match problem {
            KeyProblem::Unknown => Self::UnknownKey,
            KeyProblem::Expired => Self::ExpiredToken,
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let common = match refusal {
            Refusal::Missing => Common::MissingAuthentication,
            Refusal::Incomplete(_) | Refusal::Duplicate(_) => Common::IncompleteSignature,
            Refusal::Mismatch
            | Refusal::BodyMismatch
            | Refusal::NotSigned(_)
            | Refusal::TooOld { .. }
            | Refusal::TooNew { .. } => Common::InvalidSignature,
            Refusal::UnknownKey => Common::UnknownKey,
            Refusal::ExpiredToken => Common::ExpiredToken,
            Refusal::Presigned | Refusal::Streaming(_) => Common::NotImplemented,
        };
        common.error(refusal.to_string())
    }
}

/// Checks all of a request's signature that does not need the body, nor the secret that `lookup` tells of: its form, its
/// time, and whether there is such a key. What passes may still be signed by somebody else.
pub fn verify_head(
    parts: &Parts<'_>,
    now: Timestamp,
    lookup: impl FnOnce(&str, Option<&str>) -> Result<(), KeyProblem>,
) -> Result<(), Refusal> {
    let head = read_head(parts, now)?;
    if let Some(streaming) =
        once(parts, X_AMZ_SHA256, "X-Amz-Content-Sha256")?.filter(|it| it.starts_with("STREAMING-"))
    {
        return Err(Refusal::Streaming(streaming.to_owned()));
    }
    Ok(lookup(head.authorization.access_key_id, head.token)?)
}

/// Checks the signature in the headers of a request.
///
/// `lookup` is asked once, with the access key id and the session token, for the secret. Nothing is cached before a signature was right,
/// so strangers cannot push keys out of `cache`.
pub fn verify(
    parts: &Parts<'_>,
    body: BodyHash<'_>,
    now: Timestamp,
    lookup: impl FnOnce(&str, Option<&str>) -> Result<Zeroizing<String>, KeyProblem>,
    cache: &SigningKeys,
) -> Result<Signed, Refusal> {
    let Head { authorization, at, basic, token } = read_head(parts, now)?;
    let payload_hash = payload_hash(parts, body)?;
    let secret = lookup(authorization.access_key_id, token)?;
    let style = if authorization.service == "s3" { Style::PlainPath } else { Style::Normalized };
    let request = canonical::request(parts, &authorization.signed_headers, &payload_hash, style);
    let to_sign = canonical::string_to_sign(&basic, authorization.scope(), &request);
    let key = cache
        .get(authorization.credential, &secret)
        .unwrap_or_else(|| keys::derive(&secret, authorization.date, authorization.region, authorization.service));
    let ours = aws_lc_rs::hmac::sign(&key, to_sign.as_bytes());
    constant_time::verify_slices_are_equal(ours.as_ref(), &authorization.signature).map_err(|_| Refusal::Mismatch)?;
    cache.put(authorization.credential, &secret, key);
    Ok(Signed {
        access_key_id: authorization.access_key_id.to_owned(),
        region: authorization.region.to_owned(),
        service: authorization.service.to_owned(),
        session_token: token.map(str::to_owned),
        at,
    })
}

/// What the headers say of the signature.
struct Head<'a> {
    authorization: Authorization<'a>,
    at: Timestamp,
    /// The same in its basic form.
    basic: String,
    token: Option<&'a str>,
}

fn read_head<'a>(parts: &Parts<'a>, now: Timestamp) -> Result<Head<'a>, Refusal> {
    let Some(header) = once(parts, AUTHORIZATION.as_str(), "Authorization")? else {
        let presigned = raw_pairs(parts.query).any(|(name, _)| matches!(name, "X-Amz-Signature" | "X-Amz-Algorithm"));
        return Err(if presigned { Refusal::Presigned } else { Refusal::Missing });
    };
    let date = match once(parts, X_AMZ_DATE, "X-Amz-Date")? {
        Some(date) => Some(date),
        None => once(parts, DATE.as_str(), "Date")?,
    };
    let authorization = Authorization::parse(header, date.is_some())?;
    let (at, basic) = authorization.time(date.unwrap_or_default())?;
    check_time(at, now)?;
    check_signed_headers(parts, &authorization)?;
    let token = once(parts, X_AMZ_TOKEN, "X-Amz-Security-Token")?;
    Ok(Head { authorization, at, basic, token })
}

/// The value of a header that may occur once at most.
fn once<'a>(parts: &Parts<'a>, name: &str, shown: &'static str) -> Result<Option<&'a str>, Refusal> {
    let mut values = parts.headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refusal::Duplicate(shown));
    }
    let unreadable = |_| Refusal::Incomplete(format!("The header '{shown}' is not ASCII."));
    value.to_str().map(|value| Some(value.trim())).map_err(unreadable)
}

fn check_time(at: Timestamp, now: Timestamp) -> Result<(), Refusal> {
    let (oldest, newest) = (now.minus(SKEW_MAX), now.plus(SKEW_MAX));
    let written = canonical::basic_time;
    if at < oldest {
        return Err(Refusal::TooOld { at: written(at), bound: written(oldest), now: written(now) });
    }
    if at > newest {
        return Err(Refusal::TooNew { at: written(at), bound: written(newest), now: written(now) });
    }
    Ok(())
}

/// `host` and every `x-amz-*` header must be signed. A session token may be added after signing, and the payload's hash is part of what
/// is signed anyway.
fn check_signed_headers(parts: &Parts<'_>, authorization: &Authorization<'_>) -> Result<(), Refusal> {
    let is_signed = |name: &str| authorization.signed_headers.contains(&name);
    if parts.headers.get_all(HOST).iter().count() > 1 {
        return Err(Refusal::Duplicate("Host"));
    }
    if !is_signed(HOST.as_str()) {
        return Err(Refusal::NotSigned("Host".into()));
    }
    for name in parts.headers.keys().map(|name| name.as_str()) {
        if name.starts_with("x-amz-") && name != X_AMZ_TOKEN && name != X_AMZ_SHA256 && !is_signed(name) {
            return Err(Refusal::NotSigned(name.to_owned()));
        }
    }
    if !parts.headers.contains_key(X_AMZ_DATE) && !is_signed(DATE.as_str()) {
        return Err(Refusal::NotSigned("Date".into()));
    }
    Ok(())
}

/// The last line of the canonical request.
fn payload_hash(parts: &Parts<'_>, body: BodyHash<'_>) -> Result<String, Refusal> {
    match once(parts, X_AMZ_SHA256, "X-Amz-Content-Sha256")? {
        None => Ok(hex(&body.sha256())),
        Some(UNSIGNED_PAYLOAD) => Ok(UNSIGNED_PAYLOAD.to_owned()),
        Some(streaming) if streaming.starts_with("STREAMING-") => Err(Refusal::Streaming(streaming.to_owned())),
        Some(claimed) if unhex(claimed) == Some(body.sha256()) => Ok(claimed.to_owned()),
        Some(_) => Err(Refusal::BodyMismatch),
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digit = |c: u8| (c as char).to_digit(16);
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(out)
}

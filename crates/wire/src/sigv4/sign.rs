//! Signing requests of our own client.

use std::fmt;

use base::time::Timestamp;
use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, HeaderValue};

use super::canonical::{Style, basic_time, request, string_to_sign};
use super::{ALGORITHM, BodyHash, TERMINATOR, X_AMZ_DATE, X_AMZ_SHA256, X_AMZ_TOKEN, hex, keys};
use crate::error::header_value;
use crate::request::Parts;

/// What a client signs with.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// The id of the key.
    pub access_key_id: &'a str,
    /// The secret of the key.
    pub secret: &'a str,
    /// For session credentials.
    pub session_token: Option<&'a str>,
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

/// Headers that transports and proxies change.
const UNSIGNED: [&str; 6] =
    ["authorization", "connection", "expect", "transfer-encoding", "user-agent", "x-amzn-trace-id"];

/// The headers to add to a request so that it is signed. `parts.headers` must hold `host`; all that is there is signed too, except what
/// transports change.
pub fn sign(
    parts: &Parts<'_>,
    body: BodyHash<'_>,
    credentials: Credentials<'_>,
    region: &str,
    service: &str,
    now: Timestamp,
) -> Vec<(HeaderName, HeaderValue)> {
    let at = basic_time(now);
    let payload_hash = hex(&body.sha256());
    let mut added = vec![
        (HeaderName::from_static(X_AMZ_DATE), header_value(&at)),
        (HeaderName::from_static(X_AMZ_SHA256), header_value(&payload_hash)),
    ];
    if let Some(token) = credentials.session_token {
        added.push((HeaderName::from_static(X_AMZ_TOKEN), header_value(token)));
    }
    let mut headers: HeaderMap = parts.headers.clone();
    for (name, value) in &added {
        headers.insert(name, value.clone());
    }
    let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).filter(|name| !UNSIGNED.contains(name)).collect();
    names.sort_unstable();

    let date = &at[..8];
    let scope = format!("{date}/{region}/{service}/{TERMINATOR}");
    let style = if service == "s3" { Style::PlainPath } else { Style::Normalized };
    let canonical = request(&Parts { headers: &headers, ..*parts }, &names, &payload_hash, style);
    let key = keys::derive(credentials.secret, date, region, service);
    let signature = aws_lc_rs::hmac::sign(&key, string_to_sign(&at, &scope, &canonical).as_bytes());
    let authorization = format!(
        "{ALGORITHM} Credential={}/{scope}, SignedHeaders={}, Signature={}",
        credentials.access_key_id,
        names.join(";"),
        hex(signature.as_ref())
    );
    added.push((AUTHORIZATION, header_value(&authorization)));
    added
}

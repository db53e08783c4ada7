//! The platform's own pages below `/_pinfold/`: health, metrics, status, usage, and code by signed link.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use http::{Method, Response, StatusCode, header};
use model::ids::{AccountId, PackageDigest};
use model::names::{FunctionName, Region};
use model::principal::Principal;
use wire::{Error, Parts};

use crate::authenticate::authenticate;
use crate::door::Door;
use crate::listen::Inner;

/// Where these pages begin.
pub(crate) const PREFIX: &str = "/_pinfold/";

/// Facts on one page of usage, at most.
const USAGE_MAX: usize = 1000;

/// Whether the platform can do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It can.
    Ok,
    /// It cannot; in words.
    Failing(String),
}

/// What the pages show; the binary knows it.
pub trait PlatformPages: Send + Sync + 'static {
    /// Whether the platform can do its work.
    fn health(&self) -> Health;
    /// A JSON document about the platform, for its operator.
    fn status(&self) -> Pin<Box<dyn Future<Output = serde_json::Value> + Send + '_>>;
    /// The newest usage facts of an account as a JSON document, of one function if named.
    fn usage(
        &self,
        account: AccountId,
        region: &Region,
        function: Option<&str>,
        limit: usize,
    ) -> Pin<Box<dyn Future<Output = Result<serde_json::Value, String>> + Send + '_>>;
    /// The zip file of a package.
    fn code(&self, digest: PackageDigest) -> Pin<Box<dyn Future<Output = Result<Bytes, String>> + Send + '_>>;
}

/// Answers a request below [`PREFIX`].
pub(crate) async fn answer(inner: &Inner, door: &Door, parts: &Parts<'_>, body: &[u8]) -> Response<Bytes> {
    // A guest has the AWS API and nothing else.
    if door.is_guest() {
        return text(StatusCode::FORBIDDEN, "The platform's own pages are not for functions.\n");
    }
    if *parts.method != Method::GET && *parts.method != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "The platform's own pages are read with GET.\n");
    }
    match parts.path.strip_prefix(PREFIX).unwrap_or_default() {
        "health" => match inner.pages.health() {
            Health::Ok => json(StatusCode::OK, &serde_json::json!({ "status": "ok" })),
            Health::Failing(reason) => {
                json(StatusCode::SERVICE_UNAVAILABLE, &serde_json::json!({ "status": "failing", "reason": reason }))
            }
        },
        "metrics" => typed(StatusCode::OK, meter::metrics::CONTENT_TYPE, Bytes::from(inner.metrics.render())),
        "status" => match account_of(inner, door, parts, body) {
            Ok(_) => json(StatusCode::OK, &inner.pages.status().await),
            Err(error) => refuse(&error),
        },
        "usage" => match account_of(inner, door, parts, body) {
            Ok((account, region)) => usage(inner, parts, account, &region).await,
            Err(error) => refuse(&error),
        },
        rest => match rest.strip_prefix("code/") {
            Some(code) => send_code(inner, parts, code).await,
            None => text(StatusCode::NOT_FOUND, "There are: health, metrics, status, usage.\n"),
        },
    }
}

fn account_of(inner: &Inner, door: &Door, parts: &Parts<'_>, body: &[u8]) -> Result<(AccountId, Region), Error> {
    let authenticated = authenticate(inner, door, parts, body)?;
    match authenticated.principal {
        Principal::Account(account) => Ok((account, authenticated.region)),
        Principal::Function(_) => Err(Error::access_denied("The platform's own pages are not for functions.")),
    }
}

async fn usage(inner: &Inner, parts: &Parts<'_>, account: AccountId, region: &Region) -> Response<Bytes> {
    let UsageQuery { function, limit } = match read_usage(parts) {
        Ok(query) => query,
        Err(reason) => return text(StatusCode::BAD_REQUEST, &format!("{reason}\n")),
    };
    let function = function.as_ref().map(FunctionName::as_str);
    match inner.pages.usage(account, region, function, limit).await {
        Ok(document) => json(StatusCode::OK, &document),
        Err(reason) => json(StatusCode::INTERNAL_SERVER_ERROR, &serde_json::json!({ "reason": reason })),
    }
}

#[derive(Debug, PartialEq)]
struct UsageQuery {
    function: Option<FunctionName>,
    limit: usize,
}

fn read_usage(parts: &Parts<'_>) -> Result<UsageQuery, String> {
    let mut query = UsageQuery { function: None, limit: 100 };
    for (name, value) in parts.parameters() {
        match &*name {
            "function" => query.function = Some(FunctionName::parse(&value).map_err(|bad| bad.to_string())?),
            "limit" => match value.parse() {
                Ok(number) if (1..=USAGE_MAX).contains(&number) => query.limit = number,
                _ => return Err(format!("limit is a number from 1 to {USAGE_MAX}.")),
            },
            _ => return Err("The parameters are function and limit.".to_owned()),
        }
    }
    Ok(query)
}

async fn send_code(inner: &Inner, parts: &Parts<'_>, code: &str) -> Response<Bytes> {
    if !inner.identity.verify_link(parts.path, parts.query, inner.clock.now()) {
        return text(StatusCode::FORBIDDEN, "The link has expired or was changed. Call GetFunction for a new one.\n");
    }
    let digest = code.split_once('/').and_then(|(_, digest)| PackageDigest::try_from(digest.to_owned()).ok());
    let Some(digest) = digest else { return text(StatusCode::NOT_FOUND, "There is no such package.\n") };
    match inner.pages.code(digest).await {
        Ok(zip) => typed(StatusCode::OK, "application/zip", zip),
        Err(reason) => text(StatusCode::NOT_FOUND, &format!("{reason}\n")),
    }
}

fn refuse(error: &Error) -> Response<Bytes> {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::FORBIDDEN);
    json(status, &serde_json::json!({ "code": error.code, "message": error.message }))
}

fn json(status: StatusCode, document: &serde_json::Value) -> Response<Bytes> {
    typed(status, "application/json", Bytes::from(document.to_string()))
}

pub(crate) fn text(status: StatusCode, text: &str) -> Response<Bytes> {
    typed(status, "text/plain; charset=utf-8", Bytes::copy_from_slice(text.as_bytes()))
}

fn typed(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `expected` is the function and the limit, or the beginning of what is said.
    #[track_caller]
    fn check(query: &str, expected: Result<(Option<&str>, usize), &str>) {
        let headers = http::HeaderMap::new();
        let read = read_usage(&Parts { method: &Method::GET, path: "/_pinfold/usage", query, headers: &headers });
        match (read, expected) {
            (Ok(read), Ok((function, limit))) => {
                assert_eq!(
                    (read.function.as_ref().map(FunctionName::as_str), read.limit),
                    (function, limit),
                    "{query}"
                );
            }
            (Err(reason), Err(text)) => assert!(reason.starts_with(text), "{query}: {reason}"),
            (read, _) => panic!("{query}: {read:?}"),
        }
    }

    #[test]
    fn usage_is_asked_for_by_decoded_parameters() {
        check("", Ok((None, 100)));
        check("function=f&limit=7", Ok((Some("f"), 7)));
        check("function=my%2Dname", Ok((Some("my-name"), 100)));
        check("function=a%2Fb", Err("function name \"a/b\" is not"));
        check("function=", Err("function name"));
        check("limit=0", Err("limit is a number from 1 to 1000."));
        check("limit", Err("limit is a number"));
        check("page=2", Err("The parameters are"));
    }
}

//! Requests that tests make.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use wire::{Error, Input, Parts, Route};

/// A request as it stands on the wire.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Sample {
    /// `POST /path?query`.
    pub(crate) fn new(method: &str, uri: &str) -> Self {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let method = method.parse().expect("a method");
        Self { method, path: path.to_owned(), query: query.to_owned(), ..Self::default() }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        self.headers.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// As if signed for this service.
    pub(crate) fn scope(self, service: &str) -> Self {
        let value = format!(
            "AWS4-HMAC-SHA256 Credential=AKID/20261122/eu-central-1/{service}/aws4_request, SignedHeaders=host, Signature=00"
        );
        self.header("authorization", &value)
    }

    /// A call of CloudWatch Logs.
    pub(crate) fn logs(operation: &str, body: &str) -> Self {
        let sample = Self::new("POST", "/").scope("logs").header("content-type", "application/x-amz-json-1.1");
        sample.header("x-amz-target", &format!("Logs_20140328.{operation}")).body(body.to_owned())
    }

    pub(crate) fn parts(&self) -> Parts<'_> {
        Parts { method: &self.method, path: &self.path, query: &self.query, headers: &self.headers }
    }

    pub(crate) fn route(&self) -> Result<Route, Error> {
        wire::route(&self.parts(), &self.body)
    }

    pub(crate) fn decode(&self) -> Result<Input, Error> {
        wire::decode(&self.route()?, &self.parts(), self.body.clone())
    }
}

//! The client side of the command line: it finds a server, signs requests and understands the answers.

pub mod connection;
pub mod find;
mod http1;
pub mod lambda;
pub mod logs;
pub mod platform;
mod sign;

pub use connection::Connection;
pub use find::Target;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value;

/// An answer is read up to here: the largest answer of a function, with room for a page of anything else.
const ANSWER_BYTES_MAX: usize = 16 * base::sizes::MIB;
/// A whole exchange other than an invocation.
const DEADLINE: Duration = Duration::from_secs(60);

/// Why a request has no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The endpoint cannot be used at all.
    #[error("{0}")]
    Endpoint(String),
    /// Nobody answers there.
    #[error("cannot reach {endpoint}")]
    Unreachable {
        /// Where.
        endpoint: String,
        /// Why.
        source: std::io::Error,
    },
    /// The connection broke, or what came was not HTTP.
    #[error("the exchange with {endpoint} broke off")]
    Broken {
        /// With whom.
        endpoint: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing came in time.
    #[error("no answer from {endpoint} within {} s", waited.as_secs())]
    TimedOut {
        /// From whom.
        endpoint: String,
        /// For how long.
        waited: Duration,
    },
    /// The server says no.
    #[error("{code}: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The code that AWS gives this error.
        code: String,
        /// The server's words.
        message: String,
    },
    /// The answer does not look as it should.
    #[error("{endpoint} answered {what}, which is not what Pinfold would say")]
    Strange {
        /// Who.
        endpoint: String,
        /// What came.
        what: String,
    },
}

impl ClientError {
    /// The server's code, if it was the server that refused.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }
}

/// One request; `service` is the name in the signature.
pub(crate) struct Call {
    pub(crate) service: &'static str,
    pub(crate) method: Method,
    /// With its query, percent-encoded.
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
    pub(crate) deadline: Duration,
}

impl Call {
    pub(crate) fn new(service: &'static str, method: Method, path: impl Into<String>) -> Self {
        Self { service, method, path: path.into(), headers: Vec::new(), body: Bytes::new(), deadline: DEADLINE }
    }

    pub(crate) fn json(mut self, body: &Value) -> Self {
        self.headers.push(("content-type", "application/json".to_owned()));
        self.body = body.to_string().into();
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

/// A server's answer with a status below 300.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    /// A header's text; empty if it is absent or no text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Sends signed requests to one server; cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    target: Target,
}

impl Client {
    /// A client of this server.
    pub fn new(target: Target) -> Self {
        Self { target }
    }

    /// Whom it talks to.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Sends a call and gives the answer, or what the server had against it.
    pub(crate) async fn call(&self, call: Call) -> Result<Answer, ClientError> {
        let waited = call.deadline;
        let endpoint = self.target.endpoint.to_string();
        match tokio::time::timeout(waited, self.exchange(call)).await {
            Err(_) => Err(ClientError::TimedOut { endpoint, waited }),
            Ok(Err(error)) => Err(error),
            Ok(Ok(answer)) if answer.status < 300 => Ok(answer),
            Ok(Ok(answer)) => Err(refusal(&answer, endpoint)),
        }
    }

    /// As [`Client::call`], with the answer's body read as JSON.
    pub(crate) async fn ask(&self, call: Call) -> Result<Value, ClientError> {
        let answer = self.call(call).await?;
        self.read_json(&answer.body)
    }

    fn read_json(&self, body: &[u8]) -> Result<Value, ClientError> {
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(body).map_err(|_| self.strange("something that is no JSON"))
    }

    pub(crate) fn strange(&self, what: impl Into<String>) -> ClientError {
        ClientError::Strange { endpoint: self.target.endpoint.to_string(), what: what.into() }
    }

    async fn exchange(&self, call: Call) -> Result<Answer, ClientError> {
        let endpoint = &self.target.endpoint;
        let mut request = http::Request::builder()
            .method(call.method)
            .uri(call.path)
            .header("host", endpoint.authority())
            .header("user-agent", concat!("pinfold/", env!("CARGO_PKG_VERSION")))
            .body(call.body)
            .map_err(|error| ClientError::Endpoint(format!("the request cannot be written: {error}")))?;
        for (name, value) in call.headers {
            let value = HeaderValue::from_str(&value)
                .map_err(|_| ClientError::Endpoint(format!("{value:?} cannot stand in the header {name}")))?;
            request.headers_mut().insert(HeaderName::from_static(name), value);
        }
        self.target.sign(call.service, &mut request);
        http1::exchange(endpoint, request, ANSWER_BYTES_MAX).await
    }
}

/// Reads an error in the shapes of rest-json and json 1.1, code in `x-amzn-ErrorType` or `__type`, and of our own pages.
fn refusal(answer: &Answer, endpoint: String) -> ClientError {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    let text = |names: &[&str]| names.iter().find_map(|name| body.get(name)?.as_str()).map(str::to_owned);
    let code = match answer.header("x-amzn-errortype") {
        "" => text(&["__type", "code", "Code"]),
        header => Some(header.to_owned()),
    };
    let code = code.or_else(|| text(&["reason"]).map(|_| "PlatformFailure".to_owned()));
    let Some(code) = code else {
        return ClientError::Strange { endpoint, what: format!("HTTP {}", answer.status) };
    };
    // `com.amazonaws.lambda#ResourceNotFoundException:http://…` has the name in its middle.
    let code = code.split(':').next().unwrap_or_default().rsplit('#').next().unwrap_or_default().to_owned();
    let message = text(&["message", "Message", "errorMessage", "reason"]).unwrap_or_default();
    ClientError::Refused { status: answer.status, code, message }
}

/// Percent-encodes one part of a path or query: all but RFC 3986's unreserved characters.
pub(crate) fn encode(part: &str) -> String {
    part.bytes().fold(String::with_capacity(part.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, header: Option<&'static str>, body: &'static str, expected: &str) {
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert("x-amzn-errortype", HeaderValue::from_static(value));
        }
        let answer = Answer { status, headers, body: Bytes::from_static(body.as_bytes()) };
        assert_eq!(refusal(&answer, "http://x".to_owned()).to_string(), expected);
    }

    #[test]
    fn errors_of_both_protocols_are_understood() {
        check(404, Some("ResourceNotFoundException"), r#"{"Message":"no such"}"#, "ResourceNotFoundException: no such");
        check(400, Some("A:http://internal/"), r#"{"message":"m"}"#, "A: m");
        check(400, None, r#"{"__type":"com.amazonaws.logs#B","message":"m"}"#, "B: m");
        check(500, None, r#"{"reason":"r"}"#, "PlatformFailure: r");
        check(502, None, "<html>", "http://x answered HTTP 502, which is not what Pinfold would say");
    }

    #[test]
    fn a_part_of_a_path_is_encoded() {
        assert_eq!(encode("a-b_c.~"), "a-b_c.~");
        assert_eq!(encode("arn:x/ä"), "arn%3Ax%2F%C3%A4");
    }
}

//! The AWS wire: which operation a request asks for, its input checked, its output or error in the shape that SDKs expect, signatures.
//!
//! Nothing here acts: no I/O, no clock, no state but compiled patterns and cached signing keys.
//!
//! A request passes [`route()`] → [`sigv4::verify`] → [`decode`] → (someone acts) → [`encode`]; whatever fails is an [`Error`], and
//! [`Error::respond`] says it in the protocol that [`protocol()`] tells.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod error;
mod generated;
mod json;
mod operation;
mod percent;
mod read;
mod reply;
mod request;
mod route;
mod rule;
pub mod sigv4;
mod template;
mod write;

use bytes::Bytes;
use http::Response;

pub use error::{Common, Error, Exception};
pub use generated::{Input, Output, lambda, logs, sts};
pub use operation::{Method, Operation, Protocol, Service, ServiceInfo, operations, services};
pub use request::Parts;
pub use route::{Route, protocol, route};

use reply::{Body, Reply};
use request::Request;

/// Reads the input of a routed request and checks every constraint of the model; all violations are reported in one error.
pub fn decode(route: &Route, parts: &Parts<'_>, body: Bytes) -> Result<Input, Error> {
    let request = Request { operation: route.operation, protocol: route.protocol, labels: &route.labels, parts, body };
    generated::decode(&request)?
        .ok_or_else(|| Error::internal(format!("{} is listed as served but has no reader.", route.operation.name)))
}

/// The answer of an operation that succeeded.
pub fn encode(output: Output, route: &Route, request_id: &str) -> Response<Bytes> {
    let mut reply = Reply::new(route.operation.status, route.protocol, request_id);
    let body = match generated::encode(output, &mut reply) {
        body if route.protocol == Protocol::Query => Some(query_body(body, route, request_id)),
        Body::Empty => None,
        Body::Raw(bytes) => Some(bytes.unwrap_or_default()),
        Body::Written(text) => Some(Bytes::from(text)),
    };
    reply.finish(body)
}

fn query_body(body: Body, route: &Route, request_id: &str) -> Bytes {
    let name = route.operation.name;
    let result = match body {
        Body::Written(text) => format!("<{name}Result>{text}</{name}Result>"),
        Body::Empty | Body::Raw(_) => String::new(),
    };
    Bytes::from(format!(
        "<{name}Response xmlns=\"{}\">{result}<ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata></{name}Response>",
        route.service.info().xml_namespace,
        write::escape_xml(request_id)
    ))
}

//! One request: take it in, authenticate it, have it done, answer it.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header, request};
use http_body_util::Full;
use hyper::body::Incoming;
use model::ids::RequestId;
use model::limits::{PACKAGE_BODY_BYTES_MAX, PAYLOAD_BYTES_MAX, REQUEST_BODY_BYTES_MAX};
use services::{Answer, Caller};
use wire::lambda::errors;
use wire::{Common, Error, Parts};

use crate::authenticate::{admit, authenticate};
use crate::body::{self, Bounds, NoBody, ROOM_WAIT, SMALL_BYTES};
use crate::door::{self, Door, Trust};
use crate::listen::Inner;
use crate::platform;

/// What the caller should know though it worked, one a header.
const WARNING_HEADER: HeaderName = HeaderName::from_static("x-pinfold-warning");
/// A head with more than this is not one that an SDK sends.
const URI_BYTES_MAX: usize = 16 * 1024;

/// Answers a request, whatever is wrong with it.
pub(crate) async fn answer(inner: &Inner, door: &Door, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let parts = Parts {
        method: &head.method,
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        headers: &head.headers,
    };
    let request_id = RequestId::from_random(inner.entropy.id());
    let response = respond(inner, door, &head, &parts, body, request_id).await;
    response.map(Full::new)
}

async fn respond(
    inner: &Inner,
    door: &Door,
    head: &request::Parts,
    parts: &Parts<'_>,
    mut body: Incoming,
    request_id: RequestId,
) -> Response<Bytes> {
    if let Some(response) = turn_away(door, head, parts) {
        leave(head, body);
        inner.metrics.api_request("-", "-", response.status().as_u16());
        return response;
    }
    let id = request_id.to_string();
    let bounds = Bounds {
        limit: body_limit(door, parts),
        deadline: inner.limits.body_timeout,
        room_wait: ROOM_WAIT,
        budgets: &inner.budgets,
        door,
    };
    let taken = match body::take(&mut body, &bounds, || admit(inner, door, parts)).await {
        Ok(taken) => taken,
        Err(reason) => {
            leave(head, body);
            let (service, operation) = asked_of(&wire::route(parts, &[]));
            let response = of_no_body(parts, operation, reason).respond(wire::protocol(parts, &[]), &id);
            inner.metrics.api_request(service, operation, response.status().as_u16());
            return response;
        }
    };
    let body = taken.bytes.clone();
    if parts.path.starts_with(platform::PREFIX) {
        return platform::answer(inner, door, parts, &body).await;
    }
    let routed = wire::route(parts, &body);
    let (service, operation) = asked_of(&routed);
    let protocol = routed.as_ref().map_or_else(|_| wire::protocol(parts, &body), |route| route.protocol);
    let result = perform(inner, door, parts, body, routed, request_id).await;
    let response = result.unwrap_or_else(|error| error.respond(protocol, &id));
    inner.metrics.api_request(service, operation, response.status().as_u16());
    response
}

/// Refuses what is wrong before anybody looks at what is asked.
fn turn_away(door: &Door, head: &request::Parts, parts: &Parts<'_>) -> Option<Response<Bytes>> {
    if door.trust() == Trust::Loopback
        && let Some(reason) = door::refuse_foreign(&head.headers, &head.uri)
    {
        return Some(platform::text(StatusCode::FORBIDDEN, &format!("{reason}\n")));
    }
    let is_long = parts.path.len() + parts.query.len() > URI_BYTES_MAX;
    is_long.then(|| platform::text(StatusCode::URI_TOO_LONG, "The request's URI is too long.\n"))
}

/// Leaves a body that is not wanted. A client that waits to be told to send it is told not to.
fn leave(head: &request::Parts, body: Incoming) {
    if !head.headers.contains_key(header::EXPECT) {
        body::discard(body);
    }
}

/// The service and the operation, for the metric.
fn asked_of(routed: &Result<wire::Route, Error>) -> (&'static str, &'static str) {
    routed.as_ref().map_or(("-", "-"), |route| (route.service.info().signing_name, route.operation.name))
}

async fn perform(
    inner: &Inner,
    door: &Door,
    parts: &Parts<'_>,
    body: Bytes,
    routed: Result<wire::Route, Error>,
    request_id: RequestId,
) -> Result<Response<Bytes>, Error> {
    // First who, then what: a stranger learns nothing of what there is.
    let authenticated = authenticate(inner, door, parts, &body)?;
    let route = routed?;
    let input = wire::decode(&route, parts, body)?;
    let caller = Caller {
        principal: authenticated.principal,
        region: authenticated.region,
        request_id,
        host: header_text(parts, "host").unwrap_or_else(|| "localhost".to_owned()),
        content_type: header_text(parts, "content-type"),
        trace_header: header_text(parts, "x-amzn-trace-id"),
    };
    let Answer { output, headers, warnings } = inner.services.call(&caller, input).await?;
    let mut response = wire::encode(output, &route, &request_id.to_string());
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    for warning in warnings {
        if let Ok(value) = HeaderValue::from_str(&warning) {
            response.headers_mut().append(WARNING_HEADER, value);
        }
    }
    Ok(response)
}

fn header_text(parts: &Parts<'_>, name: &str) -> Option<String> {
    parts.headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// Only the requests that carry a zip file may be as large as one; guests send none, and the platform's own pages are read.
fn body_limit(door: &Door, parts: &Parts<'_>) -> usize {
    if parts.path.starts_with(platform::PREFIX) {
        return SMALL_BYTES;
    }
    let path = parts.path.trim_end_matches('/');
    let carries_code = path.starts_with("/2015-03-31/functions")
        && ((*parts.method == Method::POST && path == "/2015-03-31/functions")
            || (*parts.method == Method::PUT && path.ends_with("/code")));
    if carries_code && !door.is_guest() { PACKAGE_BODY_BYTES_MAX } else { REQUEST_BODY_BYTES_MAX }
}

fn of_no_body(parts: &Parts<'_>, operation: &str, reason: NoBody) -> Error {
    match reason {
        NoBody::TooLarge { .. } if parts.path.ends_with("/invocations") => errors::request_too_large(format!(
            "Request must be smaller than {PAYLOAD_BYTES_MAX} bytes for the InvokeFunction operation"
        )),
        NoBody::TooLarge { limit } => Common::TooLarge.error(match operation {
            "-" => format!("Request must be smaller than {limit} bytes for this operation"),
            _ => format!("Request must be smaller than {limit} bytes for the {operation} operation"),
        }),
        NoBody::TooSlow => Common::Unavailable.error("The request's body did not arrive in time."),
        NoBody::NoRoom => Common::Unavailable.error("Too many large requests at once. Try again in a moment."),
        NoBody::Broken => Error::serialization("The request's body broke off."),
        NoBody::Refused(error) => error,
    }
}

const _: () = assert!(PAYLOAD_BYTES_MAX < REQUEST_BODY_BYTES_MAX);

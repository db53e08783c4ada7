//! Invoke: now, later, or only in thought.

use base::chain::Chain;
use base::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use invoke::events::NewEvent;
use invoke::resolve::{self, LATEST, Unresolved};
use invoke::{Answered, NotRun, Request};
use model::ids::{InvocationId, RequestId};
use model::invocation::Outcome;
use model::limits::{CLIENT_CONTEXT_BYTES_MAX, EVENT_BYTES_MAX, PAYLOAD_BYTES_MAX};
use serde::de::IgnoredAny;
use wire::Common;
use wire::Error;
use wire::lambda::{self as shapes, InvocationType, LogType, Output, errors};

use super::answer;
use super::errors::{not_found, platform};
use super::functions::qualified_arn;
use super::name::{Named, named};
use crate::{Answer, Caller, ServicesParts};

/// The header that carries a trace through a chain of calls.
const TRACE_HEADER: &str = "x-amzn-trace-id";
/// A longer trace header is not one that any tracer makes.
const TRACE_BYTES_MAX: usize = 512;

/// `Invoke`.
pub(crate) async fn invoke(
    parts: &ServicesParts,
    caller: &Caller,
    request: shapes::InvocationRequest,
) -> Result<Answer, Error> {
    let named = named(caller, access::INVOKE_FUNCTION, &request.function_name, request.qualifier.as_deref())?;
    for (name, set) in
        [("DurableExecutionName", request.durable_execution_name.is_some()), ("TenantId", request.tenant_id.is_some())]
    {
        if set {
            return Err(Common::NotImplemented.error(format!("{name} is not supported: leave it out.")));
        }
    }
    check_content_type(caller.content_type.as_deref())?;
    let kind = request.invocation_type.unwrap_or(InvocationType::RequestResponse);
    let trace_header = trace_header(caller, parts.clock.now());
    let payload = match kind {
        InvocationType::Event => check_payload(request.payload, EVENT_BYTES_MAX, event_too_large)?,
        InvocationType::RequestResponse | InvocationType::DryRun => {
            check_payload(request.payload, PAYLOAD_BYTES_MAX, request_too_large)?
        }
    };
    let client_context = request.client_context.as_deref().map(read_client_context).transpose()?;
    let entry = find(parts, &named)?;
    let mut shape = shapes::InvocationResponse::default();
    match kind {
        InvocationType::DryRun => shape.status_code = Some(204),
        InvocationType::Event => {
            // Lambda passes the client context on for synchronous invocations only.
            accept(parts, caller, named, payload, trace_header.clone()).await?;
            shape.status_code = Some(202);
        }
        InvocationType::RequestResponse => {
            let tail = request.log_type == Some(LogType::Tail);
            let run = Request {
                id: invocation_id(caller.request_id),
                arn: qualified_arn(&named.id, named.qualifier.as_deref()),
                entry,
                payload,
                client_context,
                trace_header: trace_header.clone(),
                attempt: 1,
                tail,
            };
            let answered = parts.invoker.run(run).await.map_err(|error| of_not_run(&error))?;
            show_answer(&named, answered, &mut shape)?;
        }
    }
    Ok(Answer { headers: vec![(TRACE_HEADER, trace_header)], ..answer(Output::Invoke(shape)) })
}

/// `InvokeAsync`, the older form of an event invocation.
pub(crate) async fn invoke_async(
    parts: &ServicesParts,
    caller: &Caller,
    request: shapes::InvokeAsyncRequest,
) -> Result<Answer, Error> {
    let named = named(caller, access::INVOKE_FUNCTION, &request.function_name, None)?;
    let payload = check_payload(Some(request.invoke_args), EVENT_BYTES_MAX, event_too_large)?;
    find(parts, &named)?;
    let trace_header = trace_header(caller, parts.clock.now());
    accept(parts, caller, named, payload, trace_header).await?;
    Ok(answer(Output::InvokeAsync(shapes::InvokeAsyncResponse { status: Some(202) })))
}

fn find(parts: &ServicesParts, named: &Named) -> Result<std::sync::Arc<::functions::Entry>, Error> {
    let snapshot = parts.catalogue.snapshot();
    let found = resolve::resolve(&snapshot, &named.id, named.qualifier.as_deref());
    found.and_then(|entry| resolve::admit_state(&entry).map(|()| entry)).map_err(|unresolved| match unresolved {
        Unresolved::NotFound(arn) => not_found(&arn),
        Unresolved::Pending => errors::resource_conflict(
            "The operation cannot be performed at this time. The function is currently in the following state: Pending",
        ),
        Unresolved::Failed { reason, .. } => errors::invalid_runtime(reason),
    })
}

async fn accept(
    parts: &ServicesParts,
    caller: &Caller,
    named: Named,
    payload: Bytes,
    trace_header: String,
) -> Result<(), Error> {
    let function = named.id.clone();
    let event = NewEvent {
        id: invocation_id(caller.request_id),
        function: named.id,
        qualifier: named.qualifier,
        payload,
        client_context: None,
        trace_header,
    };
    parts.events.accept(event).await.map_err(|error| platform(&function, &Chain(&error).to_string()))
}

fn show_answer(named: &Named, answered: Answered, shape: &mut shapes::InvocationResponse) -> Result<(), Error> {
    shape.status_code = Some(200);
    shape.executed_version = Some(LATEST.to_owned());
    shape.log_result = answered.log_tail.map(|tail| STANDARD.encode(tail));
    match answered.outcome {
        Outcome::Success(payload) => shape.payload = Some(payload),
        Outcome::FunctionError(error) => {
            shape.function_error = Some("Unhandled".to_owned());
            shape.payload = Some(error.payload);
        }
        Outcome::PlatformFailure(reason) => return Err(platform(&named.id, &reason)),
    }
    Ok(())
}

fn of_not_run(error: &NotRun) -> Error {
    match error {
        NotRun::QueueFull | NotRun::WaitedTooLong => errors::too_many_requests("Rate Exceeded.")
            .with("Reason", "ConcurrentInvocationLimitExceeded")
            .with("retryAfterSeconds", "1"),
        NotRun::NeverFits => errors::service(
            "The function's MemorySize is more than this platform may use for instances. Lower it, or raise the \
             platform's memory limit.",
        ),
        NotRun::Stopping => Common::Unavailable.error("The platform is stopping. Try again in a moment."),
    }
}

/// A payload is JSON, whatever clients that do not care call it; only what is surely something else is refused.
fn check_content_type(content_type: Option<&str>) -> Result<(), Error> {
    let Some(content_type) = content_type else { return Ok(()) };
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let foreign = ["application/xml", "text/xml", "text/html", "multipart/", "image/", "audio/", "video/"];
    if foreign.iter().any(|prefix| essence.starts_with(prefix)) {
        return Err(errors::unsupported_media_type(format!(
            "The content type of the Invoke request body is not JSON: {essence}"
        )));
    }
    Ok(())
}

fn invocation_id(request: RequestId) -> InvocationId {
    InvocationId::from_random(*request.as_bytes())
}

/// An absent payload is an empty object, as in Lambda; anything else must be one JSON document.
fn check_payload(payload: Option<Bytes>, limit: usize, too_large: fn(usize) -> String) -> Result<Bytes, Error> {
    let payload = payload.filter(|payload| !payload.is_empty()).unwrap_or_else(|| Bytes::from_static(b"{}"));
    if payload.len() > limit {
        return Err(errors::request_too_large(too_large(payload.len())));
    }
    let text = std::str::from_utf8(&payload);
    let text = text.map_err(|error| not_json(&error.to_string()))?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| not_json(&error.to_string()))?;
    Ok(payload)
}

fn request_too_large(_: usize) -> String {
    format!("Request must be smaller than {PAYLOAD_BYTES_MAX} bytes for the InvokeFunction operation")
}

fn event_too_large(bytes: usize) -> String {
    format!("{bytes} byte payload is too large for the Event invocation type (limit {EVENT_BYTES_MAX} bytes)")
}

fn not_json(reason: &str) -> Error {
    errors::invalid_request_content(format!(
        "Could not parse request body into json: Could not parse payload into json: {reason}"
    ))
}

fn read_client_context(header: &str) -> Result<String, Error> {
    let bad = || errors::invalid_request_content("Client context must be a valid Base64-encoded JSON object.");
    if header.len() > CLIENT_CONTEXT_BYTES_MAX {
        return Err(errors::invalid_request_content(format!(
            "Client context must be no more than {CLIENT_CONTEXT_BYTES_MAX} bytes."
        )));
    }
    let text = String::from_utf8(STANDARD.decode(header).map_err(|_| bad())?).map_err(|_| bad())?;
    let document: serde_json::Value = serde_json::from_str(&text).map_err(|_| bad())?;
    if document.is_object() { Ok(text) } else { Err(bad()) }
}

/// The caller's trace goes on; a request without one begins a trace of its own (X-Ray developer guide, "tracing header").
fn trace_header(caller: &Caller, now: Timestamp) -> String {
    let usable =
        |header: &&String| header.len() <= TRACE_BYTES_MAX && header.bytes().all(|b| (b' '..=b'~').contains(&b));
    if let Some(header) = caller.trace_header.as_ref().filter(usable) {
        return header.clone();
    }
    let hex: String = caller.request_id.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("Root=1-{:08x}-{};Parent={};Sampled=0", now.as_secs(), &hex[..24], &hex[16..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(payload: &str, limit: usize, expected: Result<&str, &str>) {
        let result = check_payload(Some(Bytes::copy_from_slice(payload.as_bytes())), limit, event_too_large);
        match (result, expected) {
            (Ok(payload), Ok(expected)) => assert_eq!(payload, expected),
            (Err(error), Err(text)) => assert!(error.to_string().starts_with(text), "{error}"),
            (result, _) => panic!("{payload:?}: {result:?}"),
        }
    }

    #[test]
    fn payloads_are_json_within_their_limit() {
        check("", 10, Ok("{}"));
        check("null", 10, Ok("null"));
        check("[1,2]", 5, Ok("[1,2]"));
        check(
            "[1,2] ",
            5,
            Err(
                "RequestTooLargeException: 6 byte payload is too large for the Event invocation type (limit 1048576 bytes)",
            ),
        );
        let not_json = "InvalidRequestContentException: Could not parse request body into json: Could not parse payload into json: ";
        check("{", 10, Err(&format!("{not_json}EOF while parsing")));
        check("1 2", 10, Err(not_json));
        check(&"[".repeat(100_000), 1 << 20, Err(not_json));
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        check(&deep, 1 << 20, Ok(&deep));
    }
}

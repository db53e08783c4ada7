//! Which operation of which service a request asks for, before anything of its body is understood.

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};

use crate::error::{Common, Error};
use crate::operation::{Operation, Protocol, Service, ServiceInfo, services};
use crate::percent::{decode, form_pairs, raw_pairs};
use crate::request::Parts;
use crate::template;

/// A request whose operation is known and served.
#[derive(Debug, Clone)]
pub struct Route {
    /// Whose operation.
    pub service: Service,
    /// How request and answer look; a service may speak more than one.
    pub protocol: Protocol,
    /// Which operation.
    pub operation: &'static Operation,
    /// What the path says, decoded: (name in the model, value).
    pub labels: Vec<(&'static str, String)>,
}

/// Finds the operation. The service is told by the scope of the signature, then `X-Amz-Target`, then the host, then the path, and for
/// unsigned forms by `Action` and `Version`.
///
/// Errors: 501 with the name for an operation that AWS has and Pinfold does not serve, each protocol's own error for one that does not
/// exist. Answer them in the protocol that [`protocol`] tells.
pub fn route(parts: &Parts<'_>, body: &[u8]) -> Result<Route, Error> {
    if is_cbor(parts) {
        let service = scope_service(parts).unwrap_or_else(|| "The request".to_owned());
        return Err(Common::NotImplemented.error(format!(
            "{} {} is in the protocol rpc-v2-cbor, which Pinfold does not speak. Set the client to a JSON protocol.",
            clip(&service),
            asked(parts, body)
        )));
    }
    let (info, protocol) = identify(parts, body)?;
    match protocol {
        Protocol::RestJson | Protocol::RestXml => route_rest(info, protocol, parts),
        Protocol::Json10 | Protocol::Json11 => {
            let target = parts.header("x-amz-target").unwrap_or_default();
            let name =
                target.strip_prefix(info.target_prefix).and_then(|rest| rest.strip_prefix('.')).unwrap_or_default();
            let unknown = || match target {
                "" => {
                    Common::UnknownOperation.error(format!("The request to {} has no X-Amz-Target header.", info.title))
                }
                _ => Common::UnknownOperation.error(format!("{} has no operation {target}.", info.title)),
            };
            named(info, protocol, name).unwrap_or_else(|| Err(unknown()))
        }
        Protocol::Query => {
            let name = action(parts, body).map(|(action, _)| action).unwrap_or_default();
            let unknown = || match name.as_str() {
                "" => "The request has no parameter Action.".to_owned(),
                _ => format!("Could not find operation {name} for version {}", info.api_version),
            };
            named(info, protocol, &name).unwrap_or_else(|| Err(Common::UnknownOperation.error(unknown())))
        }
        // No service that has a model speaks them, so no request is identified as one of theirs.
        Protocol::Ec2 | Protocol::Cbor => Err(not_served(info, &asked(parts, body))),
    }
}

/// The protocol in which to answer a request, known even where [`route`] or the check of its signature fails.
pub fn protocol(parts: &Parts<'_>, body: &[u8]) -> Protocol {
    if is_cbor(parts) {
        return Protocol::Cbor;
    }
    if let Ok((_, protocol)) = identify(parts, body) {
        return protocol;
    }
    match scope_service(parts).as_deref() {
        Some("ec2") => return Protocol::Ec2,
        // In rest-xml only S3 leaves out what query puts around an error.
        Some("route53" | "cloudfront") => return Protocol::Query,
        _ => {}
    }
    let content_type = parts.headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    if content_type.starts_with(b"application/x-amz-json-1.0") {
        Protocol::Json10
    } else if parts.headers.contains_key("x-amz-target") {
        Protocol::Json11
    } else if action(parts, body).is_some() {
        Protocol::Query
    } else {
        Protocol::RestJson
    }
}

fn named(info: &'static ServiceInfo, protocol: Protocol, name: &str) -> Option<Result<Route, Error>> {
    let index = info.operations.binary_search_by_key(&name, |operation| operation.name).ok()?;
    let operation = &info.operations[index];
    Some(if operation.served {
        Ok(Route { service: info.service, protocol, operation, labels: Vec::new() })
    } else {
        Err(not_served(info, operation.name))
    })
}

fn route_rest(info: &'static ServiceInfo, protocol: Protocol, parts: &Parts<'_>) -> Result<Route, Error> {
    let found = template::find(info.operations, parts);
    match &found[..] {
        [] => Err(Common::UnknownOperation.error(format!(
            "{} has no operation {} {}.",
            info.title,
            parts.method,
            shown(parts)
        ))),
        [only] if only.operation.served => {
            let labels = only.labels.iter().map(|(name, raw)| (*name, decode(raw, false).into_owned())).collect();
            Ok(Route { service: info.service, protocol, operation: only.operation, labels })
        }
        several => {
            let names: Vec<&str> = several.iter().map(|found| found.operation.name).collect();
            Err(not_served(info, &names.join(" or ")))
        }
    }
}

/// Characters of a path or a name that a message repeats.
const CLIP_CHARS: usize = 200;

fn clip(text: &str) -> String {
    text.chars().take(CLIP_CHARS).collect()
}

fn shown(parts: &Parts<'_>) -> String {
    clip(parts.path)
}

fn is_cbor(parts: &Parts<'_>) -> bool {
    parts.headers.contains_key("smithy-protocol")
}

/// The operation by the name that the request gives it, whichever service knows it; else method and path.
fn asked(parts: &Parts<'_>, body: &[u8]) -> String {
    let target = parts.header("x-amz-target").and_then(|target| target.rsplit('.').next());
    let path = is_cbor(parts).then(|| parts.path.rsplit_once("/operation/")).flatten().map(|(_, name)| name);
    match target.or(path).filter(|name| !name.is_empty()) {
        Some(name) => clip(name),
        None => match action(parts, body) {
            Some((name, _)) if !name.is_empty() => clip(&name),
            _ => format!("{} {}", parts.method, shown(parts)),
        },
    }
}

fn not_served(info: &ServiceInfo, name: &str) -> Error {
    Common::NotImplemented.error(format!(
        "{} {name} is not served by this version of Pinfold. SPECIFICATION.md lists the operations that are; leave this call out or send \
         it to another endpoint.",
        info.title
    ))
}

/// The service, and the protocol that this request to it is in.
fn identify(parts: &Parts<'_>, body: &[u8]) -> Result<(&'static ServiceInfo, Protocol), Error> {
    let scope = scope_service(parts);
    if let Some(scope) = &scope {
        let scope = if scope == "s3express" { "s3" } else { scope };
        let candidates: Vec<_> = services().filter(|info| info.signing_name == scope).collect();
        if candidates.is_empty() {
            return Err(Common::NotImplemented.error(format!(
                "{scope} {} is not served: Pinfold has no service whose requests are signed as {scope:?}. Leave this call out or send it \
                 to another endpoint.",
                asked(parts, body),
                scope = clip(scope),
            )));
        }
        return Ok(choose(&candidates, parts, body));
    }
    if let Some(target) = parts.header("x-amz-target")
        && let Some(info) = services().find(|info| is_target_of(info, target))
    {
        return Ok((info, info.protocol));
    }
    let candidates: Vec<_> = services().filter(|info| is_host_of(info, parts)).collect();
    if !candidates.is_empty() {
        return Ok(choose(&candidates, parts, body));
    }
    // Everything is a path of S3, so it does not take part.
    let mut by_path = services().filter(|info| info.protocol == Protocol::RestJson);
    if let Some(info) = by_path.find(|info| !template::find(info.operations, parts).is_empty()) {
        return Ok((info, info.protocol));
    }
    if let Some((action, version)) = action(parts, body) {
        let knows = |info: &&ServiceInfo| info.operations.binary_search_by_key(&action.as_str(), |o| o.name).is_ok();
        let mut queries = services().filter(|info| info.protocol == Protocol::Query || info.query_compatible);
        if let Some(info) = queries.find(|info| version.as_deref().is_none_or(|v| v == info.api_version) && knows(info))
        {
            return Ok((info, Protocol::Query));
        }
    }
    Err(Common::UnknownOperation.error(format!("No service has an operation {} {}.", parts.method, shown(parts))))
}

/// Which of the services that share a signing name or a host is meant.
fn choose(candidates: &[&'static ServiceInfo], parts: &Parts<'_>, body: &[u8]) -> (&'static ServiceInfo, Protocol) {
    if let Some(target) = parts.header("x-amz-target")
        && let Some(info) = candidates.iter().find(|info| is_target_of(info, target))
    {
        return (info, info.protocol);
    }
    if let [only] = candidates
        && only.protocol.is_rest()
    {
        return (only, only.protocol);
    }
    if let Some(info) =
        candidates.iter().find(|i| i.protocol.is_rest() && !template::find(i.operations, parts).is_empty())
    {
        return (info, info.protocol);
    }
    if action(parts, body).is_some()
        && let Some(info) = candidates.iter().find(|info| info.protocol == Protocol::Query || info.query_compatible)
    {
        return (info, Protocol::Query);
    }
    (candidates[0], candidates[0].protocol)
}

fn is_target_of(info: &ServiceInfo, target: &str) -> bool {
    let prefix = info.target_prefix;
    !prefix.is_empty() && target.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'))
}

/// `lambda.eu-central-1.amazonaws.com`, `lambda.localhost:4566`; never an address or a bare name.
fn is_host_of(info: &ServiceInfo, parts: &Parts<'_>) -> bool {
    let host = parts.header(HOST.as_str()).unwrap_or_default();
    host.strip_prefix(info.endpoint_prefix).is_some_and(|rest| rest.starts_with('.') && rest.len() > 1)
}

/// The service in the scope of the signature, from the header or from a presigned query. The signature itself is checked elsewhere.
fn scope_service(parts: &Parts<'_>) -> Option<String> {
    let credential = match parts.header(AUTHORIZATION.as_str()) {
        Some(header) => {
            let rest = &header[header.find("Credential=")? + "Credential=".len()..];
            rest.split([',', ' ']).next()?.to_owned()
        }
        None => raw_pairs(parts.query)
            .find(|(name, _)| *name == "X-Amz-Credential")
            .map(|(_, value)| decode(value, true).into_owned())?,
    };
    // Key ids have no slash, but count from the end anyway: the scope is always the last four parts.
    let mut parts = credential.rsplit('/');
    parts.next().filter(|term| *term == "aws4_request")?;
    parts.next().filter(|service| !service.is_empty()).map(str::to_owned)
}

/// `Action` and `Version` of a query request.
fn action(parts: &Parts<'_>, body: &[u8]) -> Option<(String, Option<String>)> {
    let content_type = parts.headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let is_form = content_type.to_ascii_lowercase().starts_with(b"application/x-www-form-urlencoded");
    let body = if is_form { std::str::from_utf8(body).unwrap_or_default() } else { "" };
    let (mut action, mut version) = (None, None);
    for (name, value) in [parts.query, body].into_iter().flat_map(raw_pairs) {
        match name {
            "Action" => action = Some(decode(value, true).into_owned()),
            "Version" => version = Some(decode(value, true).into_owned()),
            _ => {}
        }
    }
    Some((action?, version))
}

/// Whether the query names this parameter.
pub(crate) fn has_parameter(query: &str, name: &str, value: Option<&str>) -> bool {
    form_pairs(query).iter().any(|(key, found)| key == name && value.is_none_or(|value| value == found))
}

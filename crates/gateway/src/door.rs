//! Which door a request came through decides what it may ask: trust belongs to a listener, never to a peer's address.

use http::{HeaderMap, Uri, header};
use model::ids::FunctionId;

/// Whether the host's own listener believes callers without checking their signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Every request is verified.
    Verify,
    /// Any key is accepted; only on a loopback listener.
    Loopback,
}

/// Where a connection came in.
#[derive(Debug, Clone)]
pub enum Door {
    /// The platform's listener.
    Host(Trust),
    /// A guest's SDK connection: always verified, and nothing but the AWS API behind it.
    Guest(FunctionId),
}

impl Door {
    pub(crate) fn trust(&self) -> Trust {
        match self {
            Self::Host(trust) => *trust,
            Self::Guest(_) => Trust::Verify,
        }
    }

    pub(crate) fn is_guest(&self) -> bool {
        matches!(self, Self::Guest(_))
    }
}

/// Why a request is turned away from a trusting door: a browser could have been made to send it.
pub(crate) fn refuse_foreign(headers: &HeaderMap, uri: &Uri) -> Option<&'static str> {
    if headers.contains_key(header::ORIGIN) {
        return Some(
            "A request with an Origin header is refused while --trust-loopback is on: it comes from a web page.",
        );
    }
    let host =
        headers.get(header::HOST).and_then(|host| host.to_str().ok()).or_else(|| uri.authority().map(|it| it.as_str()));
    match host {
        Some(host) if is_loopback_host(host) => None,
        _ => Some(
            "The Host header does not name this machine's loopback, which is required while --trust-loopback is on.",
        ),
    }
}

/// `localhost`, a name below it, or a loopback address, with or without a port.
fn is_loopback_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    };
    if let Ok(address) = name.parse::<std::net::IpAddr>() {
        return address.is_loopback();
    }
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: Option<&str>, origin: bool, refused: bool) {
        let mut headers = HeaderMap::new();
        if let Some(host) = host {
            headers.insert(header::HOST, host.parse().expect("a header value"));
        }
        if origin {
            headers.insert(header::ORIGIN, "null".parse().expect("a header value"));
        }
        assert_eq!(refuse_foreign(&headers, &Uri::from_static("/")).is_some(), refused, "{host:?} {origin}");
    }

    #[test]
    fn a_trusting_door_hears_only_its_own_machine() {
        for host in
            ["localhost", "localhost:4566", "127.0.0.1:4566", "127.8.8.8", "[::1]:4566", "x.localhost", "LOCALHOST"]
        {
            check(Some(host), false, false);
            check(Some(host), true, true);
        }
        for host in
            ["evil.example", "evil.example:4566", "127.0.0.1.evil.example", "10.0.0.1", "localhost.evil.example", ""]
        {
            check(Some(host), false, true);
        }
        check(None, false, true);
    }
}

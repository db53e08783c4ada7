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
    // An image or a form of a page sends no Origin, but browsers say from where it was asked for.
    let sites = headers.get_all("sec-fetch-site");
    if sites.iter().any(|site| !matches!(site.as_bytes(), b"none" | b"same-origin")) {
        return Some(
            "A request with Sec-Fetch-Site of another site is refused while --trust-loopback is on: it comes from a web page.",
        );
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Some("Exactly one Host header is required while --trust-loopback is on.");
    };
    // A whole URI in the request line outranks the header (RFC 9112, section 3.2.2).
    let named = [host.to_str().ok(), uri.authority().map_or(Some("localhost"), |authority| Some(authority.as_str()))];
    if named.iter().all(|host| host.is_some_and(is_loopback_host)) {
        return None;
    }
    Some("The Host header does not name this machine's loopback, which is required while --trust-loopback is on.")
}

/// `localhost`, a name below it, or a loopback address, with or without a port.
fn is_loopback_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').unwrap_or((rest, "no end")),
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    if !(port.is_empty() || port.strip_prefix(':').is_some_and(is_port)) {
        return false;
    }
    if let Ok(address) = name.parse::<std::net::IpAddr>() {
        return address.is_loopback();
    }
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(uri: &'static str, headers: &[(&'static str, &str)], refused: bool) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a header value"));
        }
        assert_eq!(refuse_foreign(&map, &Uri::from_static(uri)).is_some(), refused, "{uri} {headers:?}");
    }

    #[test]
    fn a_trusting_door_hears_only_its_own_machine() {
        for host in [
            "localhost",
            "localhost:4566",
            "127.0.0.1:4566",
            "127.8.8.8",
            "[::1]",
            "[::1]:4566",
            "x.localhost",
            "LOCALHOST",
        ] {
            check("/", &[("host", host)], false);
            check("/", &[("host", host), ("origin", "null")], true);
        }
        for host in [
            "evil.example",
            "evil.example:4566",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "localhost.evil.example",
            "[::1].evil.example",
            "[::1]evil.example:4566",
            "[::1",
            "localhost:4566.evil.example",
            "",
        ] {
            check("/", &[("host", host)], true);
        }
    }

    #[test]
    fn a_trusting_door_hears_one_host_and_only_one() {
        check("/", &[], true);
        check("/", &[("host", "localhost"), ("host", "localhost")], true);
        check("/", &[("host", "localhost"), ("host", "evil.example")], true);
        check("http://localhost:4566/", &[("host", "localhost:4566")], false);
        check("http://evil.example/", &[("host", "localhost")], true);
        check("http://localhost/", &[("host", "evil.example")], true);
    }

    #[test]
    fn what_a_page_makes_a_browser_fetch_is_refused_without_an_origin_too() {
        for (site, refused) in [("none", false), ("same-origin", false), ("same-site", true), ("cross-site", true)] {
            check("/", &[("host", "localhost"), ("sec-fetch-site", site)], refused);
        }
        check("/", &[("host", "localhost"), ("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")], true);
    }
}

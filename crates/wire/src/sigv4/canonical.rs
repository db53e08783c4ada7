//! The canonical form of a request and the string to sign.

use base::time::Timestamp;

use super::{ALGORITHM, hex, sha256};
use crate::percent::{decode_bytes, encode_into, raw_pairs};
use crate::request::Parts;

/// How the path enters the signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Dot segments and empty segments removed, then encoded once more: every service but S3.
    Normalized,
    /// Encoded once more as it stands; nobody signs so, but the public vectors have it.
    #[cfg(test)]
    Raw,
    /// Decoded and encoded once, nothing removed: S3.
    PlainPath,
}

/// The canonical request, six lines and more.
pub(super) fn request(parts: &Parts<'_>, signed_headers: &[&str], payload_hash: &str, style: Style) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.push(b'\n');
    path(&mut out, parts.path, style);
    out.push(b'\n');
    query(&mut out, parts.query);
    out.push(b'\n');
    for name in signed_headers {
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        for (index, value) in parts.headers.get_all(*name).iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            header_value(&mut out, value.as_bytes());
        }
        out.push(b'\n');
    }
    out.push(b'\n');
    for (index, name) in signed_headers.iter().enumerate() {
        if index > 0 {
            out.push(b';');
        }
        out.extend_from_slice(name.as_bytes());
    }
    out.push(b'\n');
    out.extend_from_slice(payload_hash.as_bytes());
    out
}

/// What the signature is made of: algorithm, time in the basic form, scope, hash of the canonical request.
pub(super) fn string_to_sign(at: &str, scope: &str, canonical_request: &[u8]) -> String {
    format!("{ALGORITHM}\n{at}\n{scope}\n{}", hex(&sha256(canonical_request)))
}

/// `20261122T150405Z`.
pub(super) fn basic_time(at: Timestamp) -> String {
    at.format("%Y%m%dT%H%M%SZ")
}

fn path(out: &mut Vec<u8>, path: &str, style: Style) {
    let path = if path.is_empty() { "/" } else { path };
    match style {
        Style::Normalized => {
            let mut segments = Vec::new();
            for segment in path.split('/') {
                match segment {
                    "" | "." => {}
                    ".." => {
                        segments.pop();
                    }
                    _ => segments.push(segment),
                }
            }
            for segment in &segments {
                out.push(b'/');
                encode_into(out, segment.as_bytes(), b'/');
            }
            // A dot segment at the end stands for a folder too (RFC 3986, 5.2.4).
            if segments.is_empty() || ["/", "/.", "/.."].iter().any(|end| path.ends_with(end)) {
                out.push(b'/');
            }
        }
        #[cfg(test)]
        Style::Raw => encode_into(out, path.as_bytes(), b'/'),
        Style::PlainPath => encode_into(out, &decode_bytes(path, false), b'/'),
    }
}

fn query(out: &mut Vec<u8>, query: &str) {
    if query.is_empty() {
        return;
    }
    let encoded = |text: &str| {
        let mut out = Vec::with_capacity(text.len());
        encode_into(&mut out, &decode_bytes(text, true), b'-');
        out
    };
    let mut pairs: Vec<_> = raw_pairs(query).map(|(name, value)| (encoded(name), encoded(value))).collect();
    pairs.sort();
    for (index, (name, value)) in pairs.iter().enumerate() {
        if index > 0 {
            out.push(b'&');
        }
        out.extend_from_slice(name);
        out.push(b'=');
        out.extend_from_slice(value);
    }
}

/// Without space around it, and with one space for each run of them.
fn header_value(out: &mut Vec<u8>, value: &[u8]) {
    let mut words = value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    if let Some(first) = words.next() {
        out.extend_from_slice(first);
    }
    for word in words {
        out.push(b' ');
        out.extend_from_slice(word);
    }
}

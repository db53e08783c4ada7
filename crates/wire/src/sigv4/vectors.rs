//! The public signing vectors, through the verifier and through the signer.

use std::fs;
use std::path::{Path, PathBuf};

use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, HeaderValue, Method};
use serde_json::Value;

use super::canonical::{Style, basic_time, request, string_to_sign};
use super::*;

/// One request of the vectors, parsed from its text.
struct Sample {
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Sample {
    fn read(path: &Path) -> Self {
        let text = fs::read(path).expect("a request");
        let split = text.windows(2).position(|pair| pair == b"\n\n");
        let (head, body) = split.map_or((&text[..], &b""[..]), |at| (&text[..at], &text[at + 2..]));
        let head = String::from_utf8(head.to_vec()).expect("UTF-8").replace('\r', "");
        // A line that starts with a space continues the one before.
        let head = head.trim_end().replace("\n ", " ");
        let mut lines = head.lines();
        let first = lines.next().expect("a request line").strip_suffix(" HTTP/1.1").expect("HTTP/1.1");
        let (method, uri) = first.split_once(' ').expect("a method");
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(':').expect("a header");
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            headers.append(name, HeaderValue::from_bytes(value.trim().as_bytes()).expect("a value"));
        }
        Self {
            method: method.parse().expect("a method"),
            path: path.to_owned(),
            query: query.to_owned(),
            headers,
            body: body.to_vec(),
        }
    }

    fn parts(&self) -> Parts<'_> {
        Parts { method: &self.method, path: &self.path, query: &self.query, headers: &self.headers }
    }
}

fn cases() -> Vec<(PathBuf, Value)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/conformance/sigv4/v4");
    let mut cases = Vec::new();
    for entry in fs::read_dir(root).expect("the vectors") {
        let path = entry.expect("an entry").path();
        let context = fs::read_to_string(path.join("context.json")).expect("a context");
        cases.push((path, serde_json::from_str(&context).expect("JSON")));
    }
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(cases.len(), 38);
    cases
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_440_938_160_000)
}

fn text(path: &Path, name: &str) -> String {
    fs::read_to_string(path.join(name)).expect("a file of the case").replace('\r', "")
}

#[test]
fn every_vector_has_its_canonical_request_and_string_to_sign() {
    for (path, context) in cases() {
        let signed = Sample::read(&path.join("header-signed-request.txt"));
        let parts = signed.parts();
        let header = parts.header(AUTHORIZATION.as_str()).expect("signed");
        let authorization = Authorization::parse(header, true).expect("well-formed");
        let style = if context["normalize"] == Value::Bool(true) { Style::Normalized } else { Style::Raw };
        let hash = payload_hash(&parts, BodyHash::Of(&signed.body)).expect("a whole body");
        let canonical = request(&parts, &authorization.signed_headers, &hash, style);
        assert_eq!(
            String::from_utf8_lossy(&canonical),
            text(&path, "header-canonical-request.txt"),
            "{}",
            path.display()
        );
        let to_sign = string_to_sign(&basic_time(now()), authorization.scope(), &canonical);
        assert_eq!(to_sign, text(&path, "header-string-to-sign.txt"), "{}", path.display());
        assert_eq!(hex(&authorization.signature), text(&path, "header-signature.txt").trim(), "{}", path.display());
    }
}

#[test]
fn every_vector_is_accepted_once_and_refused_when_changed() {
    for (path, context) in cases() {
        if context["normalize"] == Value::Bool(false) {
            continue;
        }
        let mut sample = Sample::read(&path.join("header-signed-request.txt"));
        let secret = context["credentials"]["secret_access_key"].as_str().expect("a secret").to_owned();
        let check = |sample: &Sample| {
            let lookup = |_: &str, _: Option<&str>| Ok(Zeroizing::new(secret.clone()));
            verify(&sample.parts(), BodyHash::Of(&sample.body), now(), lookup, &SigningKeys::new())
        };
        let signed = check(&sample).unwrap_or_else(|refusal| panic!("{}: {refusal}", path.display()));
        assert_eq!((&*signed.access_key_id, &*signed.region), ("AKIDEXAMPLE", "us-east-1"));
        assert_eq!(signed.session_token.as_deref(), context["credentials"]["token"].as_str());

        sample.body.push(b'x');
        assert!(matches!(check(&sample), Err(Refusal::Mismatch | Refusal::BodyMismatch)), "{}: body", path.display());
        sample.body.pop();
        sample.query.push_str("&z=1");
        assert_eq!(check(&sample), Err(Refusal::Mismatch), "{}: query", path.display());
        sample.query.truncate(sample.query.len() - 4);
        sample.path.push('x');
        assert_eq!(check(&sample), Err(Refusal::Mismatch), "{}: path", path.display());
        sample.path.pop();
        sample.method = Method::DELETE;
        assert_eq!(check(&sample), Err(Refusal::Mismatch), "{}: method", path.display());
    }
}

#[test]
fn what_we_sign_is_what_we_accept() {
    for (path, _) in cases() {
        let mut sample = Sample::read(&path.join("request.txt"));
        let credentials = Credentials { access_key_id: "AKID", secret: "secret", session_token: Some("token") };
        let added = sign(&sample.parts(), BodyHash::Of(&sample.body), credentials, "eu-central-1", "lambda", now());
        for (name, value) in added {
            sample.headers.insert(name, value);
        }
        let lookup = |id: &str, token: Option<&str>| match (id, token) {
            ("AKID", Some("token")) => Ok(Zeroizing::new("secret".to_owned())),
            _ => Err(KeyProblem::Unknown),
        };
        let signed = verify(&sample.parts(), BodyHash::Of(&sample.body), now(), lookup, &SigningKeys::new());
        assert!(signed.is_ok(), "{}: {signed:?}", path.display());
    }
}

#[test]
fn a_signature_is_accepted_a_second_time_from_the_cache() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/conformance/sigv4/v4/get-vanilla/header-signed-request.txt");
    let sample = Sample::read(&path);
    let cache = SigningKeys::new();
    for secret in ["wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "another"] {
        let lookup = |_: &str, _: Option<&str>| Ok(Zeroizing::new(secret.to_owned()));
        let signed = verify(&sample.parts(), BodyHash::Of(b""), now(), lookup, &cache);
        assert_eq!(signed.is_ok(), secret != "another");
    }
}

#[test]
fn the_clock_may_differ_by_fifteen_minutes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/conformance/sigv4/v4/get-vanilla/header-signed-request.txt");
    let sample = Sample::read(&path);
    let check = |now: Timestamp| {
        let lookup =
            |_: &str, _: Option<&str>| Ok(Zeroizing::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned()));
        verify(&sample.parts(), BodyHash::Of(b""), now, lookup, &SigningKeys::new())
    };
    let (limit, beyond) = (SKEW_MAX, SKEW_MAX + Duration::from_secs(1));
    assert!(check(now().plus(limit)).is_ok());
    assert!(check(now().minus(limit)).is_ok());
    assert_eq!(
        check(now().plus(beyond)).expect_err("too old").to_string(),
        "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T125101Z - 15 min.)"
    );
    assert_eq!(
        check(now().minus(beyond)).expect_err("too new").to_string(),
        "Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z (20150830T122059Z + 15 min.)"
    );
    assert_eq!(basic_time(now()), "20150830T123600Z");
}

const MISMATCH: &str = "InvalidSignatureException: The request signature we calculated does not match the signature you provided. Check \
                        your AWS Secret Access Key and signing method. Consult the service documentation for details.";
const OTHER_BODY: &str =
    "InvalidSignatureException: The value of the header 'x-amz-content-sha256' is not the SHA-256 of the body.";

/// A signed request, changed in one way, and what is said about it.
#[track_caller]
fn refused(change: impl FnOnce(&mut Sample), expected: &str) {
    let mut sample = Sample {
        method: Method::POST,
        path: "/2015-03-31/functions/f/invocations".into(),
        query: String::new(),
        headers: HeaderMap::from_iter([(HOST, HeaderValue::from_static("127.0.0.1:4566"))]),
        body: b"{}".to_vec(),
    };
    let credentials = Credentials { access_key_id: "AKID", secret: "secret", session_token: None };
    for (name, value) in sign(&sample.parts(), BodyHash::Of(&sample.body), credentials, "r", "lambda", now()) {
        sample.headers.insert(name, value);
    }
    change(&mut sample);
    let lookup = |id: &str, token: Option<&str>| match (id, token) {
        ("AKID", None) => Ok(Zeroizing::new("secret".to_owned())),
        (_, Some("expired")) => Err(KeyProblem::Expired),
        _ => Err(KeyProblem::Unknown),
    };
    let refusal = verify(&sample.parts(), BodyHash::Of(&sample.body), now(), lookup, &SigningKeys::new());
    let error = Error::from(refusal.expect_err("refused"));
    assert_eq!(error.to_string(), expected);
    // Nothing but the body and the signature is left to see when the head is right.
    let needs_body = expected == MISMATCH || expected == OTHER_BODY;
    let head = verify_head(&sample.parts(), now(), |id, token| lookup(id, token).map(drop));
    let head = head.map_err(|refusal| Error::from(refusal).to_string());
    assert_eq!(head, if needs_body { Ok(()) } else { Err(expected.to_owned()) });
}

fn set(name: &'static str, value: &'static str) -> impl FnOnce(&mut Sample) {
    move |sample| {
        sample.headers.insert(name, HeaderValue::from_static(value));
    }
}

#[test]
fn refusals_say_what_is_wrong() {
    refused(
        |sample| {
            sample.headers.remove(AUTHORIZATION);
        },
        "MissingAuthenticationTokenException: Missing Authentication Token",
    );
    refused(
        |sample| {
            sample.headers.remove(AUTHORIZATION);
            sample.query = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=00".into();
        },
        "NotImplementedException: Presigned requests are not accepted yet: sign in the Authorization header.",
    );
    refused(
        |sample| {
            let value = sample.headers[AUTHORIZATION].clone();
            sample.headers.append(AUTHORIZATION, value);
        },
        "IncompleteSignatureException: The header 'Authorization' occurs more than once.",
    );
    refused(
        |sample| {
            sample.headers.append(HOST, HeaderValue::from_static("other"));
        },
        "IncompleteSignatureException: The header 'Host' occurs more than once.",
    );
    refused(set("host", "evil.example"), MISMATCH);
    refused(
        set("x-amz-invocation-type", "DryRun"),
        "InvalidSignatureException: 'x-amz-invocation-type' must be a 'SignedHeader' in the AWS Authorization header.",
    );
    refused(
        set("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        "NotImplementedException: The payload STREAMING-AWS4-HMAC-SHA256-PAYLOAD is not accepted yet: send the whole body with its \
         SHA-256, or UNSIGNED-PAYLOAD.",
    );
    refused(set("x-amz-content-sha256", "0000"), OTHER_BODY);
    // The hash is part of the signature, so an unsigned payload cannot be claimed afterwards.
    refused(set("x-amz-content-sha256", "UNSIGNED-PAYLOAD"), MISMATCH);
    refused(
        set("x-amz-date", "20150831T123600Z"),
        "IncompleteSignatureException: Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: \
         '20150830' != '20150831', from '20150831T123600Z'.",
    );
    refused(
        set("x-amz-security-token", "forged"),
        "UnrecognizedClientException: The security token included in the request is invalid.",
    );
    refused(
        set("x-amz-security-token", "expired"),
        "ExpiredTokenException: The security token included in the request is expired",
    );
    refused(|sample| sample.body = b"{ }".to_vec(), OTHER_BODY);
}

#[test]
fn an_unsigned_payload_is_accepted_if_signed_as_such() {
    let method = Method::PUT;
    let headers = HeaderMap::from_iter([
        (HOST, HeaderValue::from_static("h")),
        (HeaderName::from_static(X_AMZ_SHA256), HeaderValue::from_static(UNSIGNED_PAYLOAD)),
        (HeaderName::from_static(X_AMZ_DATE), HeaderValue::from_static("20150830T123600Z")),
    ]);
    let parts = Parts { method: &method, path: "/", query: "", headers: &headers };
    let names = ["host", X_AMZ_SHA256, X_AMZ_DATE];
    let scope = "20150830/r/lambda/aws4_request";
    let canonical = request(&parts, &names, UNSIGNED_PAYLOAD, Style::Normalized);
    let key = keys::derive("secret", "20150830", "r", "lambda");
    let signature = aws_lc_rs::hmac::sign(&key, string_to_sign(&basic_time(now()), scope, &canonical).as_bytes());
    let header = format!(
        "{ALGORITHM} Credential=AKID/{scope},SignedHeaders={},Signature={}",
        names.join(";"),
        hex(signature.as_ref())
    );
    let mut headers = headers.clone();
    headers.insert(AUTHORIZATION, header.parse().expect("visible"));
    let parts = Parts { headers: &headers, ..parts };
    let lookup = |_: &str, _: Option<&str>| Ok(Zeroizing::new("secret".to_owned()));
    assert!(verify(&parts, BodyHash::Of(b"anything"), now(), lookup, &SigningKeys::new()).is_ok());
}

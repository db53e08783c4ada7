//! Whatever the signer of AWS's own SDK for Rust signs, the verifier accepts, and nothing else.

use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use base::time::Timestamp;
use proptest::prelude::*;
use wire::sigv4::{BodyHash, Refusal, Signed, SigningKeys, verify};
use zeroize::Zeroizing;

use crate::sample::Sample;

const SIGNED_AT_SECS: u64 = 1_795_359_845;

fn sample() -> impl Strategy<Value = Sample> {
    let methods = proptest::sample::select(&["GET", "POST", "PUT", "DELETE"][..]);
    let path = "(/[a-zA-Z0-9._~:$@!*'(),;=-]{0,8}|/%[2-7][0-9A-F]|/\\.\\.?){0,5}";
    let query = "([a-zA-Z0-9_.~-]{1,5}(=([a-zA-Z0-9:/?_.~+-]|%[2-7][0-9A-F]){0,8})?&){0,4}";
    let headers = proptest::collection::vec(("(x-amz-|my-)[a-c]{1,3}", "[!-~]([ -~]{0,20}[!-~])?"), 0..4);
    (methods, path, query, headers, proptest::collection::vec(any::<u8>(), 0..40)).prop_map(
        |(method, path, query, headers, body)| {
            let path = if path.is_empty() { "/".to_owned() } else { path };
            let query = query.trim_end_matches('&').to_owned();
            let sample = Sample { path, query, ..Sample::new(method, "/") }.header("host", "127.0.0.1:4566").body(body);
            headers.into_iter().fold(sample, |sample, (name, value)| sample.header(&name, &value))
        },
    )
}

/// The sample with the headers that AWS's signer adds.
fn signed_by_aws(sample: &Sample, token: Option<&str>) -> Sample {
    let credentials = Credentials::new("AKIDORACLE", "secret/key+", token.map(str::to_owned), None, "test");
    let identity = credentials.into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region("eu-central-1")
        .name("lambda")
        .time(UNIX_EPOCH + Duration::from_secs(SIGNED_AT_SECS))
        .settings(SigningSettings::default())
        .build()
        .expect("complete");
    let uri = format!("http://127.0.0.1:4566{}?{}", sample.path, sample.query);
    let headers = sample.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("ASCII")));
    let request = SignableRequest::new(sample.method.as_str(), uri, headers, SignableBody::Bytes(&sample.body))
        .expect("a request");
    let (instructions, _) = sign(request, &parameters.into()).expect("signs").into_parts();
    let (added, _) = instructions.into_parts();
    added.iter().fold(sample.clone(), |sample, header| sample.header(header.name(), header.value()))
}

fn verified(sample: &Sample, secret: &str) -> Result<Signed, Refusal> {
    let now = Timestamp::from_millis(SIGNED_AT_SECS * 1000);
    let lookup = |_: &str, _: Option<&str>| Ok(Zeroizing::new(secret.to_owned()));
    verify(&sample.parts(), BodyHash::Of(&sample.body), now, lookup, &SigningKeys::new())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_the_sdk_signs_is_accepted(sample in sample(), token in proptest::option::of("[a-zA-Z0-9+/]{8}=")) {
        let signed = signed_by_aws(&sample, token.as_deref());
        let accepted = verified(&signed, "secret/key+");
        prop_assert!(accepted.is_ok(), "{signed:?}: {accepted:?}");
        prop_assert_eq!(accepted.ok().and_then(|signed| signed.session_token), token);
        prop_assert_eq!(verified(&signed, "secret/key"), Err(Refusal::Mismatch));
        let mut other = signed.clone();
        other.path.push_str("/x");
        prop_assert_eq!(verified(&other, "secret/key+"), Err(Refusal::Mismatch));
    }
}

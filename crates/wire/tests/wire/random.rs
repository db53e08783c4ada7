//! Whatever arrives, routing, reading, checking and answering end with a value.

use crate::sample::Sample;
use base::time::Timestamp;
use proptest::prelude::*;
use wire::sigv4::{BodyHash, KeyProblem, SigningKeys, verify};
use wire::{operations, protocol};

fn path() -> impl Strategy<Value = String> {
    let served: Vec<&'static str> = operations().filter(|o| o.served).map(|o| o.uri).collect();
    prop_oneof![
        "/[ -~]{0,60}",
        proptest::sample::select(served).prop_flat_map(|uri| {
            "[a-zA-Z0-9%:$._é-]{0,20}".prop_map(move |label| uri.replace("{FunctionName}", &label))
        }),
    ]
}

const MEMBERS: &[&str] =
    &["FunctionName", "Role", "Code", "logGroupName", "logStreamName", "logEvents", "Timeout", "Tags", "limit"];

const HEADERS: &[&str] = &[
    "host",
    "x-amz-target",
    "authorization",
    "x-amz-date",
    "x-amz-invocation-type",
    "content-type",
    "x-amz-content-sha256",
];

fn body() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<f64>().prop_map(serde_json::Value::from),
        ".{0,12}".prop_map(serde_json::Value::from),
    ];
    let json = leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
            proptest::collection::vec((proptest::sample::select(MEMBERS), inner), 0..6)
                .prop_map(|pairs| pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    });
    prop_oneof![
        3 => json.prop_map(|value| value.to_string().into_bytes()),
        1 => proptest::collection::vec(any::<u8>(), 0..80),
        1 => "(Action|Version|A\\.member\\.[0-9]{1,3}|[.=&]){0,6}[ -~]{0,20}".prop_map(String::into_bytes),
    ]
}

fn sample() -> impl Strategy<Value = Sample> {
    let values = prop_oneof![
        "[ -~]{0,40}",
        "Logs_20140328\\.(PutLogEvents|CreateLogGroup|FilterLogEvents|[A-Z]{1,3})",
        "AWS4-HMAC-SHA256 Credential=[a-z/0-9]{0,20}/(lambda|logs|sts|s3)/aws4_request,? ?SignedHeaders=[a-z;-]{0,9}, ?Signature=[0-9a-f]{64}",
        "2026112[0-9]T[0-9]{6}Z",
        Just("application/x-www-form-urlencoded".to_owned()),
    ];
    let methods = proptest::sample::select(&["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"][..]);
    let headers = proptest::collection::vec((proptest::sample::select(HEADERS), values), 0..5);
    (methods, path(), "[ -~]{0,40}", headers, body()).prop_map(|(method, path, query, headers, body)| {
        let sample = Sample { path, query, ..Sample::new(method, "/") }.body(body);
        headers.into_iter().fold(sample, |sample, (name, value)| sample.header(name, &value))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_arrives_makes_it_panic(sample in sample()) {
        let parts = sample.parts();
        let lookup = |_: &str, _: Option<&str>| Err(KeyProblem::Unknown);
        let refused = verify(&parts, BodyHash::Of(&sample.body), Timestamp::from_millis(1_795_359_845_000), lookup, &SigningKeys::new());
        prop_assert!(refused.is_err());
        if let Err(error) = sample.decode() {
            let protocol = protocol(&parts, &sample.body);
            let answer = error.respond(protocol, "id");
            prop_assert!(answer.status().as_u16() >= 400);
            if protocol == wire::Protocol::RestJson || protocol.is_json_rpc() {
                prop_assert!(serde_json::from_slice::<serde_json::Value>(answer.body()).is_ok());
            }
        }
    }
}

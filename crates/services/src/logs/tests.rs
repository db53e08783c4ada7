//! What the wire asks and what it is told: every exception once, and the shapes of the answers.

use std::sync::Arc;

use base::entropy::SystemEntropy;
use base::time::{Clock, ManualClock, Timestamp};
use logs::{Logs, LogsOptions};
use model::ids::AccountId;
use model::names::Region;
use serde_json::{Value, json};
use store::data_dir::{DataDir, DataDirOptions};
use store::segments::SegmentOptions;

/// Where the clock stands, in milliseconds since the Unix epoch.
const NOW_MS: u64 = 1_700_000_000_000;

struct World {
    logs: Arc<Logs>,
    _data_dir: DataDir,
    _folder: tempfile::TempDir,
}

impl World {
    async fn open() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data_dir = DataDir::open(folder.path(), DataDirOptions::default()).expect("a data directory");
        let logs = Logs::open(LogsOptions {
            store: data_dir.store(),
            segments: data_dir.segments("logs", SegmentOptions::default()).expect("segments"),
            clock: Arc::new(ManualClock::new(Timestamp::from_millis(NOW_MS))) as Arc<dyn Clock>,
            entropy: Arc::new(SystemEntropy),
            metrics: Arc::new(meter::Metrics::new()),
        });
        Self { logs: logs.await.expect("readable segments"), _data_dir: data_dir, _folder: folder }
    }

    /// Sends the operation as a client would, and returns the body of the answer.
    async fn call(&self, operation: &str, body: &Value) -> Value {
        let mut headers = http::HeaderMap::new();
        let target = format!("Logs_20140328.{operation}");
        headers.insert("x-amz-target", target.parse().expect("a header"));
        headers.insert("content-type", "application/x-amz-json-1.1".parse().expect("a header"));
        let method = http::Method::POST;
        let parts = wire::Parts { method: &method, path: "/", query: "", headers: &headers };
        let body = body.to_string().into_bytes();
        let route = wire::route(&parts, &body).expect("a route");
        let region = Region::parse("us-east-1").expect("a region");
        let answer = match wire::decode(&route, &parts, body.into()) {
            Ok(wire::Input::Logs(input)) => super::handle(&self.logs, AccountId::DEFAULT, &region, input).await,
            Ok(other) => panic!("{other:?} is no operation of logs"),
            Err(error) => Err(error),
        };
        let response = match answer {
            Ok(output) => wire::encode(wire::Output::Logs(output), &route, "request"),
            Err(error) => error.respond(route.protocol, "request"),
        };
        if response.body().is_empty() { Value::Null } else { serde_json::from_slice(response.body()).expect("JSON") }
    }

    /// `expected` is the whole body, or, as text, the exception: `Code: message`.
    async fn check(&self, operation: &str, body: Value, expected: Value) {
        let mut answer = self.call(operation, &body).await;
        if let (Value::String(_), Some(code)) = (&expected, answer.get("__type").and_then(Value::as_str)) {
            let code = code.rsplit('#').next().expect("a code");
            answer = json!(format!("{code}: {}", answer["message"].as_str().unwrap_or_default()));
        }
        assert_eq!(answer, expected, "{operation} {body}");
    }
}

#[tokio::test]
async fn every_exception_is_raised_once() {
    let world = World::open().await;
    let no_group = json!("ResourceNotFoundException: The specified log group does not exist.");
    let no_stream = json!("ResourceNotFoundException: The specified log stream does not exist.");
    let (group, stream) = (json!({"logGroupName": "g"}), json!({"logGroupName": "g", "logStreamName": "s"}));
    let event = |message: &str| json!([{"timestamp": NOW_MS, "message": message}]);
    let put = |stream: &str| json!({"logGroupName": "g", "logStreamName": stream, "logEvents": event("m")});
    world.check("DeleteLogGroup", group.clone(), no_group.clone()).await;
    world.check("CreateLogStream", stream.clone(), no_group.clone()).await;
    world.check("DescribeLogStreams", group.clone(), no_group.clone()).await;
    world.check("PutLogEvents", put("s"), no_group.clone()).await;
    world.check("FilterLogEvents", group.clone(), no_group.clone()).await;
    world.check("GetLogEvents", stream.clone(), no_group.clone()).await;
    world.check("CreateLogGroup", group.clone(), Value::Null).await;
    let exists = json!("ResourceAlreadyExistsException: The specified log group already exists");
    world.check("CreateLogGroup", group.clone(), exists).await;
    world.check("DeleteLogStream", stream.clone(), no_stream.clone()).await;
    world.check("PutLogEvents", put("s"), no_stream.clone()).await;
    world.check("GetLogEvents", stream.clone(), no_stream.clone()).await;
    world.check("CreateLogStream", stream.clone(), Value::Null).await;
    let exists = json!("ResourceAlreadyExistsException: The specified log stream already exists");
    world.check("CreateLogStream", stream.clone(), exists).await;

    let invalid = |text: &str| json!(format!("InvalidParameterException: {text}"));
    let refusals = [
        (
            "CreateLogGroup",
            json!({"logGroupName": "k", "kmsKeyId": "arn"}),
            "kmsKeyId is not supported: log groups are not encrypted with keys of their own.",
        ),
        (
            "CreateLogGroup",
            json!({"logGroupName": "k", "deletionProtectionEnabled": true}),
            "deletionProtectionEnabled is not supported.",
        ),
        (
            "CreateLogGroup",
            json!({"logGroupName": "k", "logGroupClass": "DELIVERY"}),
            "logGroupClass DELIVERY is not supported.",
        ),
        (
            "CreateLogGroup",
            json!({"logGroupName": "aws/lambda/k"}),
            "Log groups starting with AWS/ are reserved for AWS.",
        ),
        ("DescribeLogStreams", json!({}), "Either logGroupName or logGroupIdentifier is required."),
        ("FilterLogEvents", json!({"logGroupName": "g", "filterPattern": "a:b"}), "Invalid character(s) in term ':'"),
        ("FilterLogEvents", json!({"logGroupName": "g", "nextToken": "x"}), "The specified nextToken is invalid."),
        (
            "FilterLogEvents",
            json!({"logGroupName": "g", "logStreamNames": ["s"], "logStreamNamePrefix": "s"}),
            "logStreamNames and logStreamNamePrefix cannot be given together.",
        ),
        (
            "FilterLogEvents",
            json!({"logGroupName": "g", "startFromHead": false}),
            "startFromHead=false is not supported: events are returned from the earliest on.",
        ),
        (
            "GetLogEvents",
            json!({"logGroupName": "g", "logStreamName": "s", "nextToken": "x"}),
            "The specified nextToken is invalid.",
        ),
    ];
    for (operation, body, text) in refusals {
        world.check(operation, body, invalid(text)).await;
    }
    let json_pattern = json!({"logGroupName": "g", "filterPattern": "{ $.level = \"error\" }"});
    let answer = world.call("FilterLogEvents", &json_pattern).await;
    let message = answer["message"].as_str().expect("a message");
    assert!(message.contains("not supported yet: JSON"), "{message}");
    world.logs.close().await;
}

#[tokio::test]
async fn answers_have_the_shapes_of_the_service() {
    let world = World::open().await;
    let arn = "arn:aws:logs:us-east-1:000000000000:log-group:/aws/lambda/f";
    let tags = json!({"logGroupName": "/aws/lambda/f", "tags": {"team": "blue"}});
    world.check("CreateLogGroup", tags, Value::Null).await;
    let stream = json!({"logGroupName": "/aws/lambda/f", "logStreamName": "s"});
    world.check("CreateLogStream", stream.clone(), Value::Null).await;
    let old = NOW_MS - 15 * 24 * 3600 * 1000;
    let put = |events: Value| json!({"logGroupName": "/aws/lambda/f", "logStreamName": "s", "logEvents": events, "sequenceToken": "old"});
    let token = json!({"nextSequenceToken": "0".repeat(56)});
    world.check("PutLogEvents", put(json!([{"timestamp": NOW_MS, "message": "one"}])), token).await;
    let rejected = json!({"nextSequenceToken": "0".repeat(56), "rejectedLogEventsInfo": {"tooOldLogEventEndIndex": 1}});
    world.check("PutLogEvents", put(json!([{"timestamp": old, "message": "old"}])), rejected).await;
    world
        .check(
            "DescribeLogGroups",
            json!({"logGroupNamePrefix": "/aws"}),
            json!({"logGroups": [{
                "arn": format!("{arn}:*"),
                "creationTime": NOW_MS,
                "logGroupArn": arn,
                "logGroupClass": "STANDARD",
                "logGroupName": "/aws/lambda/f",
                "metricFilterCount": 0,
                "storedBytes": 29,
            }]}),
        )
        .await;
    world
        .check(
            "DescribeLogStreams",
            json!({"logGroupIdentifier": arn, "orderBy": "LastEventTime", "descending": true}),
            json!({"logStreams": [{
                "arn": format!("{arn}:log-stream:s"),
                "creationTime": NOW_MS,
                "firstEventTimestamp": NOW_MS,
                "lastEventTimestamp": NOW_MS,
                "lastIngestionTime": NOW_MS,
                "logStreamName": "s",
                "storedBytes": 0,
            }]}),
        )
        .await;
    let found = world.call("FilterLogEvents", &json!({"logGroupIdentifier": arn})).await;
    let id = found["events"][0]["eventId"].as_str().expect("an id").to_owned();
    assert_eq!(id.len(), 56);
    let event = json!({"ingestionTime": NOW_MS, "message": "one", "timestamp": NOW_MS});
    let mut filtered = event.clone();
    filtered["eventId"] = json!(id);
    filtered["logStreamName"] = json!("s");
    assert_eq!(found, json!({"events": [filtered], "searchedLogStreams": []}));
    let got = world.call("GetLogEvents", &stream).await;
    assert_eq!(got["events"], json!([event]));
    for (field, start) in [("nextForwardToken", "f/"), ("nextBackwardToken", "b/")] {
        assert!(got[field].as_str().is_some_and(|token| token.starts_with(start)), "{got}");
    }
    world.logs.close().await;
}

/// `expected` is the group's name, or the exception's code.
fn check_name(name: Option<&str>, identifier: Option<&str>, expected: &str) {
    let home = logs::Home { account: AccountId::DEFAULT, region: Region::parse("us-east-1").expect("a region") };
    let found = super::named_group(&home, name.map(str::to_owned), identifier.map(str::to_owned));
    let found = found.map_or_else(|error| error.code.to_string(), |name| name.to_string());
    assert_eq!(found, expected, "{name:?} {identifier:?}");
}

#[test]
fn a_group_is_named_in_exactly_one_way() {
    let arn = "arn:aws:logs:us-east-1:000000000000:log-group:/aws/lambda/hello";
    check_name(Some("/aws/lambda/hello"), None, "/aws/lambda/hello");
    check_name(None, Some("/aws/lambda/hello"), "/aws/lambda/hello");
    check_name(None, Some(arn), "/aws/lambda/hello");
    check_name(None, Some(&format!("{arn}:*")), "/aws/lambda/hello");
    check_name(None, None, "InvalidParameterException");
    check_name(Some("a"), Some("a"), "InvalidParameterException");
    check_name(None, Some("arn:aws:s3:::bucket"), "InvalidParameterException");
    check_name(None, Some("arn:aws:logs:us-east-1:000000000000:log-group:a b"), "InvalidParameterException");
    check_name(None, Some("arn:aws:logs:eu-west-1:000000000000:log-group:a"), "ResourceNotFoundException");
    check_name(None, Some("arn:aws:logs:us-east-1:111111111111:log-group:a"), "ResourceNotFoundException");
}

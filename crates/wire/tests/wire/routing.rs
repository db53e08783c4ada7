//! Every operation of every model is told apart; those that are not served are answered with 501 and their name.

use crate::sample::Sample;
use wire::{Operation, Protocol, operations, protocol};

/// A request for an operation, as the model describes it: labels filled in, what it requires present.
fn request_for(operation: &Operation) -> Sample {
    let info = operation.service.info();
    match info.protocol {
        Protocol::RestJson | Protocol::RestXml => {
            let (path, query) = operation.uri.split_once('?').unwrap_or((operation.uri, ""));
            let fill = |segment: &str| if segment.starts_with('{') { "x1".to_owned() } else { segment.to_owned() };
            let path: Vec<String> = path.split('/').map(fill).collect();
            let parameters = operation.requires.iter().filter_map(|name| name.strip_prefix('?'));
            let query: Vec<String> =
                query.split('&').map(str::to_owned).chain(parameters.map(|name| format!("{name}=1"))).collect();
            let mut sample = Sample::new(operation.method.as_str(), &format!("{}?{}", path.join("/"), query.join("&")));
            for header in operation.requires.iter().filter(|name| !name.starts_with('?')) {
                sample = sample.header(header, "x");
            }
            sample.scope(info.signing_name)
        }
        Protocol::Json10 | Protocol::Json11 => Sample::new("POST", "/")
            .scope(info.signing_name)
            .header("x-amz-target", &format!("{}.{}", info.target_prefix, operation.name)),
        Protocol::Query => {
            form(&format!("Action={}&Version={}", operation.name, info.api_version)).scope(info.signing_name)
        }
        Protocol::Ec2 | Protocol::Cbor => panic!("{operation:?}: no model has it"),
    }
}

fn form(body: &str) -> Sample {
    Sample::new("POST", "/")
        .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
        .body(body.to_owned())
}

#[test]
fn every_operation_is_served_or_answered_with_501_and_its_name() {
    let (mut served, mut absent) = (0, 0);
    for operation in operations() {
        let sample = request_for(operation);
        let expected = operation.service.info().protocol;
        assert_eq!(protocol(&sample.parts(), &sample.body), expected, "{operation:?}");
        match sample.route() {
            Ok(route) => {
                assert!(operation.served, "{operation:?}");
                assert_eq!(route.operation.name, operation.name);
                served += 1;
            }
            Err(error) => {
                assert!(!operation.served, "{operation:?}: {error}");
                assert_eq!((error.status, &*error.code), (501, "NotImplementedException"), "{operation:?}: {error}");
                let words: Vec<&str> = error.message.split(' ').collect();
                assert!(words.contains(&operation.name), "{operation:?}: {error}");
                assert!(error.message.starts_with(operation.service.info().title), "{operation:?}: {error}");
                assert_eq!(error.respond(expected, "id").status(), 501);
                absent += 1;
            }
        }
    }
    assert_eq!(served, 19);
    assert!(absent > 1_680, "{absent}");
}

#[test]
fn json_services_that_spoke_query_still_understand_it() {
    let sample = form("Action=SendMessage&Version=2012-11-05").scope("sqs");
    assert_eq!(protocol(&sample.parts(), &sample.body), Protocol::Query);
    assert!(sample.route().expect_err("not served").message.contains("SendMessage"));
}

/// What a request is taken for: the operation, or the error.
#[track_caller]
fn check(sample: Sample, expected: &str) {
    let found = match sample.route() {
        Ok(route) => format!("{} {}", route.service.info().name, route.operation.name),
        Err(error) => {
            let answer = error.respond(protocol(&sample.parts(), &sample.body), "id");
            format!("{} {} {}", protocol(&sample.parts(), &sample.body).name(), answer.status().as_u16(), error.message)
        }
    };
    assert_eq!(found, expected);
}

#[test]
fn the_service_is_told_without_a_signature_too() {
    let get = |uri: &str| Sample::new("GET", uri);
    check(get("/2015-03-31/functions/"), "lambda ListFunctions");
    check(
        get("/2015-03-31/functions/f/configuration").header("host", "127.0.0.1:4566"),
        "lambda GetFunctionConfiguration",
    );
    check(Sample::new("POST", "/").header("x-amz-target", "Logs_20140328.PutLogEvents"), "logs PutLogEvents");
    check(form("Action=GetCallerIdentity&Version=2011-06-15"), "sts GetCallerIdentity");
    check(get("/?Action=GetCallerIdentity&Version=2011-06-15"), "sts GetCallerIdentity");
    check(get("/?Action=GetCallerIdentity").header("host", "sts.eu-central-1.amazonaws.com"), "sts GetCallerIdentity");
    let presigned =
        "/2015-03-31/functions?X-Amz-Credential=AKID%2F20261122%2Feu%2Flambda%2Faws4_request&X-Amz-Signature=0";
    check(get(presigned), "lambda ListFunctions");
}

#[test]
fn the_scope_of_the_signature_decides_before_all_else() {
    let sample = Sample::new("POST", "/").scope("dynamodb").header("x-amz-target", "Logs_20140328.PutLogEvents");
    check(sample, "json 1.0 400 DynamoDB has no operation Logs_20140328.PutLogEvents.");
    let sample = Sample::new("GET", "/2015-03-31/functions").scope("sts").header("host", "lambda.localhost");
    check(sample, "query 400 The request has no parameter Action.");
}

#[test]
fn what_does_not_exist_is_said_in_the_words_of_each_protocol() {
    check(
        Sample::new("PATCH", "/2015-03-31/functions/f").scope("lambda"),
        "rest-json 404 Lambda has no operation PATCH /2015-03-31/functions/f.",
    );
    check(Sample::logs("Nothing", "{}"), "json 1.1 400 CloudWatch Logs has no operation Logs_20140328.Nothing.");
    check(
        Sample::new("POST", "/").scope("logs"),
        "json 1.1 400 The request to CloudWatch Logs has no X-Amz-Target header.",
    );
    check(
        form("Action=Nothing&Version=2011-06-15").scope("sts"),
        "query 400 Could not find operation Nothing for version 2011-06-15",
    );
    check(Sample::new("GET", "/nothing"), "rest-json 404 No service has an operation GET /nothing.");
}

/// What is said of an operation of a service that has no model, in which protocol, and how the body begins.
#[track_caller]
fn check_absent(sample: Sample, name: &str, expected: &str, body: &str) {
    let error = sample.route().expect_err("not served");
    assert!(error.message.starts_with(&format!("{name} is ")), "{}", error.message);
    let spoken = protocol(&sample.parts(), &sample.body);
    let answer = error.respond(spoken, "id");
    assert_eq!((spoken.name(), answer.status().as_u16()), (expected, 501), "{name}");
    let text = String::from_utf8_lossy(answer.body());
    assert!(text.starts_with(body), "{text}");
    assert!(text.contains(name), "{text}");
}

#[test]
fn operations_of_services_without_a_model_are_named_in_the_shape_of_their_protocol() {
    let wrapped = "<ErrorResponse>\n  <Error>\n    <Type>Receiver</Type>\n    <Code>NotImplemented</Code>";
    let ec2 = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>NotImplemented</Code>";
    check_absent(form("Action=DescribeInstances&Version=2016-11-15").scope("ec2"), "ec2 DescribeInstances", "ec2", ec2);
    check_absent(form("Action=DescribeDBInstances").scope("rds"), "rds DescribeDBInstances", "query", wrapped);
    check_absent(
        Sample::new("GET", "/2013-04-01/hostedzone").scope("route53"),
        "route53 GET /2013-04-01/hostedzone",
        "query",
        wrapped,
    );
    check_absent(
        Sample::new("GET", "/2020-05-31/distribution").scope("cloudfront"),
        "cloudfront GET /2020-05-31/distribution",
        "query",
        wrapped,
    );
    check_absent(
        Sample::new("POST", "/TraceSummaries").scope("xray"),
        "xray POST /TraceSummaries",
        "rest-json",
        "{\"message\":",
    );
    let target = "AmazonEC2ContainerRegistry_V20150921.DescribeRepositories";
    check_absent(
        Sample::new("POST", "/").scope("ecr").header("x-amz-target", target),
        "ecr DescribeRepositories",
        "json 1.1",
        "{\"__type\":\"NotImplementedException\"",
    );
    check_absent(
        Sample::new("POST", "/service/GraniteServiceVersion20100801/operation/ListMetrics")
            .scope("monitoring")
            .header("smithy-protocol", "rpc-v2-cbor"),
        "monitoring ListMetrics",
        "rpc-v2-cbor",
        "\u{fffd}{\0\0\0\0\0\0\0\u{6}__type{\0\0\0\0\0\0\0\u{17}NotImplementedException{",
    );
    let long = format!("Action={}", "x".repeat(10_000));
    assert!(form(&long).scope("ec2").route().expect_err("not served").message.len() < 1_000);
}

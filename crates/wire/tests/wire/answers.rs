//! Outputs and errors in the shape of each protocol.

use bytes::Bytes;
use expect_test::{Expect, expect};
use http::Response;
use wire::{Common, Error, Output, Protocol, encode, lambda, logs, sts};

use crate::sample::Sample;

/// Status, headers and body as text.
fn shown(answer: &Response<Bytes>) -> String {
    let mut lines = vec![answer.status().as_u16().to_string()];
    lines.extend(answer.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("ASCII"))));
    lines.push(String::from_utf8_lossy(answer.body()).into_owned());
    lines.join("\n")
}

#[track_caller]
fn check(sample: &Sample, output: Output, expected: Expect) {
    let route = sample.route().expect("served");
    expected.assert_eq(&shown(&encode(output, &route, "11111111-2222-3333-4444-555555555555")));
}

#[track_caller]
fn check_error(error: &Error, protocol: Protocol, expected: Expect) {
    expected.assert_eq(&shown(&error.respond(protocol, "id-1")));
}

fn lambda_call(method: &str, uri: &str) -> Sample {
    Sample::new(method, uri).scope("lambda")
}

#[test]
fn rest_json_outputs() {
    let configuration = lambda::FunctionConfiguration {
        function_name: Some("hello".into()),
        code_size: Some(1234),
        memory_size: Some(128),
        runtime: Some("python3.13".into()),
        last_modified: Some("2026-11-22T15:04:05.000+0000".into()),
        state: Some(lambda::State::Pending),
        architectures: Some(vec![lambda::Architecture::X86_64]),
        layers: Some(vec![]),
        environment: Some(lambda::EnvironmentResponse {
            variables: Some([("A".to_owned(), "\"quoted\"\n".to_owned())].into()),
            error: None,
        }),
        ..Default::default()
    };
    check(
        &lambda_call("POST", "/2015-03-31/functions"),
        Output::Lambda(lambda::Output::CreateFunction(configuration)),
        expect![[r#"
            201
            x-amzn-requestid: 11111111-2222-3333-4444-555555555555
            content-type: application/json
            {"Architectures":["x86_64"],"CodeSize":1234,"Environment":{"Variables":{"A":"\"quoted\"\n"}},"FunctionName":"hello","LastModified":"2026-11-22T15:04:05.000+0000","Layers":[],"MemorySize":128,"Runtime":"python3.13","State":"Pending"}"#]],
    );
    check(
        &lambda_call("GET", "/2015-03-31/functions"),
        Output::Lambda(lambda::Output::ListFunctions(lambda::ListFunctionsResponse {
            functions: Some(vec![]),
            next_marker: Some("m".into()),
        })),
        expect![[r#"
            200
            x-amzn-requestid: 11111111-2222-3333-4444-555555555555
            content-type: application/json
            {"Functions":[],"NextMarker":"m"}"#]],
    );
    check(
        &lambda_call("DELETE", "/2015-03-31/functions/hello"),
        Output::Lambda(lambda::Output::DeleteFunction(lambda::DeleteFunctionResponse { status_code: Some(204) })),
        expect![[r#"
            204
            x-amzn-requestid: 11111111-2222-3333-4444-555555555555
        "#]],
    );
}

#[test]
fn an_invocation_answers_with_headers_and_raw_bytes() {
    check(
        &lambda_call("POST", "/2015-03-31/functions/hello/invocations"),
        Output::Lambda(lambda::Output::Invoke(lambda::InvocationResponse {
            executed_version: Some("$LATEST".into()),
            function_error: Some("Unhandled".into()),
            log_result: Some("bG9n".into()),
            payload: Some(Bytes::from_static(b"{\"errorMessage\":\"x\"}")),
            status_code: Some(200),
            ..Default::default()
        })),
        expect![[r#"
            200
            x-amzn-requestid: 11111111-2222-3333-4444-555555555555
            x-amz-executed-version: $LATEST
            x-amz-function-error: Unhandled
            x-amz-log-result: bG9n
            content-type: application/json
            {"errorMessage":"x"}"#]],
    );
    check(
        &lambda_call("POST", "/2015-03-31/functions/hello/invocations"),
        Output::Lambda(lambda::Output::Invoke(lambda::InvocationResponse {
            status_code: Some(202),
            ..Default::default()
        })),
        expect![[r#"
            202
            x-amzn-requestid: 11111111-2222-3333-4444-555555555555
            content-type: application/json
        "#]],
    );
    check(
        &lambda_call("POST", "/2014-11-13/functions/hello/invoke-async/"),
        Output::Lambda(lambda::Output::InvokeAsync(lambda::InvokeAsyncResponse { status: Some(202) })),
        expect![[r#"
            202
            x-amzn-requestid: 11111111-2222-3333-4444-555555555555
        "#]],
    );
}

#[test]
fn json_outputs() {
    check(
        &Sample::logs("CreateLogGroup", "{}"),
        Output::Logs(logs::Output::CreateLogGroup),
        expect![[r#"
        200
        x-amzn-requestid: 11111111-2222-3333-4444-555555555555
    "#]],
    );
    check(
        &Sample::logs("FilterLogEvents", "{}"),
        Output::Logs(logs::Output::FilterLogEvents(logs::FilterLogEventsResponse {
            events: Some(vec![logs::FilteredLogEvent {
                message: Some("öne\ttwo".into()),
                timestamp: Some(1_763_823_845_000),
                ..Default::default()
            }]),
            searched_log_streams: Some(vec![]),
            next_token: None,
        })),
        expect![[r#"
            200
            x-amzn-requestid: 11111111-2222-3333-4444-555555555555
            content-type: application/x-amz-json-1.1
            {"events":[{"message":"öne\ttwo","timestamp":1763823845000}],"searchedLogStreams":[]}"#]],
    );
}

#[test]
fn query_outputs() {
    check(
        &Sample::new("GET", "/?Action=GetCallerIdentity&Version=2011-06-15").scope("sts"),
        Output::Sts(sts::Output::GetCallerIdentity(sts::GetCallerIdentityResponse {
            account: Some("000000000000".into()),
            arn: Some("arn:aws:iam::000000000000:user/<me>".into()),
            user_id: Some("AIDA".into()),
        })),
        expect![[r#"
            200
            x-amzn-requestid: 11111111-2222-3333-4444-555555555555
            content-type: text/xml
            <GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult><Account>000000000000</Account><Arn>arn:aws:iam::000000000000:user/&lt;me&gt;</Arn><UserId>AIDA</UserId></GetCallerIdentityResult><ResponseMetadata><RequestId>11111111-2222-3333-4444-555555555555</RequestId></ResponseMetadata></GetCallerIdentityResponse>"#]],
    );
}

#[test]
fn modelled_exceptions() {
    let error =
        lambda::errors::resource_not_found("Function not found: arn:aws:lambda:eu-central-1:000000000000:function:x");
    check_error(
        &error,
        Protocol::RestJson,
        expect![[r#"
        404
        x-amzn-requestid: id-1
        x-amzn-errortype: ResourceNotFoundException
        content-type: application/json
        {"Type":"User","Message":"Function not found: arn:aws:lambda:eu-central-1:000000000000:function:x"}"#]],
    );
    let error = lambda::errors::too_many_requests("Rate Exceeded.")
        .with("Reason", "ReservedFunctionConcurrentInvocationLimitExceeded")
        .with("retryAfterSeconds", "1");
    check_error(
        &error,
        Protocol::RestJson,
        expect![[r#"
        429
        x-amzn-requestid: id-1
        retry-after: 1
        x-amzn-errortype: TooManyRequestsException
        content-type: application/json
        {"Type":"User","Reason":"ReservedFunctionConcurrentInvocationLimitExceeded","message":"Rate Exceeded."}"#]],
    );
    check_error(
        &lambda::errors::service("Try again."),
        Protocol::RestJson,
        expect![[r#"
        500
        x-amzn-requestid: id-1
        x-amzn-errortype: ServiceException
        content-type: application/json
        {"Type":"Service","Message":"Try again."}"#]],
    );
    let error =
        logs::errors::invalid_sequence_token("The given sequenceToken is invalid.").with("expectedSequenceToken", "49");
    check_error(
        &error,
        Protocol::Json11,
        expect![[r#"
        400
        x-amzn-requestid: id-1
        content-type: application/x-amz-json-1.1
        {"__type":"InvalidSequenceTokenException","expectedSequenceToken":"49","message":"The given sequenceToken is invalid."}"#]],
    );
}

const PROTOCOLS: [Protocol; 7] = [
    Protocol::RestJson,
    Protocol::Json10,
    Protocol::Json11,
    Protocol::Query,
    Protocol::RestXml,
    Protocol::Ec2,
    Protocol::Cbor,
];

#[test]
fn common_errors_in_each_protocol() {
    for common in Common::ALL {
        for protocol in PROTOCOLS {
            let answer = common.error("A <message> \"here\"").respond(protocol, "id-1");
            assert!(answer.status().as_u16() >= 400, "{common:?} {protocol:?}");
            let body = String::from_utf8_lossy(answer.body());
            if protocol != Protocol::RestJson {
                assert!(body.contains(common.code(protocol)), "{body}");
            }
        }
    }
    let error = Common::NotImplemented.error("No <thing> & nothing");
    check_error(
        &error,
        Protocol::RestJson,
        expect![[r#"
        501
        x-amzn-requestid: id-1
        x-amzn-errortype: NotImplementedException
        content-type: application/json
        {"message":"No <thing> & nothing"}"#]],
    );
    check_error(
        &error,
        Protocol::Json10,
        expect![[r#"
        501
        x-amzn-requestid: id-1
        content-type: application/x-amz-json-1.0
        {"__type":"NotImplementedException","message":"No <thing> & nothing"}"#]],
    );
    check_error(
        &error,
        Protocol::Query,
        expect![[r#"
        501
        x-amzn-requestid: id-1
        content-type: text/xml
        <ErrorResponse>
          <Error>
            <Type>Receiver</Type>
            <Code>NotImplemented</Code>
            <Message>No &lt;thing&gt; &amp; nothing</Message>
          </Error>
          <RequestId>id-1</RequestId>
        </ErrorResponse>
    "#]],
    );
    check_error(
        &error,
        Protocol::RestXml,
        expect![[r#"
        501
        x-amzn-requestid: id-1
        content-type: application/xml
        <?xml version="1.0" encoding="UTF-8"?>
        <Error><Code>NotImplemented</Code><Message>No &lt;thing&gt; &amp; nothing</Message><RequestId>id-1</RequestId></Error>"#]],
    );
    check_error(
        &Error::access_denied("User is not authorized"),
        Protocol::RestJson,
        expect![[r#"
        403
        x-amzn-requestid: id-1
        x-amzn-errortype: AccessDeniedException
        content-type: application/json
        {"Message":"User is not authorized"}"#]],
    );
    check_error(
        &Common::UnknownKey.error("Invalid."),
        Protocol::Query,
        expect![[r#"
        403
        x-amzn-requestid: id-1
        content-type: text/xml
        <ErrorResponse>
          <Error>
            <Type>Sender</Type>
            <Code>InvalidClientTokenId</Code>
            <Message>Invalid.</Message>
          </Error>
          <RequestId>id-1</RequestId>
        </ErrorResponse>
    "#]],
    );
}

#[test]
fn a_violation_is_said_in_the_protocol_of_its_service() {
    let sample = Sample::logs("CreateLogGroup", "{}");
    check_error(
        &sample.decode().expect_err("no name"),
        Protocol::Json11,
        expect![[r#"
        400
        x-amzn-requestid: id-1
        content-type: application/x-amz-json-1.1
        {"__type":"InvalidParameterException","message":"1 validation error detected: Value null at 'logGroupName' failed to satisfy constraint: Member must not be null"}"#]],
    );
    let sample = lambda_call("GET", "/2015-03-31/functions?MaxItems=0");
    check_error(
        &sample.decode().expect_err("too few"),
        Protocol::RestJson,
        expect![[r#"
        400
        x-amzn-requestid: id-1
        x-amzn-errortype: ValidationException
        content-type: application/json
        {"message":"1 validation error detected: Value '0' at 'maxItems' failed to satisfy constraint: Member must have value greater than or equal to 1"}"#]],
    );
}

#[test]
fn a_message_cannot_break_out_of_a_header() {
    let error = lambda::errors::too_many_requests("x").with("retryAfterSeconds", "1\r\nx-evil: ü");
    let answer = error.respond(Protocol::RestJson, "id\r\n");
    assert_eq!(answer.headers()["retry-after"], "1??x-evil: ?");
    assert_eq!(answer.headers()["x-amzn-requestid"], "id??");
}

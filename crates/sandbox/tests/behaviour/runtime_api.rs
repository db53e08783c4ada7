//! The Runtime API as a raw client sees it: a `bootstrap` of the package's own.

use expect_test::{Expect, expect};

use crate::support::{function, shown};

/// A runtime in plain sockets: `call` sends one request and returns status, headers and body.
const CLIENT: &str = r#"#!/usr/bin/python3
import http.client, json, os, socket, sys, time
API = os.environ["AWS_LAMBDA_RUNTIME_API"]
BASE = "/2018-06-01/runtime/"
connection = http.client.HTTPConnection(API)
def call(method, path, body=None, headers={}):
    connection.request(method, BASE + path, body, headers)
    response = connection.getresponse()
    return response.status, dict((k.lower(), v) for k, v in response.getheaders()), response.read().decode()
# What is learned after an answer is printed before the next one: until then nobody promises to read it.
notes = []
def said(status, headers, body):
    notes.append("%d %s" % (status, body))
def next_event():
    status, headers, event = call("GET", "invocation/next")
    while notes:
        print(notes.pop(0), flush=True)
    return headers, headers["lambda-runtime-aws-request-id"], event
"#;

async fn check(runtime: &str, events: &[&str], expected: Expect) {
    let function = function("provided.al2023", "my.handler", &[("bootstrap", &format!("{CLIENT}{runtime}"))]);
    expected.assert_eq(&function.transcript(events).await);
}

#[tokio::test]
async fn an_invocation_goes_there_and_back() {
    let runtime = r#"
while True:
    headers, request, event = next_event()
    for name in ("content-type", "lambda-runtime-aws-request-id", "lambda-runtime-invoked-function-arn", "lambda-runtime-trace-id"):
        print(name, headers[name], flush=True)
    assert 0 < int(headers["lambda-runtime-deadline-ms"]) - time.time() * 1000 < 21000
    said(*call("POST", "invocation/%s/response" % request, event))
"#;
    check(
        runtime,
        &["{\"a\": 1}", "2"],
        expect![[r#"
        log: content-type application/json
        log: lambda-runtime-aws-request-id 07070707-0707-4707-8707-070707070707
        log: lambda-runtime-invoked-function-arn arn:aws:lambda:us-east-1:000000000000:function:greet
        log: lambda-runtime-trace-id Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0
        answer: {"a": 1}
        log: 202 {"status":"OK"}
        log: content-type application/json
        log: lambda-runtime-aws-request-id 07070707-0707-4707-8707-070707070707
        log: lambda-runtime-invoked-function-arn arn:aws:lambda:us-east-1:000000000000:function:greet
        log: lambda-runtime-trace-id Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0
        answer: 2
    "#]],
    )
    .await;
}

#[tokio::test]
async fn errors_are_passed_on() {
    let runtime = r#"
for body in ('{"errorType":"Mine","errorMessage":"broke","stackTrace":[]}', "not json"):
    headers, request, event = next_event()
    said(*call("POST", "invocation/%s/error" % request, body, {"Lambda-Runtime-Function-Error-Type": "Runtime.Mine"}))
next_event()
"#;
    check(
        runtime,
        &["1", "2"],
        expect![[r#"
        Raised: {
          "errorType": "Mine",
          "errorMessage": "broke",
          "stackTrace": []
        }
        log: 202 {"status":"OK"}
        Raised: {
          "errorType": "Runtime.Mine",
          "errorMessage": "not json"
        }
    "#]],
    )
    .await;
}

#[tokio::test]
async fn what_is_out_of_order_is_refused() {
    let runtime = r#"
OTHER = "99999999-9999-4999-8999-999999999999"
said(*call("POST", "invocation/%s/response" % OTHER, "0"))
while True:
    headers, request, event = next_event()
    said(*call("GET", "invocation/next"))
    said(*call("POST", "invocation/%s/response" % OTHER, "1"))
    said(*call("POST", "init/error", "{}"))
    said(*call("GET", "nothing"))
    call("POST", "invocation/%s/response" % request, event)
    said(*call("POST", "invocation/%s/response" % request, "2"))
    said(*call("POST", "invocation/%s/error" % request, "{}"))
"#;
    check(
        runtime,
        &["\"first\"", "\"second\""],
        expect![[r#"
        log: 400 {"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}
        answer: "first"
        log: 403 {"errorMessage":"State transition is not allowed now: next","errorType":"InvalidStateTransition"}
        log: 400 {"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}
        log: 403 {"errorMessage":"State transition is not allowed now: init/error","errorType":"InvalidStateTransition"}
        log: 404 {"errorMessage":"the Runtime API has no such path","errorType":"NotFound"}
        log: 403 {"errorMessage":"State transition is not allowed now: response","errorType":"InvalidStateTransition"}
        log: 403 {"errorMessage":"State transition is not allowed now: response","errorType":"InvalidStateTransition"}
        answer: "second"
    "#]],
    )
    .await;
}

#[tokio::test]
async fn an_answer_over_the_limit_is_refused_and_the_runtime_lives() {
    let runtime = r#"
while True:
    headers, request, event = next_event()
    said(*call("POST", "invocation/%s/response" % request, b"x" * int(event)))
"#;
    check(runtime, &["6291556", "6291557", "100000000", "10"], expect![[r#"
        answer: 6291556 bytes
        log: 202 {"status":"OK"}
        AnswerTooLarge: {
          "errorType": "Function.ResponseSizeTooLarge",
          "errorMessage": "Response payload size exceeded maximum allowed payload size (6291556 bytes)."
        }
        log: 413 {"errorMessage":"Exceeded maximum allowed payload size (6291556 bytes).","errorType":"RequestEntityTooLarge"}
        AnswerTooLarge: {
          "errorType": "Function.ResponseSizeTooLarge",
          "errorMessage": "Response payload size exceeded maximum allowed payload size (6291556 bytes)."
        }
        log: 413 {"errorMessage":"Exceeded maximum allowed payload size (6291556 bytes).","errorType":"RequestEntityTooLarge"}
        answer: xxxxxxxxxx
    "#]]).await;
}

#[tokio::test]
async fn a_failed_init_is_told() {
    let runtime = r#"
said(*call("POST", "init/error", '{"errorType":"Init.Mine","errorMessage":"no luck"}', {"Lambda-Runtime-Function-Error-Type": "Init.Mine"}))
"#;
    check(
        runtime,
        &[],
        expect![[r#"
            init failed: {
              "errorType": "Init.Mine",
              "errorMessage": "no luck"
            }
        "#]],
    )
    .await;
    check(
        "print('bye')\nsys.exit(2)\n",
        &[],
        expect![[r#"
            log: bye
            log: Error: Runtime exited with error: exit status 2
               | Runtime.ExitError
            init failed: {
              "errorType": "Runtime.ExitError",
              "errorMessage": "RequestId: 07070707-0707-4707-8707-070707070707 Error: Runtime exited with error: exit status 2"
            }
        "#]],
    )
    .await;
}

#[tokio::test]
async fn streaming_is_refused_by_name() {
    let runtime = r#"
while True:
    headers, request, event = next_event()
    said(*call("POST", "invocation/%s/response" % request, b"x", {"Lambda-Runtime-Function-Response-Mode": "streaming"}))
"#;
    check(
        runtime,
        &["1", "2"],
        expect![[r#"
        Raised: {
          "errorType": "Runtime.StreamingNotSupported",
          "errorMessage": "RequestId: 07070707-0707-4707-8707-070707070707 Error: response streaming is not served yet"
        }
        log: 501 {"errorMessage":"response streaming is not served yet","errorType":"ResponseStreamingNotSupported"}
        Raised: {
          "errorType": "Runtime.StreamingNotSupported",
          "errorMessage": "RequestId: 07070707-0707-4707-8707-070707070707 Error: response streaming is not served yet"
        }
    "#]],
    )
    .await;
}

#[tokio::test]
async fn garbage_and_closed_connections_harm_only_their_sender() {
    let runtime = r#"
host, port = API.split(":")
held = [socket.create_connection((host, int(port))) for _ in range(10)]
for each in held:
    each.sendall(b"\x16\x03\x01 garbage\r\n\r\n")
big = socket.create_connection((host, int(port)))
try:
    big.sendall(b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 1000000)
except OSError:
    pass
while True:
    headers, request, event = next_event()
    broken = socket.create_connection((host, int(port)))
    broken.sendall(("POST %sinvocation/%s/response HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nshort" % (BASE, request)).encode())
    broken.close()
    call("POST", "invocation/%s/response" % request, event)
"#;
    check(
        runtime,
        &["1", "2"],
        expect![[r#"
        answer: 1
        answer: 2
    "#]],
    )
    .await;
}

#[tokio::test]
async fn a_runtime_that_ends_is_told() {
    check("call('GET', 'invocation/next')\nsys.exit(5)\n", &["1"], expect![[r#"
        Exited: {
          "errorType": "Runtime.ExitError",
          "errorMessage": "RequestId: 07070707-0707-4707-8707-070707070707 Error: Runtime exited with error: exit status 5"
        }
        ended
    "#]]).await;
}

#[tokio::test]
async fn a_runtime_that_ended_while_it_was_idle_has_seen_nothing() {
    let runtime = "connection.request('GET', BASE + 'invocation/next')\ntime.sleep(0.05)\nos._exit(1)\n";
    let function = function("provided.al2023", "my.handler", &[("bootstrap", &format!("{CLIENT}{runtime}"))]);
    let mut instance = function.ready().await;
    tokio::time::timeout(std::time::Duration::from_secs(10), instance.lost()).await.expect("its end is noticed");
    let ran = instance.run(function.work("1")).await;
    assert_eq!(shown(&ran), "platform failure: the instance ended while it was idle, delivered false");
}

#[tokio::test]
async fn a_language_pack_s_instance_has_no_second_road() {
    let source = r#"
import http.client, os
def handler(event, context):
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    connection.request("GET", "/2018-06-01/runtime/invocation/next")
    response = connection.getresponse()
    return response.status, response.read().decode()
"#;
    let function = function("python3.13", "app.handler", &[("app.py", source)]);
    let mut instance = function.ready().await;
    let ran = instance.run(function.work("1")).await;
    expect![[r#"answer: [403, "{\"errorMessage\":\"frames carry this instance's invocations\",\"errorType\":\"FramesInUse\"}"]"#]].assert_eq(&shown(&ran));
}

#[tokio::test]
async fn a_client_that_gave_up_waiting_and_asks_again_gets_the_event() {
    let runtime = r#"
impatient = http.client.HTTPConnection(API, timeout=0.1)
impatient.request("GET", BASE + "invocation/next")
try:
    impatient.getresponse()
except TimeoutError:
    impatient.close()
connection.request("GET", BASE + "invocation/next")
open(os.environ["LAMBDA_TASK_ROOT"] + "/asked-again", "w").close()
response = connection.getresponse()
event = response.read()
call("POST", "invocation/%s/response" % response.getheader("lambda-runtime-aws-request-id"), event)
"#;
    let function = function("provided.al2023", "my.handler", &[("bootstrap", &format!("{CLIENT}{runtime}"))]);
    let mut instance = function.ready().await;
    let asked_again = function.spec.code_dir.join("asked-again");
    let asked = async {
        while !asked_again.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), asked).await.expect("the runtime asks again");
    let ran = instance.run(function.work("1")).await;
    assert_eq!(shown(&ran), "answer: 1");
}

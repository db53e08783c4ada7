//! Rows that hold for every language: the same question to each, the same answer from each.

use serde_json::{Value, json};

use crate::support::{Function, function, shown, work};

const PYTHON: &str = r#"
import json, os, sys, time
print("loading")
calls = 0
def handler(event, context):
    global calls
    calls += 1
    what = event["do"]
    if what == "context":
        context.log("from the context")
        return {
            "function_name": context.function_name,
            "function_version": context.function_version,
            "arn": context.invoked_function_arn,
            "memory": context.memory_limit_in_mb,
            "request": context.aws_request_id,
            "group": context.log_group_name,
            "stream": context.log_stream_name,
            "remaining": context.get_remaining_time_in_millis(),
            "identity": [context.identity.cognito_identity_id, context.identity.cognito_identity_pool_id],
            "client": [context.client_context.client.app_title, context.client_context.custom, context.client_context.env]
                if context.client_context else None,
            "trace": os.environ.get("_X_AMZN_TRACE_ID"),
        }
    if what == "environment":
        return {name: os.environ.get(name) for name in event["names"]}
    if what == "raise":
        raise ValueError("it broke")
    if what == "log":
        print("a line")
        print("two\nlines")
        print("on stderr", file=sys.stderr)
        sys.stdout.write("without end")
    if what == "large":
        return "x" * event["size"]
    if what == "sleep":
        time.sleep(event["seconds"])
    if what == "exit":
        sys.exit(event["status"])
    if what == "abort":
        os.abort()
    return {"calls": calls, "event": event}
"#;

const NODE_BODY: &str = r#"
console.log("loading");
let calls = 0;
const handle = async (event, context) => {
  calls += 1;
  switch (event.do) {
    case "context":
      return {
        function_name: context.functionName,
        function_version: context.functionVersion,
        arn: context.invokedFunctionArn,
        memory: context.memoryLimitInMB,
        request: context.awsRequestId,
        group: context.logGroupName,
        stream: context.logStreamName,
        remaining: context.getRemainingTimeInMillis(),
        identity: [context.identity?.cognitoIdentityId ?? null, context.identity?.cognitoIdentityPoolId ?? null],
        client: context.clientContext
          ? [context.clientContext.client.app_title, context.clientContext.custom, context.clientContext.env]
          : null,
        trace: process.env._X_AMZN_TRACE_ID,
      };
    case "environment":
      return Object.fromEntries(event.names.map((name) => [name, process.env[name] ?? null]));
    case "raise":
      throw new RangeError("it broke");
    case "log":
      console.log("a line");
      console.log("two\nlines");
      process.stderr.write("on stderr\n");
      process.stdout.write("without end");
      break;
    case "large":
      return "x".repeat(event.size);
    case "sleep":
      await new Promise((resolve) => setTimeout(resolve, event.seconds * 1000));
      break;
    case "exit":
      process.exit(event.status);
    case "abort":
      process.abort();
  }
  return { calls, event };
};
"#;

fn functions() -> Vec<(&'static str, Function)> {
    let common = format!("{NODE_BODY}\nexports.handler = handle;\n");
    let module = format!("{NODE_BODY}\nexport const handler = handle;\n");
    vec![
        ("python", function("python3.13", "app.handler", &[("app.py", PYTHON)])),
        ("node, CommonJS", function("nodejs22.x", "app.handler", &[("app.js", &common)])),
        ("node, ES module", function("nodejs22.x", "app.handler", &[("app.mjs", &module)])),
    ]
}

fn answer(shown: &str) -> Value {
    let answer = shown.strip_prefix("answer: ").unwrap_or_else(|| panic!("an answer, not {shown}"));
    serde_json::from_str(answer).expect("an answer in JSON")
}

async fn ask(function: &Function, event: Value) -> String {
    let mut instance = function.ready().await;
    let ran = instance.run(function.work(&event.to_string())).await;
    shown(&ran)
}

#[tokio::test]
async fn the_context_is_complete() {
    for (language, function) in functions() {
        let mut instance = function.ready().await;
        let mut work = function.work(r#"{"do":"context"}"#);
        work.invocation.client_context =
            Some(r#"{"client":{"app_title":"shop"},"custom":{"a":"b"},"env":{"locale":"de"}}"#.to_owned());
        work.cognito_identity = Some(r#"{"cognitoIdentityId":"me","cognitoIdentityPoolId":"pool"}"#.to_owned());
        let mut with_all = answer(&shown(&instance.run(work).await));
        let remaining = with_all["remaining"].take();
        assert!((15_000..=20_000).contains(&remaining.as_i64().unwrap_or_default()), "{language}: {remaining}");
        let common = json!({
            "function_name": "greet",
            "function_version": "$LATEST",
            "arn": "arn:aws:lambda:us-east-1:000000000000:function:greet",
            "memory": "256",
            "request": "07070707-0707-4707-8707-070707070707",
            "group": "/aws/lambda/greet",
            "stream": "2026/01/02/[$LATEST]abc",
            "remaining": null,
            "identity": ["me", "pool"],
            "client": ["shop", {"a": "b"}, {"locale": "de"}],
            "trace": "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0",
        });
        assert_eq!(with_all, common, "{language}");

        let without = answer(&shown(&instance.run(function.work(r#"{"do":"context"}"#)).await));
        assert_eq!((&without["identity"], &without["client"]), (&json!([null, null]), &json!(null)), "{language}");
    }
}

#[tokio::test]
async fn the_environment_is_lambdas() {
    let expected = json!({
        "GREETING": "hello",
        "AWS_LAMBDA_FUNCTION_NAME": "greet",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/greet",
        "AWS_LAMBDA_LOG_STREAM_NAME": "2026/01/02/[$LATEST]abc",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "ASIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SESSION_TOKEN": "token",
        "_HANDLER": "app.handler",
        "TZ": ":UTC",
        "HOME": null,
    });
    for (language, mut function) in functions() {
        function.spec.environment.insert("_HANDLER".to_owned(), "not.this".to_owned());
        let names: Vec<&String> = expected.as_object().unwrap().keys().collect();
        let seen = answer(&ask(&function, json!({ "do": "environment", "names": names })).await);
        assert_eq!(seen, expected, "{language}");
        let names = json!(["AWS_EXECUTION_ENV", "AWS_LAMBDA_RUNTIME_API", "AWS_ENDPOINT_URL", "LAMBDA_TASK_ROOT"]);
        let seen = answer(&ask(&function, json!({ "do": "environment", "names": names })).await);
        assert_eq!(seen["AWS_EXECUTION_ENV"], format!("AWS_Lambda_{}", function.spec.runtime), "{language}");
        assert_eq!(seen["LAMBDA_TASK_ROOT"], function.spec.code_dir.to_str().unwrap(), "{language}");
        assert!(seen["AWS_ENDPOINT_URL"].as_str().unwrap().starts_with("http://127.0.0.1:"), "{language}");
    }
}

#[tokio::test]
async fn init_output_comes_before_the_first_invocation() {
    for (language, function) in functions() {
        let mut instance = function.ready().await;
        instance.run(function.work(r#"{"do":"nothing"}"#)).await;
        let lines = function.lines.take();
        assert!(lines.len() == 1 && lines[0].ends_with("loading"), "{language}: {lines:?}");
    }
}

#[tokio::test]
async fn output_before_the_answer_has_arrived_when_the_answer_has() {
    for (language, function) in functions() {
        let mut instance = function.ready().await;
        function.lines.take();
        for _ in 0..50 {
            instance.run(function.work(r#"{"do":"log"}"#)).await;
            let mut lines = function.lines.take();
            // Node's console writes its own line at once, its streams theirs: their order is not promised.
            lines.sort_by_key(|line| line.rsplit('\t').next().map(str::to_owned));
            let texts: Vec<&str> = lines.iter().map(|line| line.rsplit('\t').next().unwrap()).collect();
            if language == "python" {
                assert_eq!(texts, ["a line", "lines", "on stderr", "two", "without end"], "{language}");
            } else {
                assert_eq!(texts, ["a line", "on stderr", "two\nlines", "without end"], "{language}");
            }
        }
    }
}

#[tokio::test]
async fn an_instance_keeps_its_state_between_invocations() {
    for (language, function) in functions() {
        let mut instance = function.ready().await;
        for calls in 1..=3 {
            let ran = instance.run(function.work(r#"{"do":"nothing"}"#)).await;
            assert_eq!(answer(&shown(&ran))["calls"], calls, "{language}");
            assert!(ran.reusable && ran.delivered, "{language}");
        }
    }
}

#[tokio::test]
async fn an_answer_over_the_limit_is_an_error_and_the_instance_lives() {
    for (language, mut function) in functions() {
        function.spec.memory_mib = 1024;
        let mut instance = function.ready().await;
        for (size, fits) in [(6_291_554, true), (6_291_555, false), (100_000_000, false)] {
            let ran = instance.run(function.work(&json!({ "do": "large", "size": size }).to_string())).await;
            let seen = shown(&ran);
            if fits {
                assert_eq!(seen, "answer: 6291556 bytes", "{language}");
            } else {
                assert!(seen.starts_with("AnswerTooLarge"), "{language}: {seen}");
                assert!(seen.contains("Function.ResponseSizeTooLarge"), "{language}: {seen}");
                assert!(seen.contains("exceeded maximum allowed payload size (6291556 bytes)."), "{language}: {seen}");
            }
            assert!(ran.reusable, "{language}");
        }
    }
}

#[tokio::test]
async fn a_large_event_arrives_whole() {
    for (language, function) in functions() {
        let mut instance = function.ready().await;
        let event = json!({ "do": "nothing", "blob": "y".repeat(6_000_000) });
        let ran = instance.run(function.work(&event.to_string())).await;
        let model::invocation::Outcome::Success(payload) = ran.outcome else { panic!("{language}: {:?}", ran.outcome) };
        let answer: Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(answer["event"], event, "{language}");
    }
}

#[tokio::test]
async fn a_time_out_ends_the_instance() {
    for (language, mut function) in functions() {
        function.spec.timeout_secs = 1;
        let mut instance = function.ready().await;
        let ran = instance.run(function.work(r#"{"do":"sleep","seconds":30}"#)).await;
        let expected = "TimedOut: {\n  \"errorType\": \"Sandbox.Timedout\",\n  \"errorMessage\": \"RequestId: 07070707-0707-\
            4707-8707-070707070707 Error: Task timed out after 1.00 seconds\"\n}";
        assert_eq!(shown(&ran), expected, "{language}");
        assert!(!ran.reusable, "{language}");
        let millis = ran.measured.duration.as_millis();
        assert!((990..10_000).contains(&millis), "{language}: {millis} ms");
        let again = instance.run(function.work("{}")).await;
        assert!(!again.delivered && !again.reusable, "{language}");
    }
}

#[tokio::test]
async fn the_end_of_the_process_is_told_with_its_reason() {
    let request = "RequestId: 07070707-0707-4707-8707-070707070707 Error:";
    for (event, reason) in [
        (json!({ "do": "exit", "status": 0 }), "Runtime exited without providing a reason"),
        (json!({ "do": "exit", "status": 3 }), "Runtime exited with error: exit status 3"),
        (json!({ "do": "abort" }), "Runtime exited with error: signal: aborted"),
    ] {
        for (language, function) in functions() {
            let mut instance = function.ready().await;
            let ran = instance.run(function.work(&event.to_string())).await;
            let expected = format!(
                "Exited: {{\n  \"errorType\": \"Runtime.ExitError\",\n  \"errorMessage\": \"{request} {reason}\"\n}}"
            );
            assert_eq!(shown(&ran), expected, "{language}");
        }
    }
}

#[tokio::test]
async fn the_phases_of_a_cold_start_are_measured() {
    for (language, function) in functions() {
        let instance = function.ready().await;
        let cold = instance.cold_start();
        assert!(!cold.sandbox.is_zero() && !cold.interpreter.is_zero() && !cold.init.is_zero(), "{language}: {cold:?}");
        assert_eq!(cold.init_duration(), cold.interpreter + cold.init);
    }
}

#[tokio::test]
async fn memory_that_was_used_is_told() {
    for (language, function) in functions() {
        let mut instance = function.ready().await;
        let ran = instance.run(function.work(r#"{"do":"nothing"}"#)).await;
        assert!((2..1000).contains(&ran.measured.memory_used_mib), "{language}: {:?}", ran.measured);
    }
}

#[tokio::test]
async fn a_dropped_run_ends_the_guest() {
    for (language, function) in functions() {
        let mut instance = function.ready().await;
        let slow = instance.run(work(r#"{"do":"sleep","seconds":30}"#, std::time::Duration::from_secs(60)));
        assert!(tokio::time::timeout(std::time::Duration::from_millis(50), slow).await.is_err(), "{language}");
        let ran = instance.run(function.work("{}")).await;
        assert!(!ran.delivered && !ran.reusable, "{language}");
    }
}

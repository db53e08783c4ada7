//! What only Node.js functions do.

use expect_test::{Expect, expect};

use crate::transcript::check;

async fn node(source: &str, events: &[&str], expected: Expect) {
    check("nodejs20.x", "app.handler", &[("app.js", source)], events, expected).await;
}

#[tokio::test]
async fn a_thrown_error_is_told_with_its_stack() {
    let source = "exports.handler = async () => {\n  throw new RangeError('it broke');\n};\n";
    node(source, &["{}", "{}"], expect![[r#"
        log: TIME	07070707-0707-4707-8707-070707070707	ERROR	Invoke Error 	{"errorType":"RangeError","errorMessage":"it broke","stack":["RangeError: it broke","    at exports.handler (/var/task/app.js:2:9)"]}
        Raised: {
          "errorType": "RangeError",
          "errorMessage": "it broke",
          "trace": [
            "RangeError: it broke",
            "    at exports.handler (/var/task/app.js:2:9)"
          ]
        }
        log: TIME	07070707-0707-4707-8707-070707070707	ERROR	Invoke Error 	{"errorType":"RangeError","errorMessage":"it broke","stack":["RangeError: it broke","    at exports.handler (/var/task/app.js:2:9)"]}
        Raised: {
          "errorType": "RangeError",
          "errorMessage": "it broke",
          "trace": [
            "RangeError: it broke",
            "    at exports.handler (/var/task/app.js:2:9)"
          ]
        }
    "#]]).await;
    node("exports.handler = () => {\n  throw new TypeError('at once');\n};\n", &["{}"], expect![[r#"
        log: TIME	07070707-0707-4707-8707-070707070707	ERROR	Invoke Error 	{"errorType":"TypeError","errorMessage":"at once","stack":["TypeError: at once","    at exports.handler (/var/task/app.js:2:9)"]}
        Raised: {
          "errorType": "TypeError",
          "errorMessage": "at once",
          "trace": [
            "TypeError: at once",
            "    at exports.handler (/var/task/app.js:2:9)"
          ]
        }
    "#]]).await;
    node("exports.handler = async () => {\n  throw 'a string';\n};\n", &["{}"], expect![[r#"
        log: TIME	07070707-0707-4707-8707-070707070707	ERROR	Invoke Error 	{"errorType":"Error","errorMessage":"a string","stack":["Error: a string"]}
        Raised: {
          "errorType": "string",
          "errorMessage": "a string",
          "trace": []
        }
    "#]]).await;
}

#[tokio::test]
async fn console_has_lambdas_format() {
    let source = r#"
exports.handler = async (event) => {
  console.log("hello %s", "you", { a: [1, 2] });
  console.info("two\nlines");
  console.warn("careful");
  console.error("bad");
  console.debug("detail");
};
"#;
    node(
        source,
        &["1"],
        expect![[r#"
        log: TIME	07070707-0707-4707-8707-070707070707	INFO	hello you { a: [ 1, 2 ] }
        log: TIME	07070707-0707-4707-8707-070707070707	INFO	two
           | lines
        log: TIME	07070707-0707-4707-8707-070707070707	WARN	careful
        log: TIME	07070707-0707-4707-8707-070707070707	ERROR	bad
        log: TIME	07070707-0707-4707-8707-070707070707	DEBUG	detail
        answer: null
    "#]],
    )
    .await;
}

#[tokio::test]
async fn callbacks_answer() {
    let source = r#"
exports.handler = (event, context, callback) => {
  switch (event) {
    case "later": return void setTimeout(() => callback(null, "later"), 5);
    case "at once": return callback(null, "at once");
    case "error": return callback(new Error("refused"));
    case "text": return callback("refused");
    case "done": return context.done(null, "done");
    case "succeed": return context.succeed("succeed");
    case "fail": return context.fail(new Error("fail"));
    case "nothing": return;
    case "twice": callback(null, "first"); return callback(null, "second");
    case "no wait":
      context.callbackWaitsForEmptyEventLoop = false;
      setInterval(() => {}, 60000);
      return callback(null, "no wait");
  }
};
"#;
    let events = ["later", "at once", "error", "text", "done", "succeed", "fail", "nothing", "twice", "no wait"];
    let events: Vec<String> = events.iter().map(|event| format!("{event:?}")).collect();
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    node(source, &events, expect![[r#"
        answer: "later"
        answer: "at once"
        log: TIME	07070707-0707-4707-8707-070707070707	ERROR	Invoke Error 	{"errorType":"Error","errorMessage":"refused","stack":["Error: refused","    at exports.handler (/var/task/app.js:6:35)"]}
        Raised: {
          "errorType": "Error",
          "errorMessage": "refused",
          "trace": [
            "Error: refused",
            "    at exports.handler (/var/task/app.js:6:35)"
          ]
        }
        log: TIME	07070707-0707-4707-8707-070707070707	ERROR	Invoke Error 	{"errorType":"Error","errorMessage":"refused","stack":["Error: refused","    at exports.handler (/var/task/app.js:7:25)"]}
        Raised: {
          "errorType": "string",
          "errorMessage": "refused",
          "trace": []
        }
        answer: "done"
        answer: "succeed"
        log: TIME	07070707-0707-4707-8707-070707070707	ERROR	Invoke Error 	{"errorType":"Error","errorMessage":"fail","stack":["Error: fail","    at exports.handler (/var/task/app.js:10:38)"]}
        Raised: {
          "errorType": "Error",
          "errorMessage": "fail",
          "trace": [
            "Error: fail",
            "    at exports.handler (/var/task/app.js:10:38)"
          ]
        }
        answer: null
        answer: "first"
        answer: "no wait"
    "#]]).await;
}

#[tokio::test]
async fn a_callback_waits_for_the_event_loop() {
    let source = r#"
exports.handler = (event, context, callback) => {
  setTimeout(() => console.log("still at work"), 20);
  callback(null, "answer");
};
"#;
    node(
        source,
        &["1", "2"],
        expect![[r#"
        log: TIME	07070707-0707-4707-8707-070707070707	INFO	still at work
        answer: "answer"
        log: TIME	07070707-0707-4707-8707-070707070707	INFO	still at work
        answer: "answer"
    "#]],
    )
    .await;
}

#[tokio::test]
async fn what_nobody_catches_ends_the_process() {
    let rejected = "exports.handler = () => new Promise(() => { Promise.reject(new Error('lost')); });\n";
    node(rejected, &["1"], expect![[r#"
        log: TIME	07070707-0707-4707-8707-070707070707	ERROR	Unhandled Promise Rejection 	{"errorType":"Runtime.UnhandledPromiseRejection","errorMessage":"Error: lost","reason":{"errorType":"Error","errorMessage":"lost","stack":["Error: lost","    at /var/task/app.js:1:60","    at new Promise (<anonymous>)","    at exports.handler (/var/task/app.js:1:25)"]},"promise":{},"stack":["Runtime.UnhandledPromiseRejection: Error: lost"]}
        Raised: {
          "errorType": "Runtime.UnhandledPromiseRejection",
          "errorMessage": "Error: lost",
          "trace": [
            "Runtime.UnhandledPromiseRejection: Error: lost"
          ]
        }
        ended
    "#]]).await;
    let thrown = "exports.handler = () => new Promise(() => { setTimeout(() => { throw new Error('lost'); }, 1); });\n";
    node(thrown, &["1"], expect![[r#"
        log: TIME	07070707-0707-4707-8707-070707070707	ERROR	Uncaught Exception 	{"errorType":"Error","errorMessage":"lost","stack":["Error: lost","    at Timeout._onTimeout (/var/task/app.js:1:70)"]}
        Raised: {
          "errorType": "Error",
          "errorMessage": "lost",
          "trace": [
            "Error: lost",
            "    at Timeout._onTimeout (/var/task/app.js:1:70)"
          ]
        }
        ended
    "#]]).await;
}

#[tokio::test]
async fn an_event_that_is_no_json_and_an_answer_that_cannot_be() {
    node("exports.handler = async () => 1;\n", &["{", "1"], expect![[r#"
        log: TIME	07070707-0707-4707-8707-070707070707	ERROR	Invoke Error 	{"errorType":"SyntaxError","errorMessage":"Expected property name or '}' in JSON at position 1","stack":["SyntaxError: Expected property name or '}' in JSON at position 1","    at JSON.parse (<anonymous>)"]}
        Raised: {
          "errorType": "SyntaxError",
          "errorMessage": "Expected property name or '}' in JSON at position 1",
          "trace": [
            "SyntaxError: Expected property name or '}' in JSON at position 1",
            "    at JSON.parse (<anonymous>)"
          ]
        }
        answer: 1
    "#]]).await;
    node("exports.handler = async () => ({ big: 1n });\n", &["1"], expect![[r#"
        log: TIME	07070707-0707-4707-8707-070707070707	ERROR	Invoke Error 	{"errorType":"Error","errorMessage":"Unable to stringify response body","stack":["Error: Unable to stringify response body"]}
        Raised: {
          "errorType": "Error",
          "errorMessage": "Unable to stringify response body",
          "trace": [
            "Error: Unable to stringify response body"
          ]
        }
    "#]]).await;
    node(
        "exports.handler = async () => undefined;\n",
        &["1"],
        expect![[r#"
        answer: null
    "#]],
    )
    .await;
    node(
        "exports.handler = async () => () => 1;\n",
        &["1"],
        expect![[r#"
        answer: null
    "#]],
    )
    .await;
}

#[tokio::test]
async fn handlers_are_found_wherever_lambda_finds_them() {
    let common = "exports.handler = async () => 'common';\n";
    let module = "export const handler = async () => 'module';\n";
    let described = r#"{"type":"module"}"#;
    let nested = "exports.api = { v1: { get: async () => 'nested' } };\n";
    let awaiting = "const text = await Promise.resolve('awaited');\nexport const handler = async () => text;\n";
    for (handler, files, answer) in [
        ("app.handler", vec![("app.js", common)], "common"),
        ("app.handler", vec![("app.cjs", common)], "common"),
        ("app.handler", vec![("app.mjs", module)], "module"),
        ("app.handler", vec![("app.js", module), ("package.json", described)], "module"),
        ("src/app.handler", vec![("src/app.js", module), ("package.json", described)], "module"),
        ("src/app.handler", vec![("src/app.js", common)], "common"),
        ("app.api.v1.get", vec![("app.js", nested)], "nested"),
        ("app.handler", vec![("app.mjs", awaiting)], "awaited"),
        ("lib.handler", vec![("node_modules/lib/index.js", common)], "common"),
    ] {
        let function = crate::support::function("nodejs20.x", handler, &files);
        assert_eq!(function.transcript(&["1"]).await, format!("answer: {answer:?}\n"), "{handler} {files:?}");
    }
}

#[tokio::test]
async fn a_handler_that_cannot_be_loaded_says_why() {
    let ok = "exports.handler = async () => 1;\nexports.number = 1;\n";
    check("nodejs20.x", "app.handler", &[], &[], expect![[r#"
        log: TIME	undefined	ERROR	Uncaught Exception 	{"errorType":"Runtime.ImportModuleError","errorMessage":"Error: Cannot find module 'app'\nRequire stack:\n- /var/runtime/bootstrap.cjs","stack":["Runtime.ImportModuleError: Error: Cannot find module 'app'","Require stack:","- /var/runtime/bootstrap.cjs"]}
        init failed: {
          "errorType": "Runtime.ImportModuleError",
          "errorMessage": "Error: Cannot find module 'app'\nRequire stack:\n- /var/runtime/bootstrap.cjs",
          "trace": [
            "Runtime.ImportModuleError: Error: Cannot find module 'app'",
            "Require stack:",
            "- /var/runtime/bootstrap.cjs"
          ]
        }
    "#]]).await;
    check("nodejs20.x", "app.handler", &[("app.js", "require('missing');\n")], &[], expect![[r#"
        log: TIME	undefined	ERROR	Uncaught Exception 	{"errorType":"Runtime.ImportModuleError","errorMessage":"Error: Cannot find module 'missing'\nRequire stack:\n- /var/task/app.js\n- /var/runtime/bootstrap.cjs","stack":["Runtime.ImportModuleError: Error: Cannot find module 'missing'","Require stack:","- /var/task/app.js","- /var/runtime/bootstrap.cjs"]}
        init failed: {
          "errorType": "Runtime.ImportModuleError",
          "errorMessage": "Error: Cannot find module 'missing'\nRequire stack:\n- /var/task/app.js\n- /var/runtime/bootstrap.cjs",
          "trace": [
            "Runtime.ImportModuleError: Error: Cannot find module 'missing'",
            "Require stack:",
            "- /var/task/app.js",
            "- /var/runtime/bootstrap.cjs"
          ]
        }
    "#]]).await;
    check("nodejs20.x", "app.other", &[("app.js", ok)], &[], expect![[r#"
        log: TIME	undefined	ERROR	Uncaught Exception 	{"errorType":"Runtime.HandlerNotFound","errorMessage":"app.other is undefined or not exported","stack":["Runtime.HandlerNotFound: app.other is undefined or not exported"]}
        init failed: {
          "errorType": "Runtime.HandlerNotFound",
          "errorMessage": "app.other is undefined or not exported",
          "trace": [
            "Runtime.HandlerNotFound: app.other is undefined or not exported"
          ]
        }
    "#]]).await;
    check("nodejs20.x", "app.number", &[("app.js", ok)], &[], expect![[r#"
        log: TIME	undefined	ERROR	Uncaught Exception 	{"errorType":"Runtime.HandlerNotFound","errorMessage":"app.number is not a function","stack":["Runtime.HandlerNotFound: app.number is not a function"]}
        init failed: {
          "errorType": "Runtime.HandlerNotFound",
          "errorMessage": "app.number is not a function",
          "trace": [
            "Runtime.HandlerNotFound: app.number is not a function"
          ]
        }
    "#]]).await;
    check("nodejs20.x", "app", &[("app.js", ok)], &[], expect![[r#"
        log: TIME	undefined	ERROR	Uncaught Exception 	{"errorType":"Runtime.MalformedHandlerName","errorMessage":"Bad handler","stack":["Runtime.MalformedHandlerName: Bad handler"]}
        init failed: {
          "errorType": "Runtime.MalformedHandlerName",
          "errorMessage": "Bad handler",
          "trace": [
            "Runtime.MalformedHandlerName: Bad handler"
          ]
        }
    "#]]).await;
    check("nodejs20.x", "../app.handler", &[("app.js", ok)], &[], expect![[r#"
        log: TIME	undefined	ERROR	Uncaught Exception 	{"errorType":"Runtime.MalformedHandlerName","errorMessage":"'../app.handler' is not a valid handler name. Use absolute paths when specifying root directories in handler names.","stack":["Runtime.MalformedHandlerName: '../app.handler' is not a valid handler name. Use absolute paths when specifying root directories in handler names."]}
        init failed: {
          "errorType": "Runtime.MalformedHandlerName",
          "errorMessage": "'../app.handler' is not a valid handler name. Use absolute paths when specifying root directories in handler names.",
          "trace": [
            "Runtime.MalformedHandlerName: '../app.handler' is not a valid handler name. Use absolute paths when specifying root directories in handler names."
          ]
        }
    "#]]).await;
    check("nodejs20.x", "app.handler", &[("app.js", "exports.handler = (;\n")], &[], expect![[r#"
        log: TIME	undefined	ERROR	Uncaught Exception 	{"errorType":"Runtime.UserCodeSyntaxError","errorMessage":"SyntaxError: Unexpected token ';'","stack":["Runtime.UserCodeSyntaxError: SyntaxError: Unexpected token ';'"]}
        init failed: {
          "errorType": "Runtime.UserCodeSyntaxError",
          "errorMessage": "SyntaxError: Unexpected token ';'",
          "trace": [
            "Runtime.UserCodeSyntaxError: SyntaxError: Unexpected token ';'"
          ]
        }
    "#]]).await;
    check("nodejs20.x", "app.handler", &[("app.mjs", "export const handler = (;\n")], &[], expect![[r#"
        log: TIME	undefined	ERROR	Uncaught Exception 	{"errorType":"Runtime.UserCodeSyntaxError","errorMessage":"SyntaxError: Unexpected token ';'","stack":["Runtime.UserCodeSyntaxError: SyntaxError: Unexpected token ';'"]}
        init failed: {
          "errorType": "Runtime.UserCodeSyntaxError",
          "errorMessage": "SyntaxError: Unexpected token ';'",
          "trace": [
            "Runtime.UserCodeSyntaxError: SyntaxError: Unexpected token ';'"
          ]
        }
    "#]]).await;
    check("nodejs20.x", "app.handler", &[("app.js", "throw new Error('boom');\n")], &[], expect![[r#"
        log: TIME	undefined	ERROR	Uncaught Exception 	{"errorType":"Error","errorMessage":"boom","stack":["Error: boom","    at Object.<anonymous> (/var/task/app.js:1:7)"]}
        init failed: {
          "errorType": "Error",
          "errorMessage": "boom",
          "trace": [
            "Error: boom",
            "    at Object.<anonymous> (/var/task/app.js:1:7)"
          ]
        }
    "#]]).await;
    check(
        "nodejs20.x",
        "app.handler",
        &[("app.js", "process.exit(4);\n")],
        &[],
        expect![[r#"
            log: Error: Runtime exited with error: exit status 4
               | Runtime.ExitError
            init failed: {
              "errorType": "Runtime.ExitError",
              "errorMessage": "RequestId: 07070707-0707-4707-8707-070707070707 Error: Runtime exited with error: exit status 4"
            }
        "#]],
    )
    .await;
    let streaming = "exports.handler = awslambda.streamifyResponse(async () => {});\n";
    check("nodejs20.x", "app.handler", &[("app.js", streaming)], &[], expect![[r#"
        log: TIME	undefined	ERROR	Uncaught Exception 	{"errorType":"Runtime.StreamingNotSupported","errorMessage":"awslambda.streamifyResponse: response streaming is not served yet","stack":["Runtime.StreamingNotSupported: awslambda.streamifyResponse: response streaming is not served yet","    at Object.<anonymous> (/var/task/app.js:1:29)"]}
        init failed: {
          "errorType": "Runtime.StreamingNotSupported",
          "errorMessage": "awslambda.streamifyResponse: response streaming is not served yet",
          "trace": [
            "Runtime.StreamingNotSupported: awslambda.streamifyResponse: response streaming is not served yet",
            "    at Object.<anonymous> (/var/task/app.js:1:29)"
          ]
        }
    "#]]).await;
}

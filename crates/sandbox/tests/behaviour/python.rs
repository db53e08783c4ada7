//! What only Python functions do.

use expect_test::expect;

use crate::transcript::check;

async fn python(source: &str, events: &[&str], expected: expect_test::Expect) {
    check("python3.13", "app.handler", &[("app.py", source)], events, expected).await;
}

#[tokio::test]
async fn a_raised_exception_is_told_with_its_stack() {
    let source = "def inner():\n    raise ValueError('it broke')\n\ndef handler(event, context):\n    inner()\n";
    python(
        source,
        &["{}", "{}"],
        expect![[r#"
        log: [ERROR] ValueError: it broke
           | Traceback (most recent call last):
           |   File "/var/task/app.py", line 5, in handler
           |     inner()
           |   File "/var/task/app.py", line 2, in inner
           |     raise ValueError('it broke')
        Raised: {
          "errorMessage": "it broke",
          "errorType": "ValueError",
          "requestId": "07070707-0707-4707-8707-070707070707",
          "stackTrace": [
            "  File \"/var/task/app.py\", line 5, in handler\n    inner()\n",
            "  File \"/var/task/app.py\", line 2, in inner\n    raise ValueError('it broke')\n"
          ]
        }
        log: [ERROR] ValueError: it broke
           | Traceback (most recent call last):
           |   File "/var/task/app.py", line 5, in handler
           |     inner()
           |   File "/var/task/app.py", line 2, in inner
           |     raise ValueError('it broke')
        Raised: {
          "errorMessage": "it broke",
          "errorType": "ValueError",
          "requestId": "07070707-0707-4707-8707-070707070707",
          "stackTrace": [
            "  File \"/var/task/app.py\", line 5, in handler\n    inner()\n",
            "  File \"/var/task/app.py\", line 2, in inner\n    raise ValueError('it broke')\n"
          ]
        }
    "#]],
    )
    .await;
}

#[tokio::test]
async fn logging_has_lambdas_format() {
    let source = r#"
import logging
logging.getLogger().setLevel("INFO")
def handler(event, context):
    logging.info("two\nlines %s", event)
    logging.getLogger("other").warning("careful")
    logging.debug("unseen")
    try:
        1 / 0
    except ZeroDivisionError:
        logging.exception("caught")
    context.log("plain")
"#;
    python(
        source,
        &["1"],
        expect![[r#"
        log: [INFO]	TIME	07070707-0707-4707-8707-070707070707	two
           | lines 1
        log: [WARNING]	TIME	07070707-0707-4707-8707-070707070707	careful
        log: [ERROR]	TIME	07070707-0707-4707-8707-070707070707	caught
           | Traceback (most recent call last):
           |   File "/var/task/app.py", line 9, in handler
           |     1 / 0
           | ZeroDivisionError: division by zero
        log: plain
        answer: null
    "#]],
    )
    .await;
}

#[tokio::test]
async fn answers_are_json_as_lambda_makes_it() {
    let source = r#"
from collections import namedtuple
from decimal import Decimal
Pair = namedtuple("Pair", "a b")
def handler(event, context):
    return {
        "named": Pair(1, 2),
        "nested": {"x": [Pair((Pair(Decimal("3"), None),), "[")], "y": (4,)},
        "decimal": [{"d": Decimal("1.10")}, [Decimal("2"), Decimal("NaN")], 1.5],
        "text": "gr\u00fcn \u20ac",
        "bytes": b"abc",
        "tuple": (1, None, True),
        "nan": float("nan"),
    }[event]
"#;
    python(
        source,
        &["\"named\"", "\"nested\"", "\"decimal\"", "\"text\"", "\"bytes\"", "\"tuple\"", "\"nan\""],
        expect![[r#"
        answer: {"a": 1, "b": 2}
        answer: {"x": [{"a": [{"a": 3, "b": null}], "b": "["}], "y": [4]}
        answer: [{"d": 1.10}, [2, NaN], 1.5]
        answer: "grün €"
        answer: abc
        answer: [1, null, true]
        answer: NaN
    "#]],
    )
    .await;
}

#[tokio::test]
async fn what_is_no_json_is_refused_by_name() {
    python(
        "def handler(event, context):\n    return {1, 2}\n",
        &["{}"],
        expect![[r#"
        log: [ERROR] Runtime.MarshalError: Unable to marshal response: Object of type set is not JSON serializable
           | Traceback (most recent call last):
        Raised: {
          "errorMessage": "Unable to marshal response: Object of type set is not JSON serializable",
          "errorType": "Runtime.MarshalError",
          "requestId": "07070707-0707-4707-8707-070707070707",
          "stackTrace": []
        }
    "#]],
    )
    .await;
    python("def handler(event, context):\n    return 1\n", &["{"], expect![[r#"
        log: [ERROR] Runtime.UnmarshalError: Unable to unmarshal input: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)
           | Traceback (most recent call last):
        Raised: {
          "errorMessage": "Unable to unmarshal input: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
          "errorType": "Runtime.UnmarshalError",
          "requestId": "07070707-0707-4707-8707-070707070707",
          "stackTrace": []
        }
    "#]]).await;
}

#[tokio::test]
async fn handlers_are_found_in_folders_and_packages() {
    let source = "def handler(event, context):\n    return __name__\n";
    let files = [("a/b.py", source), ("a/__init__.py", "")];
    check(
        "python3.9",
        "a/b.handler",
        &files,
        &["1"],
        expect![[r#"
        answer: "a.b"
    "#]],
    )
    .await;
    check(
        "python3.9",
        "a.b.handler",
        &files,
        &["1"],
        expect![[r#"
        answer: "a.b"
    "#]],
    )
    .await;
}

#[tokio::test]
async fn a_handler_that_cannot_be_loaded_says_why() {
    let ok = "def handler(event, context):\n    return 1\n";
    check(
        "python3.13",
        "app.handler",
        &[],
        &[],
        expect![[r#"
            log: [ERROR] Runtime.ImportModuleError: Unable to import module 'app': No module named 'app'
               | Traceback (most recent call last):
            init failed: {
              "errorMessage": "Unable to import module 'app': No module named 'app'",
              "errorType": "Runtime.ImportModuleError",
              "requestId": "",
              "stackTrace": []
            }
        "#]],
    )
    .await;
    check(
        "python3.13",
        "app.handler",
        &[("app.py", "import missing_module\n")],
        &[],
        expect![[r#"
            log: [ERROR] Runtime.ImportModuleError: Unable to import module 'app': No module named 'missing_module'
               | Traceback (most recent call last):
            init failed: {
              "errorMessage": "Unable to import module 'app': No module named 'missing_module'",
              "errorType": "Runtime.ImportModuleError",
              "requestId": "",
              "stackTrace": []
            }
        "#]],
    )
    .await;
    check(
        "python3.13",
        "app.other",
        &[("app.py", ok)],
        &[],
        expect![[r#"
            log: [ERROR] Runtime.HandlerNotFound: Handler 'other' missing on module 'app'
               | Traceback (most recent call last):
            init failed: {
              "errorMessage": "Handler 'other' missing on module 'app'",
              "errorType": "Runtime.HandlerNotFound",
              "requestId": "",
              "stackTrace": []
            }
        "#]],
    )
    .await;
    check(
        "python3.13",
        "app",
        &[("app.py", ok)],
        &[],
        expect![[r#"
            log: [ERROR] Runtime.MalformedHandlerName: Bad handler 'app': not enough values to unpack (expected 2, got 1)
               | Traceback (most recent call last):
            init failed: {
              "errorMessage": "Bad handler 'app': not enough values to unpack (expected 2, got 1)",
              "errorType": "Runtime.MalformedHandlerName",
              "requestId": "",
              "stackTrace": []
            }
        "#]],
    )
    .await;
    check(
        "python3.13",
        "sys.handler",
        &[("app.py", ok)],
        &[],
        expect![[r#"
            log: [ERROR] Runtime.BuiltInModuleConflict: Cannot use built-in module sys as a handler module
               | Traceback (most recent call last):
            init failed: {
              "errorMessage": "Cannot use built-in module sys as a handler module",
              "errorType": "Runtime.BuiltInModuleConflict",
              "requestId": "",
              "stackTrace": []
            }
        "#]],
    )
    .await;
    check(
        "python3.13",
        "app.handler",
        &[("app.py", "def handler(:\n")],
        &[],
        expect![[r#"
            log: [ERROR] Runtime.UserCodeSyntaxError: Syntax error in module 'app': invalid syntax (app.py, line 1)
               | Traceback (most recent call last):
               |   File "/var/task/app.py" Line 1
               |     def handler(:
            init failed: {
              "errorMessage": "Syntax error in module 'app': invalid syntax (app.py, line 1)",
              "errorType": "Runtime.UserCodeSyntaxError",
              "requestId": "",
              "stackTrace": [
                "  File \"/var/task/app.py\" Line 1\n    def handler(:\n"
              ]
            }
        "#]],
    )
    .await;
    check(
        "python3.13",
        "app.handler",
        &[("app.py", "print('here')\nraise KeyError('boom')\n")],
        &[],
        expect![[r#"
            log: here
            log: [ERROR] KeyError: 'boom'
               | Traceback (most recent call last):
               |   File "/var/task/app.py", line 2, in <module>
               |     raise KeyError('boom')
            init failed: {
              "errorMessage": "'boom'",
              "errorType": "KeyError",
              "requestId": "",
              "stackTrace": [
                "  File \"/var/task/app.py\", line 2, in <module>\n    raise KeyError('boom')\n"
              ]
            }
        "#]],
    )
    .await;
    check(
        "python3.13",
        "app.handler",
        &[("app.py", "import sys\nsys.exit(4)\n")],
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
}

#[tokio::test]
async fn the_path_is_lambdas() {
    let source = "import sys\ndef handler(event, context):\n    return [sys.path[0], sys.path[2]], sys.flags.no_user_site, sys.dont_write_bytecode\n";
    python(
        source,
        &["1"],
        expect![[r#"
        answer: [["/var/task", "/opt/python"], 1, true]
    "#]],
    )
    .await;
}

"""Invocations through boto3: all types, tail, contexts, limits, and every way in which a function can fail."""

import concurrent.futures
import json
import math
import re
import threading

import pytest
from harness import lambdas, packages, wait
from harness.lambdas import call, create, invoke
from test_functions_api import refuse

PAYLOAD_MAX = 6_291_456
ANSWER_MAX = 6_291_556
EVENT_MAX = 1_048_576


@pytest.fixture(scope="module")
def echo(platform):
    """A function that answers its event, without looking into it much."""
    source = "def handler(event, context):\n    return event\n"
    return create(platform.client("lambda"), code=packages.python(source), MemorySize=512, Timeout=30)


@pytest.fixture(scope="module")
def table(platform):
    """The behaviour table's handlers in Python."""
    return create(platform.client("lambda"), Timeout=20, MemorySize=256)


def test_an_invocation_answers(lam, table):
    answer = invoke(lam, table, {"do": "echo", "value": {"ä": [1, 2.5, None, "x"]}}, InvocationType="RequestResponse")
    assert (answer.status, answer.error, answer.version) == (200, None, "$LATEST")
    assert answer.payload == {"ä": [1, 2.5, None, "x"]}
    assert re.fullmatch(r"[0-9a-f-]{36}", answer.request_id)


def test_the_tail_of_the_log_comes_with_the_answer(lam, table):
    answer = invoke(lam, table, {"do": "print", "lines": ["one", "two"]})
    pattern = (
        rf"START RequestId: {answer.request_id} Version: \$LATEST\n"
        rf"one\ntwo\n"
        rf"END RequestId: {answer.request_id}\n"
        rf"REPORT RequestId: {answer.request_id}\tDuration: [\d.]+ ms\tBilled Duration: \d+ ms\t"
        rf"Memory Size: 256 MB\tMax Memory Used: \d+ MB\t.*"
    )
    assert re.search(pattern, answer.log, re.DOTALL), answer.log
    silent = invoke(lam, table, {"do": "echo", "value": 1}, tail=False)
    assert silent.log is None


def test_the_tail_holds_the_last_four_kilobytes(lam, table):
    answer = invoke(lam, table, {"do": "print", "lines": [f"line {n} " + "x" * 50 for n in range(500)]})
    assert len(answer.log.encode()) <= 4096
    assert "line 499 " in answer.log
    assert "line 0 " not in answer.log
    assert "REPORT RequestId" in answer.log


def test_the_tail_of_a_cold_start_begins_with_what_the_init_said(lam):
    name = create(lam)
    answer = invoke(lam, name)
    assert answer.log.startswith(f"init says hello\nSTART RequestId: {answer.request_id} "), answer.log
    assert invoke(lam, name).log.startswith("START RequestId: ")


def test_a_dry_run_runs_nothing(lam, logs):
    name = create(lam)
    answer = lam.invoke(FunctionName=name, InvocationType="DryRun", Payload=b"{}")
    assert answer["StatusCode"] == 204
    assert answer["Payload"].read() == b""
    assert call(lam, name, {"do": "calls"}) == 1, "the dry run was no call"


def test_an_event_is_accepted_and_runs_later(lam, logs):
    name = create(lam)
    answer = lam.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps({"do": "print", "lines": ["ran"]}).encode())
    assert answer["StatusCode"] == 202
    assert answer["Payload"].read() == b""
    request_id = answer["ResponseMetadata"]["RequestId"]
    lines = lambdas.finished(logs, name, request_id)
    assert any(line.strip() == "ran" for line in lines)


def test_an_event_that_fails_is_tried_three_times(platform, lam, logs):
    name = create(lam)
    answer = lam.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps({"do": "raise", "message": "no"}).encode())
    request_id = answer["ResponseMetadata"]["RequestId"]
    starts = lambda: [l for l in lambdas.log_events(logs, name) if l.startswith(f"START RequestId: {request_id}")]
    wait.until(lambda: len(starts()) == 3, "it was tried three times", 30)
    facts = wait.until(lambda: len(f := lambdas.usage(platform, name)) >= 3 and f, "three facts are there")
    assert sorted(fact["attempt"] for fact in facts) == [1, 2, 3]


def test_the_older_asynchronous_invocation_works(lam, logs):
    name = create(lam)
    answer = lam.invoke_async(FunctionName=name, InvokeArgs=json.dumps({"do": "print", "lines": ["old road"]}).encode())
    assert answer["Status"] == 202
    wait.until(lambda: any("old road" in line for line in lambdas.log_events(logs, name)), "it ran")


def test_client_context_and_trace_reach_the_function(platform, lam, table):
    seen = call(lam, table, {"do": "context"}, ClientContext=lambdas.ENCODED_CLIENT_CONTEXT)
    assert seen["client_context"] == {"who": "me"}
    trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
    status, headers, body = platform.request(
        "POST", f"/2015-03-31/functions/{table}/invocations", b'{"do":"context"}', {"X-Amzn-Trace-Id": trace}
    )
    assert status == 200
    assert "Root=1-5759e988-bd862e3fe1be46a994272793" in json.loads(body)["trace"]
    assert "Root=" in headers["X-Amzn-Trace-Id"]


def test_a_client_context_that_is_no_base64_is_refused(platform, table):
    code, status, _ = refuse(platform.client("lambda"), "invoke", FunctionName=table, ClientContext="{}", Payload=b"{}")
    assert (code, status) == ("InvalidRequestContentException", 400)


def test_payloads_up_to_the_limit_pass_and_no_more(lam, echo):
    largest = '"' + "x" * (PAYLOAD_MAX - 2) + '"'
    assert len(largest) == PAYLOAD_MAX
    answer = lambdas.Answer(lam.invoke(FunctionName=echo, Payload=largest.encode()))
    assert answer.error is None, answer
    assert len(answer.raw) == PAYLOAD_MAX
    code, status, said = refuse(lam, "invoke", FunctionName=echo, Payload=b'"x' + largest.encode()[1:])
    assert (code, status) == ("RequestEntityTooLargeException", 413) or (code, status) == ("RequestTooLargeException", 413)
    assert str(PAYLOAD_MAX) in said


def test_answers_up_to_the_limit_pass_and_no_more(lam, table):
    answer = invoke(lam, table, {"do": "answer", "bytes": ANSWER_MAX - 2})
    assert answer.error is None, answer
    assert len(answer.raw) == ANSWER_MAX
    answer = invoke(lam, table, {"do": "answer", "bytes": ANSWER_MAX - 1})
    assert answer.error == "Unhandled"
    assert answer.payload["errorType"] == "Function.ResponseSizeTooLarge"
    assert answer.payload["errorMessage"] == f"Response payload size exceeded maximum allowed payload size ({ANSWER_MAX} bytes)."
    assert call(lam, table, {"do": "echo", "value": 1}) == 1


def test_events_up_to_the_limit_are_accepted_and_no_more(lam, echo):
    largest = b'"' + b"x" * (EVENT_MAX - 2) + b'"'
    assert lam.invoke(FunctionName=echo, InvocationType="Event", Payload=largest)["StatusCode"] == 202
    code, status, said = refuse(lam, "invoke", FunctionName=echo, InvocationType="Event", Payload=b" " + largest)
    assert (code, status) == ("RequestTooLargeException", 413), said
    assert said == f"{EVENT_MAX + 1} byte payload is too large for the Event invocation type (limit {EVENT_MAX} bytes)"


@pytest.mark.parametrize("payload", [b"{", b"not json", b'{"a":1}}', b"\xff\xfe"])
def test_a_payload_that_is_no_json_is_refused(lam, table, payload):
    code, status, said = refuse(lam, "invoke", FunctionName=table, Payload=payload)
    assert (code, status) == ("InvalidRequestContentException", 400)
    assert said.startswith("Could not parse request body into json: Could not parse payload into json: "), said


def test_an_empty_payload_is_an_empty_event(lam, echo):
    answer = lambdas.Answer(lam.invoke(FunctionName=echo))
    assert answer.error is None and answer.payload in ({}, None)


def test_a_payload_of_another_type_is_refused(platform, table):
    status, headers, body = platform.request(
        "POST", f"/2015-03-31/functions/{table}/invocations", b"<a/>", {"Content-Type": "application/xml"}
    )
    assert status == 415, body
    assert headers["x-amzn-ErrorType"].startswith("UnsupportedMediaTypeException")


def test_an_unknown_function_or_qualifier_is_not_found(platform, lam, table):
    arn = f"arn:aws:lambda:{platform.region}:{platform.account}:function"
    code, status, said = refuse(lam, "invoke", FunctionName="nobody-here")
    assert (code, status, said) == ("ResourceNotFoundException", 404, f"Function not found: {arn}:nobody-here")
    code, status, said = refuse(lam, "invoke", FunctionName=table, Qualifier="7")
    assert (code, status, said) == ("ResourceNotFoundException", 404, f"Function not found: {arn}:{table}:7")
    assert call(lam, table, {"do": "echo", "value": 1}, Qualifier="$LATEST") == 1


def test_an_instance_is_used_again(lam):
    name = create(lam)
    assert [call(lam, name, {"do": "calls"}) for _ in range(3)] == [1, 2, 3]
    first = invoke(lam, create(lam), {"do": "echo"})
    assert "Init Duration: " in first.log
    second = invoke(lam, name, {"do": "echo"})
    assert "Init Duration: " not in second.log


def test_one_instance_has_one_invocation_at_a_time(lam):
    name = create(lam, Timeout=20)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: invoke(lam, name, {"do": "sleep", "seconds": 1.0}), range(4)))
    assert [a.payload for a in answers] == ["slept"] * 4
    calls = call(lam, name, {"do": "calls"})
    assert calls < 5, "the four slept in several instances"


def test_many_callers_at_once_are_all_answered(lam, table):
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: call(lam, table, {"do": "echo", "value": n}), range(200)))
    assert answers == list(range(200))


def test_more_invocations_than_may_wait_are_throttled(make_platform):
    running = make_platform("--set", "instances.count_max=1", "--set", "instances.waiting_max=1")
    lam = running.client("lambda", max_pool_connections=16)
    name = create(lam, Timeout=30)
    call(lam, name)

    def one(_):
        try:
            return call(lam, name, {"do": "sleep", "seconds": 2})
        except lam.exceptions.TooManyRequestsException as error:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 429
            return error.response["Error"]["Code"]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(one, range(8)))
    assert "slept" in answers
    assert "TooManyRequestsException" in answers
    assert call(lam, name) is None, "and then it works again"
    running.stop()


def test_a_busy_function_does_not_starve_the_others(make_platform):
    running = make_platform("--set", "instances.memory_max=256MiB")
    lam = running.client("lambda", max_pool_connections=16)
    busy, small, large = create(lam), create(lam), create(lam, MemorySize=256, Timeout=20)
    over = threading.Event()

    def keep_busy(_):
        count = 0
        while not over.is_set():
            assert call(lam, busy, {"do": "sleep", "seconds": 0.2}) == "slept"
            count += 1
        return count

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        loops = [pool.submit(keep_busy, n) for n in range(6)]
        try:
            wait.until(lambda: len([m for m in lambdas.log_events(running.client("logs"), busy) if m.startswith("START ")]) > 6, "it is busy")
            others = [pool.submit(call, lam, name, {"do": "calls"}) for name in (small, large)]
            assert [other.result(30) for other in others] == [1, 1]
        finally:
            over.set()
        assert all(loop.result() for loop in loops)
    running.stop()


def test_who_hung_up_waits_no_longer(make_platform):
    running = make_platform("--set", "instances.count_max=1")
    lam = running.client("lambda")
    name, other = create(lam, Timeout=20), create(lam)
    waiting = lambda: json.loads(running.home.pinfold("status", "--output", "json").stdout)["invocations_waiting"]
    events = [json.dumps({"do": "sleep", "seconds": 3, "number": number}).encode() for number in range(4)]
    callers = [running.open_request("POST", f"/2015-03-31/functions/{name}/invocations", event) for event in events]
    wait.until(lambda: waiting() == 3, "one runs, and three wait")
    for caller in callers:
        caller.close()
    wait.until(lambda: waiting() == 0, "nobody waits", 2)
    assert call(lam, other, {"do": "calls"}) == 1
    facts = wait.until(lambda: lambdas.usage(running, name), "the one that ran is metered")
    assert len(facts) == 1
    running.stop()


# ---- failures


def test_a_function_that_exits_is_said_to_have_exited(lam):
    table = create(lam)
    answer = invoke(lam, table, {"do": "exit", "code": 3})
    assert answer.error == "Unhandled"
    assert answer.payload["errorType"] == "Runtime.ExitError"
    assert answer.payload["errorMessage"] == f"RequestId: {answer.request_id} Error: Runtime exited with error: exit status 3"
    assert "Runtime.ExitError" in answer.log
    answer = invoke(lam, table, {"do": "exit", "code": 0})
    assert answer.payload["errorMessage"] == f"RequestId: {answer.request_id} Error: Runtime exited without providing a reason"
    assert call(lam, table, {"do": "calls"}) == 1, "the next one has a new instance"


def test_a_time_out_ends_the_instance(lam):
    name = create(lam, Timeout=1)
    answer = invoke(lam, name, {"do": "sleep"})
    assert answer.error == "Unhandled"
    assert "Task timed out after 1.00 seconds" in answer.payload["errorMessage"]
    assert answer.request_id in answer.payload["errorMessage"]
    assert "Task timed out after 1.00 seconds" in answer.log
    assert "\tDuration: 1000.00 ms\tBilled Duration: " in answer.log, answer.log
    assert call(lam, name, {"do": "calls"}) == 1


def test_more_memory_than_configured_ends_the_instance(lam):
    name = create(lam, MemorySize=128, Timeout=30)
    answer = invoke(lam, name, {"do": "memory", "mib": 400})
    assert answer.error == "Unhandled"
    assert answer.payload["errorType"] in ("Runtime.ExitError", "Runtime.OutOfMemory")
    assert "signal: killed" in answer.payload["errorMessage"]
    assert "Runtime.OutOfMemory" in answer.log
    assert "Max Memory Used: 128 MB" in answer.log
    assert call(lam, name, {"do": "memory", "mib": 20})


INIT_FAILURES = [
    ("python", "import nothing_like_this\n", "app.handler", "Runtime.ImportModuleError", "Unable to import module 'app': No module named 'nothing_like_this'"),
    ("python", "def handler(:\n", "app.handler", "Runtime.UserCodeSyntaxError", "Syntax error in module 'app'"),
    ("python", "x = 1\n", "app.handler", "Runtime.HandlerNotFound", "Handler 'handler' missing on module 'app'"),
    ("python", "x = 1\n", "app", "Runtime.MalformedHandlerName", "Bad handler 'app'"),
    ("python", "x = 1\n", "other.handler", "Runtime.ImportModuleError", "Unable to import module 'other'"),
    ("python", "raise ValueError('at start')\n", "app.handler", "ValueError", "at start"),
    ("python", "import os\nos._exit(9)\n", "app.handler", "Runtime.ExitError", "exit status 9"),
    ("node", "require('nothing-like-this')\n", "index.handler", "Runtime.ImportModuleError", "Cannot find module 'nothing-like-this'"),
    ("node", "function (\n", "index.handler", "Runtime.UserCodeSyntaxError", "SyntaxError"),
    ("node", "exports.x = 1\n", "index.handler", "Runtime.HandlerNotFound", "index.handler is undefined or not exported"),
    ("node", "exports.x = 1\n", "index", "Runtime.MalformedHandlerName", "Bad handler"),
    ("node", "exports.x = 1\n", "other.handler", "Runtime.ImportModuleError", "Cannot find module 'other'"),
    ("node", "throw new RangeError('at start')\n", "index.handler", "RangeError", "at start"),
    ("node", "process.exit(9)\n", "index.handler", "Runtime.ExitError", "exit status 9"),
]  # fmt: skip


@pytest.mark.parametrize("language, source, handler, kind, message", INIT_FAILURES, ids=[f"{r[0]}-{r[3]}-{n}" for n, r in enumerate(INIT_FAILURES)])
def test_a_failed_init_is_the_answer(lam, language, source, handler, kind, message):
    code = packages.python(source) if language == "python" else packages.node(source)
    name = create(lam, code=code, language="python" if language == "python" else "node_cjs", Handler=handler)
    answer = invoke(lam, name, {})
    assert answer.error == "Unhandled", answer
    assert answer.payload["errorType"] == kind, answer
    assert message in answer.payload["errorMessage"], answer
    said, started, ended = answer.log.partition("START RequestId: ")
    assert started, answer
    report = ended.splitlines()[-1]
    ran, billed = re.search(r"\tDuration: ([\d.]+) ms\tBilled Duration: (\d+) ms\t", report).groups()
    assert int(billed) == math.ceil(float(ran)), "the init is all that ran, and is billed once"
    assert report.endswith(f"\tStatus: error\tError Type: {kind}\t") and "Init Duration" not in report, report
    if kind == "Runtime.ExitError":
        assert f"RequestId: {answer.request_id} Error: Runtime exited with error: {message}\n{kind}\nEND " in ended, answer
    else:
        assert kind in said, "what the init wrote stands before"
    again = invoke(lam, name, {})
    assert again.payload["errorType"] == kind, "and again the next time"


def test_an_init_that_takes_too_long_runs_again_within_the_invocation(lam):
    name = create(lam, Timeout=2, Environment={"Variables": {"INIT": "sleep"}})
    answer = invoke(lam, name, {})
    assert answer.error == "Unhandled"
    assert "timed out" in answer.payload["errorMessage"].lower() or "timeout" in answer.payload["errorType"].lower()
    report = answer.log.splitlines()[-1]
    assert "\tDuration: 2000.00 ms\tBilled Duration: 2000 ms\t" in report and "Init Duration" not in report, report


DEATHS = [
    ("setTimeout(() => { throw new RangeError('too late'); }, 1)", "RangeError", "Uncaught Exception", 129),
    ("Promise.reject(new Error('nobody cared'))", "Runtime.UnhandledPromiseRejection", "Unhandled Promise Rejection", 128),
]


@pytest.mark.parametrize("act, kind, said, status", DEATHS, ids=[row[1] for row in DEATHS])
def test_a_node_process_that_dies_of_an_error_is_said_to_have_exited(lam, act, kind, said, status):
    code = packages.node(f"exports.handler = async () => {{ {act}; await new Promise((done) => setTimeout(done, 5000)); }};\n")
    answer = invoke(lam, create(lam, code=code, language="node_cjs", Timeout=10), {})
    assert (answer.error, answer.payload["errorType"]) == ("Unhandled", kind), answer
    assert said in answer.log
    assert f"RequestId: {answer.request_id} Error: Runtime exited with error: exit status {status}\nRuntime.ExitError\nEND " in answer.log, answer
    assert answer.log.splitlines()[-1].endswith("\tStatus: error\tError Type: Runtime.ExitError\t"), answer


def test_an_answer_that_is_no_json_is_a_marshal_error(lam, table):
    answer = invoke(lam, table, {"do": "unserializable"})
    assert answer.error == "Unhandled"
    assert answer.payload["errorType"] == "Runtime.MarshalError"
    assert "not JSON serializable" in answer.payload["errorMessage"]


def test_each_invocation_leaves_one_fact(platform, lam):
    name = create(lam, MemorySize=192)
    answer = invoke(lam, name, {"do": "echo", "value": "abc"})
    invoke(lam, name, {"do": "raise", "message": "x"})
    facts = wait.until(lambda: len(f := lambdas.usage(platform, name)) >= 2 and f, "two facts are there")
    assert len(facts) == 2
    text = json.dumps(facts)
    assert answer.request_id in text
    assert "192" in text


def test_metrics_count_invocations(platform, lam, table):
    def total():
        status, _, body = platform.request("GET", "/_pinfold/metrics", sign=None)
        assert status == 200
        lines = [l for l in body.decode().splitlines() if not l.startswith("#") and "invocation" in l]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if "_total" in line)

    before = total()
    call(lam, table)
    wait.until(lambda: total() > before, "the counter has risen")

"""One behaviour table, as data, for Python, Node.js (both module forms) and a custom runtime of the official crate."""

import json
import re

import pytest
from harness import lambdas
from harness.lambdas import LANGUAGES, create, invoke
from harness.platform import CANARY

MEMORY_MIB = 192
TIMEOUT_SECS = 3


@pytest.fixture(scope="module")
def functions(platform):
    """The table's function in each language, by language."""
    made = {}

    def of(language):
        if language not in made:
            made[language] = create(
                platform.client("lambda"),
                lambdas.fresh(language.replace("_", "-")),
                language=language,
                MemorySize=MEMORY_MIB,
                Timeout=TIMEOUT_SECS,
                Environment={"Variables": {"COLOUR": "blue", "EMPTY": ""}},
            )
        return made[language]

    return of


class Seen:
    """What one invocation showed, and what it was."""

    def __init__(self, platform, language, name, answer):
        self.platform = platform
        self.language = language
        self.name = name
        self.answer = answer
        self.arn = f"arn:aws:lambda:{platform.region}:{platform.account}:function:{name}"

    @property
    def value(self):
        assert self.answer.error is None, self.answer
        return self.answer.payload

    @property
    def failure(self):
        assert self.answer.error == "Unhandled", self.answer
        return self.answer.payload


# ---- what each row expects


def echoes(value):
    def check(seen):
        assert seen.value == value

    return check


def describes_the_context(seen):
    found = seen.value
    assert found["request_id"] == seen.answer.request_id
    assert found["function_name"] == seen.name
    assert found["version"] == "$LATEST"
    assert found["arn"] == seen.arn
    assert found["memory"] == str(MEMORY_MIB)
    assert found["log_group"] == f"/aws/lambda/{seen.name}"
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", found["log_stream"])
    assert re.match(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}", found["trace"])
    assert found["client_context"] == {"who": "me"}
    assert 0 < found["remaining_ms"] <= TIMEOUT_SECS * 1000


def has_lambdas_environment(seen):
    found = seen.value
    expected = {
        "COLOUR": "blue",
        "EMPTY": "",
        "AWS_LAMBDA_FUNCTION_NAME": seen.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(MEMORY_MIB),
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{seen.name}",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_REGION": seen.platform.region,
        "AWS_DEFAULT_REGION": seen.platform.region,
        "LAMBDA_TASK_ROOT": "/var/task",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "_HANDLER": LANGUAGES[seen.language]["Handler"],
        "TZ": ":UTC",
        "AWS_DISABLE_HOST_PREFIX_INJECTION": "true",
    }
    assert {key: found.get(key) for key in expected} == expected
    assert found["AWS_LAMBDA_LOG_STREAM_NAME"].split("]")[0].endswith("[$LATEST")
    assert found["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")
    for secret in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        assert found[secret]
    assert found["AWS_ACCESS_KEY_ID"] != seen.platform.ready["access_key_id"]
    if seen.language == "provided":
        assert found["AWS_LAMBDA_RUNTIME_API"] == "127.0.0.1:9001"
    else:
        assert found["AWS_EXECUTION_ENV"] == "AWS_Lambda_" + LANGUAGES[seen.language]["Runtime"]
    assert CANARY not in json.dumps(found), "nothing of the platform's own environment is there"
    assert seen.platform.ready["secret_access_key"] not in json.dumps(found)
    assert "/var/task" in found.get("PATH", "") + found.get("PYTHONPATH", "") + found.get("LD_LIBRARY_PATH", "")


def fails_with_its_own_error(seen):
    found = seen.failure
    assert found["errorType"] == "Boom"
    assert found["errorMessage"] == "a \"bad\" day\nindeed ä"
    if seen.language == "python":
        assert found["requestId"] == seen.answer.request_id
        trace = "".join(found["stackTrace"])
        assert '"/var/task/app.py", line ' in trace and "in do_raise" in trace, trace
        assert "bootstrap" not in trace, "the runtime's own frames are no one's business"
    elif seen.language != "provided":
        assert found["trace"][0].startswith("Boom: a \"bad\" day")
        assert any("/var/task/index." in line for line in found["trace"]), found["trace"]


def logs_its_error(seen):
    fails_with_its_own_error(seen)
    log = seen.answer.log
    if seen.language == "python":
        assert "[ERROR] Boom: a \"bad\" day" in log and "Traceback (most recent call last):" in log
    elif seen.language != "provided":
        assert f"{seen.answer.request_id}\tERROR\tInvoke Error" in log and '"errorType":"Boom"' in log


def times_out(seen):
    found = seen.failure
    expected = f"{seen.answer.request_id} Error: Task timed out after {TIMEOUT_SECS}.00 seconds"
    assert expected.replace(" Error:", "") in found["errorMessage"].replace(" Error:", "")
    assert f"Task timed out after {TIMEOUT_SECS}.00 seconds" in seen.answer.log
    assert re.search(r"Billed Duration: 3\d{3} ms", seen.answer.log), seen.answer.log


def exits(seen):
    found = seen.failure
    message = f"RequestId: {seen.answer.request_id} Error: Runtime exited with error: exit status 5"
    assert found == {"errorType": "Runtime.ExitError", "errorMessage": message}


def prints(*lines):
    def check(seen):
        assert seen.value is None
        log = seen.answer.log
        start = log.index(f"START RequestId: {seen.answer.request_id} Version: $LATEST\n")
        end = log.index(f"END RequestId: {seen.answer.request_id}\n")
        between = log[start:end].splitlines()[1:]
        assert [line for line in between if "init says hello" not in line] == list(lines), log
        assert log.index("REPORT RequestId:") > end

    return check


def logs_with_a_level(seen):
    assert seen.value is None
    log = seen.answer.log
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    line = {
        "python": rf"\[ERROR\]\t{stamp}\t{seen.answer.request_id}\tcareful",
        "node_cjs": rf"{stamp}\t{seen.answer.request_id}\tERROR\tcareful",
        "node_esm": rf"{stamp}\t{seen.answer.request_id}\tERROR\tcareful",
    }[seen.language]
    assert re.search(line, log), log


def reports(seen):
    report = next(line for line in seen.answer.log.splitlines() if line.startswith("REPORT "))
    pattern = (
        rf"REPORT RequestId: {seen.answer.request_id}\tDuration: (\d+\.\d\d) ms\tBilled Duration: (\d+) ms\t"
        rf"Memory Size: {MEMORY_MIB} MB\tMax Memory Used: (\d+) MB\t.*"
    )
    match = re.match(pattern, report + "\t")
    assert match, report
    assert float(match[1]) <= float(match[2])
    assert 0 < int(match[3]) <= MEMORY_MIB


def is_too_large(seen):
    assert seen.failure["errorType"] == "Function.ResponseSizeTooLarge"


def cannot_be_said(seen):
    assert seen.failure["errorType"] in ("Runtime.MarshalError", "Runtime.UnmarshalError", "Error", "TypeError"), seen.answer
    if seen.language == "python":
        assert seen.failure["errorType"] == "Runtime.MarshalError"


EVERY = tuple(LANGUAGES)
SCRIPTS = ("python", "node_cjs", "node_esm")
BAD_DAY = {"do": "raise", "message": "a \"bad\" day\nindeed ä"}

# What is done, in which languages, with which event, and what must be seen.
TABLE = [
    ("echoes an object", EVERY, {"do": "echo", "value": {"a": [1, None, "ä\u0000\U0001f600"]}}, echoes({"a": [1, None, "ä\u0000\U0001f600"]})),
    ("answers null", EVERY, {"do": "echo", "value": None}, echoes(None)),
    ("answers a large text", EVERY, {"do": "answer", "bytes": 1_000_000}, echoes("x" * 1_000_000)),
    ("describes its context", EVERY, {"do": "context"}, describes_the_context),
    ("has Lambda's environment", EVERY, {"do": "environment"}, has_lambdas_environment),
    ("fails with its own error", EVERY, BAD_DAY, fails_with_its_own_error),
    ("logs its error", SCRIPTS, BAD_DAY, logs_its_error),
    ("times out", EVERY, {"do": "sleep", "seconds": 30}, times_out),
    ("never yields and times out", SCRIPTS, {"do": "spin"}, times_out),
    ("exits", EVERY, {"do": "exit", "code": 5}, exits),
    ("prints lines in order", EVERY, {"do": "print", "lines": ["one", "  two", "drei ä"]}, prints("one", "  two", "drei ä")),
    ("logs with a level", SCRIPTS, {"do": "log", "message": "careful"}, logs_with_a_level),
    ("reports what it used", EVERY, {"do": "echo", "value": 1}, reports),
    ("answers too much", EVERY, {"do": "answer", "bytes": 6_291_556}, is_too_large),
    ("answers what is no JSON", SCRIPTS, {"do": "unserializable"}, cannot_be_said),
]  # fmt: skip
CASES = [pytest.param(language, event, check, id=f"{language}-{what.replace(' ', '_')}") for what, languages, event, check in TABLE for language in languages]


@pytest.mark.parametrize("language, event, check", CASES)
def test_behaviour(platform, lam, functions, language, event, check):
    name = functions(language)
    answer = invoke(lam, name, event, ClientContext=lambdas.ENCODED_CLIENT_CONTEXT)
    check(Seen(platform, language, name, answer))
    assert invoke(lam, name, {"do": "echo", "value": "after"}).payload == "after", "the function still answers"


@pytest.mark.parametrize("language", EVERY)
def test_an_instance_keeps_memory_and_disk_between_invocations(lam, language):
    name = create(lam, language=language)
    assert invoke(lam, name, {"do": "keep", "text": "first"}).payload is None
    assert invoke(lam, name, {"do": "keep", "text": "second"}).payload == "first"
    assert invoke(lam, name, {"do": "calls"}).payload == 3


@pytest.mark.parametrize("language", EVERY)
def test_more_memory_than_configured_is_out_of_memory(lam, language):
    name = create(lam, language=language, MemorySize=128, Timeout=20)
    answer = invoke(lam, name, {"do": "memory", "mib": 500})
    assert answer.error == "Unhandled", answer
    assert "signal: killed" in answer.payload["errorMessage"], answer
    assert "Runtime.OutOfMemory" in answer.log
    assert invoke(lam, name, {"do": "echo", "value": 1}).payload == 1


@pytest.mark.parametrize("language", EVERY)
def test_output_of_init_stands_before_the_first_start(lam, logs, language):
    name = create(lam, language=language)
    answer = invoke(lam, name, {"do": "echo", "value": 1})
    lines = lambdas.finished(logs, name)
    hello = next(n for n, line in enumerate(lines) if "init says hello" in line)
    start = next(n for n, line in enumerate(lines) if line.startswith(f"START RequestId: {answer.request_id}"))
    assert hello < start, lines


def test_an_answer_through_a_callback_works(lam):
    name = create(lam, language="node_cjs", Handler="index.callback")
    assert invoke(lam, name, {"value": 7}).payload == {"called": 7}
    failed = invoke(lam, name, {"fail": "so"})
    assert failed.error == "Unhandled"
    assert (failed.payload["errorType"], failed.payload["errorMessage"]) == ("Boom", "so")


def test_an_es_module_may_wait_while_it_starts(lam):
    name = create(lam, language="node_esm")
    assert invoke(lam, name, {"do": "late"}).payload == "late"

"""CloudWatch Logs through boto3, and the log lines of functions as clients see them."""

import os
import re
import signal
import subprocess
import time

import pytest
from harness import lambdas, packages, wait
from harness.lambdas import create, fresh, invoke
from test_cli import pointed
from test_functions_api import refuse


def now_ms():
    return int(time.time() * 1000)


@pytest.fixture
def group(logs):
    name = fresh("/e2e/group")
    logs.create_log_group(logGroupName=name)
    return name


def put(logs, group, stream, *messages, at=None):
    at = at or now_ms()
    events = [{"timestamp": at + n, "message": message} for n, message in enumerate(messages)]
    return logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)


def read(logs, group, stream, **more):
    found = logs.get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True, **more)
    return [event["message"] for event in found["events"]]


def test_groups_and_streams_are_made_listed_and_deleted(platform, logs):
    stem = fresh("/e2e/made")
    names = [f"{stem}-{n}" for n in range(5)]
    for name in names:
        logs.create_log_group(logGroupName=name)
    pages = list(logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=stem, PaginationConfig={"PageSize": 2}))
    assert len(pages) == 3
    found = [g for page in pages for g in page["logGroups"]]
    assert [g["logGroupName"] for g in found] == names
    assert found[0]["arn"] == f"arn:aws:logs:{platform.region}:{platform.account}:log-group:{names[0]}:*"

    for stream in ("b", "a", "c"):
        logs.create_log_stream(logGroupName=names[0], logStreamName=stream)
    streams = logs.describe_log_streams(logGroupName=names[0])["logStreams"]
    assert [s["logStreamName"] for s in streams] == ["a", "b", "c"]
    logs.delete_log_stream(logGroupName=names[0], logStreamName="b")
    streams = logs.describe_log_streams(logGroupName=names[0])["logStreams"]
    assert [s["logStreamName"] for s in streams] == ["a", "c"]
    for name in names:
        logs.delete_log_group(logGroupName=name)
    assert logs.describe_log_groups(logGroupNamePrefix=stem)["logGroups"] == []


def test_events_are_put_and_read_in_order(logs, group):
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    put(logs, group, "s", "one", "two")
    put(logs, group, "s", "three ä\nand more", at=now_ms() + 10)
    messages = wait.until(lambda: len(m := read(logs, group, "s")) == 3 and m, "three events are there")
    assert messages == ["one", "two", "three ä\nand more"]

    first = logs.get_log_events(logGroupName=group, logStreamName="s", startFromHead=True, limit=2)
    assert [e["message"] for e in first["events"]] == ["one", "two"]
    second = logs.get_log_events(logGroupName=group, logStreamName="s", startFromHead=True, nextToken=first["nextForwardToken"])
    assert [e["message"] for e in second["events"]] == ["three ä\nand more"]
    end = logs.get_log_events(logGroupName=group, logStreamName="s", startFromHead=True, nextToken=second["nextForwardToken"])
    assert end["events"] == [] and end["nextForwardToken"] == second["nextForwardToken"], "the end is told by the same token"
    newest = logs.get_log_events(logGroupName=group, logStreamName="s", limit=1)
    assert [e["message"] for e in newest["events"]] == ["three ä\nand more"]


PATTERNS = [
    ("", ["ERROR one", "info two", "ERROR three slow"]),
    ("ERROR", ["ERROR one", "ERROR three slow"]),
    ("ERROR slow", ["ERROR three slow"]),
    ('"three slow"', ["ERROR three slow"]),
    ("?two ?slow", ["info two", "ERROR three slow"]),
    ("ERROR -slow", ["ERROR one"]),
    ("nothing", []),
    ("error", []),
]


@pytest.mark.parametrize("pattern, expected", PATTERNS, ids=[p or "empty" for p, _ in PATTERNS])
def test_events_are_filtered_by_terms(platform, pattern, expected):
    logs = platform.client("logs")
    group = fresh("/e2e/filter")
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    put(logs, group, "s", "ERROR one", "info two", "ERROR three slow")
    wait.until(lambda: len(read(logs, group, "s")) == 3, "three events are there")
    options = {"filterPattern": pattern} if pattern else {}
    found = logs.filter_log_events(logGroupName=group, **options)["events"]
    assert [event["message"] for event in found] == expected


def test_a_filter_goes_over_pages_streams_and_times(logs, group):
    base = now_ms() - 60_000
    for stream in ("a", "b"):
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
        put(logs, group, stream, *[f"{stream}{n}" for n in range(10)], at=base)
    wait.until(lambda: len(read(logs, group, "b")) == 10, "the events are there")

    def filtered(**more):
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, PaginationConfig={"PageSize": 3}, **more)
        events = [event for page in pages for event in page["events"]]
        assert [e["timestamp"] for e in events] == sorted(e["timestamp"] for e in events)
        assert len({e["eventId"] for e in events}) == len(events), "no event twice"
        return sorted(e["message"] for e in events)

    everything = sorted(f"{s}{n}" for s in "ab" for n in range(10))
    assert filtered() == everything
    assert filtered(logStreamNames=["a"]) == [f"a{n}" for n in range(10)]
    assert filtered(logStreamNamePrefix="b") == [f"b{n}" for n in range(10)]
    assert filtered(startTime=base + 8) == ["a8", "a9", "b8", "b9"]
    assert filtered(endTime=base + 1) in (["a0", "b0"], ["a0", "a1", "b0", "b1"])


# Every modelled exception of the operations served, by what raises it.
def raises(name, operation, **request):
    return pytest.param(name, operation, request, id=f"{operation}-{name}")


REFUSED = [
    raises("ResourceNotFoundException", "get_log_events", logGroupName="/no/group", logStreamName="s"),
    raises("ResourceNotFoundException", "filter_log_events", logGroupName="/no/group"),
    raises("ResourceNotFoundException", "describe_log_streams", logGroupName="/no/group"),
    raises("ResourceNotFoundException", "delete_log_group", logGroupName="/no/group"),
    raises("ResourceNotFoundException", "delete_log_stream", logGroupName="/no/group", logStreamName="s"),
    raises("ResourceNotFoundException", "create_log_stream", logGroupName="/no/group", logStreamName="s"),
    raises("ResourceNotFoundException", "put_log_events", logGroupName="/no/group", logStreamName="s", logEvents=[{"timestamp": 1, "message": "x"}]),
    raises("InvalidParameterException", "create_log_group", logGroupName="not a name!"),
    raises("InvalidParameterException", "create_log_stream", logGroupName="{group}", logStreamName="a:b"),
    raises("InvalidParameterException", "get_log_events", logGroupName="{group}", logStreamName="s", limit=10001),
    raises("InvalidParameterException", "describe_log_groups", limit=51),
    raises("ResourceAlreadyExistsException", "create_log_group", logGroupName="{group}"),
    raises("ResourceAlreadyExistsException", "create_log_stream", logGroupName="{group}", logStreamName="taken"),
]  # fmt: skip


@pytest.mark.parametrize("name, operation, request_", REFUSED)
def test_what_cannot_be_done_is_refused(platform, group, name, operation, request_):
    logs = platform.client("logs", parameter_validation=False)
    logs.create_log_stream(logGroupName=group, logStreamName="taken")
    request_ = {key: value.replace("{group}", group) if isinstance(value, str) else value for key, value in request_.items()}
    code, status, said = refuse(logs, operation, **request_)
    assert (code, status) == (name, 400), said


def test_events_must_be_in_order(logs, group):
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    events = [{"timestamp": now_ms(), "message": "b"}, {"timestamp": now_ms() - 1000, "message": "a"}]
    code, status, _ = refuse(logs, "put_log_events", logGroupName=group, logStreamName="s", logEvents=events)
    assert (code, status) == ("InvalidParameterException", 400)


def test_too_old_and_too_new_events_are_told(logs, group):
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    day = 86_400_000
    old = logs.put_log_events(logGroupName=group, logStreamName="s", logEvents=[{"timestamp": now_ms() - 15 * day, "message": "old"}])
    assert old["rejectedLogEventsInfo"]["tooOldLogEventEndIndex"] == 1
    new = logs.put_log_events(logGroupName=group, logStreamName="s", logEvents=[{"timestamp": now_ms() + day, "message": "new"}])
    assert new["rejectedLogEventsInfo"]["tooNewLogEventStartIndex"] == 0


def test_a_function_has_a_group_of_its_own_and_a_stream_for_each_instance(lam, logs):
    name = create(lam)
    invoke(lam, name, {"do": "print", "lines": ["from the first"]})
    invoke(lam, name, {"do": "exit"})
    invoke(lam, name, {"do": "print", "lines": ["from the second"]})
    group = f"/aws/lambda/{name}"
    wait.until(lambda: any("from the second" in m for m in lambdas.log_events(logs, name)), "the lines are there")
    streams = wait.until(lambda: len(s := logs.describe_log_streams(logGroupName=group)["logStreams"]) == 2 and s, "two streams")
    for stream in streams:
        assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", stream["logStreamName"])


def test_too_much_output_is_cut_with_a_line_that_says_so(lam, logs):
    source = "def handler(event, context):\n    for n in range(12_000):\n        print(n, 'x' * 1000)\n"
    name = create(lam, code=packages.python(source), Timeout=60)
    assert invoke(lam, name).error is None
    messages = lambdas.finished(logs, name)
    assert sum(map(len, messages)) < 9 << 20, "at most 8 MiB of an invocation are kept"
    dropped = [m for m in messages if re.search(r"(\d+) bytes", m) and "drop" in m.lower()]
    assert dropped, messages[-3:]
    assert int(re.search(r"(\d+) bytes", dropped[0])[1]) > 2 << 20


def test_a_long_line_is_cut_into_several(lam, logs):
    source = "def handler(event, context):\n    print('x' * 700_000)\n"
    name = create(lam, code=packages.python(source), Timeout=60)
    assert invoke(lam, name).error is None
    pieces = [m.strip() for m in lambdas.finished(logs, name) if m.startswith("xxx")]
    assert len(pieces) == 3 and sum(map(len, pieces)) == 700_000


def test_the_tail_of_a_group_is_followed(platform, lam, logs):
    name = create(lam)
    invoke(lam, name, {"do": "print", "lines": ["before"]})
    wait.until(lambda: lambdas.log_events(logs, name), "the group is there")
    follower = subprocess.Popen(
        [*pointed("v2", platform.endpoint), "logs", "tail", f"/aws/lambda/{name}", "--follow", "--format", "short"],
        env=platform.cli_environment(PYTHONUNBUFFERED="1"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        os.set_blocking(follower.stdout.fileno(), False)
        seen = []

        def saw(word):
            def look():
                seen.append(follower.stdout.read() or b"")
                return word in b"".join(seen)

            return look

        wait.until(saw(b"before"), "the follower shows what was there", 30)
        invoke(lam, name, {"do": "print", "lines": ["later"]})
        wait.until(saw(b"later"), "the follower shows what comes later", 30)
    finally:
        follower.send_signal(signal.SIGINT)
        follower.wait(10)


def test_a_function_cannot_write_log_lines_of_the_platform(lam):
    source = "def handler(event, context):\n    print('REPORT RequestId: fake\\tDuration: 0.00 ms')\n    print('END RequestId: fake')\n"
    answer = invoke(lam, create(lam, code=packages.python(source)), {})
    lines = answer.log.splitlines()
    assert lines[-1].startswith(f"REPORT RequestId: {answer.request_id}")
    assert f"END RequestId: {answer.request_id}" in lines


def test_a_binary_line_is_kept_readable(lam, logs):
    source = "import os\ndef handler(event, context):\n    os.write(1, b'bad \\xff\\xfe bytes\\n\\x00zero\\nlast without end')\n"
    name = create(lam, code=packages.python(source))
    answer = invoke(lam, name, {})
    assert answer.error is None, answer
    messages = lambdas.finished(logs, name)
    assert any(m.startswith("bad ") for m in messages)
    assert any("last without end" in m for m in messages)


def test_the_same_client_errors_have_the_protocols_shape(platform):
    status, headers, body = platform.request(
        "POST", "/", b'{"logGroupName":"/no/group"}',
        {"X-Amz-Target": "Logs_20140328.DescribeLogStreams", "Content-Type": "application/x-amz-json-1.1"}, sign="logs",
    )
    assert status == 400
    assert b'"__type"' in body and b"ResourceNotFoundException" in body
    assert headers["x-amzn-RequestId"]

"""Bodies of requests: what is announced, what comes, and who may send much. Nobody holds up others by announcing."""

import contextlib
import datetime
import json
import os
import socket
import time

import pytest
from harness import packages, wait
from harness.lambdas import call, create, fresh

PACKAGE_BODY_MAX = 70_167_211
# Enough to need a share of the budget.
LARGE = {"pad": "x" * 300_000}
IN_TIME_SECS = 10


@pytest.fixture(scope="module")
def echo(platform):
    code = packages.python("def handler(event, context):\n    return len(str(event))\n")
    return create(platform.client("lambda"), fresh("echo"), code)


def head(platform, announced, path="/2015-03-31/functions", key=None, more=()):
    """The head of an upload. With a key it is signed in form, though not by its holder."""
    lines = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{platform.port}", f"Content-Length: {announced}", *more]
    if key:
        now = datetime.datetime.now(datetime.timezone.utc)
        scope = f"{now:%Y%m%d}/{platform.region}/lambda/aws4_request"
        lines.append(f"X-Amz-Date: {now:%Y%m%dT%H%M%SZ}")
        lines.append(
            f"Authorization: AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders=host;x-amz-date, Signature={'0' * 64}"
        )
    return "\r\n".join([*lines, "", ""]).encode()


@contextlib.contextmanager
def idle(platform, count, announced, key=None):
    """Connections that announce a body and send nothing of it."""
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(socket.create_connection(("127.0.0.1", platform.port), 20)) for _ in range(count)]
        for one in opened:
            one.sendall(head(platform, announced, key=key))
        yield opened


def answer_of(connection):
    """Status and body of the answer on a connection."""
    said = b""
    while b"\r\n\r\n" not in said:
        part = connection.recv(65536)
        assert part, f"the connection ended after {said!r}"
        said += part
    top, _, body = said.partition(b"\r\n\r\n")
    length = next(int(line[15:]) for line in top.decode().lower().splitlines() if line.startswith("content-length:"))
    while len(body) < length:
        body += connection.recv(65536)
    return int(top.split()[1]), body.decode()


def counted(platform, status):
    """API requests that were answered with a status."""
    _, _, page = platform.request("GET", "/_pinfold/metrics", sign=None)
    lines = [line for line in page.decode().splitlines() if line.startswith("pinfold_api_requests_total")]
    return sum(int(line.rsplit(" ", 1)[1]) for line in lines if f'status="{status}"' in line)


def test_strangers_who_announce_much_are_refused_at_once(platform, lam, echo):
    with idle(platform, 8, 69_000_000) as opened:
        begun = time.monotonic()
        for one in opened:
            status, said = answer_of(one)
            assert (status, json.loads(said)["message"]) == (403, "Missing Authentication Token")
        assert call(lam, echo, LARGE)
        assert time.monotonic() - begun < IN_TIME_SECS


def test_a_key_that_nobody_has_is_refused_at_once(platform):
    with idle(platform, 1, 69_000_000, key="AKIAUNKNOWNUNKNOWN00") as [one]:
        status, said = answer_of(one)
        assert status == 403 and "token" in said, said


def test_callers_who_announce_much_and_send_nothing_hold_up_nobody(platform, lam, echo):
    with idle(platform, 12, 69_000_000, key=platform.ready["access_key_id"]):
        begun = time.monotonic()
        for _ in range(3):
            assert call(lam, echo, LARGE)
        create(lam, fresh(), packages.zip_of({"app.py": "def handler(e, c): return 1\n", "pad": os.urandom(3_000_000)}))
        assert time.monotonic() - begun < IN_TIME_SECS


GUEST = """
import os, socket, time
from urllib.parse import urlparse

def handler(event, context):
    door = urlparse(os.environ["AWS_ENDPOINT_URL"])
    opened = []
    for _ in range(8):
        one = socket.create_connection((door.hostname, door.port))
        one.sendall(b"POST /2015-03-31/functions HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: %d\\r\\n\\r\\n" % event["announced"])
        opened.append(one)
    answers = [one.recv(65536).split()[1].decode() for one in opened]
    time.sleep(event["hold"])
    return answers
"""


def test_a_guest_that_announces_much_is_refused_at_once(platform, lam, echo):
    name = create(lam, fresh("evil"), packages.python(GUEST), Timeout=20)
    assert call(lam, name, {"announced": 7_000_000, "hold": 0}) == ["403"] * 8, "unsigned"
    assert call(lam, name, {"announced": 69_000_000, "hold": 0}) == ["413"] * 8, "more than a guest may send at all"
    begun = time.monotonic()
    assert call(lam, echo, LARGE)
    assert time.monotonic() - begun < IN_TIME_SECS


def test_more_than_any_request_may_have_is_refused_at_once(platform):
    before = counted(platform, 413)
    with idle(platform, 2, 99_999_999_999_999) as opened:
        begun = time.monotonic()
        for one in opened:
            status, said = answer_of(one)
            assert status == 413, said
            assert f"Request must be smaller than {PACKAGE_BODY_MAX} bytes for the CreateFunction operation" in said
        assert time.monotonic() - begun < IN_TIME_SECS
    assert counted(platform, 413) == before + 2


def test_a_client_that_sends_first_gets_to_read_its_refusal(platform):
    """Most clients send all of a body before they look for an answer."""
    with socket.create_connection(("127.0.0.1", platform.port), 20) as one:
        one.sendall(head(platform, 30_000_000))
        for _ in range(30):
            one.sendall(b"x" * 1_000_000)
        assert answer_of(one)[0] == 403
        # The body was read to its end, so the connection goes on.
        one.sendall(b"GET /_pinfold/health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer_of(one)[0] == 200


def test_a_client_that_asks_before_it_sends_is_told_not_to(platform):
    with socket.create_connection(("127.0.0.1", platform.port), 20) as one:
        one.sendall(head(platform, 30_000_000, more=["Expect: 100-continue"]))
        assert answer_of(one)[0] == 403


def test_a_zip_file_beyond_the_limit_is_refused_in_lambdas_words(platform):
    lam = platform.client("lambda")
    for operation in ("CreateFunction", "UpdateFunctionCode"):
        with pytest.raises(lam.exceptions.ClientError) as refused:
            if operation == "CreateFunction":
                create(lam, fresh(), b"x" * 52_500_000)
            else:
                lam.update_function_code(FunctionName=create(lam), ZipFile=b"x" * 52_500_000)
        response = refused.value.response
        assert (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]) == ("RequestEntityTooLargeException", 413)
        assert response["Error"]["Message"] == f"Request must be smaller than {PACKAGE_BODY_MAX} bytes for the {operation} operation"


def test_refusals_before_all_else_are_counted(platform):
    before = counted(platform, "4xx")
    status, _, _ = platform.request("GET", "/2015-03-31/functions?x=" + "x" * 20_000, sign=None)
    assert status == 414
    wait.until(lambda: counted(platform, "4xx") > before, "it is counted")

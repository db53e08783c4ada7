"""`--trust-loopback`: trust belongs to a listener on a loopback address, never to a page in a browser, a name, or a guest."""

import json
import socket

import pytest
from harness import packages
from harness.lambdas import call, create, invoke
from test_functions_api import refuse
from test_start import says_once


@pytest.fixture(scope="module")
def trusting(request):
    from harness.platform import Home, Platform

    home = Home()
    running = Platform(home, "--trust-loopback").start()
    yield running
    running.stop()
    home.remove()


def account_of(platform, **key):
    return platform.client("sts", **key).get_caller_identity()["Account"]


def test_any_key_is_accepted(trusting):
    assert account_of(trusting, access_key_id="test", secret_access_key="test") == trusting.account
    assert account_of(trusting, access_key_id="AKIAIOSFODNN7EXAMPLE", secret_access_key="x") == trusting.account
    assert account_of(trusting) == trusting.account, "the real key still works"


def test_a_key_of_twelve_digits_names_the_account(trusting):
    assert account_of(trusting, access_key_id="123456789012", secret_access_key="x") == "123456789012"
    lam = trusting.client("lambda", access_key_id="123456789012", secret_access_key="x")
    name = create(lam, code=packages.python("def handler(event, context):\n    return context.invoked_function_arn\n"))
    assert ":123456789012:function:" in call(lam, name)
    code, status, _ = refuse(trusting.client("lambda"), "get_function", FunctionName=name)
    assert (code, status) == ("ResourceNotFoundException", 404), "another account does not see it"


FOREIGN = [
    ("an origin", {"Origin": "http://evil.example"}),
    ("the origin of this very address", {"Origin": "{endpoint}"}),
    ("no origin at all", {"Origin": "null"}),
    ("a foreign host", {"Host": "evil.example"}),
    ("a foreign host with our port", {"Host": "evil.example:{port}"}),
    ("a host that only ends in an address of ours", {"Host": "[::1].evil.example"}),
    ("an image of another site", {"Sec-Fetch-Site": "cross-site"}),
    ("an image of a neighbouring site", {"Sec-Fetch-Site": "same-site"}),
    ("a host that only begins like ours", {"Host": "127.0.0.1.evil.example:{port}"}),
]


@pytest.mark.parametrize("what, headers", FOREIGN, ids=[row[0].replace(" ", "_") for row in FOREIGN])
def test_a_browser_is_refused(trusting, what, headers):
    headers = {k: v.format(endpoint=trusting.endpoint, port=trusting.port) for k, v in headers.items()}
    for method, path, body in [("GET", "/2015-03-31/functions", b""), ("POST", "/", b"Action=GetCallerIdentity&Version=2011-06-15")]:
        more = {**headers, "Authorization": "AWS4-HMAC-SHA256 Credential=test/20240101/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature=0"}
        status, _, said = trusting.request(method, path, body, more, sign=None)
        assert status == 403, (status, said)


@pytest.mark.parametrize("host", ["localhost:{port}", "127.0.0.1:{port}", "[::1]:{port}"])
def test_the_names_of_this_machine_are_not_foreign(trusting, host):
    key = "AWS4-HMAC-SHA256 Credential=test/20240101/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature=0"
    status, _, said = trusting.request(
        "GET", "/2015-03-31/functions", b"", {"Host": host.format(port=trusting.port), "Authorization": key}, sign=None
    )
    assert status == 200, (status, said)


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0"])
def test_trust_on_another_address_is_refused(make_home, address):
    home = make_home()
    result = home.pinfold("up", "--trust-loopback", "--listen", address)
    assert result.returncode == 2, result
    says_once(result.stdout + result.stderr, "trust")
    assert not home.data_dir.exists()


def test_trust_is_announced(trusting, platform):
    assert "trust" in trusting.output().lower()
    assert "trust" not in platform.output().lower()


def test_a_guest_is_never_trusted(trusting):
    from test_sdk_inside import SOURCE, signer

    lam = trusting.client("lambda")
    name = create(lam, code=packages.zip_of({"app.py": SOURCE, "sign.py": signer()}), Timeout=20)
    made_up = {"key": "123456789012", "secret": "x", "region": trusting.region}
    answer = invoke(lam, name, {"method": "GET", "path": "/2015-03-31/functions", "key": made_up})
    assert answer.error is None, answer
    assert answer.payload["status"] == 403, answer


def test_a_bare_request_is_trusted_but_not_with_two_hosts(trusting):
    status, _, said = trusting.request("GET", "/2015-03-31/functions", sign=None)
    assert status == 200, said
    with socket.create_connection(("127.0.0.1", trusting.port), 20) as one:
        one.sendall(b"GET /2015-03-31/functions HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n")
        assert one.recv(100).startswith(b"HTTP/1.1 403 ")


def test_a_malformed_authorization_is_told_what_it_lacks(platform):
    status, headers, body = platform.request("GET", "/2015-03-31/functions", b"", {"Authorization": "foo"}, sign=None)
    assert (status, headers["x-amzn-ErrorType"]) == (403, "IncompleteSignatureException")
    said = "'foo' not a valid key=value pair (missing equal-sign) in Authorization header: 'foo'."
    assert json.loads(body)["message"] == said


def test_without_the_flag_no_key_is_made_up(platform):
    code, status, _ = refuse(platform.client("lambda", access_key_id="test", secret_access_key="test"), "list_functions")
    assert status == 403
    key = "AWS4-HMAC-SHA256 Credential=test/20240101/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature=0"
    status, _, body = platform.request("GET", "/2015-03-31/functions", b"", {"Authorization": key}, sign=None)
    assert status in (400, 403), body
    assert json.loads(body)


def test_health_is_for_everyone(platform):
    status, _, _ = platform.request("GET", "/_pinfold/health", sign=None)
    assert status == 200
    for path in ("/_pinfold/usage", "/_pinfold/status"):
        status, _, _ = platform.request("GET", path, sign=None)
        assert status == 403, path


@pytest.mark.parametrize(
    "query, status", [("function=no%2Dbody", 200), ("function=no%2Fbody", 400), ("function=", 400), ("limit=0", 400)]
)
def test_usage_is_asked_for_in_good_form(trusting, query, status):
    got, _, body = trusting.request("GET", f"/_pinfold/usage?{query}", sign=None)
    assert got == status, body

"""A function's own SDK calls: they come home with its own short-lived credentials, and may invoke functions and nothing else."""

import json
import os
from pathlib import Path

import pytest
from harness import packages
from harness.lambdas import call, create, fresh, invoke

SOURCE = """
import json
import sign


def handler(event, context):
    body = event.get("body", "").encode()
    status, headers, said = sign.call(
        event["method"], event["path"], body, event.get("service", "lambda"), event.get("headers"), **(event.get("key") or {})
    )
    return {"status": status, "said": said.decode(errors="replace")}
"""


def signer():
    return (Path(__file__).parent / "probes" / "sign.py").read_text()


@pytest.fixture(scope="module")
def caller(platform):
    return create(platform.client("lambda"), fresh("caller"), packages.zip_of({"app.py": SOURCE, "sign.py": signer()}), Timeout=20)


@pytest.fixture(scope="module")
def called(platform):
    code = packages.python("def handler(event, context):\n    return {'called with': event}\n")
    return create(platform.client("lambda"), fresh("called"), code)


def ask(lam, caller, method, path, **event):
    answer = invoke(lam, caller, {"method": method, "path": path, **event})
    assert answer.error is None, answer
    return answer.payload


def test_a_function_invokes_another(lam, caller, called):
    told = ask(lam, caller, "POST", f"/2015-03-31/functions/{called}/invocations", body='{"a":1}')
    assert told["status"] == 200, told
    assert json.loads(told["said"]) == {"called with": {"a": 1}}
    told = ask(lam, caller, "POST", f"/2015-03-31/functions/{called}/invocations", body="{}", headers={"X-Amz-Invocation-Type": "Event"})
    assert told["status"] == 202, told


def test_sts_is_denied(lam, caller):
    """Until roles are evaluated; then every caller may learn who it is."""
    body = "Action=GetCallerIdentity&Version=2011-06-15"
    headers = {"content-type": "application/x-www-form-urlencoded"}
    told = ask(lam, caller, "POST", "/", body=body, service="sts", headers=headers)
    assert told["status"] == 403 and "AccessDenied" in told["said"], told


DENIED = [
    ("GET", "/2015-03-31/functions/{called}", ""),
    ("GET", "/2015-03-31/functions/{called}/configuration", ""),
    ("GET", "/2015-03-31/functions", ""),
    ("PUT", "/2015-03-31/functions/{called}/configuration", '{"Timeout":9}'),
    ("PUT", "/2015-03-31/functions/{called}/code", '{"ZipFile":"eA=="}'),
    ("DELETE", "/2015-03-31/functions/{called}", ""),
    ("DELETE", "/2015-03-31/functions/{caller}", ""),
    ("POST", "/2015-03-31/functions", '{"FunctionName":"x","Role":"arn:aws:iam::000000000000:role/x","Code":{"ZipFile":"eA=="}}'),
]


@pytest.mark.parametrize("method, path, body", DENIED, ids=[f"{m}-{p.split('functions')[1].strip('/') or 'all'}" for m, p, _ in DENIED])
def test_everything_else_is_denied(lam, caller, called, method, path, body):
    told = ask(lam, caller, method, path.format(caller=caller, called=called), body=body)
    assert told["status"] == 403, told
    assert "not authorized" in told["said"] or "AccessDenied" in told["said"], told
    assert lam.get_function_configuration(FunctionName=called)["Timeout"] == 3


LOGS_DENIED = ["DeleteLogGroup", "FilterLogEvents", "DescribeLogGroups", "PutLogEvents"]


@pytest.mark.parametrize("operation", LOGS_DENIED)
def test_logs_are_denied(lam, caller, called, operation):
    body = {"logGroupName": f"/aws/lambda/{called}"}
    if operation == "DescribeLogGroups":
        body = {}
    if operation == "PutLogEvents":
        body.update(logStreamName="s", logEvents=[{"timestamp": 1, "message": "x"}])
    headers = {"x-amz-target": f"Logs_20140328.{operation}", "content-type": "application/x-amz-json-1.1"}
    told = ask(lam, caller, "POST", "/", body=json.dumps(body), service="logs", headers=headers)
    assert told["status"] in (400, 403) and "AccessDenied" in told["said"], told


def test_the_platforms_own_pages_are_denied(lam, caller):
    for path in ("/_pinfold/usage", "/_pinfold/status"):
        told = ask(lam, caller, "GET", path)
        assert told["status"] == 403, (path, told)


def test_a_token_is_part_of_the_credentials(platform, lam, caller, called):
    name = create(lam)
    found = call(lam, name, {"do": "environment"})
    key = {"key": found["AWS_ACCESS_KEY_ID"], "secret": found["AWS_SECRET_ACCESS_KEY"], "region": platform.region}
    told = ask(lam, caller, "POST", f"/2015-03-31/functions/{called}/invocations", body="{}", key=key)
    assert told["status"] == 403, "without its token"
    told = ask(lam, caller, "POST", f"/2015-03-31/functions/{called}/invocations", body="{}", key={**key, "token": "x" * 100})
    assert told["status"] == 403, "with another token"


def test_boto3_in_a_package_finds_the_way(lam, called):
    """The SDK as users ship it: found through AWS_ENDPOINT_URL and the credentials in the environment."""
    import boto3

    site = Path(boto3.__file__).parent.parent
    names = ["boto3", "botocore", "jmespath", "dateutil", "urllib3", "s3transfer", "six.py"]
    kept = ("lambda", "sts")
    files = {}
    for name in names:
        top = site / name
        for path in [top] if top.is_file() else top.rglob("*"):
            inner = str(path.relative_to(site))
            # The models of 400 services would not fit into a package.
            skipped = inner.startswith("botocore/data/") and path.parent != site / "botocore/data" and inner.split("/")[2] not in kept
            if path.is_file() and "__pycache__" not in inner and not skipped:
                files[inner] = path.read_bytes()
    files["app.py"] = (
        "import boto3, json\n"
        "def handler(event, context):\n"
        "    answer = boto3.client('lambda').invoke(FunctionName=event['name'], Payload=json.dumps({'from': 'boto3'}))\n"
        "    return json.load(answer['Payload'])\n"
    )
    name = create(lam, fresh("boto3"), packages.zip_of(files), Timeout=60, MemorySize=512)
    assert call(lam, name, {"name": called}) == {"called with": {"from": "boto3"}}


def test_the_javascript_sdk_outside_walks_the_same_road(platform, tmp_path):
    """The AWS SDK for JavaScript creates, waits, invokes and deletes."""
    import subprocess

    (tmp_path / "code.zip").write_bytes(packages.node("exports.handler = async (event) => ({ hello: event.who });\n"))
    # The folder of packages is found by its place beside the script.
    (tmp_path / "node_modules").symlink_to(os.environ["E2E_NODE_MODULES"])
    script = Path(__file__).parent / "node" / "road.mjs"
    (tmp_path / "road.mjs").write_text(script.read_text())
    result = subprocess.run(
        ["node", "--preserve-symlinks", str(tmp_path / "road.mjs"), fresh("sdk-js"), str(tmp_path / "code.zip")],
        env=platform.cli_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == {"pending": "Pending", "answer": {"hello": "Ada"}, "failed": "Unhandled", "gone": "ResourceNotFoundException"}

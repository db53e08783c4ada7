"""The AWS CLI, versions 1 and 2, on the same road: create, update, invoke, list over pages, delete, wait, logs."""

import base64
import json
import os
import subprocess

import pytest
from harness import packages, wait
from harness.lambdas import ROLE, fresh

CODE = "def handler(event, context):\n    print('hello from', event.get('who'))\n    return {'hello': event.get('who')}\n"
VERSIONS = {
    "v1": [os.environ.get("E2E_AWS_V1_PYTHON", "python3"), "-m", "awscli"],
    "v2": [os.environ.get("E2E_AWS_V2", "aws")],
}


def pointed(version, endpoint):
    """The command that speaks to an endpoint: before 2.13, version 2 does not read AWS_ENDPOINT_URL."""
    return VERSIONS[version] + (["--endpoint-url", endpoint] if version == "v2" else [])


class Cli:
    """One version of the AWS CLI, pointed at a platform."""

    def __init__(self, platform, version, folder):
        self.platform = platform
        self.version = version
        self.folder = folder

    def run(self, *words, check=True):
        result = subprocess.run(
            [*pointed(self.version, self.platform.endpoint), *words],
            cwd=self.folder,
            env=self.platform.cli_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
        )
        if check:
            assert result.returncode == 0, f"aws {' '.join(words)}: {result.stderr}"
        return result

    def json(self, *words):
        return json.loads(self.run(*words, "--output", "json").stdout)

    def create(self, name, code=CODE):
        (self.folder / "code.zip").write_bytes(packages.python(code))
        words = ["--function-name", name, "--runtime", "python3.12", "--handler", "app.handler", "--role", ROLE]
        return self.json("lambda", "create-function", *words, "--zip-file", "fileb://code.zip")

    def invoke(self, name, payload, *more):
        text = base64.b64encode(payload.encode()).decode() if self.version == "v2" else payload
        told = self.json("lambda", "invoke", "--function-name", name, "--payload", text, *more, "out.json")
        return told, (self.folder / "out.json").read_text()


@pytest.fixture(params=list(VERSIONS))
def cli(request, platform, tmp_path):
    return Cli(platform, request.param, tmp_path)


def test_the_version_is_what_it_should_be(cli):
    said = cli.run("--version")
    assert (said.stdout + said.stderr).startswith(f"aws-cli/{cli.version[1]}.")


def test_a_function_goes_its_whole_road(cli):
    name = fresh(f"cli-{cli.version}")
    made = cli.create(name)
    assert made["State"] == "Pending"
    cli.run("lambda", "wait", "function-active-v2", "--function-name", name)
    assert cli.json("lambda", "get-function", "--function-name", name)["Configuration"]["State"] == "Active"

    told, answer = cli.invoke(name, '{"who":"Ada"}', "--log-type", "Tail")
    assert json.loads(answer) == {"hello": "Ada"}
    assert (told["StatusCode"], told["ExecutedVersion"]) == (200, "$LATEST")
    assert "hello from Ada" in base64.b64decode(told["LogResult"]).decode()
    assert cli.invoke(name, '{"who":"Bob"}', "--invocation-type", "Event")[0]["StatusCode"] == 202
    assert cli.invoke(name, "{}", "--invocation-type", "DryRun")[0]["StatusCode"] == 204

    words = ["--function-name", name, "--timeout", "11", "--environment", "Variables={AA=1}"]
    cli.run("lambda", "update-function-configuration", *words)
    cli.run("lambda", "wait", "function-updated-v2", "--function-name", name)
    (cli.folder / "code.zip").write_bytes(packages.python("def handler(event, context):\n    return 'newer'\n"))
    cli.run("lambda", "update-function-code", "--function-name", name, "--zip-file", "fileb://code.zip")
    cli.run("lambda", "wait", "function-updated-v2", "--function-name", name)
    found = cli.json("lambda", "get-function-configuration", "--function-name", name)
    assert (found["Timeout"], found["Environment"]) == (11, {"Variables": {"AA": "1"}})
    assert json.loads(cli.invoke(name, "{}")[1]) == "newer"

    cli.run("lambda", "delete-function", "--function-name", name)
    gone = cli.run("lambda", "get-function", "--function-name", name, check=False)
    assert gone.returncode in (254, 255)
    assert "ResourceNotFoundException" in gone.stderr


def test_a_list_goes_over_three_pages(cli):
    stem = fresh(f"cli-page-{cli.version}")
    lam = cli.platform.client("lambda")
    code = {"ZipFile": packages.python(CODE)}
    names = [f"{stem}-{n}" for n in range(5)]
    for name in names:
        lam.create_function(FunctionName=name, Runtime="python3.12", Handler="app.handler", Role=ROLE, Code=code)
    listed = cli.json("lambda", "list-functions", "--page-size", "2", "--query", "Functions[].FunctionName")
    assert [name for name in listed if name.startswith(stem)] == names
    for name in names:
        lam.delete_function(FunctionName=name)


def test_an_error_of_the_function_is_in_the_answer(cli):
    name = fresh(f"cli-error-{cli.version}")
    cli.create(name, "def handler(event, context):\n    raise KeyError('x')\n")
    cli.run("lambda", "wait", "function-active-v2", "--function-name", name)
    told, answer = cli.invoke(name, "{}")
    assert told["FunctionError"] == "Unhandled"
    assert json.loads(answer)["errorType"] == "KeyError"


def test_who_am_i(cli):
    assert cli.json("sts", "get-caller-identity")["Account"] == cli.platform.account


def test_logs_are_read(cli):
    name = fresh(f"cli-logs-{cli.version}")
    cli.create(name)
    cli.run("lambda", "wait", "function-active-v2", "--function-name", name)
    cli.invoke(name, '{"who":"Cy"}')
    group = f"/aws/lambda/{name}"
    read = lambda: cli.json("logs", "filter-log-events", "--log-group-name", group, "--query", "events[].message")
    wait.until(lambda: cli.json("logs", "describe-log-groups", "--log-group-name-prefix", group)["logGroups"], "the group is there")
    messages = wait.until(lambda: (found := read()) and any("REPORT" in m for m in found) and found, "the lines are there")
    assert any("hello from Cy" in message for message in messages)
    if cli.version == "v2":
        tail = cli.run("logs", "tail", group, "--since", "10m", "--format", "short")
        assert "hello from Cy" in tail.stdout
        assert "REPORT RequestId" in tail.stdout

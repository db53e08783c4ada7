"""Creates, invokes and looks at functions through boto3, in few words."""

import base64
import itertools
import json
import os

from . import packages, wait

ROLE = "arn:aws:iam::000000000000:role/anything"
_numbers = itertools.count(1)

# What a mobile SDK sends as its client context.
CLIENT_CONTEXT = {
    "client": {"installation_id": "i", "app_title": "t", "app_version_name": "1.0", "app_version_code": "1", "app_package_name": "p"},
    "custom": {"who": "me"},
    "env": {"locale": "en"},
}
ENCODED_CLIENT_CONTEXT = base64.b64encode(json.dumps(CLIENT_CONTEXT).encode()).decode()

# What each language of the behaviour table is deployed as.
LANGUAGES = {
    "python": {"Runtime": "python3.13", "Handler": "app.handler"},
    "node_cjs": {"Runtime": "nodejs20.x", "Handler": "index.handler"},
    "node_esm": {"Runtime": "nodejs22.x", "Handler": "index.handler"},
    "provided": {"Runtime": "provided.al2023", "Handler": "bootstrap"},
}


def fresh(stem="f"):
    """A function name that no other test uses."""
    return f"{stem}-{os.getpid()}-{next(_numbers)}"


def package(language):
    """The behaviour table's handlers in a language."""
    if language == "provided":
        return packages.rust_bootstrap()
    return packages.zip_of_folder(packages.FUNCTIONS / language)


def create(client, name=None, code=None, language="python", wait_active=True, **options):
    """Creates a function and waits until it is active; answers its name."""
    name = name or fresh()
    settings = {**LANGUAGES[language], "Role": ROLE, **options}
    client.create_function(FunctionName=name, Code={"ZipFile": code or package(language)}, **settings)
    if wait_active:
        active(client, name)
    return name


def active(client, name):
    """Waits until a function can be invoked."""

    def state():
        found = client.get_function_configuration(FunctionName=name)
        assert found["State"] != "Failed", f"{name} failed: {found.get('StateReason')}"
        return found["State"] == "Active" and found.get("LastUpdateStatus") != "InProgress"

    wait.until(state, f"{name} is active", 30)


class Answer:
    """The answer of one invocation."""

    def __init__(self, response):
        self.status = response["StatusCode"]
        self.error = response.get("FunctionError")
        self.version = response.get("ExecutedVersion")
        self.request_id = response["ResponseMetadata"]["RequestId"]
        self.headers = response["ResponseMetadata"]["HTTPHeaders"]
        self.raw = response["Payload"].read()
        self.log = base64.b64decode(response["LogResult"]).decode(errors="replace") if "LogResult" in response else None

    @property
    def payload(self):
        return json.loads(self.raw) if self.raw else None

    def __repr__(self):
        return f"Answer({self.status}, {self.error}, {self.raw[:500]!r}, {self.log!r})"


def invoke(client, name, event=(), tail=True, **options):
    """Invokes and waits for the answer; an error of the function is an answer too. Without an event, an empty one."""
    event = {} if event == () else event
    if tail:
        options.setdefault("LogType", "Tail")
    return Answer(client.invoke(FunctionName=name, Payload=json.dumps(event).encode(), **options))


def call(client, name, event=(), **options):
    """Invokes and returns the payload; an error of the function fails the test."""
    answer = invoke(client, name, event, **options)
    assert answer.error is None, f"{name} failed: {answer}"
    return answer.payload


def log_events(logs, name, request_id=None):
    """All messages of a function's log group, the oldest first; an empty list before there is one."""
    try:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{name}")
        messages = [event["message"] for page in pages for event in page["events"]]
    except logs.exceptions.ResourceNotFoundException:
        return []
    return [m for m in messages if request_id is None or request_id in m]


def finished(logs, name, request_id=None, reports=1):
    """Waits until the log of a function shows that an invocation has ended; answers all messages."""

    def look():
        messages = log_events(logs, name)
        ended = [m for m in messages if m.startswith("REPORT ") and (request_id is None or request_id in m)]
        return messages if len(ended) >= reports else None

    return wait.until(look, f"the log of {name} shows {reports} REPORT")


def usage(platform, name):
    """The usage facts of a function, as the platform's own API gives them."""
    status, _, body = platform.request("GET", f"/_pinfold/usage?function={name}&limit=100")
    assert status == 200, body
    return json.loads(body)["facts"]

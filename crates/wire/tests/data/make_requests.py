"""Writes requests.json: what botocore sends for calls of the operations served, signed at a fixed time.

Run with botocore 1.43 beside the file; the tests only read the result.
"""

import base64
import datetime
import json
import pathlib
import sys
import urllib.parse

import botocore.auth
import botocore.session
from botocore.awsrequest import AWSResponse

NOW = datetime.datetime(2026, 11, 22, 15, 4, 5, tzinfo=datetime.timezone.utc)
ROLE = "arn:aws:iam::000000000000:role/any"
ARN = "arn:aws:lambda:eu-central-1:000000000000:function:hello:live"
CREATE = {"FunctionName": "hello", "Role": ROLE, "Runtime": "python3.13", "Handler": "app.handler", "Code": {"ZipFile": b"PK\x05\x06"}}

CASES = [
    ("lambda", "create_function", CREATE),
    (
        "lambda",
        "create_function",
        CREATE
        | {
            "Description": "says \"hello\" to ünïcode",
            "Timeout": 7,
            "MemorySize": 256,
            "Publish": True,
            "Environment": {"Variables": {"STAGE": "test", "EMPTY": ""}},
            "EphemeralStorage": {"Size": 1024},
            "Architectures": ["arm64"],
            "Tags": {"team": "tööls"},
            "Layers": ["arn:aws:lambda:eu-central-1:000000000000:layer:tools:3"],
            "VpcConfig": {"SubnetIds": ["subnet-1"], "SecurityGroupIds": []},
            "TracingConfig": {"Mode": "Active"},
            "DeadLetterConfig": {"TargetArn": ""},
            "LoggingConfig": {"LogFormat": "JSON", "ApplicationLogLevel": "DEBUG"},
            "SnapStart": {"ApplyOn": "None"},
            "PackageType": "Zip",
        },
    ),
    ("lambda", "get_function", {"FunctionName": "hello"}),
    ("lambda", "get_function", {"FunctionName": ARN, "Qualifier": "$LATEST"}),
    ("lambda", "get_function_configuration", {"FunctionName": "hello", "Qualifier": "1"}),
    ("lambda", "list_functions", {}),
    ("lambda", "list_functions", {"MaxItems": 3, "Marker": "a b+c/=&", "FunctionVersion": "ALL"}),
    ("lambda", "update_function_code", {"FunctionName": "hello", "ZipFile": b"PK", "DryRun": True, "RevisionId": "r1"}),
    ("lambda", "update_function_code", {"FunctionName": "hello", "S3Bucket": "bucket", "S3Key": "key"}),
    ("lambda", "update_function_configuration", {"FunctionName": "hello", "Timeout": 9, "Environment": {"Variables": {}}}),
    ("lambda", "update_function_configuration", {"FunctionName": "hello", "Layers": [], "RevisionId": "r2"}),
    ("lambda", "delete_function", {"FunctionName": "hello"}),
    ("lambda", "delete_function", {"FunctionName": "hello", "Qualifier": "2"}),
    ("lambda", "invoke", {"FunctionName": "hello"}),
    (
        "lambda",
        "invoke",
        {
            "FunctionName": ARN,
            "InvocationType": "RequestResponse",
            "LogType": "Tail",
            "ClientContext": base64.b64encode(b'{"custom":{"a":"b"}}').decode(),
            "Payload": b'{"name": "w\xc3\xb6rld"}',
            "Qualifier": "live",
        },
    ),
    ("lambda", "invoke", {"FunctionName": "hello", "InvocationType": "Event", "Payload": b"\xff\x00 not JSON"}),
    ("lambda", "invoke", {"FunctionName": "hello", "InvocationType": "DryRun", "DurableExecutionName": "e-1", "TenantId": "t 1"}),
    ("lambda", "invoke_async", {"FunctionName": "hello", "InvokeArgs": b"{}"}),
    ("logs", "create_log_group", {"logGroupName": "/aws/lambda/hello", "tags": {"a": "b"}, "logGroupClass": "STANDARD"}),
    ("logs", "delete_log_group", {"logGroupName": "/aws/lambda/hello"}),
    ("logs", "describe_log_groups", {}),
    ("logs", "describe_log_groups", {"logGroupNamePrefix": "/aws", "limit": 2, "nextToken": "n"}),
    ("logs", "create_log_stream", {"logGroupName": "g", "logStreamName": "2026/11/22/[$LATEST]0123"}),
    ("logs", "delete_log_stream", {"logGroupName": "g", "logStreamName": "s"}),
    ("logs", "describe_log_streams", {"logGroupName": "g", "orderBy": "LastEventTime", "descending": True}),
    (
        "logs",
        "put_log_events",
        {
            "logGroupName": "g",
            "logStreamName": "s",
            "logEvents": [{"timestamp": 1763823845000, "message": "öne"}, {"timestamp": 1763823846000, "message": "two\n"}],
        },
    ),
    ("logs", "get_log_events", {"logGroupName": "g", "logStreamName": "s", "startFromHead": True, "startTime": 0, "limit": 10000}),
    ("logs", "filter_log_events", {"logGroupName": "g", "filterPattern": "ERROR", "logStreamNames": ["a", "b"], "endTime": 5}),
    ("sts", "get_caller_identity", {}),
]


def capture(session, service, operation, params):
    client = session.create_client(service, "eu-central-1", endpoint_url="http://127.0.0.1:4566")
    sent = []

    def before_send(request, **_):
        sent.append(request)
        return AWSResponse(request.url, 599, {}, None)

    client.meta.events.register("before-send.*", before_send)
    try:
        getattr(client, operation)(**params)
    except Exception:  # the answer is made up
        pass
    request = sent[0]
    url = urllib.parse.urlsplit(request.url)
    body = request.body or b""
    if hasattr(body, "read"):
        body = body.read()
    if isinstance(body, str):
        body = body.encode()
    text = lambda value: value.decode() if isinstance(value, bytes) else value
    skip = {"user-agent", "amz-sdk-invocation-id", "connection"}
    signed = text(request.headers["Authorization"])
    headers = {name: text(value) for name, value in request.headers.items() if name.lower() not in skip or f"{name.lower()};" in signed}
    headers.setdefault("Host", url.netloc)
    return {
        "service": service,
        "operation": client.meta.method_to_api_mapping[operation],
        "method": request.method,
        "path": url.path,
        "query": url.query,
        "headers": headers,
        "body": base64.b64encode(body).decode(),
    }


def main():
    botocore.auth.get_current_datetime = lambda **_: NOW.replace(tzinfo=None)
    session = botocore.session.Session()
    session.set_credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    session.set_config_variable("retries", {"total_max_attempts": 1})
    requests = [capture(session, *case) for case in CASES]
    path = pathlib.Path(sys.argv[0]).with_name("requests.json")
    path.write_text(json.dumps(requests, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


main()

#!/usr/bin/python3
"""A custom runtime that misuses the Runtime API: MODE says how. It answers well what does not name a misuse."""

import http.client
import json
import os

API = os.environ["AWS_LAMBDA_RUNTIME_API"]
BASE = "/2018-06-01/runtime/"


def ask(method, path, body=b"", headers=None):
    connection = http.client.HTTPConnection(API)
    connection.request(method, BASE + path, body, headers or {})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def serve_one(mode):
    answer, event = ask("GET", "invocation/next")
    request_id = answer.getheader("Lambda-Runtime-Aws-Request-Id")
    event = json.loads(event or b"null")
    what = event.get("mode", mode) if isinstance(event, dict) else mode
    if what == "close":
        # A connection that asks for work and goes away, and then the process that does.
        os._exit(0)
    if what == "other":
        told, _ = ask("POST", f"invocation/{event['request_id']}/response", b'"forged"')
        ask("POST", f"invocation/{request_id}/response", json.dumps({"status": told.status}).encode())
        return
    if what == "unknown":
        told, _ = ask("POST", "invocation/00000000-0000-4000-8000-000000000000/response", b'"forged"')
        ask("POST", f"invocation/{request_id}/response", json.dumps({"status": told.status}).encode())
        return
    if what == "twice":
        ask("POST", f"invocation/{request_id}/response", b'"first"')
        told, _ = ask("POST", f"invocation/{request_id}/response", b'"second"')
        print(f"the second answer was told {told.status}", flush=True)
        return
    if what == "garbage":
        import socket

        host, port = API.split(":")
        with socket.create_connection((host, int(port))) as raw:
            raw.sendall(b"\0\1\2 this is no HTTP\r\n\r\n" * 10)
            raw.settimeout(5)
            try:
                raw.recv(1000)
            except OSError:
                pass
    if what == "large":
        try:
            told, _ = ask("POST", f"invocation/{request_id}/response", b'"' + b"x" * (100 << 20) + b'"')
            print(f"the large answer was told {told.status}", flush=True)
        except OSError as error:
            print(f"the large answer broke: {error}", flush=True)
        return
    ask("POST", f"invocation/{request_id}/response", json.dumps("alive").encode())


while True:
    serve_one(os.environ.get("MODE", "good"))
    if os.environ.get("ONCE"):
        break

"""Signs requests with AWS Signature Version 4, with nothing but the standard library: what a function without an SDK does."""

import datetime
import hashlib
import hmac
import os
import urllib.error
import urllib.request


def call(method, path, body=b"", service="lambda", headers=None, endpoint=None, key=None, secret=None, token=None, region=None):
    """Makes one signed request; answers (status, headers, body). What is not given comes from the AWS_* variables."""
    endpoint = endpoint or os.environ["AWS_ENDPOINT_URL"]
    region = region or os.environ["AWS_REGION"]
    if key is None:
        key, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
        token = os.environ.get("AWS_SESSION_TOKEN")
    at = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{at[:8]}/{region}/{service}/aws4_request"
    signed = {"host": endpoint.split("//")[1].rstrip("/"), "x-amz-date": at}
    if token:
        signed["x-amz-security-token"] = token
    for name, value in (headers or {}).items():
        signed[name.lower()] = value
    names = ";".join(sorted(signed))
    lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
    plain_path, _, query = path.partition("?")
    request = "\n".join([method, plain_path, query, lines, names, hashlib.sha256(body).hexdigest()])
    text = "\n".join(["AWS4-HMAC-SHA256", at, scope, hashlib.sha256(request.encode()).hexdigest()])
    signing = ("AWS4" + secret).encode()
    for part in (at[:8], region, service, "aws4_request", text):
        signing = hmac.new(signing, part.encode(), hashlib.sha256).digest()
    signed["authorization"] = f"AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={names}, Signature={signing.hex()}"
    del signed["host"]
    # Without this, urllib adds a form's content type.
    signed.setdefault("content-type", "application/json")
    http = urllib.request.Request(endpoint.rstrip("/") + path, data=body or None, headers=signed, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(http, timeout=30) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()

"""Starts and stops the binary under test: on a free port, in folders of its own, with nothing of the caller's settings."""

import http.client
import json
import os
import shutil
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from . import processes, wait
from .users import ME

# Interpreters come from the system, never from what the caller's shell has in front of it.
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# A word that no guest may ever see.
CANARY = "e2e-canary-of-the-host"
START_SECS = 60
STOP_SECS = 30
# Retries of event invocations on a schedule that a test can wait for.
QUICK_RETRIES = ("--set", "events.retry_first=1s", "--set", "events.retry_second=2s")


class Home:
    """Folders for one platform, or for several on the same data, owned by its user."""

    def __init__(self, user=ME):
        self.user = user
        self.path = Path(tempfile.mkdtemp(prefix="pinfold-e2e-", dir="/tmp"))
        self.path.chmod(0o755)
        for name in ("home", "bin", "work"):
            (self.path / name).mkdir(mode=0o755)
        user.own(self.path / "home")
        user.own(self.path / "work")
        user.own(self.path)
        # A copy that everyone may run, and that a new build does not change under a running test.
        self.binary = self.path / "bin" / "pinfold"
        shutil.copy(os.environ["E2E_BINARY"], self.binary)
        self.binary.chmod(0o755)

    @property
    def data_dir(self):
        return self.path / "home" / ".local" / "share" / "pinfold"

    def environment(self, **more):
        """The environment of a process of this home."""
        home = str(self.path / "home")
        base = {"PATH": SYSTEM_PATH, "HOME": home, "LANG": "C.UTF-8", "TMPDIR": "/tmp", "E2E_CANARY": CANARY}
        base.update({name: value for name, value in more.items() if value is not None})
        return base

    def pinfold(self, *words, cwd=None, timeout=60, input=None, env=None):
        """Runs a command of the binary to its end."""
        return subprocess.run(
            self.user.command([str(self.binary), *words]),
            cwd=cwd or self.path / "work",
            env=self.environment(**(env or {})),
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)


class Platform:
    """One running `pinfold up`."""

    def __init__(self, home, *arguments, env=None, temporary=False, without=()):
        self.home = home
        # Programs that this platform alone does not see; only root can arrange that.
        self.without = [path for path in without if os.path.exists(path)]
        self.arguments = arguments
        self.env = env or {}
        self.temporary = temporary
        self.process = None
        self.ready = None
        self.log_path = None

    def start(self):
        """Starts it and waits until it is ready."""
        ready_file = self.home.path / "work" / "ready.json"
        ready_file.unlink(missing_ok=True)
        self.log_path = Path(tempfile.mkstemp(prefix="up-", suffix=".log", dir=self.home.path)[1])
        words = [str(self.home.binary), "up", "--listen", "127.0.0.1:0", "--ready-file", str(ready_file)]
        if self.temporary:
            words.append("--temporary")
        words += self.arguments
        if self.without:
            hide = "".join(f"mount --bind /dev/null {path}; " for path in self.without)
            words = ["unshare", "--mount", "/bin/sh", "-c", f'set -e; {hide} exec "$@"', "sh", *words]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                self.home.user.command(words),
                cwd=self.home.path / "work",
                env=self.home.environment(**self.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"pinfold up ended with {self.process.returncode}:\n{self.output()}")
            return ready_file.exists()

        wait.until(ready, f"pinfold is ready; it said:\n{self.output()}", START_SECS)
        self.ready = json.loads(ready_file.read_text())
        return self

    def output(self):
        """What it has said so far."""
        return self.log_path.read_text(errors="replace") if self.log_path else ""

    @property
    def pid(self):
        return self.ready["pid"]

    @property
    def endpoint(self):
        return self.ready["endpoint"]

    @property
    def account(self):
        return self.ready["account_id"]

    @property
    def region(self):
        return self.ready["region"]

    @property
    def port(self):
        return int(self.endpoint.rsplit(":", 1)[1].rstrip("/"))

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def stop(self):
        """Stops it politely; it must end with code 0, and leave no process behind."""
        if not self.is_running():
            raise AssertionError(f"pinfold ended by itself with {self.process and self.process.returncode}:\n{self.output()}")
        below = processes.descendants(self.process.pid)
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"pinfold did not stop within {STOP_SECS} s of SIGTERM:\n{self.output()}") from None
        assert code == 0, f"pinfold ended with {code} after SIGTERM:\n{self.output()}"
        wait.until(lambda: not any(map(processes.is_alive, below)), "every process below the platform has ended", 5)

    def kill(self):
        """Kills it, as a crash would."""
        if self.is_running():
            self.process.kill()
        self.process.wait()

    # ---- clients

    def client(self, service, **options):
        """A boto3 client that asks once and never again."""
        options.setdefault("retries", {"total_max_attempts": 1})
        options.setdefault("read_timeout", 90)
        options.setdefault("connect_timeout", 10)
        key = {
            "aws_access_key_id": options.pop("access_key_id", self.ready["access_key_id"]),
            "aws_secret_access_key": options.pop("secret_access_key", self.ready["secret_access_key"]),
            "aws_session_token": options.pop("session_token", None),
        }
        config = Config(inject_host_prefix=False, **options)
        session = boto3.session.Session(region_name=self.region)
        return session.client(service, endpoint_url=self.endpoint, config=config, **key)

    def _signed(self, method, url, body, headers, sign):
        request = AWSRequest(method, url, data=body, headers=dict(headers or {}))
        if sign:
            credentials = Credentials(self.ready["access_key_id"], self.ready["secret_access_key"])
            SigV4Auth(credentials, sign, self.region).add_auth(request)
        return request

    def open_request(self, method, path, body=b""):
        """Sends a signed request and answers its connection, whose answer nobody has read."""
        request = self._signed(method, self.endpoint + path, body, None, "lambda")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, body, dict(request.headers))
        return connection

    def request(self, method, path, body=b"", headers=None, sign="lambda", endpoint=None):
        """A request by hand, signed for `sign` or not at all; answers (status, headers, body)."""
        url = (endpoint or self.endpoint) + path
        request = self._signed(method, url, body, headers, sign)
        plain = urllib.request.Request(url, data=body or None, headers=dict(request.headers), method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(plain, timeout=60) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def cli_environment(self, **more):
        """The environment in which the AWS CLI finds this platform and nothing else."""
        return self.home.environment(
            AWS_ENDPOINT_URL=self.endpoint,
            AWS_ACCESS_KEY_ID=self.ready["access_key_id"],
            AWS_SECRET_ACCESS_KEY=self.ready["secret_access_key"],
            AWS_DEFAULT_REGION=self.region,
            AWS_REGION=self.region,
            AWS_EC2_METADATA_DISABLED="true",
            AWS_PAGER="",
            AWS_MAX_ATTEMPTS="1",
            **more,
        )

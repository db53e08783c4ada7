"""The command line as a user meets it: deploy, invoke, logs, functions, status, doctor, env, init, completions, exit codes."""

import json
import os
import re
import signal
import subprocess

import pytest
from harness import processes, wait
from harness.lambdas import fresh
from harness.platform import Platform

HELLO = "def handler(event, context):\n    print('hello from the inside')\n    return {'hello': event.get('name', 'nobody')}\n"


@pytest.fixture(scope="module")
def here(request):
    """A running platform whose client commands find it by its data directory."""
    from harness.platform import Home

    home = Home()
    running = Platform(home).start()
    yield running
    running.stop()
    home.remove()


def folder(home, files):
    place = home.path / "work" / fresh("project")
    place.mkdir()
    for name, text in files.items():
        (place / name).write_text(text)
    return place


def done(result, code=0):
    assert result.returncode == code, f"exit code {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def test_a_folder_is_deployed_and_invoked(here):
    place = folder(here.home, {"app.py": HELLO})
    name = fresh("deployed")
    said = here.home.pinfold("deploy", str(place), "--name", name, "--memory", "256", "--timeout", "9", "--env", "AA=1", "--env", "BB=x=y")
    done(said)
    assert name in said.stdout
    found = here.client("lambda").get_function_configuration(FunctionName=name)
    assert found["Runtime"].startswith("python3.")
    assert (found["MemorySize"], found["Timeout"]) == (256, 9)
    assert found["Environment"]["Variables"] == {"AA": "1", "BB": "x=y"}

    said = done(here.home.pinfold("invoke", name, "-d", '{"name":"Ada"}'))
    assert '"hello"' in said and '"Ada"' in said
    both = here.home.pinfold("invoke", name, "-d", "{}")
    assert "hello from the inside" in both.stdout + both.stderr
    assert re.search(r"\d+(\.\d+)? ms", both.stdout + both.stderr)

    (place / "app.py").write_text("def handler(event, context):\n    return 'newer'\n")
    done(here.home.pinfold("deploy", str(place), "--name", name))
    assert "newer" in done(here.home.pinfold("invoke", name))


def test_what_is_absent_is_guessed_and_shown(here):
    place = folder(here.home, {"index.mjs": "export const handler = async (event) => ({ got: event });\n"})
    said = here.home.pinfold("deploy", str(place))
    done(said)
    name = place.name
    text = said.stdout + said.stderr
    assert name in text and "nodejs" in text and "index.handler" in text
    assert '"got"' in done(here.home.pinfold("invoke", name, "-d", '{"a":1}'))


def test_what_cannot_be_guessed_is_asked_for(here):
    place = folder(here.home, {"readme.txt": "no code"})
    said = here.home.pinfold("deploy", str(place))
    assert said.returncode in (1, 2)
    assert "--runtime" in said.stderr or "--handler" in said.stderr or "handler" in said.stderr


def test_an_event_comes_from_a_file_or_from_standard_input(here):
    place = folder(here.home, {"app.py": HELLO})
    name = fresh("events")
    done(here.home.pinfold("deploy", str(place), "--name", name))
    event = place / "event.json"
    event.write_text('{"name":"from a file"}')
    assert "from a file" in done(here.home.pinfold("invoke", name, "-e", str(event)))
    assert "from a pipe" in done(here.home.pinfold("invoke", name, "-e", "-", input='{"name":"from a pipe"}'))


def test_an_invocation_in_the_background_runs(here):
    place = folder(here.home, {"app.py": HELLO})
    name = fresh("background")
    done(here.home.pinfold("deploy", str(place), "--name", name))
    done(here.home.pinfold("invoke", name, "--async"))
    wait.until(lambda: "hello from the inside" in here.home.pinfold("logs", name).stdout, "it ran")


def test_exit_codes_say_what_happened(here, make_home):
    place = folder(here.home, {"app.py": "def handler(event, context):\n    raise KeyError('gone')\n"})
    name = fresh("raises")
    done(here.home.pinfold("deploy", str(place), "--name", name))
    failed = here.home.pinfold("invoke", name)
    done(failed, 4)
    assert "KeyError" in failed.stdout + failed.stderr
    done(here.home.pinfold("invoke", "nobody-here"), 1)
    done(here.home.pinfold("invoke"), 2)
    done(here.home.pinfold("frobnicate"), 2)
    nowhere = make_home()
    done(nowhere.pinfold("functions"), 3)
    done(nowhere.pinfold("functions", "--endpoint", "http://127.0.0.1:9", env={"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}), 3)


def test_functions_are_listed_and_deleted(here):
    place = folder(here.home, {"app.py": HELLO})
    name = fresh("listed")
    done(here.home.pinfold("deploy", str(place), "--name", name))
    assert name in done(here.home.pinfold("functions"))
    done(here.home.pinfold("functions", "delete", name))
    assert name not in done(here.home.pinfold("functions"))
    done(here.home.pinfold("functions", "delete", name), 1)


def test_logs_are_shown_and_followed(here):
    place = folder(here.home, {"app.py": "def handler(event, context):\n    print('line', event.get('n'))\n"})
    name = fresh("followed")
    done(here.home.pinfold("deploy", str(place), "--name", name))
    done(here.home.pinfold("invoke", name, "-d", '{"n":1}'))
    wait.until(lambda: "line 1" in here.home.pinfold("logs", name, "--since", "10m").stdout, "the line is there")
    follower = subprocess.Popen(
        [str(here.home.binary), "logs", name, "-f"], env=here.home.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    try:
        os.set_blocking(follower.stdout.fileno(), False)
        seen = []
        wait.until(lambda: seen.append(follower.stdout.read() or b"") or b"line 1" in b"".join(seen), "what was there is shown")
        done(here.home.pinfold("invoke", name, "-d", '{"n":2}'))
        wait.until(lambda: seen.append(follower.stdout.read() or b"") or b"line 2" in b"".join(seen), "what comes is shown")
        assert b"".join(seen).count(b"line 1") == 1, "no line twice"
    finally:
        follower.send_signal(signal.SIGINT)
        follower.wait(10)


JSON_COMMANDS = [
    ("functions",),
    ("status",),
    ("doctor",),
    ("config", "check"),
    ("invoke", "{name}", "-d", "{{}}"),
    ("env",),
]


@pytest.fixture(scope="module")
def named(here):
    place = folder(here.home, {"app.py": HELLO})
    name = fresh("json")
    done(here.home.pinfold("deploy", str(place), "--name", name))
    return name


@pytest.mark.parametrize("words", JSON_COMMANDS, ids=[" ".join(words[:2]).split(" {")[0] for words in JSON_COMMANDS])
def test_every_command_speaks_json(here, named, words):
    said = here.home.pinfold(*[word.format(name=named) for word in words], "--output", "json")
    assert said.returncode in (0, 1) if words == ("doctor",) else said.returncode == 0, said
    for line in [said.stdout] if said.stdout.lstrip().startswith(("{\n", "[\n")) else said.stdout.splitlines():
        json.loads(line)


def test_errors_speak_json_too(here):
    said = here.home.pinfold("invoke", "nobody-here", "--output", "json")
    assert said.returncode == 1
    error = json.loads(said.stderr or said.stdout)
    assert error["error"]["code"] == "ResourceNotFoundException"
    assert error["error"]["exit_code"] == 1


def test_status_and_doctor_tell_what_is(here):
    status = json.loads(done(here.home.pinfold("status", "--output", "json")))
    assert status["tier"] in ("full", "reduced", "weak")
    assert status["functions"] >= 0 and status["version"]
    doctor = here.home.pinfold("doctor")
    text = doctor.stdout.lower()
    assert any(tier in text for tier in ("full", "reduced", "weak")), doctor
    assert "python" in text and "seccomp" in text


def test_the_environment_for_a_shell_works_in_a_shell(here):
    script = f'eval "$("{here.home.binary}" env)" && env'
    said = subprocess.run(["/bin/sh", "-c", script], env=here.home.environment(), capture_output=True, text=True, timeout=30)
    assert said.returncode == 0, said
    found = dict(line.split("=", 1) for line in said.stdout.splitlines() if line.startswith("AWS_"))
    assert found["AWS_ENDPOINT_URL"] == here.endpoint
    assert found["AWS_ACCESS_KEY_ID"] == here.ready["access_key_id"]
    assert found["AWS_SECRET_ACCESS_KEY"] == here.ready["secret_access_key"]
    assert here.region in (found.get("AWS_REGION"), found.get("AWS_DEFAULT_REGION"))
    assert found["AWS_DISABLE_HOST_PREFIX_INJECTION"] == "true"


def test_a_profile_serves_the_aws_cli(here):
    done(here.home.pinfold("env", "--profile", "e2e"))
    files = [here.home.path / "home/.aws" / name for name in ("config", "credentials")]
    assert all(path.stat().st_mode & 0o077 == 0 for path in files if path.exists() and "secret" in path.read_text().lower())
    said = subprocess.run(
        [os.environ["E2E_AWS_V1_PYTHON"], "-m", "awscli", "--profile", "e2e", "sts", "get-caller-identity"],
        env=here.home.environment(AWS_EC2_METADATA_DISABLED="true"), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["Account"] == here.account


@pytest.mark.parametrize("language", ["python", "node"])
def test_a_first_function_is_written_and_works(here, language):
    place = here.home.path / "work" / fresh(f"first-{language}")
    done(here.home.pinfold("init", language, str(place)))
    assert list(place.iterdir())
    name = fresh(f"first-{language}")
    done(here.home.pinfold("deploy", str(place), "--name", name))
    done(here.home.pinfold("invoke", name, "-d", '{"name":"Ada"}'))
    again = here.home.pinfold("init", language, str(place))
    assert again.returncode != 0, "what is there is never overwritten"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_are_printed(here, shell):
    script = done(here.home.pinfold("completions", shell))
    assert "pinfold" in script and "deploy" in script
    if shell == "bash":
        assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


def test_the_version_is_printed(here):
    assert re.fullmatch(r"pinfold \d+\.\d+\.\d+.*\n", done(here.home.pinfold("--version")))


def test_a_platform_in_the_background_comes_and_goes(make_home):
    home = make_home()
    ready = home.path / "work" / "ready.json"
    done(home.pinfold("up", "-d", "--listen", "127.0.0.1:0", "--ready-file", str(ready)))
    found = json.loads(ready.read_text())
    assert processes.is_alive(found["pid"])
    assert ready.stat().st_mode & 0o777 == 0o600
    try:
        done(home.pinfold("functions"))
        done(home.pinfold("status"))
        done(home.pinfold("down"))
        assert not processes.is_alive(found["pid"])
        assert home.pinfold("functions").returncode == 3
    finally:
        if processes.is_alive(found["pid"]):
            os.kill(found["pid"], signal.SIGKILL)


def test_the_demo_shows_a_platform_and_leaves_nothing(make_home):
    home = make_home()
    said = home.pinfold("demo", "--once", "--listen", "127.0.0.1:0", timeout=120)
    done(said)
    text = said.stdout + said.stderr
    for word in ("START RequestId", "REPORT RequestId", "attempt"):
        assert word in text, text
    assert not home.data_dir.exists()
    assert not processes.with_word(str(home.binary))


def test_a_closed_pipe_is_no_error(here):
    script = f'"{here.home.binary}" completions bash | head -1'
    said = subprocess.run(["bash", "-c", f"set -o pipefail; {script}"], env=here.home.environment(), capture_output=True, text=True, timeout=30)
    assert "panicked" not in said.stderr

"""Starts that cannot succeed: one clear message each, the right exit code, and nothing damaged."""

import concurrent.futures
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import botocore
import pytest
from harness import lambdas, packages, wait
from harness.lambdas import ROLE, call, create, fresh

CODE = packages.python("def handler(event, context):\n    return 'alive'\n")


def up(home, *words, seconds=60, env=None):
    """A start that must fail; answers its exit code and what it said."""
    listen = [] if "--listen" in words else ["--listen", "127.0.0.1:0"]
    result = home.pinfold("up", *listen, *words, timeout=seconds, env=env)
    return result.returncode, result.stdout + result.stderr


def says_once(said, *parts):
    """One error, in whole words and not as a panic, that names every part."""
    errors = [line for line in said.splitlines() if line.lower().startswith("error")]
    assert len(errors) == 1, said
    assert "panicked" not in said and "RUST_BACKTRACE" not in said, said
    for part in parts:
        assert str(part) in said, f"{part} is not named: {said}"


@pytest.fixture
def kept(make_home, make_platform, user):
    """A home whose platform has acknowledged a function and was stopped; checked at the end to be whole."""
    home = make_home(user)
    running = make_platform(home=home)
    lam = running.client("lambda")
    name = create(lam, code=CODE)
    running.stop()
    return home, name


def is_whole(kept, make_platform):
    """What was acknowledged is still there and runs."""
    home, name = kept
    running = make_platform(home=home)
    assert call(running.client("lambda"), name) == "alive"
    running.stop()


def test_a_second_start_on_the_same_data_says_who_has_it(make_home, make_platform, user):
    home = make_home(user)
    running = make_platform(home=home)
    lam = running.client("lambda")
    name = create(lam, code=CODE)
    code, said = up(home)
    assert code == 1, said
    says_once(said, home.data_dir, running.pid)
    assert call(lam, name) == "alive", "the first goes on"
    running.stop()


def test_a_port_that_is_taken_is_named(kept, make_platform):
    home, _ = kept
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = home.pinfold("up", "--listen", address)
    assert result.returncode == 1, result
    says_once(result.stdout + result.stderr, address)
    is_whole(kept, make_platform)


def test_data_of_a_newer_version_are_left_alone(kept, make_platform):
    home, _ = kept
    marks = [path for path in home.data_dir.iterdir() if path.name.upper() in ("FORMAT", "VERSION")]
    assert len(marks) == 1, sorted(path.name for path in home.data_dir.iterdir())
    mark = marks[0]
    text = mark.read_text()
    digits = "".join(c for c in text if c.isdigit())
    mark.write_text(text.replace(digits, "999999", 1))
    before = listing(home.data_dir)
    code, said = up(home)
    assert code == 1, said
    says_once(said, home.data_dir, "newer")
    assert changed(before, listing(home.data_dir)) == [], "nothing was touched"
    mark.write_text(text)
    is_whole(kept, make_platform)


def listing(folder):
    """Every file with size and time of change."""
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def changed(before, after):
    """Files that differ, apart from the lock, which names who tried last."""
    return [p for p in sorted(set(before) | set(after)) if before.get(p) != after.get(p) and "lock" not in Path(p).name.lower()]


def test_data_that_cannot_be_read_are_named(kept, make_platform, user):
    home, _ = kept
    if user.is_root:
        pytest.skip("root can read everything")
    home.data_dir.chmod(0)
    code, said = up(home)
    home.data_dir.chmod(0o700)
    assert code == 1, said
    says_once(said, home.data_dir)
    assert "ermission" in said
    is_whole(kept, make_platform)


def test_a_file_where_the_data_should_be_is_named(make_home, user):
    home = make_home(user)
    place = home.path / "work" / "a-file"
    place.write_text("x")
    code, said = up(home, "--data-dir", str(place))
    assert code == 1, said
    says_once(said, place)
    assert place.read_text() == "x"


def test_a_missing_master_key_is_never_replaced(kept, make_platform):
    home, _ = kept
    key = home.path / "home/.config/pinfold/master.key"
    away = key.with_suffix(".away")
    key.rename(away)
    code, said = up(home)
    assert code == 1, said
    says_once(said, key)
    assert not key.exists(), "no new key was made"
    key.write_bytes(os.urandom(len(away.read_bytes())) if len(away.read_bytes()) < 64 else away.read_bytes()[::-1])
    key.chmod(0o600)
    home.user.own(key)
    code, said = up(home)
    assert code == 1, said
    says_once(said, key)
    key.unlink()
    away.rename(key)
    is_whole(kept, make_platform)


def test_a_master_key_that_others_can_read_is_refused_or_warned_about(kept):
    home, _ = kept
    key = home.path / "home/.config/pinfold/master.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert home.data_dir.stat().st_mode & 0o077 == 0


WRONG = [
    ("an unknown key in the file", {"file": 'lsiten = "127.0.0.1:1"\n'}, "lsiten", "listen"),
    ("an unknown variable", {"env": {"PINFOLD_LSITEN": "x"}}, "PINFOLD_LSITEN", "PINFOLD_LISTEN"),
    ("a value of the wrong kind", {"file": "events.age_max = 7.5\n"}, "events.age_max", ""),
    ("a wrong address", {"flags": ["--listen", "nowhere"]}, "listen", "nowhere"),
    ("a wrong account", {"flags": ["--account-id", "12"]}, "account", "12"),
    ("no TOML", {"file": "= what\n"}, "config.toml", ""),
    ("a file that is not there", {"flags": ["--config", "nothing.toml"]}, "nothing.toml", ""),
]


@pytest.mark.parametrize("what, how, part, other", WRONG, ids=[row[0].replace(" ", "_") for row in WRONG])
def test_a_wrong_configuration_is_a_usage_error(make_home, what, how, part, other):
    home = make_home()
    words = list(how.get("flags", []))
    if "file" in how:
        file = home.path / "work" / "config.toml"
        file.write_text(how["file"])
        words += ["--config", str(file)]
    code, said = up(home, *words, env=how.get("env"))
    assert code == 2, said
    says_once(said, part, other)
    assert not home.data_dir.exists(), "nothing was made"


def test_all_mistakes_are_reported_at_once(make_home):
    home = make_home()
    file = home.path / "work" / "config.toml"
    file.write_text('lsiten = "x"\nevents.age_max = true\n')
    code, said = up(home, "--config", str(file), "--set", "account_id=7")
    assert code == 2
    for part in ("lsiten", "events.age_max", "account_id"):
        assert part in said, said
    checked = home.pinfold("config", "check", "--config", str(file))
    assert checked.returncode == 2
    assert "lsiten" in checked.stdout + checked.stderr


@pytest.mark.root_only
def test_a_missing_interpreter_is_said_and_the_rest_works(make_platform):
    running = make_platform(without=["/usr/bin/node", "/usr/bin/nodejs", "/usr/local/bin/node"])
    lam = running.client("lambda")
    assert call(lam, create(lam, code=CODE)) == "alive"
    name = fresh("no-node")
    lam.create_function(FunctionName=name, Runtime="nodejs20.x", Handler="index.handler", Role=ROLE, Code={"ZipFile": packages.node("")})
    wait.until(lambda: lam.get_function_configuration(FunctionName=name)["State"] == "Failed", "the function has failed")
    assert "Node" in lam.get_function_configuration(FunctionName=name)["StateReason"]
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        lam.invoke(FunctionName=name)
    assert "Node" in str(refused.value) or "Failed" in str(refused.value)
    running.stop()


@pytest.mark.root_only
def test_a_full_disk_is_said_and_damages_nothing(make_home, make_platform):
    home = make_home()
    small = home.path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(small)], check=True)
    try:
        data = ["--data-dir", str(small / "data")]
        running = make_platform(*data, home=home)
        lam = running.client("lambda")
        names = [create(lam, code=CODE)]
        filler = small / "filler"
        with open(filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
            except OSError:
                pass
        # Every one of these is either acknowledged and kept, or refused as the platform's fault.
        refused = 0
        for _ in range(400):
            name = fresh("full")
            try:
                lam.create_function(
                    FunctionName=name, Runtime="python3.12", Handler="app.handler", Role=ROLE,
                    Code={"ZipFile": packages.zip_of({"app.py": "def handler(e, c):\n    return 'alive'\n", "x": os.urandom(20_000)})},
                )  # fmt: skip
                names.append(name)
            except botocore.exceptions.ClientError as error:
                refused += 1
                assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 500, error
                assert error.response["Error"]["Code"] == "ServiceException", error
                if refused == 3:
                    break
        assert refused == 3, "the disk is full, and nobody was told"
        assert lam.get_function_configuration(FunctionName=names[0])["State"] == "Active", "reading goes on"
        filler.unlink()
        name = create(lam, code=CODE)
        assert call(lam, name) == "alive", "with room again, it works again"
        running.kill()
        again = make_platform(*data, home=home)
        lam = again.client("lambda")
        for name in names:
            lam.get_function_configuration(FunctionName=name)
        assert call(lam, names[0]) == "alive"
        again.stop()
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


@pytest.mark.root_only
def test_a_start_on_a_full_disk_is_one_clear_message(make_home):
    home = make_home()
    small = home.path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(small)], check=True)
    try:
        (small / "filler").write_bytes(bytes(60_000))
        code, said = up(home, "--data-dir", str(small / "data"))
        assert code == 1, said
        says_once(said, small)
        assert "space" in said.lower() or "full" in said.lower(), said
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_a_stop_waits_for_running_invocations(make_platform):
    running = make_platform()
    lam = running.client("lambda")
    name = create(lam, Timeout=20)
    call(lam, name)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        sleeping = pool.submit(call, lam, name, {"do": "sleep", "seconds": 2})
        logs = running.client("logs")

        wait.until(lambda: len([m for m in lambdas.log_events(logs, name) if m.startswith("START ")]) == 2, "it runs")
        running.stop()
        assert sleeping.result() == "slept"


@pytest.mark.parametrize("temporary", [True, False], ids=["temporary", "kept"])
def test_a_stop_cuts_off_what_runs_beyond_its_time(make_home, make_platform, temporary):
    home = make_home()
    room = home.path / "work" / "room"
    room.mkdir()
    options = {"home": home, "env": {"TMPDIR": str(room)}, "temporary": temporary}
    running = make_platform("--set", "drain_max=1s", **options)
    lam = running.client("lambda")
    name = create(lam, Timeout=60)
    long = {"do": "sleep", "seconds": 40}
    event = lam.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps(long).encode())["ResponseMetadata"]["RequestId"]
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambdas.invoke, lam, name, long)
        wait.until(lambda: starts(running, name) == 2, "both run")
        began = time.monotonic()
        running.stop()
        assert time.monotonic() - began < 4, running.output()
        with pytest.raises(botocore.exceptions.ClientError) as refused:
            waiting.result()
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    assert "invocations_cut_off=2" in running.output()
    assert list(room.iterdir()) == []
    assert not (home.data_dir / "client.json").exists()
    assert not [path for path in home.path.rglob("core*") if path.is_file()]
    if not temporary:
        again = make_platform(home=home)
        messages = lambdas.log_events(again.client("logs"), name)
        assert len([m for m in messages if "cut off" in m]) == 2, messages
        wait.until(lambda: starts(again, name, event) == 2, "the event runs again")
        again.kill()


def starts(running, name, request_id=None):
    """How often invocations of a function have begun."""
    return len([m for m in lambdas.log_events(running.client("logs"), name, request_id) if m.startswith("START ")])


def test_a_second_signal_stops_at_once(make_home, make_platform):
    home = make_home()
    running = make_platform(home=home)
    lam = running.client("lambda")
    name = create(lam, Timeout=60)
    lam.invoke(FunctionName=name, InvocationType="Event", Payload=b'{"do": "sleep", "seconds": 40}')
    wait.until(lambda: starts(running, name) == 1, "it runs")
    running.process.send_signal(signal.SIGTERM)
    wait.until(lambda: "once more to stop at once" in running.output(), "the first signal was heard")
    began = time.monotonic()
    running.stop()
    assert time.monotonic() - began < 4, running.output()
    assert "stopped at once" in running.output()
    assert not (home.data_dir / "client.json").exists()


def test_a_stop_starts_nothing_more_and_loses_nothing(make_home, make_platform):
    home = make_home()
    running = make_platform("--set", "instances.count_max=1", home=home)
    lam = running.client("lambda", max_pool_connections=10)
    name = create(lam, Timeout=20)
    events = 6
    for _ in range(events):
        lam.invoke(FunctionName=name, InvocationType="Event", Payload=b'{"do": "sleep", "seconds": 2}')
    wait.until(lambda: starts(running, name) == 1, "the first runs")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(call, lam, name)
        wait.until(lambda: waits(running) == events, "all others wait")
        began = time.monotonic()
        pool.submit(running.stop)
        with pytest.raises(botocore.exceptions.ClientError) as refused:
            waiting.result()
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    assert time.monotonic() - began < 5, running.output()
    again = make_platform("--set", "instances.count_max=4", home=home)
    lambdas.finished(again.client("logs"), name, reports=events)
    facts = wait.until(lambda: len(f := lambdas.usage(again, name)) >= events and f, "every event has run")
    assert [fact["attempt"] for fact in facts] == [1] * events
    again.stop()


def waits(running):
    """How many invocations wait for an instance."""
    said = running.home.pinfold("status", "--output", "json")
    return json.loads(said.stdout)["invocations_waiting"]


def test_what_was_made_is_there_after_a_restart(make_home, make_platform, user):
    home = make_home(user)
    running = make_platform(home=home)
    lam = running.client("lambda")
    name = create(lam, Environment={"Variables": {"COLOUR": "blue"}})
    call(lam, name)
    before = {k: v for k, v in lam.get_function_configuration(FunctionName=name).items() if k != "ResponseMetadata"}
    key = running.ready["access_key_id"]
    running.stop()
    again = make_platform(home=home)
    assert again.ready["access_key_id"] == key, "the same key works"
    lam = again.client("lambda")
    after = {k: v for k, v in lam.get_function_configuration(FunctionName=name).items() if k != "ResponseMetadata"}
    assert after == before
    assert call(lam, name, {"do": "environment"})["COLOUR"] == "blue"

    assert len([m for m in lambdas.log_events(again.client("logs"), name) if m.startswith("START ")]) == 2
    again.stop()


def test_a_temporary_platform_leaves_nothing(make_home, make_platform):
    home = make_home()
    room = home.path / "work" / "room"
    room.mkdir()
    running = make_platform(home=home, env={"TMPDIR": str(room)}, temporary=True)
    lam = running.client("lambda")
    assert call(lam, create(lam, code=CODE)) == "alive"
    assert list(room.iterdir()), "it uses the folder for temporary files"
    running.stop()
    assert list(room.iterdir()) == []
    assert not home.data_dir.exists()


def test_no_secret_is_on_disk_in_plain_words(make_home, make_platform):
    home = make_home()
    running = make_platform(home=home)
    lam = running.client("lambda")
    word = "a-word-that-must-stay-secret"
    name = create(lam, Environment={"Variables": {"PASSWORD": word}})
    assert call(lam, name, {"do": "environment"})["PASSWORD"] == word
    secret = running.ready["secret_access_key"]
    running.stop()
    for path in home.data_dir.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert word.encode() not in content, path
            assert secret.encode() not in content, path

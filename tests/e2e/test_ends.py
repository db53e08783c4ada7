"""Ends of a platform, and of a command, that are not the usual ones: nothing stays behind, and nothing is passed over."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from harness import packages
from harness.lambdas import call, create

CODE = packages.python("def handler(event, context):\n    return 'alive'\n")


def control_groups():
    """The platforms' folders in all hierarchies of control groups."""
    places = [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()]
    return {folder for place in places if place.is_dir() for folder in place.glob("pinfold-*")}


@pytest.mark.root_only
def test_a_stop_leaves_no_control_group(make_platform):
    before = control_groups()
    running = make_platform()
    lam = running.client("lambda")
    assert call(lam, create(lam, code=CODE)) == "alive"
    made = control_groups() - before
    assert made, "root's cells have control groups"
    running.stop()
    assert not made & control_groups()


@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT"])
def test_the_end_of_a_terminal_is_an_orderly_end(make_home, make_platform, user, name):
    home = make_home(user)
    running = make_platform(home=home)
    assert (home.data_dir / "client.json").exists()
    running.process.send_signal(signal.Signals[name])
    assert running.process.wait(30) == 0
    assert "stopping" in running.output()
    assert not (home.data_dir / "client.json").exists()


def test_a_ready_file_that_cannot_be_written_is_known_before_the_start(make_home, user):
    home = make_home(user)
    place = home.path / "work" / "nowhere" / "ready.json"
    result = home.pinfold("up", "--listen", "127.0.0.1:0", "--ready-file", str(place))
    assert result.returncode == 1
    assert str(place) in result.stderr and "answers at" not in result.stdout
    assert not home.data_dir.exists()


def test_a_wrong_configuration_stops_client_commands_too(make_home, make_platform):
    home = make_home()
    running = make_platform(home=home)
    wrong = home.path / "work" / "wrong.toml"
    wrong.write_text("data_dir = 3.5\n")
    for words in (["--config", "missing.toml"], ["--config", str(wrong)]):
        for command in (["status"], ["down"]):
            result = home.pinfold(*words, *command)
            assert result.returncode == 2, result
            assert words[1] in result.stderr, result
    assert running.is_running()
    running.stop()


def test_a_result_that_cannot_be_written_is_a_failure(make_home, make_platform):
    home = make_home()
    running = make_platform(home=home)
    with open("/dev/full", "wb") as full:
        result = subprocess.run([str(home.binary), "status"], env=home.environment(), stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert result.returncode == 1 and b"could not be written" in result.stderr
    reader, writer = os.pipe()
    os.close(reader)
    # Whoever has read enough does not make the command fail.
    assert subprocess.run([str(home.binary), "status"], env=home.environment(), stdout=writer, timeout=60).returncode == 0
    os.close(writer)
    running.stop()


def test_a_usage_error_is_json_for_programs(make_home):
    result = make_home().pinfold("invoke", "--output", "json")
    assert result.returncode == 2
    assert json.loads(result.stderr)["error"]["code"] == "Usage"

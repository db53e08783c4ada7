"""Platforms for the tests, the ordinary user, and the closing count for `cargo xtask`."""

import json
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness.platform import QUICK_RETRIES, Home, Platform  # noqa: E402
from harness.users import ME, ORDINARY  # noqa: E402


def user_params():
    """Both users that a platform must work as. Only root can become another."""
    can_change = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a platform as another user")
    return [pytest.param(ME, id="as-" + ME.name), pytest.param(ORDINARY, id="as-ordinary-user", marks=can_change)]


def pytest_collection_modifyitems(items):
    if os.geteuid() != 0:
        for item in items:
            if item.get_closest_marker("root_only"):
                item.add_marker(pytest.mark.skip(reason="needs rights that only root has"))


@pytest.fixture(scope="session")
def platform():
    """One platform that most tests share, each with functions of its own."""
    home = Home(ME)
    running = Platform(home, *QUICK_RETRIES).start()
    yield running
    try:
        running.stop()
    finally:
        running.kill()
        home.remove()


@pytest.fixture(scope="session", params=user_params())
def platform_of_each_user(request):
    """A platform for each user that it must work as."""
    home = Home(request.param)
    running = Platform(home, *QUICK_RETRIES).start()
    yield running
    try:
        running.stop()
    finally:
        running.kill()
        home.remove()


@pytest.fixture(params=user_params())
def user(request):
    return request.param


@pytest.fixture
def make_home():
    """Makes homes that are removed at the end."""
    homes = []

    def make(user=ME):
        homes.append(Home(user))
        return homes[-1]

    yield make
    for home in homes:
        home.remove()


@pytest.fixture
def make_platform(make_home):
    """Starts platforms, each in a home of its own unless one is given; what still runs at the end is killed."""
    started = []

    def make(*arguments, home=None, user=ME, **options):
        started.append(Platform(home or make_home(user), *arguments, **options))
        return started[-1].start()

    yield make
    for running in started:
        if running.process is not None:
            running.kill()


@pytest.fixture
def lam(platform):
    return platform.client("lambda")


@pytest.fixture
def logs(platform):
    return platform.client("logs")


def pytest_terminal_summary(terminalreporter):
    path = os.environ.get("E2E_COUNTS")
    if not path:
        return
    count = {name: len(reports) for name, reports in terminalreporter.stats.items() if name}
    total = {
        "passed": count.get("passed", 0),
        "failed": count.get("failed", 0) + count.get("error", 0),
        "skipped": count.get("skipped", 0) + count.get("xfailed", 0),
    }
    Path(path).write_text(json.dumps(total))

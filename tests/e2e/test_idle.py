"""Functions that are deployed and not called cost next to nothing. `cargo xtask soak idle` asks for 1,000 on a release build."""

import concurrent.futures
import os
import time

from harness import packages, processes, wait
from harness.lambdas import ROLE, call

FUNCTIONS = int(os.environ.get("E2E_IDLE_FUNCTIONS", "200"))
IS_LONG = FUNCTIONS >= 1000
# The promise holds for a release build; a build with debug information is larger.
RESIDENT_MAX = (60 if IS_LONG else 120) << 20
TICKS_MAX = 5
WATCHED_SECS = 60 if IS_LONG else 10
RESTART_SECS = 1.0 if IS_LONG else 3.0


def resident(platform):
    """Memory of the platform with its launcher."""
    pids = [platform.process.pid, *processes.descendants(platform.process.pid)]
    return sum(processes.resident_bytes(pid) for pid in pids if processes.is_alive(pid))


def ticks(platform):
    pids = [platform.process.pid, *processes.descendants(platform.process.pid)]
    return sum(processes.ticks(pid) or 0 for pid in pids)


def test_idle_functions_cost_next_to_nothing(make_home, make_platform):
    home = make_home()
    running = make_platform("--set", "instances.idle_max=1s", home=home)
    lam = running.client("lambda", max_pool_connections=8)
    empty = set(processes.descendants(running.process.pid))

    def make(n):
        # Each with a package of its own.
        code = packages.python(f"def handler(event, context):\n    return {n}\n")
        lam.create_function(FunctionName=f"idle-{n:04}", Runtime="python3.12", Handler="app.handler", Role=ROLE, Code={"ZipFile": code})

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(make, range(FUNCTIONS)))

    def all_active():
        pages = lam.get_paginator("list_functions").paginate()
        return all(f.get("State", "Active") == "Active" for page in pages for f in page["Functions"])

    wait.until(all_active, "all are active", 120)
    last = f"idle-{FUNCTIONS - 1:04}"
    wait.until(lambda: lam.get_function_configuration(FunctionName=last)["State"] == "Active", "the last is active", 120)
    assert call(lam, "idle-0007", {}) == 7
    running.stop()

    started = time.monotonic()
    again = make_platform("--set", "instances.idle_max=1s", home=home)
    took = time.monotonic() - started
    lam = again.client("lambda")
    assert call(lam, last, {}) == FUNCTIONS - 1
    wait.until(lambda: len(processes.descendants(again.process.pid)) <= len(empty), "no guest is left", 30)

    def quiet():
        before = ticks(again)
        time.sleep(0.5)
        return ticks(again) == before

    wait.until(quiet, "what the start left to do is done", 60)
    before = ticks(again)
    # The measurement itself: processor time over a span of time.
    time.sleep(WATCHED_SECS)
    used = ticks(again) - before
    size = resident(again)
    print(f"{FUNCTIONS} functions: {size / 2**20:.1f} MiB resident, {used} ticks in {WATCHED_SECS} s, restart in {took:.2f} s")
    assert used <= TICKS_MAX, f"{used} clock ticks in {WATCHED_SECS} s"
    assert size < RESIDENT_MAX, f"{size / 2**20:.1f} MiB resident"
    assert took < RESTART_SECS, f"a restart took {took:.2f} s"
    again.stop()

"""The platform is killed at random instants under load: everything acknowledged is there, and guests die with it.

The load client keeps its acknowledgements here, outside. `cargo xtask soak kill` runs 200 rounds, CI a few.
"""

import os
import random
import signal
import threading
import time

import botocore
import pytest
from harness import lambdas, packages, processes, wait
from harness.lambdas import ROLE, create, fresh, usage
from harness.platform import QUICK_RETRIES

ROUNDS = int(os.environ.get("E2E_KILL_ROUNDS", "4"))
ACKNOWLEDGED_MIN = 100
CALLERS = 6
GUESTS_DIE_SECS = 0.1
CODE = packages.python("def handler(event, context):\n    return event\n")
# Clients of a killed server see one of these; anything else is a wrong answer.
BROKEN = (
    botocore.exceptions.HTTPClientError,
    botocore.exceptions.ConnectionError,
    botocore.parsers.ResponseParserError,
    ConnectionError,
)


class Lost(AssertionError):
    """Something that was acknowledged is not there."""


class Ledger:
    """What was acknowledged, and what was asked but never answered, over all rounds."""

    def __init__(self):
        self.lock = threading.Lock()
        self.functions = {}
        self.groups = set()
        self.uncertain = set()
        self.events = {}
        self.count = 0

    def acknowledged(self, change):
        with self.lock:
            change()
            self.count += 1


class Load:
    """Callers that change things until the server is gone."""

    def __init__(self, platform, ledger, number, seed):
        self.platform = platform
        self.ledger = ledger
        self.number = number
        self.worker = create(platform.client("lambda"), fresh(f"worker-{number}"), CODE)
        ledger.events[self.worker] = set()
        self.before = ledger.count
        self.threads = [threading.Thread(target=self.run, args=(random.Random(seed * 100 + n), n)) for n in range(CALLERS)]
        self.wrong = []

    @property
    def count(self):
        return self.ledger.count - self.before

    def start(self):
        for thread in self.threads:
            thread.start()

    def join(self):
        for thread in self.threads:
            thread.join()
        assert not self.wrong, self.wrong

    def run(self, chance, caller):
        lam = self.platform.client("lambda", read_timeout=10)
        logs = self.platform.client("logs", read_timeout=10)
        mine = []
        step = 0
        try:
            while True:
                step += 1
                what = chance.choices(["create", "update", "delete", "event", "group"], [3, 3, 2, 6, 2])[0]
                name = f"f-{self.number}-{caller}-{step}"
                try:
                    self.change(lam, logs, what, name, mine, chance)
                except BROKEN:
                    return
        except Exception as error:  # noqa: BLE001 a thread must not fail silently
            self.wrong.append(repr(error))

    def change(self, lam, logs, what, name, mine, chance):
        ledger = self.ledger
        if what in ("update", "delete") and not mine:
            what = "create"
        if what == "create":
            ledger.uncertain.add(name)
            lam.create_function(
                FunctionName=name, Runtime="python3.12", Handler="app.handler", Role=ROLE, Code={"ZipFile": CODE}, Description="1"
            )
            mine.append(name)
            ledger.acknowledged(lambda: (ledger.functions.__setitem__(name, "1"), ledger.uncertain.discard(name)))
        elif what == "update":
            name = chance.choice(mine)
            text = str(time.monotonic_ns())
            ledger.uncertain.add(name)
            try:
                lam.update_function_configuration(FunctionName=name, Description=text)
            except lam.exceptions.ResourceConflictException:
                # Still pending; nothing has changed.
                ledger.uncertain.discard(name)
                return
            ledger.acknowledged(lambda: (ledger.functions.__setitem__(name, text), ledger.uncertain.discard(name)))
        elif what == "delete":
            name = mine.pop(chance.randrange(len(mine)))
            ledger.uncertain.add(name)
            try:
                lam.delete_function(FunctionName=name)
            except lam.exceptions.ResourceConflictException:
                mine.append(name)
                ledger.uncertain.discard(name)
                return
            ledger.acknowledged(lambda: (ledger.functions.pop(name), ledger.uncertain.discard(name)))
        elif what == "event":
            answer = lam.invoke(FunctionName=self.worker, InvocationType="Event", Payload=b"1")
            request_id = answer["ResponseMetadata"]["RequestId"]
            ledger.acknowledged(lambda: ledger.events[self.worker].add(request_id))
        else:
            logs.create_log_group(logGroupName="/e2e/" + name)
            ledger.acknowledged(lambda: ledger.groups.add("/e2e/" + name))


def check(platform, ledger):
    """Everything acknowledged is there; what was never answered may be either way."""
    lam, logs = platform.client("lambda"), platform.client("logs")
    found = {f["FunctionName"]: f["Description"] for p in lam.get_paginator("list_functions").paginate() for f in p["Functions"]}
    for name, description in ledger.functions.items():
        if name in ledger.uncertain:
            continue
        if found.get(name) != description:
            raise Lost(f"{name} has {found.get(name)!r}, acknowledged was {description!r}")
    for name in found:
        if name.startswith("f-") and name not in ledger.functions and name not in ledger.uncertain:
            raise Lost(f"{name} was deleted, and is there again")
    groups = {g["logGroupName"] for p in logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix="/e2e/") for g in p["logGroups"]}
    if not ledger.groups <= groups:
        raise Lost(f"log groups are gone: {sorted(ledger.groups - groups)[:5]}")
    for worker, requests in ledger.events.items():
        if worker not in found:
            raise Lost(f"{worker} is gone")
    # From now on either way is the truth.
    for name in list(ledger.uncertain):
        ledger.uncertain.discard(name)
        if name in found:
            ledger.functions[name] = found[name]
        else:
            ledger.functions.pop(name, None)


def check_events(platform, ledger, worker, patience):
    """Every accepted event has run, or runs now."""
    logs = platform.client("logs")
    wanted = ledger.events[worker]

    def missing():
        started = {m.split()[2] for m in lambdas.log_events(logs, worker) if m.startswith("START RequestId: ")}
        return wanted - started

    try:
        wait.until(lambda: not missing(), f"all {len(wanted)} events of {worker} have run", patience)
    except AssertionError as error:
        lost = sorted(missing())
        lines = lambdas.log_events(logs, worker, lost[0])
        facts = [fact for fact in usage(platform, worker) if lost[0] in str(fact)]
        raise Lost(f"{len(lost)} accepted events left no START line: {lost[:3]}; of the first: {lines} {facts}") from error


def kill_and_watch(platform):
    """Kills the platform; answers for how many seconds a guest was seen that could still run, and how many guests there were.

    The callers' threads may hold this one up between two looks: what counts is when a look began that found a guest.
    """
    below = processes.descendants(platform.process.pid)
    # The launcher's own processes run no guest code; they tidy up.
    guests = [pid for pid in below if "__launcher" not in processes.command_line(pid)]
    os.kill(platform.process.pid, signal.SIGKILL)
    killed = time.monotonic()
    left = guests
    seen = killed
    late = None
    while left and time.monotonic() < killed + 5:
        look = time.monotonic()
        left = [pid for pid in left if processes.can_run(pid)]
        if left:
            seen = look
        if left and late is None and look > killed + GUESTS_DIE_SECS:
            late = {pid: (processes.stat(pid), processes.command_line(pid)) for pid in left}
    lasted = seen - killed
    if late:
        print(f"late: {late}")
    platform.process.wait()
    wait.until(lambda: not any(map(processes.is_alive, below)), "everything below the platform has ended", 30)
    return lasted, len(guests)


def rounds(make_platform, home, count, seed, env=None, patience=60):
    """Load, kill, restart, check: so many times. Raises Lost if something is."""
    ledger = Ledger()
    chance = random.Random(seed)
    running = make_platform(*QUICK_RETRIES, home=home, env=env)
    for number in range(count):
        load = Load(running, ledger, number, seed + number)
        load.start()
        wait.until(lambda: load.count >= ACKNOWLEDGED_MIN, f"{ACKNOWLEDGED_MIN} acknowledgements", 60)
        # Anywhere between two commits, and anywhere within one.
        time.sleep(chance.random() * 0.2)
        lasted, guests = kill_and_watch(running)
        load.join()
        print(f"round {number}: {load.count} acknowledged, {guests} guests ended in {lasted * 1000:.0f} ms")
        assert lasted < GUESTS_DIE_SECS, f"guests ran for {lasted * 1000:.0f} ms after the platform's death"
        running = make_platform(*QUICK_RETRIES, home=home, env=env)
        check(running, ledger)
        check_events(running, ledger, load.worker, patience)
    running.stop()
    return ledger


@pytest.mark.timeout(60 + 90 * ROUNDS)
def test_everything_acknowledged_survives_a_kill(make_home, make_platform, user):
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    ledger = rounds(make_platform, make_home(user), ROUNDS, seed)
    assert ledger.count >= ACKNOWLEDGED_MIN * ROUNDS


@pytest.mark.timeout(600)
def test_a_platform_that_acknowledges_too_early_is_caught(make_home, make_platform):
    """The canary: with this switch of test builds the answer goes out before the commit, and the test above must notice."""
    with pytest.raises(Lost):
        rounds(make_platform, make_home(), 10, 7, env={"PINFOLD_TEST_ACK_EARLY": "1"}, patience=15)


def test_an_event_that_was_running_runs_again_as_the_second_attempt(make_home, make_platform, user):
    home = make_home(user)
    running = make_platform(home=home)
    lam = running.client("lambda")
    name = create(lam, Timeout=20)
    answer = lam.invoke(FunctionName=name, InvocationType="Event", Payload=b'{"do":"sleep","seconds":3}')
    request_id = answer["ResponseMetadata"]["RequestId"]

    def starts(platform):
        return [m for m in lambdas.log_events(platform.client("logs"), name) if m.startswith(f"START RequestId: {request_id}")]

    wait.until(lambda: len(starts(running)) == 1, "it runs")
    kill_and_watch(running)

    again = make_platform(home=home)
    wait.until(lambda: len(starts(again)) == 2, "it runs again")
    lambdas.finished(again.client("logs"), name, request_id)
    facts = wait.until(lambda: [f for f in usage(again, name) if f["attempt"] == 2], "the fact of the second attempt")
    assert len(facts) == 1
    assert len(starts(again)) == 2, "and not a third time"
    again.stop()


def test_no_guest_runs_after_the_platforms_death(make_home, make_platform, user):
    """Spinning guests of every kind: not one instruction later than 100 ms."""
    running = make_platform(home=make_home(user))
    lam = running.client("lambda")
    names = [create(lam, language=language, Timeout=60) for language in ("python", "node_cjs")]
    for name in names:
        lam.invoke(FunctionName=name, InvocationType="Event", Payload=b'{"do":"spin"}')
    logs = running.client("logs")
    for name in names:
        wait.until(lambda name=name: any(m.startswith("START ") for m in lambdas.log_events(logs, name)), "it spins")
    lasted, guests = kill_and_watch(running)
    assert guests >= 2, "the spinning guests are seen from outside"
    assert lasted < GUESTS_DIE_SECS, f"guests ran for {lasted * 1000:.0f} ms after the platform's death"


def test_the_launchers_death_is_not_the_end(make_home, make_platform, user):
    """When the launcher is killed, the platform says so in an answer or starts another; it does not hang."""
    running = make_platform(home=make_home(user))
    lam = running.client("lambda")
    name = create(lam, code=CODE)
    lambdas.call(lam, name, {})
    table = processes.parents()
    for pid in [pid for pid, parent in table.items() if parent == running.process.pid]:
        os.kill(pid, signal.SIGKILL)

    def settled():
        if not running.is_running():
            return "ended"
        try:
            return lambdas.invoke(lam, name, {}).error is None and "works"
        except botocore.exceptions.ClientError as error:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500, error
        except BROKEN:
            pass
        return None

    assert wait.until(settled, "the platform works again, or has ended", 30) in ("works", "ended")

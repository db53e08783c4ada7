"""Waits for states, never for durations."""

import time

STEP_SECS = 0.02


def until(condition, what, seconds=30.0):
    """Calls `condition` until it answers something true, and returns that; fails after `seconds`, saying `what`."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what} (last answer: {answer!r})")
        time.sleep(STEP_SECS)

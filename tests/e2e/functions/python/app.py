"""The behaviour table's handlers in Python: `do` in the event says which."""

import logging
import os
import sys
import time

print("init says hello")
if os.environ.get("INIT") == "exit":
    sys.exit(7)
if os.environ.get("INIT") == "raise":
    raise RuntimeError("init failed on purpose")
if os.environ.get("INIT") == "sleep":
    time.sleep(60)

calls = 0


class Boom(Exception):
    """An error of the function's own."""


def handler(event, context):
    global calls
    calls += 1
    return globals()["do_" + event.get("do", "echo")](event, context)


def do_echo(event, context):
    return event.get("value")


def do_calls(event, context):
    return calls


def do_context(event, context):
    client = context.client_context
    return {
        "request_id": context.aws_request_id,
        "function_name": context.function_name,
        "version": context.function_version,
        "arn": context.invoked_function_arn,
        "memory": context.memory_limit_in_mb,
        "log_group": context.log_group_name,
        "log_stream": context.log_stream_name,
        "trace": os.environ.get("_X_AMZN_TRACE_ID"),
        "client_context": client and client.custom,
        "remaining_ms": context.get_remaining_time_in_millis(),
    }


def do_environment(event, context):
    return dict(os.environ)


def do_remaining(event, context):
    return context.get_remaining_time_in_millis()


def do_raise(event, context):
    raise Boom(event["message"])


def do_print(event, context):
    for line in event["lines"]:
        print(line)


def do_log(event, context):
    logging.getLogger().error(event["message"])


def do_sleep(event, context):
    time.sleep(event.get("seconds", 60))
    return "slept"


def do_spin(event, context):
    while True:
        pass


def do_exit(event, context):
    os._exit(event.get("code", 1))


def do_answer(event, context):
    return "x" * event["bytes"]


def do_unserializable(event, context):
    return object()


def do_memory(event, context):
    filled = bytearray(event["mib"] << 20)
    for at in range(0, len(filled), 4096):
        filled[at] = 1
    return filled.count(1)


def do_keep(event, context):
    before = None
    if os.path.exists("/tmp/kept"):
        with open("/tmp/kept") as file:
            before = file.read()
    with open("/tmp/kept", "w") as file:
        file.write(event["text"])
    return before

"""A first function: greets whoever the event names."""

import os


def handler(event, context):
    name = event.get("name", "world")
    print(f"greeting {name}")  # what a function prints is its log
    return {
        "greeting": f"{os.environ.get('GREETING', 'Hello')}, {name}!",
        "left_ms": context.get_remaining_time_in_millis(),
    }

import time


def handler(event, context):
    if time.time() * 1000 < event.get("opens_at_ms", 0):
        raise RuntimeError("the warehouse is still closed")
    print(f"order {event['order']} is on its way")
    return {"order": event["order"], "shipped": True}

"""PyPI `convex`, the WebSocket client: `python client.py URL` prints one line of facts.

A process of its own, since the client's blocking calls hold the interpreter while they wait.
"""

import json
import math
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from convex import ConvexClient, ConvexError, ConvexInt64


def outcome(call: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"value": call()}
    except ConvexError as error:
        return {"error": str(error), "data": error.data}
    except Exception as error:
        return {"error": str(error)}


def bodies(messages: list[Mapping[str, Any]]) -> list[str]:
    return [message["body"] for message in messages]


def follow(writer: ConvexClient, reader: ConvexClient) -> dict[str, Any]:
    """Each write is seen by the subscription before the next one is made."""
    args = {"channel": "python"}
    subscription = reader.subscribe("messages:list", args)
    seen = [bodies(next(subscription))]
    for body in ("one", "two"):
        writer.mutation("messages:send", {**args, "author": "p", "body": body})
        seen.append(bodies(next(subscription)))
    subscription.unsubscribe()
    return {"seen": seen, "query": bodies(reader.query("messages:list", args))}


def values(client: ConvexClient) -> list[str]:
    """The values that do not come back as they went in."""
    table = {
        "null": None,
        "bool": True,
        "float": 1.5,
        "minus zero": -0.0,
        "infinity": math.inf,
        "int64": ConvexInt64(2**63 - 1),
        "string": "é\0😀",
        "bytes": b"\0\xff",
        "nested": {"a": [1.0, {"b": b""}, None]},
    }
    changed = []
    for name, value in table.items():
        back = client.query("values:echo", {"value": value})
        if repr(back) != repr(value):
            changed.append(f"{name}: {value!r} became {back!r}")
    if not math.isnan(client.query("values:echo", {"value": math.nan})):
        changed.append("nan")
    return changed


def main() -> None:
    url = sys.argv[1]
    writer, reader = ConvexClient(url), ConvexClient(url)
    facts = {
        "live": follow(writer, reader),
        "action": writer.action("messages:announce", {"channel": "py actions", "body": "hear"}),
        "changed": values(reader),
        "application": outcome(lambda: reader.query("errors:application")),
        "plain": outcome(lambda: reader.query("errors:plain")),
        "mutation": outcome(
            lambda: writer.mutation("errors:application_mutation", {"channel": "py failed"})
        ),
        "plain_mutation": outcome(lambda: writer.mutation("errors:plain_mutation")),
        "application_action": outcome(lambda: writer.action("errors:application_action")),
        "missing": outcome(lambda: reader.query("messages:none")),
        "large": len(reader.query("values:large", {"mebibytes": 14})),
    }
    print(json.dumps(facts), flush=True)
    os._exit(0)  # the client's threads do not end by themselves


main()

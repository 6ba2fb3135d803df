"""PyPI `convex` while the server is killed and started again: `python reconnect.py URL`."""

import json
import os
import sys
from typing import Any

from convex import ConvexClient

NAME = {"name": "python reconnect"}


def say(fact: dict[str, Any]) -> None:
    print(json.dumps(fact), flush=True)


def main() -> None:
    client = ConvexClient(sys.argv[1])
    subscription = client.subscribe("counters:get", NAME)
    seen = [next(subscription)]
    before = [client.mutation("counters:increment", NAME) for _ in range(3)]
    while seen[-1] < 3:
        seen.append(next(subscription))
    say({"restart": True})
    sys.stdin.readline()
    after = client.mutation("counters:increment", NAME)
    while seen[-1] < 4:
        seen.append(next(subscription))
    say({"before": before, "after": after, "seen": seen})
    os._exit(0)


main()

"""Feed the dashboard: measure something every second and send it with one mutation over HTTP.

    python examples/dashboard/feed.py [--url http://127.0.0.1:3210] [--interval 1] [--count N]

It needs nothing but Python: any program that can POST JSON can do the same.
"""

import argparse
import contextlib
import json
import math
import os
import random
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any


def call_mutation(url: str, path: str, args: dict[str, Any]) -> Any:
    """Run a mutation and return its result.

    Raises:
        RuntimeError: The mutation failed; the text says why.
        urllib.error.URLError: The server cannot be reached.
    """
    request = urllib.request.Request(
        f"{url.rstrip('/')}/api/mutation",
        data=json.dumps({"path": path, "args": args, "format": "json"}).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"HTTP {error.code}: {error.read().decode(errors='replace')}") from error
    if answer["status"] != "success":
        raise RuntimeError(answer["errorMessage"])
    return answer["value"]


def readings(generator: random.Random) -> Iterator[list[dict[str, Any]]]:
    """For ever: the load of this machine, where it can be told, and a shop that we make up."""
    visitors, wait_ms = 120.0, 80.0
    while True:
        now_ms = time.time() * 1000
        tide = 1 + 0.3 * math.sin(now_ms / 60_000)
        visitors += 0.1 * (120 * tide - visitors) + generator.gauss(0, 3)
        wait_ms += 0.2 * (0.6 * visitors - wait_ms) + abs(generator.gauss(0, 6))
        measured = {
            ("Visitors", ""): max(0, round(visitors)),
            ("Response time", "ms"): round(max(5, wait_ms), 1),
            ("Orders", "/min"): sum(generator.random() < visitors / 3000 for _ in range(100)),
        }
        if hasattr(os, "getloadavg"):
            measured["Load of this machine", ""] = round(os.getloadavg()[0], 2)
        yield [
            {"name": name, "unit": unit, "measured": now_ms, "value": value}
            for (name, unit), value in measured.items()
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Feed the dashboard with measurements.")
    parser.add_argument("--url", default="http://127.0.0.1:3210", help="where Cupola serves")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between readings")
    parser.add_argument("--count", type=int, default=0, help="stop after so many; 0 never stops")
    options = parser.parse_args()
    for number, batch in enumerate(readings(random.Random()), start=1):
        try:
            call_mutation(options.url, "metrics:record", {"readings": batch})
            print(", ".join(f"{one['name']} {one['value']}{one['unit']}" for one in batch))
        except urllib.error.URLError as error:
            print(f"{options.url} cannot be reached ({error.reason}); trying again.")
        if number == options.count:
            return
        time.sleep(options.interval)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()

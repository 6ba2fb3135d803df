"""PyPI `convex` with a user's token: `python auth.py URL ISSUER` prints one line of facts."""

import json
import sys
import urllib.request
from typing import Any

from convex import ConvexClient
from convex.http_client import ConvexHttpClient


def token(issuer: str, subject: str) -> str:
    with urllib.request.urlopen(f"{issuer}/token?subject={subject}") as answer:
        return str(json.load(answer))


def main(url: str, issuer: str) -> dict[str, Any]:
    client = ConvexClient(url)
    names = client.subscribe("users:name", {})
    seen = [next(names)]
    for subject in ("ada", "bob"):
        client.set_auth(token(issuer, subject))
        seen.append(next(names))
    called = client.mutation("users:add", {})
    client.clear_auth()
    seen.append(next(name for name in names if name != "bob"))  # it tells of every Transition

    http = ConvexHttpClient(url)
    http.set_auth(token(issuer, "ada"))
    return {"seen": seen, "called": called, "http": http.query("users:name", {})}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])), flush=True)

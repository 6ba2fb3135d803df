"""`cupola logs`: what functions of a running server do and say; of late, and then live."""

import datetime
import json
import sys
from typing import Any

from cupola.cli.console import has_colours
from cupola.cli.remote import RemoteServer

_RED, _DIM, _END = "\x1b[31m", "\x1b[2m", "\x1b[0m"


def show(
    server: RemoteServer,
    function: str | None,
    *,
    errors: bool,
    history: int,
    follow: bool,
    as_json: bool,
) -> None:
    """Print executions: those of the past that the server remembers, as many as `history`, and then
    those to come, until interrupted.

    Raises:
        CommandFailed: The server cannot be asked.
    """

    def is_wanted(entry: dict[str, Any]) -> bool:
        named = function is None or entry["identifier"].startswith(function)
        return named and (not errors or entry["error"] is not None)

    cursor, is_first = 0.0, True
    while True:
        answer = server.get(f"/api/stream_function_logs?cursor={cursor!r}")
        found = [entry for entry in answer["entries"] if is_wanted(entry)]
        if is_first:
            found = found[len(found) - history :] if history else []
        for entry in found:
            _show(entry, as_json=as_json)
        if not follow:
            return
        cursor, is_first = answer["newCursor"], False


def _show(entry: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(entry), flush=True)
        return
    colours = has_colours(sys.stdout)
    failed = entry["error"] is not None
    moment = datetime.datetime.fromtimestamp(entry["timestamp"], datetime.UTC)
    head = f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03}"
    outcome = "failed" if failed else "ok"
    text = f"{entry['udfType']} {entry['identifier']} {outcome}"
    text += f" in {entry['executionTime'] * 1000:.1f} ms"
    request = f"[Request ID: {entry['requestId']}]"
    if colours:
        text = f"{_RED}{text}{_END}" if failed else text
        head, request = f"{_DIM}{head}{_END}", f"{_DIM}{request}{_END}"
    print(head, text, request, flush=True)
    for line in entry["logLines"]:
        print(f"  {line}", flush=True)
    if failed:
        print(f"  {entry['error']}", flush=True)

"""Warnings of calls that came near a limit, as log lines of the call: `[WARN] Near the limit ...`.

They are for whoever wrote the function, while there is still time: the same call on a little more
data fails. Whatever runs a call looks once, at its end.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from cupola.database.usage import Usage
from cupola.functions.log_lines import LogBuffer
from cupola.limits import DEFAULT_LIMITS, Limits

_SHARE = 0.8
_LINE = re.compile(r"Near the limit (\w+): ")
CLIENT_GONE = "The client has closed the connection; nobody hears the rest of the response."
_OTHERS = (
    (re.compile(r"\d+ unawaited operations?: \["), "warning:UnawaitedOperations"),
    (re.compile("The response was cut off"), "error:httpAction"),
    (re.compile(re.escape(CLIENT_GONE)), "info:httpActionClientDisconnect"),
)
_READ_LESS = "Narrow the index range, take fewer documents or paginate."
_WRITE_LESS = "Write less per call: let it schedule another that does the rest."
_SEND_LESS = "Store large data in documents or files and pass ids."


class _Bound(NamedTuple):
    """A field of `Limits`: what it counts, what to do, and its code in log streams."""

    what: str
    hint: str
    code: str


_BOUNDS = {
    "documents_read_max": _Bound("documents read", _READ_LESS, "TooManyDocumentsRead"),
    "bytes_read_max": _Bound("bytes read", _READ_LESS, "TooManyBytesRead"),
    "ranges_read_max": _Bound(
        "index ranges read", "Read several documents with one range.", "TooManyReads"
    ),
    "documents_written_max": _Bound("documents written", _WRITE_LESS, "TooManyWrites"),
    "bytes_written_max": _Bound("bytes written", _WRITE_LESS, "TooManyBytesWritten"),
    "functions_scheduled_max": _Bound(
        "functions scheduled", "Schedule one that schedules the rest.", "TooManyFunctionsScheduled"
    ),
    "scheduled_arguments_bytes_max": _Bound(
        "bytes of scheduled arguments", _SEND_LESS, "ScheduledFunctionsArgumentsTooLarge"
    ),
    "arguments_size_bytes_max": _Bound(
        "bytes of arguments", _SEND_LESS, "TooLargeFunctionArguments"
    ),
    "result_size_bytes_max": _Bound(
        "bytes of the result", "Return less, or paginate.", "TooLargeFunctionResult"
    ),
    "user_time_s": _Bound(
        "seconds of computing", "Do less per call, or move work to an action.", "UserTimeout"
    ),
    "action_time_s": _Bound("seconds", "Do less per call, or schedule the rest.", "UserTimeout"),
}


class _Floor(NamedTuple):
    """What is surely far from every limit: sums of counts and of bytes up to these."""

    limits: Limits
    counted: float
    size_bytes: float


def _floor_of(limits: Limits) -> _Floor:
    bounds = {
        limits.documents_read_max,
        limits.ranges_read_max,
        limits.documents_written_max,
        limits.functions_scheduled_max,
    }
    sizes = {
        limits.bytes_read_max,
        limits.bytes_written_max,
        limits.scheduled_arguments_bytes_max,
    }
    return _Floor(limits, min(bounds) * _SHARE, min(sizes) * _SHARE)


_floor = _floor_of(DEFAULT_LIMITS)  # a process has one set of limits


def warn_of_usage(usage: Usage, logs: LogBuffer) -> None:
    """What a transaction has read and written."""
    global _floor
    limits = usage.limits
    known, count, size_bytes = _floor
    if known is not limits:
        _floor = _floor_of(limits)
        _, count, size_bytes = _floor
    counted = (
        usage.documents_read + usage.ranges + usage.documents_written + usage.functions_scheduled
    )
    if counted > count or (
        usage.bytes_read + usage.bytes_written + usage.scheduled_bytes > size_bytes
    ):
        _warn(logs, limits, "documents_read_max", usage.documents_read)
        _warn(logs, limits, "bytes_read_max", usage.bytes_read)
        _warn(logs, limits, "ranges_read_max", usage.ranges)
        _warn(logs, limits, "documents_written_max", usage.documents_written)
        _warn(logs, limits, "bytes_written_max", usage.bytes_written)
        _warn(logs, limits, "functions_scheduled_max", usage.functions_scheduled)
        _warn(logs, limits, "scheduled_arguments_bytes_max", usage.scheduled_bytes)


def warn_of_sizes(logs: LogBuffer, limits: Limits, args: bytes, result: bytes | None) -> None:
    """Of a call's arguments and its result, encoded."""
    if len(args) > limits.arguments_size_bytes_max * _SHARE:
        _warn(logs, limits, "arguments_size_bytes_max", len(args))
    if result is not None and len(result) > limits.result_size_bytes_max * _SHARE:
        _warn(logs, limits, "result_size_bytes_max", len(result))


def warn_of_scheduled(logs: LogBuffer, limits: Limits, path: str, args: bytes) -> None:
    """Of the arguments of one scheduled function; only those of all together are bounded."""
    bound = limits.scheduled_arguments_bytes_max
    if len(args) * 4 > bound:
        logs.add(
            "WARN",
            f"Near the limit scheduled_arguments_bytes_max: `{path}` is scheduled with "
            f"{len(args):,} of {bound:,} bytes. {_SEND_LESS}",
        )


def warn_of_time(logs: LogBuffer, limits: Limits, bound: str, seconds: float) -> None:
    """How long a call took; `bound` is "user_time_s" or "action_time_s"."""
    _warn(logs, limits, bound, round(seconds, 2))


def _warn(logs: LogBuffer, limits: Limits, name: str, used: float) -> None:
    bound: float = getattr(limits, name)
    if bound * _SHARE < used <= bound:
        what, hint, _ = _BOUNDS[name]
        logs.add_last("WARN", f"Near the limit {name}: {used:,} of {bound:,} {what}. {hint}")


def code_of(text: str) -> str | None:
    """The code of such a line, or of another one that the system adds, in log streams; `text` is
    without its level. None of any other line.
    """
    for line, code in _OTHERS:
        if line.match(text):
            return code
    found = _LINE.match(text)
    known = _BOUNDS.get(found[1]) if found is not None else None
    return None if known is None else f"warning:{known.code}"

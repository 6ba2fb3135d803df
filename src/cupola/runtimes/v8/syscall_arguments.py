"""What syscalls are called with: JSON objects, looked at before anything is done."""

from __future__ import annotations

from typing import Any

import msgspec

from cupola.errors import DeveloperError, InvalidValueError
from cupola.values import decode_tree, encode

BUDGETS = {
    "bytesRead": "bytes_read",
    "bytesWritten": "bytes_written",
    "databaseQueries": "database_queries",
    "documentsRead": "documents_read",
    "documentsWritten": "documents_written",
    "functionsScheduled": "functions_scheduled",
    "scheduledFunctionArgsBytes": "scheduled_args_bytes",
}
BUDGETS_OF_FILES = ("filesWritten", "fileWriteBytes", "filesRead", "fileReadBytes")
"""The package (1.48) knows these too. Bytes of files do not pass through transactions here, which
bound the documents that know of files."""
UNBOUNDED = 2**53 - 1
_KINDS: dict[type, str] = {str: "a string", dict: "an object"}


def arguments_of(op: str, text: bytes) -> dict[str, Any]:
    """The arguments of a syscall: a JSON object.

    Raises:
        DeveloperError: They are none.
    """
    try:
        arguments = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise DeveloperError(
            f"The arguments of {op} are no JSON: {error}", code="SyscallArgsInvalidJson"
        ) from None
    if not isinstance(arguments, dict):
        raise DeveloperError(
            f"The arguments of {op} must be an object.", code="SyscallArgsInvalidJson"
        )
    return arguments


def encoded_arguments(arguments: dict[str, Any], *, unresolved: bool = False) -> bytes:
    """Encoded arguments of a nested call: one object. `unresolved`: as in `values.decode`."""
    args = arguments.get("args", {})
    if isinstance(args, list):  # packages of long ago pass them by position
        args = args[0] if args else {}
    try:
        return encode(decode_tree(args, unresolved=unresolved))
    except InvalidValueError as error:
        raise InvalidValueError(f"Invalid argument `args`: {error.message}") from None


def document_of(arguments: dict[str, Any], method: str) -> dict[str, Any]:
    value = required(arguments, "value", dict, method)
    try:
        document = decode_tree(value, unresolved=True)
    except InvalidValueError as error:
        raise InvalidValueError(
            f"Invalid argument `value` for `{method}`: {error.message}", code=error.code
        ) from None
    if not isinstance(document, dict):
        raise wrong(method, "value", "an object")
    return document


def required(arguments: dict[str, Any], name: str, kind: type, method: str) -> Any:
    value = arguments.get(name)
    if not isinstance(value, kind):
        raise wrong(method, name, _KINDS[kind])
    return value


def wrong(method: str, name: str, wanted: str) -> DeveloperError:
    return DeveloperError(
        f"Invalid argument `{name}` for `{method}`: it must be {wanted}.", code="BadArguments"
    )


def time_ms_of(arguments: dict[str, Any]) -> float:
    """When to run what is scheduled: `ts` is in seconds."""
    seconds = arguments.get("ts")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise wrong("schedule", "ts", "a number")
    return seconds * 1000.0


def budget_of(arguments: dict[str, Any]) -> dict[str, int]:
    """The `transactionLimits` of a nested call, for `Usage.within`."""
    given = arguments.get("transactionLimits")
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise wrong("runUdf", "transactionLimits", "an object")
    budget = {}
    for shown, bound in given.items():
        if bound is None or shown in BUDGETS_OF_FILES:
            continue
        if shown not in BUDGETS:
            raise wrong("runUdf", "transactionLimits", f"of {', '.join(BUDGETS)}")
        if isinstance(bound, bool) or not isinstance(bound, int | float) or not 0 <= bound < 2**53:
            raise wrong("runUdf", f"transactionLimits.{shown}", "a number from 0 on")
        budget[BUDGETS[shown]] = int(bound)
    return budget

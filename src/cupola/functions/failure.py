"""How a failed call is told: the text clients show, and data of application errors.

Both come from code of the app: what an exception says of itself may loop, raise, or look at the
clock. So a call tells its failure before it leaves its guard and time budget; see `execute`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import traceback
from pathlib import Path

from cupola.errors import (
    ApplicationError,
    CupolaError,
    InvalidValueError,
    OperatorError,
    PausedError,
)
from cupola.functions.call import Interrupted
from cupola.functions.conversion import value_of
from cupola.values import Int64, Value, decode, encode, in_force

_FRAMES_MAX = 20


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """A failure in words, and the encoded data of an application error."""

    message: str
    data: bytes | None


class RemoteError(CupolaError):
    """A failure that another process has put into words already."""

    def __init__(self, message: str, code: str, data: bytes | None) -> None:
        super().__init__(message, code=code)
        self.data = data


class RemoteSystemError(RemoteError, OperatorError):
    """One that says nothing about the function: it may work another time."""


def tell(error: BaseException, request_id: str, folder: Path | None) -> Told:
    """Put a failure into words; see `error_message` and `error_data`."""
    return Told(error_message(error, request_id, folder), error_data(error))


def error_message(error: BaseException, request_id: str, folder: Path | None) -> str:
    """The text of a failure: request id, what happened, and where in the app's own code.

    `folder`: the app's folder; only frames of files below it are shown.
    """
    if isinstance(error, RemoteError):
        return error.message
    try:
        what = _what_happened(error)
    except Interrupted:
        raise
    except BaseException as another:  # the error's own code, which may raise anything
        what = f"Uncaught {type(error).__name__} (its text failed: {type(another).__name__})"
    if len(what) > (most := in_force().log_line_length_max):
        what = what[:most] + " (truncated due to length)"
    what = what.encode("utf-8", "replace").decode()  # lone surrogates cannot be sent
    frames = _frames(error, folder)
    return "\n".join([f"[Request ID: {request_id}] Server Error", what, *frames])


def _what_happened(error: BaseException) -> str:
    if isinstance(error, ApplicationError) and not isinstance(error.data, str):
        return f"Uncaught {type(error).__name__}: {_data_in_words(error.data)}"
    if not isinstance(error, CupolaError) or isinstance(error, ApplicationError):
        what = "Uncaught " + "".join(traceback.format_exception_only(error)).strip()
        return what.replace("Uncaught cupola.errors.", "Uncaught ")
    if isinstance(error, PausedError):
        return error.message
    what, name = str(error.message), type(error).__name__
    return what if what.startswith((name, str(error.code))) else f"Uncaught {name}: {what}"


def _data_in_words(data: object) -> str:
    """As in the message of a `ConvexError`; what is no value, as Python shows it."""
    try:
        value = decode(encode(value_of(data)))
    except InvalidValueError:
        return repr(data)
    return json.dumps(_as_javascript(value), ensure_ascii=False, separators=(",", ":"))


def _as_javascript(value: Value) -> object:
    """What `JSON.stringify` makes of numbers, and the published package of an int64."""
    match value:
        case dict():
            return {name: _as_javascript(item) for name, item in value.items()}
        case list():
            return [_as_javascript(item) for item in value]
        case Int64():
            return f"{int(value)}n"
        case float():
            if not math.isfinite(value):
                return None
            return int(value) if value.is_integer() and abs(value) < 1e21 else value
        case bytes():
            return {}
        case _:
            return value


def error_data(error: BaseException) -> bytes | None:
    """Encoded data of an application error; None for all others."""
    if isinstance(error, RemoteError):
        return error.data
    if not isinstance(error, ApplicationError):
        return None
    try:
        data = encode(value_of(error.data))
        if len(data) > in_force().result_size_bytes_max:
            return encode(f"The error's data has {len(data):,} bytes, which is too large to send.")
        return data
    except InvalidValueError as invalid:
        return encode(f"The error's data cannot be sent: {invalid.message}")
    except Interrupted:
        raise
    except BaseException as another:  # code of the app's own types, which may raise anything
        return encode(f"The error's data cannot be sent: {type(another).__name__}")


def _frames(error: BaseException, folder: Path | None) -> list[str]:
    if folder is None:
        return []
    root = str(folder)
    found = [
        f"    at {frame.f_code.co_name} ({file[len(root) :].lstrip('/')}:{line})"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if (file := frame.f_code.co_filename).startswith(root)
    ]
    return found[-_FRAMES_MAX:][::-1]

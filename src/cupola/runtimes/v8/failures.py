"""Failures on their way into JavaScript and out of it."""

from __future__ import annotations

import json
from typing import Any, TypeVar

import msgspec

from cupola.errors import (
    ApplicationError,
    CupolaError,
    DeveloperError,
    InvalidCursorError,
    InvalidValueError,
)
from cupola.functions.failure import RemoteError, Told, error_data
from cupola.runtimes.v8.source_maps import SourceMaps
from cupola.values import decode, encode, encode_clean, in_force

_T = TypeVar("_T")


def from_javascript(body: bytes, kind: type[_T]) -> _T:
    """JSON that JavaScript has made of strings of any kind: `"😀".slice(0, 1)` is half a character,
    which `JSON.stringify` escapes and no decoder but Python's own takes back.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError:
        whole = json.dumps(json.loads(body), ensure_ascii=False).encode("utf-8", "replace")
        return msgspec.json.decode(whole, type=kind)


class _Told(msgspec.Struct):
    """What a context says of something that was thrown. `data`: JSON text of an error's data."""

    message: str
    stack: str = ""
    text: str = ""
    data: str | None = None


class JavaScriptError(DeveloperError):
    """A pushed function threw. The message is that of its error, then its frames, mapped.

    `data`: encoded data of a ConvexError.
    """

    code = "FunctionFailed"

    def __init__(self, message: str, data: bytes | None) -> None:
        super().__init__(message)
        self.data = data

    def told(self, request_id: str) -> Told:
        return Told(f"[Request ID: {request_id}] Server Error\n{self.message}", self.data)


def thrown(body: bytes, maps: SourceMaps) -> JavaScriptError:
    """What a host has told of a failure, with frames in the developer's files."""
    told = from_javascript(body, _Told)
    most = in_force().log_line_length_max
    message = told.message
    if len(message) > most:
        message = message[:most] + " (truncated due to length)"
    text = "\n".join([message, *maps.frames(told.stack)])
    return JavaScriptError(text, None if told.data is None else _data(told.data))


def _data(text: str) -> bytes:
    try:
        data = encode(decode(text.encode("utf-8", "replace")))
    except InvalidValueError as error:
        return encode(f"The error's data cannot be sent: {error.message}")
    if len(data) > in_force().result_size_bytes_max:
        return encode(f"The error's data has {len(data):,} bytes, which is too large to send.")
    return data


def for_javascript(error: CupolaError) -> bytes:
    """A failure of a syscall, as JSON {message, data}: what the package rejects with."""
    told: dict[str, Any] = {"message": _message(error)}
    data = _data_of(error)
    if data is not None:
        told["data"] = msgspec.Raw(data)
    return msgspec.json.encode(told)


def _message(error: CupolaError) -> str:
    message = error.message
    if isinstance(error, ApplicationError) and not isinstance(error.data, str):
        message = encode_clean(error.data).decode()
    return message.encode("utf-8", "replace").decode()


def _data_of(error: CupolaError) -> bytes | None:
    if isinstance(error, JavaScriptError | RemoteError):
        return error.data
    if isinstance(error, InvalidCursorError):
        return b'{"isConvexSystemError":true,"paginationError":"InvalidCursor"}'
    return error_data(error)

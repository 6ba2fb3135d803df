"""Function calls over HTTP: request bodies in, response bodies out (the HTTP API, section 3).

Arguments are never decoded here: their JSON text goes to the backend as it came, and result bytes
are spliced into the answer.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec
import orjson

from cupola.backend import CallResult
from cupola.errors import BadRequestError, CupolaError, InvalidValueError, PausedError
from cupola.server.clients import Client
from cupola.server.errors import TRANSPORT_ERRORS, bad_json
from cupola.values import clean_from_encoded, decode, encode_export

_TS_BYTES = 8
_TS_MAX = 2**63 - 1
_REQUEST_ID = re.compile(rb"[0-9A-Za-z_.:-]{1,128}")

Body = TypeVar("Body")


class CallBody(msgspec.Struct, rename="camel"):
    """One call. `ts` is for `/api/query_at_ts` alone, `component_path` for `/api/function`."""

    path: str
    args: msgspec.Raw
    format: str | None = None
    component_path: str | None = None
    ts: str | None = None


class BatchBody(msgspec.Struct):
    queries: list[CallBody]


class RunBody(msgspec.Struct):
    """The path of `/api/run` stands in the URL."""

    args: msgspec.Raw = msgspec.Raw(b"{}")
    format: str | None = None


call_bodies = msgspec.json.Decoder(CallBody)
batch_bodies = msgspec.json.Decoder(BatchBody)
run_bodies = msgspec.json.Decoder(RunBody)
any_json = msgspec.json.Decoder(msgspec.Raw)
_positional = msgspec.json.Decoder(list[msgspec.Raw])


def read(decoder: msgspec.json.Decoder[Body], body: bytes) -> Body:
    """The body as a struct, or BadRequestError (BadJsonBody)."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise bad_json(error) from None
    except RecursionError:
        raise bad_json("it is nested too deeply") from None


def arguments(raw: msgspec.Raw | bytes) -> bytes:
    """JSON text of the arguments object: given itself, or as the only element of an array.

    An array holds positional arguments, and every function takes exactly one: its object.
    """
    text = bytes(raw)
    if text[:1] == b"[":
        positional = read(_positional, text)
        if len(positional) > 1:
            raise bad_json(f"`args` holds {len(positional)} arguments; give one object")
        text = bytes(positional[0]) if positional else b"{}"
    if text[:1] != b"{":
        raise bad_json("`args` is neither an object nor an array that holds one")
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError as error:
            raise bad_json(f"`args` is no UTF-8: {error.reason}") from None
    return text


def timestamp(text: str | None) -> int:
    """A timestamp in its wire form: base64 of eight little-endian bytes.

    Raises:
        BadRequestError (BadJsonBody): Missing, or anything else.
    """
    try:
        data = base64.b64decode(text or "", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    ts = int.from_bytes(data, "little")
    if len(data) != _TS_BYTES or ts > _TS_MAX:
        raise bad_json("`ts` is no timestamp; send what /api/query_ts answered")
    return ts


def timestamp_body(ts: int) -> bytes:
    return b'{"ts":"%b"}' % base64.b64encode(ts.to_bytes(_TS_BYTES, "little"))


def request_id(header: bytes | None) -> str | None:
    """The id the caller chose; None if it chose none, or none that fits into a log line."""
    if header is None or not _REQUEST_ID.fullmatch(header):
        return None
    return header.decode()


# ------------------------------------------------------------------------------------------ answers

Format = Callable[[bytes], bytes]


def _encoded(value: bytes) -> bytes:
    return value


def _export(value: bytes) -> bytes:
    return encode_export(decode(value))


_FORMATS: dict[str, Format] = {
    "convex_encoded_json": _encoded,
    "convex_json": _encoded,
    "json": clean_from_encoded,
    "convex_clean_json": clean_from_encoded,
    "export_json": _export,
}


def output_format(name: str | None, client: Client | None) -> Format:
    """How results are written: as asked for, or else as this client expects.

    Raises:
        BadRequestError (BadFormat): There is no such format.
    """
    if name is None:
        return _encoded if client is not None and client.expects_encoded else clean_from_encoded
    try:
        return _FORMATS[name]
    except KeyError:
        known = ", ".join(f"`{known}`" for known in _FORMATS)
        raise BadRequestError(
            f"There is no format {name[:80]!r}; known are {known}.", code="BadFormat"
        ) from None


def result_body(result: CallResult, write: Format) -> bytes:
    """The answer to one call.

    Raises:
        CupolaError: The call failed for a reason that has an HTTP status of its own.
    """
    if result.ok:
        assert result.value is not None
        return b'{"status":"success","value":%b,"logLines":%b}' % (
            write(result.value),
            result.log_lines,
        )
    if result.error is not None:
        raise_transport_error(result.error)
    message = orjson.dumps(result.error_message or "")
    if result.error_data is None:
        return b'{"status":"error","errorMessage":%b,"logLines":%b}' % (message, result.log_lines)
    return b'{"status":"error","errorMessage":%b,"errorData":%b,"logLines":%b}' % (
        message,
        write(result.error_data),
        result.log_lines,
    )


def batch_body(results: Iterable[CallResult], formats: Iterable[Format]) -> bytes:
    bodies = (result_body(result, write) for result, write in zip(results, formats, strict=True))
    return b'{"results":[%b]}' % b",".join(bodies)


def raise_transport_error(error: CupolaError) -> None:
    """Raise what is answered with its own status; return for what is answered with 200."""
    if isinstance(error, PausedError):  # as the reference: clients take it for the function's
        return
    if isinstance(error, InvalidValueError) and error.code == "BadJson":
        raise bad_json(error.message.rstrip("."))
    if isinstance(error, TRANSPORT_ERRORS) or error.code == CupolaError.code:
        raise error

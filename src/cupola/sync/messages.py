"""What crosses the WebSocket: every message of both directions, as frozen structs, decoded once.

Incoming frames become structs here and nowhere else. Function arguments stay raw JSON text, since
the session has no use for them. Outgoing server frames are not encoded from structs but spliced
from bytes: a result is encoded once and shared by every session that shows it. Client frames,
which are small and few, are encoded from the structs.

Both directions follow the sync protocol, sections 2 to 4. Unknown fields are ignored, unknown
types and everything malformed is a ProtocolError, and never another exception.
"""

import re
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal, TypeAlias
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from cupola.errors import ProtocolError
from cupola.sync.version import StateVersion, decode_timestamp, encode_timestamp

U32: TypeAlias = Annotated[int, Meta(ge=0, le=2**32 - 1)]

_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")

NO_RAW: Final = Raw(b"")
"""What a raw field holds when the message does not have it."""


class WireTimestamp(int):
    """A timestamp where a message has one: base64 text in JSON, an ordinary int here."""


class Message(Struct, frozen=True, tag=True, tag_field="type", rename="camel", omit_defaults=True):
    """A message whose class name is its `type` and whose fields are camelCase on the wire."""


# ------------------------------------------------------------------------------- client to server


class Connect(Message, frozen=True):
    session_id: UUID
    connection_count: U32
    last_close_reason: str | None = None
    max_observed_timestamp: WireTimestamp | None = None
    client_ts: int | float | None = None


class Add(Message, frozen=True):
    query_id: U32
    udf_path: str
    args: list[Raw]
    journal: str | None = None
    component_path: str | None = None


class Remove(Message, frozen=True):
    query_id: U32


class ModifyQuerySet(Message, frozen=True):
    base_version: U32
    new_version: U32
    modifications: list[Add | Remove]


class Mutation(Message, frozen=True):
    request_id: U32
    udf_path: str
    args: list[Raw]
    component_path: str | None = None


class Action(Message, frozen=True):
    request_id: U32
    udf_path: str
    args: list[Raw]
    component_path: str | None = None


TokenType: TypeAlias = Literal["User", "Admin", "None"]


class Authenticate(Message, frozen=True):
    base_version: U32
    token_type: TokenType
    value: str | None = None
    impersonating: Raw = NO_RAW  # as the JavaScript client spells it
    acting_as: Raw = msgspec.field(default=NO_RAW, name="acting_as")  # as the Rust client does


class Event(Message, frozen=True):
    """Telemetry: accepted and ignored."""

    event_type: str = ""


ClientMessage: TypeAlias = Connect | ModifyQuerySet | Mutation | Action | Authenticate | Event


# ------------------------------------------------------------------------------- server to client


class WireVersion(Struct, frozen=True, rename="camel"):
    query_set: U32
    identity: U32
    ts: WireTimestamp

    def decoded(self) -> StateVersion:
        return StateVersion(self.query_set, self.identity, int(self.ts))


class QueryUpdated(Message, frozen=True):
    query_id: U32
    value: Raw
    log_lines: list[str]
    journal: str | UnsetType | None = UNSET


class QueryFailed(Message, frozen=True):
    query_id: U32
    error_message: str
    log_lines: list[str]
    journal: str | UnsetType | None = UNSET
    error_data: Raw = NO_RAW


class QueryRemoved(Message, frozen=True):
    query_id: U32


class Transition(Message, frozen=True):
    start_version: WireVersion
    end_version: WireVersion
    modifications: list[QueryUpdated | QueryFailed | QueryRemoved]
    client_clock_skew: int | None = None
    server_ts: int | None = None


class TransitionChunk(Message, frozen=True):
    chunk: str
    part_number: U32
    total_parts: U32
    transition_id: str


class MutationResponse(Message, frozen=True):
    """`result` is the return value, or the error message as a JSON string."""

    request_id: U32
    success: bool
    result: Raw
    log_lines: list[str]
    ts: WireTimestamp | None = None
    error_data: Raw = NO_RAW


class ActionResponse(Message, frozen=True):
    request_id: U32
    success: bool
    result: Raw
    log_lines: list[str]
    error_data: Raw = NO_RAW


class AuthError(Message, frozen=True):
    error: str
    base_version: U32 | None = None
    auth_update_attempted: bool | None = None


class FatalError(Message, frozen=True):
    error: str


class Ping(Message, frozen=True):
    pass


ServerMessage: TypeAlias = (
    Transition | TransitionChunk | MutationResponse | ActionResponse | AuthError | FatalError | Ping
)


# ---------------------------------------------------------------------------------------- decoding


def _decode_custom(kind: type, value: Any) -> Any:
    if not isinstance(value, str):
        raise ProtocolError(f"a timestamp is base64 text, not {type(value).__name__}")
    return kind(decode_timestamp(value))


_client_decoder = msgspec.json.Decoder(
    Connect | ModifyQuerySet | Mutation | Action | Authenticate | Event, dec_hook=_decode_custom
)
_server_decoder = msgspec.json.Decoder(
    Transition
    | TransitionChunk
    | MutationResponse
    | ActionResponse
    | AuthError
    | FatalError
    | Ping,
    dec_hook=_decode_custom,
)


def decode_client_message(frame: bytes) -> ClientMessage:
    """One whole text message from a client.

    Raises:
        ProtocolError: Not UTF-8, not JSON, not a known message, or a field of the wrong type or
        range.
    """
    message: ClientMessage = _decode(_client_decoder, frame)
    return message


def decode_server_message(frame: bytes) -> ServerMessage:
    """One whole text message from a server; errors as in `decode_client_message`."""
    message: ServerMessage = _decode(_server_decoder, frame)
    return message


def _decode(decoder: msgspec.json.Decoder[Any], frame: bytes) -> Any:
    try:
        if not frame.isascii():
            frame.decode()  # raw fields are not looked at otherwise
        return decoder.decode(frame)
    except UnicodeDecodeError as error:
        raise ProtocolError(f"a message must be UTF-8: {error.reason} at {error.start}") from None
    except RecursionError:
        raise ProtocolError("a message is nested too deeply") from None
    except msgspec.ValidationError as error:
        raise ProtocolError(f"not a message of the sync protocol: {error}") from None
    except msgspec.DecodeError as error:
        half = "a string has half of a surrogate pair, which is no text"
        reason = half if _SURROGATE.search(frame) else str(error)
        raise ProtocolError(f"a message must be JSON: {reason}") from None


def arguments_text(args: list[Raw]) -> bytes:
    """The JSON text of a call's arguments: the one object that the array should hold.

    Legacy clients send positional arguments. Those come out as the text of the array, which no
    function accepts; so the call fails like one with wrong arguments, and the connection lives on.
    """
    if len(args) == 1:
        return bytes(args[0])
    return b"[" + b",".join(bytes(arg) for arg in args) + b"]"


# ---------------------------------------------------------------------------------------- encoding


def _encode_custom(value: Any) -> str:
    if isinstance(value, WireTimestamp):
        return encode_timestamp(int(value)).decode()
    raise TypeError(f"{type(value).__name__} has no place in a message")


_encoder = msgspec.json.Encoder(enc_hook=_encode_custom)


def encode_message(message: ClientMessage | ServerMessage) -> bytes:
    """A message from its struct: what clients send, and what tests write down."""
    return _encoder.encode(message)


def encode_text(text: str) -> bytes:
    """A JSON string. Lone surrogates, which an error may quote, become replacement characters."""
    try:
        return _encoder.encode(text)
    except UnicodeEncodeError:
        return _encoder.encode(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


PING_FRAME: Final = b'{"type":"Ping"}'


def mutation_response_frame(
    request_id: int, *, result: bytes, ts: int, log_lines: bytes = b"[]"
) -> bytes:
    """The answer to a committed mutation: `result` and `log_lines` are encoded JSON."""
    return (
        b'{"type":"MutationResponse","requestId":%d,"success":true,"result":%b,"ts":"%b","logLines":%b}'
        % (request_id, result, encode_timestamp(ts), log_lines)
    )


def mutation_failure_frame(
    request_id: int, *, error_message: str, error_data: bytes | None, log_lines: bytes = b"[]"
) -> bytes:
    return (
        b'{"type":"MutationResponse","requestId":%d,"success":false,"result":%b,"ts":null,"logLines":%b%b}'
        % (request_id, encode_text(error_message), log_lines, error_data_field(error_data))
    )


def action_response_frame(request_id: int, *, result: bytes, log_lines: bytes = b"[]") -> bytes:
    return b'{"type":"ActionResponse","requestId":%d,"success":true,"result":%b,"logLines":%b}' % (
        request_id,
        result,
        log_lines,
    )


def action_failure_frame(
    request_id: int, *, error_message: str, error_data: bytes | None, log_lines: bytes = b"[]"
) -> bytes:
    return (
        b'{"type":"ActionResponse","requestId":%d,"success":false,"result":%b,"logLines":%b%b}'
        % (request_id, encode_text(error_message), log_lines, error_data_field(error_data))
    )


def auth_error_frame(error: str, *, base_version: int, attempted: bool) -> bytes:
    return b'{"type":"AuthError","error":%b,"baseVersion":%d,"authUpdateAttempted":%b}' % (
        encode_text(error),
        base_version,
        b"true" if attempted else b"false",
    )


def fatal_error_frame(error: str) -> bytes:
    return b'{"type":"FatalError","error":%b}' % encode_text(error)


def error_data_field(error_data: bytes | None) -> bytes:
    """`,"errorData":…`, or nothing: a present key, even null, marks an application error."""
    return b"" if error_data is None else b',"errorData":' + error_data


def query_removed(query_id: int) -> bytes:
    return b'{"type":"QueryRemoved","queryId":%d}' % query_id


# ------------------------------------------------------------------------------------------ chunks


def cut_into_chunks(frame: bytes, chunk_size_bytes: int) -> list[bytes]:
    """A Transition as TransitionChunk frames, each with at most `chunk_size_bytes` of its text.

    Cuts fall between characters, never inside one. (A character outside the basic plane is one
    UTF-8 sequence, so surrogate pairs stay together as well; escapes may be cut, since the text is
    joined again before it is parsed.)
    """
    cuts = list(_cuts(frame, chunk_size_bytes))
    total = len(cuts) - 1
    head = b'{"type":"TransitionChunk","chunk":'
    transition_id = len(frame)
    return [
        b'%b%b,"partNumber":%d,"totalParts":%d,"transitionId":"%d"}'
        % (
            head,
            _encoder.encode(frame[cuts[part] : cuts[part + 1]].decode()),
            part,
            total,
            transition_id,
        )
        for part in range(total)
    ]


def _cuts(frame: bytes, chunk_size_bytes: int) -> Iterable[int]:
    assert chunk_size_bytes >= 4, "a chunk must hold any character"
    position = 0
    while position < len(frame):
        yield position
        position += chunk_size_bytes
        while position < len(frame) and frame[position] & 0xC0 == 0x80:  # inside a character
            position -= 1
    yield len(frame)

"""What is a message and what is not: nothing that arrives may surprise the decoder."""

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cupola.errors import ProtocolError
from cupola.limits import DEFAULT_LIMITS
from cupola.sync.client_session import ClientSession, Reconnect
from cupola.sync.effects import Close
from cupola.sync.messages import (
    Action,
    Add,
    Authenticate,
    Connect,
    Event,
    ModifyQuerySet,
    Mutation,
    Remove,
    Transition,
    TransitionChunk,
    arguments_text,
    cut_into_chunks,
    decode_client_message,
    decode_server_message,
    encode_message,
    encode_text,
)
from cupola.sync.session import Session

UUID_TEXT = "5422edf9-5053-4dda-813e-f28163f282fd"
ADD = {"type": "Add", "queryId": 0, "udfPath": "messages:list", "args": [{"a": {"$float": "A="}}]}
CLIENT_MESSAGES: list[dict[str, Any]] = [
    {
        "type": "Connect",
        "sessionId": UUID_TEXT,
        "connectionCount": 1,
        "lastCloseReason": None,
        "maxObservedTimestamp": "6QMAAAAAAAA=",
        "clientTs": 1795350032452,
    },
    {
        "type": "ModifyQuerySet",
        "baseVersion": 0,
        "newVersion": 1,
        "modifications": [
            ADD | {"journal": "j", "componentPath": ""},
            {"type": "Remove", "queryId": 3},
        ],
    },
    {"type": "Mutation", "requestId": 0, "udfPath": "messages:send", "args": [{"body": "hi"}]},
    {"type": "Action", "requestId": 1, "udfPath": "ai/chat:ask", "args": [{}]},
    {"type": "Authenticate", "baseVersion": 0, "tokenType": "User", "value": "eyJh"},
    {
        "type": "Authenticate",
        "baseVersion": 1,
        "tokenType": "Admin",
        "value": "cupola|01ab",
        "acting_as": {"issuer": "https://i", "subject": "u1"},
    },
    {"type": "Event", "eventType": "NetworkRecoveryReconnect", "event": {"timeSavedMs": 3}},
]
VERSION = {"querySet": 0, "identity": 0, "ts": "AAAAAAAAAAA="}
SERVER_MESSAGES: list[dict[str, Any]] = [
    {
        "type": "Transition",
        "startVersion": VERSION,
        "endVersion": VERSION | {"ts": "6QMAAAAAAAA="},
        "modifications": [
            {"type": "QueryUpdated", "queryId": 0, "value": [1], "logLines": [], "journal": None},
            {"type": "QueryFailed", "queryId": 1, "errorMessage": "boom", "logLines": ["[LOG] x"]},
            {"type": "QueryRemoved", "queryId": 2},
        ],
        "clientClockSkew": -3,
        "serverTs": 1795350032452000000,
    },
    {
        "type": "TransitionChunk",
        "chunk": "{",
        "partNumber": 0,
        "totalParts": 2,
        "transitionId": "9",
    },
    {
        "type": "MutationResponse",
        "requestId": 0,
        "success": True,
        "result": None,
        "ts": "8wMAAAAAAAA=",
        "logLines": [],
    },
    {
        "type": "ActionResponse",
        "requestId": 0,
        "success": False,
        "result": "boom",
        "logLines": [],
        "errorData": {"code": 3.0},
    },
    {"type": "AuthError", "error": "no", "baseVersion": 0, "authUpdateAttempted": True},
    {"type": "FatalError", "error": "no"},
    {"type": "Ping"},
]

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text()
    | st.sampled_from(["Connect", "Add", "6QMAAAAAAAA=", UUID_TEXT, 2**32, 2**32 - 1, -1, 1.0]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def mutated(draw: st.DrawFn, originals: list[dict[str, Any]]) -> bytes:
    """A message with something wrong: a field changed, gone or swapped, or its text damaged."""
    message = json.loads(json.dumps(draw(st.sampled_from(originals))))
    target = message
    while True:
        inner = [value for value in target.values() if isinstance(value, dict)]
        inner += [
            v for vs in target.values() if isinstance(vs, list) for v in vs if type(v) is dict
        ]
        if not inner or draw(st.booleans()):
            break
        target = draw(st.sampled_from(inner))
    if target:
        name = draw(st.sampled_from(sorted(target)))
        if draw(st.booleans()):
            target[name] = draw(json_values)
        else:
            del target[name]
    frame = json.dumps(message, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")
    if draw(st.booleans()):
        at = draw(st.integers(0, len(frame)))
        frame = frame[:at] + draw(st.binary(max_size=3)) + frame[at + draw(st.integers(0, 3)) :]
    return frame


@given(st.binary() | mutated(CLIENT_MESSAGES))
@example(b"")
@example(b"null")
@example(b"[" * 100_000)
@example(b'{"type":"Event","event":' + b"[" * 100_000)
@example(
    b'{"type":"Mutation","requestId":0,"udfPath":"a:b","args":[' + b"[" * 5000 + b"]" * 5000 + b"]}"
)
@example(b'{"type":"Event","eventType":"\\ud800"}')
@example(b'{"type":"Event","event":"\xff"}')
@example(b'{"type":"Mutation","requestId":0,"udfPath":"a:b","args":[{"a":"\xed\xa0\x80"}]}')
@example(b'{"type":"Mutation","requestId":0,"udfPath":"a:b","args":[{"a":NaN}]}')
@example(b"\xef\xbb\xbf{}")
@example(b'{"type":"Event"}\x00')
@settings(max_examples=200, deadline=None)
def test_any_frame_is_a_message_or_a_protocol_error(frame: bytes) -> None:
    """Whatever a client sends, the server stays up and says what is wrong."""
    session = Session(chunked=True, chunk_size_bytes=1000, limits=DEFAULT_LIMITS)
    session.receive(decode_client_message(json.dumps(CLIENT_MESSAGES[0]).encode()), 0, 10**6)
    try:
        message = decode_client_message(frame)
    except ProtocolError as error:
        encode_text(error.message)
        assert isinstance(session.fatal(error)[-1], Close)
    else:
        session.receive(message, 0, 0)


@given(st.binary() | mutated(SERVER_MESSAGES))
@settings(max_examples=200, deadline=None)
def test_no_server_can_break_a_client(frame: bytes) -> None:
    """A client that hears nonsense connects again, and then works as before."""
    client = ClientSession(UUID(UUID_TEXT))
    client.subscribe("a:b", b"{}")
    client.mutation("a:b", b"{}")
    client.opened(0)
    effects = client.receive(frame)
    if any(isinstance(effect, Reconnect) for effect in effects):
        client.closed("ProtocolFailure")
        assert len(client.opened(0)) >= 2


@pytest.mark.parametrize("message", CLIENT_MESSAGES, ids=lambda message: message["type"])
def test_what_clients_send_is_understood(message: dict[str, Any]) -> None:
    decoded = decode_client_message(json.dumps(message).encode())
    assert type(decoded).__name__ == message["type"]
    again = json.loads(encode_message(decoded))
    present = {name: value for name, value in message.items() if value is not None}
    assert again == {name: value for name, value in present.items() if name in again}
    assert set(present) - set(again) <= {"event"}


@pytest.mark.parametrize("message", SERVER_MESSAGES, ids=lambda message: message["type"])
def test_what_servers_send_is_understood(message: dict[str, Any]) -> None:
    decoded = decode_server_message(json.dumps(message).encode())
    assert type(decoded).__name__ == message["type"]
    assert decode_server_message(encode_message(decoded)) is not None


def test_fields_that_nobody_knows_are_ignored() -> None:
    """Newer clients may say more."""
    assert decode_client_message(b'{"x":[1,{}],"type":"Event","eventType":"y"}') == Event("y")
    decoded = decode_client_message(
        b'{"type":"ModifyQuerySet","baseVersion":0,"newVersion":1,'
        b'"modifications":[{"queryId":3,"type":"Remove","why":null}]}'
    )
    assert decoded == ModifyQuerySet(0, 1, [Remove(3)])


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ('[{"a": 1.0}]', b'{"a": 1.0}'),
        ("[]", b"[]"),
        ('[1, "two"]', b'[1,"two"]'),
        ("[[1]]", b"[1]"),
        ("[null]", b"null"),
    ],
)
def test_arguments_stay_as_they_were_written(args: str, text: bytes) -> None:
    """The function decides about them: what is no object fails there, not here."""
    frame = b'{"type":"Mutation","requestId":0,"udfPath":"a:b","args":' + args.encode() + b"}"
    message = decode_client_message(frame)
    assert isinstance(message, Mutation)
    assert arguments_text(message.args) == text


@pytest.mark.parametrize(
    "frame",
    [
        b'{"type":"Remove","queryId":0}',  # a modification, not a message
        b'{"type":"Ping"}',  # a server's message
        b'{"type":"connect"}',
        b'{"Type":"Event"}',
        b'{"type":"Mutation","requestId":true,"udfPath":"a:b","args":[{}]}',
        b'{"type":"Mutation","requestId":"0","udfPath":"a:b","args":[{}]}',
        b'{"type":"Mutation","requestId":0,"udfPath":null,"args":[{}]}',
        b'{"type":"Mutation","requestId":0,"udfPath":"a:b"}',
        b'{"type":"Mutation","requestId":0,"udfPath":"a:b","args":[{}],}',
        b'{"type":"Authenticate","baseVersion":0,"tokenType":"Robot"}',
    ],
)
def test_a_wrong_message_is_refused_with_a_reason(frame: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode_client_message(frame)
    assert caught.value.code == "ProtocolError"
    assert "not a message" in caught.value.message or "JSON" in caught.value.message


def test_an_error_text_with_half_a_character_is_sent_all_the_same() -> None:
    assert json.loads(encode_text("bad \ud800 text")) == "bad \ufffd text"


# ------------------------------------------------------------------------------------------ chunks


@given(text=st.text(), chunk_size_bytes=st.integers(4, 50))
def test_chunks_joined_are_the_transition(text: str, chunk_size_bytes: int) -> None:
    """Each within its bound, cut between characters, in order, under one id."""
    frame = json.dumps(text, ensure_ascii=False).encode()
    messages = [decode_server_message(chunk) for chunk in cut_into_chunks(frame, chunk_size_bytes)]
    chunks = [message for message in messages if isinstance(message, TransitionChunk)]
    assert "".join(chunk.chunk for chunk in chunks).encode() == frame
    assert [chunk.part_number for chunk in chunks] == list(range(len(chunks)))
    assert {chunk.total_parts for chunk in chunks} == {len(messages)}
    assert {chunk.transition_id for chunk in chunks} == {str(len(frame))}
    assert all(0 < len(chunk.chunk.encode()) <= chunk_size_bytes for chunk in chunks)


def test_every_kind_of_message_is_tried_above() -> None:
    tried = {message["type"] for message in CLIENT_MESSAGES}
    kinds = (Connect, ModifyQuerySet, Mutation, Action, Authenticate, Event)
    assert tried == {kind.__name__ for kind in kinds}
    assert {Add.__name__, Remove.__name__} == {
        m["type"] for m in CLIENT_MESSAGES[1]["modifications"]
    }
    assert isinstance(decode_server_message(json.dumps(SERVER_MESSAGES[0]).encode()), Transition)

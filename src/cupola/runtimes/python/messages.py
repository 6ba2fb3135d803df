"""What the engine and its Python workers say to each other: length-prefixed MessagePack.

A worker is told once what it serves (`Setup`), answers `Ready`, and then runs calls. A transaction
worker runs one query or mutation at a time, each at the snapshot it finds; an action worker runs
many actions, whose calls of functions come back as `NestedCall`.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from cupola.auth import NOWHERE, Identity, Origin
from cupola.limits import Limits
from cupola.values import decode, encode

_HEADER = struct.Struct("<I")
PIECE_BYTES = 1 << 16
"""How much to receive at once: a larger buffer is mapped and given back each time."""


class Message(msgspec.Struct, tag=True, frozen=True, array_like=True):
    """Anything that crosses the socket between engine and worker."""


# --------------------------------------------------------------------------- engine to worker


class Setup(Message, frozen=True):
    """What to serve. `data_path`: the database, empty for action workers. `sources`: see `App`.
    `javascript`: pushed code (`PushedCode`) as MessagePack, empty if there is none. `files`: the
    address of the file store, for action workers, and `handle_key` that of function handles.
    `packages`: where npm packages are installed. `forbids_private_addresses`: to actions in V8.
    """

    app_folder: str
    sources: dict[str, bytes]
    data_path: str
    secret: bytes
    limits: dict[str, Any]
    environment: dict[str, str]
    javascript: bytes = b""
    cloud_url: str = ""
    files: str = ""
    handle_key: bytes = b""
    packages: str = ""
    forbids_private_addresses: bool = False


class Caller(msgspec.Struct, frozen=True):
    """An identity, as far as functions can see it."""

    kind: str
    attributes: bytes | None
    cache_key: bytes
    origin: Origin = NOWHERE


class RunCall(Message, frozen=True):
    """Run a query or mutation at the newest snapshot; `creation_time`: ms, for the first insert.
    `job`, `completes_job`: as in `functions.call.Call`. `counts_rows`: tell which were read.
    `more`: queries to run after it, at the same snapshot.
    """

    call: int
    path: str
    args: bytes
    caller: Caller
    now_ns: int
    seed: bytes
    request_id: str
    journal: str | None
    creation_time: float
    job: str | None = None
    completes_job: bool = False
    counts_rows: bool = False
    more: Sequence[RunCall] = ()


class Tables(Message, frozen=True):
    """The numbers of the deployment's tables, by name: for ids among arguments and results."""

    numbers: dict[str, int]


class RunAction(Message, frozen=True):
    """`job`: the scheduled job that it is."""

    call: int
    path: str
    args: bytes
    caller: Caller
    request_id: str
    job: str | None = None


class RunHttp(Message, frozen=True):
    """Run an HTTP action. Its answer is a ResponseHead, ResponseParts and ActionDone, or ActionDone
    alone. `identity_problem`: see `HttpCtx`.
    """

    call: int
    path: str
    method: str
    url: str
    headers: list[tuple[str, str]]
    caller: Caller
    identity_problem: str | None
    request_id: str


class BodyPart(Message, frozen=True):
    """The next part of a request's body. `problem`: there is none, since it cannot be read."""

    call: int
    data: bytes
    more: bool
    problem: str | None = None


class PartTaken(Message, frozen=True):
    """The client can take another ResponsePart."""

    call: int


class Cancel(Message, frozen=True):
    """The client has gone: end the HTTP action."""

    call: int


class NestedResult(Message, frozen=True):
    """The answer to a NestedCall."""

    call: int
    nested: int
    value: bytes | None
    failure: Failure | None


class FindVectors(Message, frozen=True):
    """Search the vector index whose document has this id; see `search.vector_query.VectorQuery`."""

    number: int
    index: str
    vector: list[float]
    limit: int
    conditions: list[tuple[int, bytes]]


class FollowLog(Message, frozen=True):
    """Something was committed; and snapshots may be opened, for a second."""


class IndexText(Message, frozen=True):
    """Bring the files of text indexes up to date, and tell how far they are. `synced_ts`: what is
    not newer survives a power cut. Snapshots may be opened, for a second.
    """

    synced_ts: int


class Probe(Message, frozen=True):
    """Are you there? Answered by `Alive`, unless something blocks the worker's loop."""

    number: int


# --------------------------------------------------------------------------- worker to engine


class Ready(Message, frozen=True):
    """The app is loaded, or cannot be (`problem`)."""

    problem: str | None


class Failure(msgspec.Struct, frozen=True):
    """A failed call in words; `data` as for application errors. `is_systems`: it says nothing about
    the function, which may work another time.
    """

    message: str
    code: str
    data: bytes | None
    is_systems: bool = False


class RemoteWrite(msgspec.Struct, frozen=True):
    table: int
    id: str
    old_version: int | None
    body: bytes | None


class CallDone(Message, frozen=True):
    """What a run came to, at snapshot `ts`. `intervals` as in `database.read_set`; `rows_read`: by
    table, if that was asked for; `more`: what those came to that were to run after it.
    """

    call: int
    ts: int
    value: bytes | None
    failure: Failure | None
    log_lines: list[str]
    intervals: list[tuple[int, int, bytes, bytes, bytes | None]]
    writes: list[RemoteWrite]
    creation_time: float
    identity_observed: bool
    journal: str | None
    time_observed: bool = False
    awaits_commit: bool = False
    audits: Sequence[str] = ()
    rows_read: dict[int, int] | None = None
    more: Sequence[CallDone] = ()


class ActionDone(Message, frozen=True):
    call: int
    value: bytes | None
    failure: Failure | None
    log_lines: list[str]
    audits: Sequence[str] = ()


class BodyWanted(Message, frozen=True):
    """An HTTP action reads its request's body."""

    call: int


class ResponseHead(Message, frozen=True):
    call: int
    status: int
    headers: list[tuple[str, str]]


class ResponsePart(Message, frozen=True):
    call: int
    data: bytes


class NestedCall(Message, frozen=True):
    """An action calls a function. `kind`: "query", "mutation" or "action"; "system" for one of
    the system's mutations, "storage" for an operation on files, "vectors" for a search of vectors.
    """

    call: int
    nested: int
    kind: str
    path: str
    args: bytes


class VectorsFound(Message, frozen=True):
    """What a FindVectors found at snapshot `ts`: ids and scores, best first. None: the index is not
    there to be searched.
    """

    number: int
    ts: int
    hits: list[tuple[str, float]] | None


class VectorProgress(msgspec.Struct, frozen=True):
    """How far an index is built; see `search.vector_indexes.Progress`."""

    is_built: bool
    is_too_large: bool
    seen: int
    total: int


class VectorsKept(Message, frozen=True):
    """All vector indexes by the ids of their documents; said when that changes, and now and then
    while one is being built. `size_bytes`: what they take in memory.
    """

    indexes: dict[str, VectorProgress]
    size_bytes: int


class TextProgress(msgspec.Struct, frozen=True):
    """How far a text index is; see `search.text_indexer.Progress`."""

    is_built: bool
    version: int
    seen: int
    total: int


class TextIndexed(Message, frozen=True):
    """The answer to an IndexText: all text indexes by the ids of their documents. `is_done`: there
    was nothing left to do.
    """

    indexes: dict[str, TextProgress]
    is_done: bool


class Alive(Message, frozen=True):
    number: int


ToHttpAction = RunHttp | BodyPart | PartTaken | Cancel
FromHttpAction = BodyWanted | ResponseHead | ResponsePart
ToVectors = FindVectors | FollowLog
FromVectors = VectorsFound | VectorsKept
ToSearch = IndexText | ToVectors
FromSearch = TextIndexed | FromVectors
ToWorker = Setup | RunCall | RunAction | ToHttpAction | Tables | NestedResult | Probe | ToSearch
FromWorker = Ready | CallDone | ActionDone | FromHttpAction | NestedCall | Alive | FromSearch

_encoder = msgspec.msgpack.Encoder()
to_worker_decoder = msgspec.msgpack.Decoder(ToWorker)
from_worker_decoder = msgspec.msgpack.Decoder(FromWorker)


def frame(message: Message) -> bytes:
    """A message as it crosses the socket."""
    body = _encoder.encode(message)
    return _HEADER.pack(len(body)) + body


class FrameBuffer:
    """Joins what a socket delivers into whole messages."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The bodies of all messages that are complete now."""
        self._data += data
        while len(self._data) >= _HEADER.size:
            (length,) = _HEADER.unpack_from(self._data)
            end = _HEADER.size + length
            if len(self._data) < end:
                return
            body = bytes(self._data[_HEADER.size : end])
            del self._data[:end]
            yield body


def caller_of(identity: Identity) -> Caller:
    attributes = None if identity.attributes is None else encode(identity.attributes)
    return Caller(identity.kind, attributes, identity.cache_key, identity.origin)


def identity_of(caller: Caller) -> Identity:
    attributes: Any = None if caller.attributes is None else decode(caller.attributes)
    kind: Any = caller.kind
    return Identity(kind, attributes, cache_key=caller.cache_key, origin=caller.origin)


def limits_of(fields: dict[str, Any]) -> Limits:
    return Limits(**fields)


def limit_fields(limits: Limits) -> dict[str, Any]:
    return dataclasses.asdict(limits)

"""The client's half of a sync conversation, over any number of connections: pure as well.

Theory. The client owns the truth about what it wants: its query set, its identity and its requests
in flight. A connection is a copy of that at the server, built anew on every open and then kept in
step. What the server owns is the results, and one Transition moves all of them at once from one
version to the next; so between two Transitions the results are those of one snapshot. What makes a
lost connection harmless:

- results stay until a Transition replaces them, and are never replaced by older ones;
- journals are kept per query and sent with it again, so that a page keeps its ends;
- mutations are sent again under the same session and request ids, so that they happen once; one
  that was answered but not yet seen in the results is sent again too, for the Transition that
  shows it;
- actions are not sent again, since nobody knows how far they came: they fail.

It behaves like the published JavaScript client (the sync protocol, sections 3, 6.1 and 7), except
that a server which breaks the protocol makes it reconnect instead of throwing.

    state         call or message           becomes
    --------------------------------------------------------------------------------------------
    disconnected  opened                    connected      everything is sent again
                  subscribe, mutation, …    disconnected   remembered
    connected     any server message        connected      results, answers
                  broken protocol           broken         Reconnect
                  FatalError                broken         Terminated
                  closed                    disconnected   actions in flight fail
    broken        any server message        broken         ignored
                  closed                    disconnected
"""

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TypeAlias, assert_never
from uuid import UUID

import msgspec
from msgspec import UNSET, Raw

from cupola.errors import ProtocolError
from cupola.sync.effects import Effect, Send
from cupola.sync.messages import (
    NO_RAW,
    Action,
    ActionResponse,
    Add,
    Authenticate,
    AuthError,
    ClientMessage,
    Connect,
    FatalError,
    ModifyQuerySet,
    Mutation,
    MutationResponse,
    Ping,
    QueryFailed,
    QueryRemoved,
    QueryUpdated,
    Remove,
    ServerMessage,
    TokenType,
    Transition,
    TransitionChunk,
    WireTimestamp,
    decode_server_message,
    encode_message,
)
from cupola.sync.version import ZERO_VERSION, StateVersion

ACTION_LOST: Final = "Connection lost while action was in flight"
PROTOCOL_FAILURE: Final = "ProtocolFailure"


class Result(msgspec.Struct, frozen=True):
    """What a query, mutation or action came to.

    Attributes:
        value: Encoded JSON, None if it failed.
        error_message: The error text, None if it did not fail.
        error_data: Encoded JSON of an application error's data, None for other errors.
        log_lines: What the function logged.
    """

    value: bytes | None
    error_message: str | None
    error_data: bytes | None
    log_lines: list[str]

    @property
    def ok(self) -> bool:
        return self.error_message is None


# ----------------------------------------------------------------------------- what should happen


class ResultsChanged(Effect, frozen=True):
    """All results are those of `version` now; the ones of `query_ids` are new."""

    version: StateVersion
    query_ids: list[int]


class Completed(Effect, frozen=True):
    """A mutation or action is over; what a mutation wrote shows in the results."""

    request_id: int
    result: Result


class Authenticated(Effect, frozen=True):
    """The server has accepted the token set last."""


class AuthenticationFailed(Effect, frozen=True):
    """The token was refused, or has expired (`attempted` is false). The server closes then.

    Set another token or none before the next `opened`, or the same will be tried again.
    """

    error: str
    attempted: bool


class Reconnect(Effect, frozen=True):
    """The server broke the protocol: close the socket and open another. `reason` is for the log."""

    reason: str


class Terminated(Effect, frozen=True):
    """The server says that this client breaks the protocol: do not come back."""

    error: str


ClientEffect: TypeAlias = (
    Send
    | ResultsChanged
    | Completed
    | Authenticated
    | AuthenticationFailed
    | Reconnect
    | Terminated
)


class Token(msgspec.Struct, frozen=True):
    """Who the client says it is; `impersonating` is the JSON text of a user's attributes."""

    token_type: TokenType
    value: str
    impersonating: bytes | None = None


class _Query:
    __slots__ = ("args", "component_path", "journal", "path")

    def __init__(
        self, path: str, args: bytes, journal: str | None, component_path: str | None
    ) -> None:
        self.path = path
        self.args = args
        self.journal = journal
        self.component_path = component_path


class _Request:
    __slots__ = ("is_sent", "message", "result", "ts")

    def __init__(self, message: Mutation | Action) -> None:
        self.message = message
        self.is_sent = False
        self.result: Result | None = None  # of a mutation that the results do not show yet
        self.ts = 0


class _State(enum.Enum):
    DISCONNECTED = "disconnected"
    CONNECTED = "connected"
    BROKEN = "broken"


# ------------------------------------------------------------------------------------ the session


class ClientSession:
    """One client object: a query set, a token, and requests in flight.

    Calls return effects to carry out in order. Arguments and values are encoded JSON. The host
    opens and closes sockets, decides when to come back, and calls `opened` and `closed` in turn.
    """

    def __init__(self, session_id: UUID) -> None:
        """`session_id` makes re-sent mutations recognisable: it is fresh and unpredictable."""
        self._session_id = session_id
        self._state = _State.DISCONNECTED
        self._connection_count = 0
        self._last_close_reason: str | None = "InitialConnect"
        self._queries: dict[int, _Query] = {}
        self._results: dict[int, Result] = {}
        self._next_query_id = 0
        self._requests: dict[int, _Request] = {}  # in request order
        self._next_request_id = 0
        self._token: Token | None = None
        self._observed_ts: int | None = None  # the greatest seen anywhere
        self._shown_ts = 0  # the greatest that results were shown at

        # Of the current connection:
        self._version = ZERO_VERSION
        self._sent_query_set = 0
        self._sent_identity = 0
        self._chunks: list[str] = []

    # ------------------------------------------------------------------------------- properties

    @property
    def results(self) -> Mapping[int, Result]:
        """The newest result of each query that has one, by query id."""
        return MappingProxyType(self._results)

    @property
    def version(self) -> StateVersion:
        """Where the last Transition of this connection led; zero before the first."""
        return self._version

    @property
    def shown_ts(self) -> int:
        """The timestamp of the results."""
        return self._shown_ts

    @property
    def observed_ts(self) -> int | None:
        """The greatest timestamp that the server has told of."""
        return self._observed_ts

    @property
    def pending_requests(self) -> list[int]:
        """Mutations and actions that are not completed, in the order they were made."""
        return list(self._requests)

    def journal(self, query_id: int) -> str | None:
        return self._queries[query_id].journal

    # --------------------------------------------------------------------- what the app wants

    def subscribe(
        self,
        path: str,
        args: bytes,
        *,
        journal: str | None = None,
        component_path: str | None = None,
    ) -> tuple[int, list[ClientEffect]]:
        """Add a query. Returns its id, under which `results` will have it."""
        query_id = self._next_query_id
        self._next_query_id += 1
        self._queries[query_id] = _Query(path, args, journal, component_path)
        return query_id, self._modify_query_set([self._add(query_id)])

    def unsubscribe(self, query_id: int) -> list[ClientEffect]:
        """Remove a query and its result."""
        del self._queries[query_id]
        self._results.pop(query_id, None)
        return self._modify_query_set([Remove(query_id)])

    def _add(self, query_id: int) -> Add:
        query = self._queries[query_id]
        return Add(query_id, query.path, [Raw(query.args)], query.journal, query.component_path)

    def _modify_query_set(self, modifications: list[Add | Remove]) -> list[ClientEffect]:
        if self._state is not _State.CONNECTED:
            return []
        base_version = self._sent_query_set
        self._sent_query_set += 1
        return [_send(ModifyQuerySet(base_version, self._sent_query_set, modifications))]

    def mutation(
        self, path: str, args: bytes, *, component_path: str | None = None
    ) -> tuple[int, list[ClientEffect]]:
        """Call a mutation. Returns the request id, which a Completed effect will name."""
        return self._request(Mutation(self._next_request_id, path, [Raw(args)], component_path))

    def action(
        self, path: str, args: bytes, *, component_path: str | None = None
    ) -> tuple[int, list[ClientEffect]]:
        """Call an action. Returns the request id, which a Completed effect will name."""
        return self._request(Action(self._next_request_id, path, [Raw(args)], component_path))

    def _request(self, message: Mutation | Action) -> tuple[int, list[ClientEffect]]:
        self._next_request_id += 1
        self._requests[message.request_id] = request = _Request(message)
        return message.request_id, self._send_request(request)

    def _send_request(self, request: _Request) -> list[ClientEffect]:
        if self._state is not _State.CONNECTED:
            return []
        request.is_sent = True
        return [_send(request.message)]

    def authenticate(self, token: Token | None) -> list[ClientEffect]:
        """Show a token from now on, or be anonymous again."""
        self._token = token
        return self._authenticate(token) if self._state is _State.CONNECTED else []

    def _authenticate(self, token: Token | None) -> list[ClientEffect]:
        base_version = self._sent_identity
        self._sent_identity += 1
        if token is None:
            return [_send(Authenticate(base_version, "None"))]
        impersonating = NO_RAW if token.impersonating is None else Raw(token.impersonating)
        return [_send(Authenticate(base_version, token.token_type, token.value, impersonating))]

    # ---------------------------------------------------------------------------- connections

    def opened(self, now_ms: int) -> list[ClientEffect]:
        """A socket is open: say who we are, what we want and what is unanswered, in this order."""
        assert self._state is _State.DISCONNECTED, "closed comes before the next opened"
        self._state = _State.CONNECTED
        self._version = ZERO_VERSION
        self._sent_query_set = self._sent_identity = 0
        self._chunks = []
        connect = Connect(
            self._session_id,
            self._connection_count,
            self._last_close_reason,
            None if self._observed_ts is None else WireTimestamp(self._observed_ts),
            now_ms,
        )
        self._connection_count += 1
        effects: list[ClientEffect] = [_send(connect)]
        if self._token is not None:
            effects += self._authenticate(self._token)
        effects += self._modify_query_set([self._add(query_id) for query_id in self._queries])
        for request in self._requests.values():
            effects += self._send_request(request)
        return effects

    def closed(self, reason: str | None) -> list[ClientEffect]:
        """The socket is gone. `reason`, the close frame's or what is known, goes into Connect."""
        if self._state is _State.DISCONNECTED:
            return []
        self._state = _State.DISCONNECTED
        self._last_close_reason = reason
        lost = [
            request_id
            for request_id, request in self._requests.items()
            if request.is_sent and isinstance(request.message, Action)
        ]
        failure = Result(value=None, error_message=ACTION_LOST, error_data=None, log_lines=[])
        return [self._complete(request_id, failure) for request_id in lost]

    # --------------------------------------------------------------- what the server sends

    def receive(self, frame: bytes) -> list[ClientEffect]:
        """Take one whole text message."""
        if self._state is not _State.CONNECTED:
            return []
        try:
            return self._handle(decode_server_message(frame))
        except ProtocolError as error:
            self._state = _State.BROKEN
            return [Reconnect(f"{PROTOCOL_FAILURE}: {error.message}")]

    def _handle(self, message: ServerMessage) -> list[ClientEffect]:
        if self._chunks and not isinstance(message, TransitionChunk | Ping):
            raise ProtocolError(f"{type(message).__name__} between the chunks of a Transition")
        match message:
            case Transition():
                return self._transition(message)
            case TransitionChunk():
                return self._transition_chunk(message)
            case MutationResponse():
                return self._mutation_response(message)
            case ActionResponse():
                return self._action_response(message)
            case AuthError():
                return self._auth_error(message)
            case FatalError():
                self._state = _State.BROKEN
                return [Terminated(message.error)]
            case Ping():
                return []
            case _:
                assert_never(message)

    def _transition(self, message: Transition) -> list[ClientEffect]:
        start, end = message.start_version.decoded(), message.end_version.decoded()
        self._check_versions(start, end)
        changed: list[int] = []
        for modification in message.modifications:
            query = self._queries.get(modification.query_id)
            if query is None or isinstance(modification, QueryRemoved):
                continue  # removed here already
            if modification.journal is not UNSET:
                query.journal = modification.journal
            self._results[modification.query_id] = _query_result(modification)
            changed.append(modification.query_id)
        self._version = end
        self._shown_ts = end.ts
        self._observe(end.ts)
        effects: list[ClientEffect] = [ResultsChanged(end, changed)]
        if start.identity < end.identity == self._sent_identity:
            effects.append(Authenticated())
        shown = [
            (request_id, request.result)
            for request_id, request in self._requests.items()
            if request.result is not None and request.ts <= end.ts
        ]
        effects += [self._complete(request_id, result) for request_id, result in shown]
        return effects

    def _check_versions(self, start: StateVersion, end: StateVersion) -> None:
        if start != self._version:
            raise ProtocolError(
                f"a Transition starts at {start}, this client is at {self._version}"
            )
        if not start.may_become(end):
            raise ProtocolError(f"a Transition goes back from {start} to {end}")
        if end.query_set > self._sent_query_set or end.identity > self._sent_identity:
            raise ProtocolError(f"a Transition leads to {end}, which this client never asked for")
        if end.ts < self._shown_ts:
            raise ProtocolError(
                f"a Transition leads to ts {end.ts}, but ts {self._shown_ts} was shown before"
            )

    def _transition_chunk(self, message: TransitionChunk) -> list[ClientEffect]:
        if message.part_number != len(self._chunks) or message.part_number >= message.total_parts:
            raise ProtocolError(
                f"chunk {message.part_number} of {message.total_parts} follows {len(self._chunks)}"
            )
        self._chunks.append(message.chunk)
        if len(self._chunks) < message.total_parts:
            return []
        text, self._chunks = "".join(self._chunks), []
        transition = decode_server_message(text.encode())
        if not isinstance(transition, Transition):
            raise ProtocolError(f"chunks joined to {type(transition).__name__}, not a Transition")
        return self._transition(transition)

    def _mutation_response(self, message: MutationResponse) -> list[ClientEffect]:
        request = self._requests.get(message.request_id)
        if request is None or not isinstance(request.message, Mutation):
            return []  # answered before
        result = _call_result(message)
        if not message.success:
            return [self._complete(message.request_id, result)]
        if message.ts is None:
            raise ProtocolError("a successful MutationResponse needs a ts")
        self._observe(message.ts)
        if message.ts <= self._version.ts:
            return [self._complete(message.request_id, result)]
        request.result, request.ts = result, message.ts
        return []

    def _action_response(self, message: ActionResponse) -> list[ClientEffect]:
        request = self._requests.get(message.request_id)
        if request is None or not isinstance(request.message, Action):
            return []
        return [self._complete(message.request_id, _call_result(message))]

    def _auth_error(self, message: AuthError) -> list[ClientEffect]:
        is_attempted = message.auth_update_attempted is not False
        is_pending = self._sent_identity > self._version.identity
        if not is_attempted and is_pending:
            return []  # the token that expired is being replaced
        if message.base_version is not None and message.base_version + 1 < self._sent_identity:
            return []  # about a token that has been replaced
        return [AuthenticationFailed(message.error, is_attempted)]

    def _complete(self, request_id: int, result: Result) -> Completed:
        del self._requests[request_id]
        return Completed(request_id, result)

    def _observe(self, ts: int) -> None:
        self._observed_ts = ts if self._observed_ts is None else max(self._observed_ts, int(ts))


def _send(message: ClientMessage) -> Send:
    return Send(encode_message(message))


def _query_result(modification: QueryUpdated | QueryFailed) -> Result:
    if isinstance(modification, QueryUpdated):
        return Result(bytes(modification.value), None, None, modification.log_lines)
    error_data = bytes(modification.error_data) or None
    return Result(None, modification.error_message, error_data, modification.log_lines)


def _call_result(message: MutationResponse | ActionResponse) -> Result:
    if message.success:
        return Result(bytes(message.result), None, None, message.log_lines)
    try:
        error_message = msgspec.json.decode(message.result, type=str)
    except msgspec.DecodeError as error:
        raise ProtocolError(f"the result of a failed call is its error text: {error}") from None
    return Result(None, error_message, bytes(message.error_data) or None, message.log_lines)

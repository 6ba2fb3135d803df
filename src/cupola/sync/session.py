"""The server's half of one sync connection: no socket, no clock, no randomness, no database.

Theory. A connection is a query set that the client edits, an identity that it changes, and a
version triple that only moves forward. What the client sends raises the *received* versions at
once; what the server sends raises the *current* version, one Transition at a time. Between the two
lies an *update*: it takes everything received so far, the host computes the outcomes at one
timestamp, and a Transition brings the client there. Updates never overlap; what arrives meanwhile
waits for the next one. An outcome that the client already holds is left out, and so a Transition
may well be empty; it is owed all the same, because the client waits for its versions. (The sync
protocol, sections 5 to 8.)

    state           message or call            becomes
    ------------------------------------------------------------------------------------------
    new             Connect                    open            anything else is a protocol error
                    Event                      new             (telemetry is ignored in any state)
    open            ModifyQuerySet, Mutation,  open            an update is due, or a call is to run
                    Action
                    Authenticate               authenticating
                    Connect                    closed          a protocol error
    authenticating  any message                authenticating  held back, in order
                    auth_accepted              open            an update is due; then those held
                    auth_rejected              closed          held messages are dropped
    any             protocol error, close      closed          nothing is received or sent any more

An update is idle or running in the states open and authenticating alike.

Tried and dropped: a response that overtakes a running update. The update may be at an older
timestamp than the mutation, and the Rust client takes the first Transition after a response as
showing that mutation. So a response produced while an update runs is kept until its timestamp is
known, and goes out on the right side.
"""

import enum
import sys
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final, assert_never

from cupola.errors import CupolaError, ProtocolError
from cupola.limits import Limits
from cupola.sync import messages
from cupola.sync.effects import (
    CheckIdentity,
    Close,
    Effect,
    RunAction,
    RunMutation,
    ScheduleUpdate,
    Send,
    Update,
)
from cupola.sync.frames import SHARED_BYTES_MIN, Beginnings, Frame, SharedFrame
from cupola.sync.messages import (
    PING_FRAME,
    Action,
    Authenticate,
    ClientMessage,
    Connect,
    Event,
    ModifyQuerySet,
    Mutation,
    arguments_text,
)
from cupola.sync.outcome import QueryOutcome
from cupola.sync.query_set import NOT_SENT, QuerySet
from cupola.sync.transition_text import closing, skew_field, version_head
from cupola.sync.version import StateVersion, encode_timestamp

INTERNAL_ERROR_CODE: Final = 1011
TRY_AGAIN_CODE: Final = 1013
INTERNAL_ERROR_REASON: Final = "InternalServerError"
CLOSE_REASON_BYTES_MAX: Final = 123


class _State(enum.Enum):
    NEW = "new"
    OPEN = "open"
    AUTHENTICATING = "authenticating"
    CLOSED = "closed"


class Session:
    """One connection, seen from the server.

    The contract with the host, which owns the socket, the clock, the engine and the identity:

    - Every frame goes through `decode_client_message` to `receive`; a ProtocolError goes to
      `fatal`. Effects are carried out in order. A frame that any method returns is sent after all
      earlier ones; nothing but a ping may come between the frames of one list (they may be the
      chunks of one Transition).
    - **Updates.** Whenever `update_due` is true the client waits for a Transition; also when the
      host itself knows that live queries became stale. Then: `begin_update`, run the queries in
      `added` and all stale ones (every one, if `identity_changed`) at one snapshot,
      `finish_update` with its timestamp. `update_due` becomes true by ModifyQuerySet and
      `auth_accepted` (which say so with a ScheduleUpdate effect) and by `mutation_response` and
      `action_response` (which do not: look at it afterwards). It may be true again when
      `finish_update` returns, for what came meanwhile.
    - `finish_update` and `push` take outcomes of any live queries; those that the client holds
      already are left out. All live queries not given must be unchanged at that timestamp.
    - **Read your writes.** Once `mutation_response` was called with a ts, begin updates at that ts
      or later: `least_ts` says so of the update that runs. It also knows what the client has seen
      on connections before this one.
    - Mutations are run one at a time in the order of their effects; the answers must come in that
      order.
    - The identity is the host's. On `CheckIdentity` it verifies, *stores the identity*, then calls
      `auth_accepted` and carries out what that returns: these effects already belong to the new
      identity.
    - After a Close effect the session is over: `closed` is true, all further calls return nothing.
    """

    __slots__ = (
        "_actions_running",
        "_chunk_size_bytes",
        "_held_messages",
        "_held_responses",
        "_identity",
        "_limits",
        "_mutations",
        "_queries",
        "_query_set",
        "_received_identity",
        "_received_query_set",
        "_removing",
        "_response_ts",
        "_skew_field",
        "_start_head",
        "_state",
        "_taken",
        "_transition_owed",
        "_ts_text",
        "_version_head",
        "least_ts",
        "session_id",
        "ts",
    )

    def __init__(self, *, chunked: bool, chunk_size_bytes: int, limits: Limits) -> None:
        """`chunked`: the client understands TransitionChunk (the npm client since 1.28)."""
        self.session_id: bytes = b""  # 16 bytes, known after Connect
        self._limits = limits
        self._chunk_size_bytes = chunk_size_bytes if chunked else sys.maxsize
        self._state = _State.NEW
        self._held_messages: list[ClientMessage] = []

        self._received_query_set = 0
        self._received_identity = 0
        self._query_set = 0  # these three: the current version
        self._identity = 0
        self.ts = 0  # for others to read: what the last Transition brought the client to
        self.least_ts = 0  # for others to read: no Transition leads to before this
        self._ts_text = encode_timestamp(0)
        self._version_head = self._start_head = version_head(0, 0)
        self._skew_field: bytes | None = None

        self._queries = QuerySet()
        self._taken: tuple[int, int] | None = None  # versions of the running update
        self._removing: list[int] = []  # to be listed by the running update

        self._mutations: deque[int] = deque()  # request ids not yet answered
        self._actions_running = 0
        self._held_responses: list[tuple[int, bytes]] = []  # (ts, frame)
        self._response_ts = 0  # the client waits for a Transition at or after this
        self._transition_owed = False

    # ------------------------------------------------------------------------------- properties

    @property
    def connected(self) -> bool:
        """Connect has arrived, and the session is not closed."""
        return self._state is _State.OPEN or self._state is _State.AUTHENTICATING

    @property
    def closed(self) -> bool:
        return self._state is _State.CLOSED

    @property
    def version(self) -> StateVersion:
        """What the client was brought to by the last Transition."""
        return StateVersion(self._query_set, self._identity, self.ts)

    @property
    def authenticating(self) -> bool:
        """Between `CheckIdentity` and its answer."""
        return self._state is _State.AUTHENTICATING

    @property
    def updating(self) -> bool:
        """Between `begin_update` and `finish_update`."""
        return self._taken is not None

    @property
    def update_due(self) -> bool:
        """The client waits for a Transition, and no update runs."""
        return (
            self._taken is None
            and (
                self._transition_owed
                or self._received_query_set != self._query_set
                or self._received_identity != self._identity
            )
            and self.connected
        )

    # --------------------------------------------------------------------- what the client sends

    def receive(self, message: ClientMessage, now_ms: int, newest_ts: int) -> list[Effect]:
        """Take one message.

        Args:
            message: From `decode_client_message`.
            now_ms: The server's wall clock, ms since the Unix epoch.
            newest_ts: The newest commit; a client that has seen a later one is turned away.
        """
        try:
            match self._state:
                case _State.NEW:
                    return self._connect(message, now_ms, newest_ts)
                case _State.OPEN:
                    return self._handle(message)
                case _State.AUTHENTICATING:
                    return self._hold(message)
                case _State.CLOSED:
                    return []
                case _:
                    assert_never(self._state)
        except ProtocolError as error:
            return self.fatal(error)

    def _connect(self, message: ClientMessage, now_ms: int, newest_ts: int) -> list[Effect]:
        if isinstance(message, Event):
            return []
        if not isinstance(message, Connect):
            raise ProtocolError(f"the first message must be Connect, not {type(message).__name__}")
        observed_ts = message.max_observed_timestamp
        if observed_ts is not None and observed_ts > newest_ts:
            return self.close(INTERNAL_ERROR_CODE, INTERNAL_ERROR_REASON)
        self.session_id = message.session_id.bytes
        self.least_ts = observed_ts or 0
        self._skew_field = skew_field(message.client_ts, now_ms)
        self._state = _State.OPEN
        return []

    def _handle(self, message: ClientMessage) -> list[Effect]:
        match message:
            case ModifyQuerySet():
                return self._modify_query_set(message)
            case Mutation():
                return self._mutation(message)
            case Action():
                return self._action(message)
            case Authenticate():
                return self._authenticate(message)
            case Event():
                return []
            case Connect():
                raise ProtocolError("Connect may come only once on a connection")
            case _:
                assert_never(message)

    def _hold(self, message: ClientMessage) -> list[Effect]:
        if len(self._held_messages) >= self._limits.mutations_per_session_max:
            return self.close(TRY_AGAIN_CODE, "TooManyConcurrentRequests")
        self._held_messages.append(message)
        return []

    def _modify_query_set(self, message: ModifyQuerySet) -> list[Effect]:
        if message.base_version != self._received_query_set:
            raise ProtocolError(
                f"the query set is at version {self._received_query_set},"
                f" the message is based on version {message.base_version}",
                code="BaseVersionMismatch",
            )
        if message.new_version <= message.base_version:
            raise ProtocolError(
                f"newVersion {message.new_version} must be greater than"
                f" baseVersion {message.base_version}"
            )
        if not self._queries.modify(message.modifications, self._limits):
            return self.close(INTERNAL_ERROR_CODE, INTERNAL_ERROR_REASON)
        if len(self._queries.removed) > self._limits.queries_per_session_max:
            # The client does not read its Transitions, but goes on adding and removing.
            return self.close(TRY_AGAIN_CODE, "TooManyConcurrentRequests")
        self._received_query_set = message.new_version
        return [ScheduleUpdate()]

    def _mutation(self, message: Mutation) -> list[Effect]:
        if len(self._mutations) >= self._limits.mutations_per_session_max:
            return self.close(TRY_AGAIN_CODE, "TooManyConcurrentMutations")
        self._mutations.append(message.request_id)
        return [
            RunMutation(
                message.request_id,
                message.udf_path,
                arguments_text(message.args),
                message.component_path,
            )
        ]

    def _action(self, message: Action) -> list[Effect]:
        if self._actions_running >= self._limits.actions_per_session_max:
            return self.close(TRY_AGAIN_CODE, "TooManyConcurrentActions")
        self._actions_running += 1
        return [
            RunAction(
                message.request_id,
                message.udf_path,
                arguments_text(message.args),
                message.component_path,
            )
        ]

    def _authenticate(self, message: Authenticate) -> list[Effect]:
        if message.base_version != self._received_identity:  # the client knows how to start over
            return self.close(INTERNAL_ERROR_CODE, INTERNAL_ERROR_REASON)
        if message.token_type != "None" and message.value is None:
            raise ProtocolError(f"Authenticate with tokenType {message.token_type} needs a value")
        impersonating = bytes(message.impersonating) or bytes(message.acting_as)
        is_acting = message.token_type == "Admin" and impersonating not in (b"", b"null")
        self._state = _State.AUTHENTICATING
        return [
            CheckIdentity(
                message.token_type,
                "" if message.token_type == "None" else message.value or "",
                impersonating if is_acting else None,
            )
        ]

    # ---------------------------------------------------------------------------- identity

    def auth_accepted(self) -> list[Effect]:
        """The identity of the last CheckIdentity holds from now on; take the messages held."""
        if self._state is not _State.AUTHENTICATING:
            assert self._state is _State.CLOSED, "auth_accepted answers a CheckIdentity"
            return []
        self._state = _State.OPEN
        self._received_identity += 1
        effects: list[Effect] = [ScheduleUpdate()]
        held, self._held_messages = self._held_messages, []
        for message in held:
            effects += self.receive(message, 0, 0)  # neither matters after Connect
        return effects

    def auth_rejected(self, error: str, *, attempted: bool = True) -> list[Effect]:
        """The token was refused (`attempted`), or one accepted earlier has expired.

        `error` is for people. A failure of the verifying side is no rejection: `close` with 1011
        for that.
        """
        if self._state is _State.CLOSED:
            return []
        frame = messages.auth_error_frame(error, base_version=self._identity, attempted=attempted)
        return self._end([Send(frame)], None, "")

    # --------------------------------------------------------------------------------- updates

    def begin_update(self) -> Update | None:
        """Take what was received since the last one. None: not connected, or an update runs."""
        if self._taken is not None or not self.connected:
            return None
        queries = self._queries
        added, removed, held = queries.added, queries.removed, queries.held
        update = Update(
            added=list(added.values()),
            removed=[query_id for query_id in removed if query_id in held],
            identity_changed=self._received_identity != self._identity,
        )
        for query_id in removed:
            held.pop(query_id, None)
        for query_id in added:
            held[query_id] = NOT_SENT
        self._taken = (self._received_query_set, self._received_identity)
        self.least_ts = max(self.least_ts, self._response_ts)
        self._removing = [query_id for query_id in removed if query_id not in added]
        queries.added, queries.removed = {}, {}
        return update

    def finish_update(
        self, ts: int, outcomes: Mapping[int, QueryOutcome], server_ts: int | None
    ) -> list[Frame]:
        """End the update with its Transition, and with the responses that waited for it.

        Args:
            ts: The snapshot of all outcomes, at or after that of every Transition before.
            outcomes: Those of all added queries and all that changed, by query id. Ids that are
                not in the query set are passed over. An added query without an outcome keeps its
                client waiting until a later update or push has one.
            server_ts: The server's clock in ns, for the client's measurements.
        """
        if self._state is _State.CLOSED:
            return []
        assert self._taken is not None, "finish_update ends what begin_update began"
        assert ts >= self.ts, f"an update at {ts} would take the client back from {self.ts}"
        modifications = [
            (query_id, messages.query_removed(query_id)) for query_id in self._removing
        ]
        queries = self._queries.held
        for query_id, outcome in outcomes.items():
            held = queries.get(query_id)
            if held is not None and held != outcome.digest:
                queries[query_id] = outcome.digest
                modifications.append((query_id, outcome.modification(query_id)))
        modifications.sort()
        self._query_set, self._identity = self._taken
        self._version_head = version_head(self._query_set, self._identity)
        self._taken, self._removing = None, []

        responses, self._held_responses = self._held_responses, []
        frames: list[Frame] = [frame for response_ts, frame in responses if response_ts <= ts]
        later = [frame for response_ts, frame in responses if response_ts > ts]
        ts_text = encode_timestamp(ts)
        beginning = self._beginning(ts_text, [text for _, text in modifications])
        frames += self._moved(ts, ts_text, beginning, server_ts)
        return [*frames, *later]

    def push(
        self,
        ts: int,
        changes: Iterable[tuple[int, QueryOutcome]],
        server_ts: int | None,
        beginnings: Beginnings | None = None,
    ) -> list[Frame]:
        """A Transition to `ts` without an update: the short way for a change that many see.

        No update may be running. All live queries not in `changes` must be unchanged at `ts`. If
        the client holds every outcome already, nothing is sent and its version stays.
        `beginnings`: what sessions that are sent the same in this moment share.
        """
        if self._state is _State.CLOSED:
            return []
        assert self._taken is None, "a push cannot overtake an update; finish it first"
        assert ts >= self.ts, f"a push at {ts} would take the client back from {self.ts}"
        held = self._queries.held
        shown: list[tuple[int, QueryOutcome]] = []
        for query_id, outcome in changes:
            digest = held.get(query_id)
            if digest is not None and digest != outcome.digest:
                held[query_id] = outcome.digest
                shown.append((query_id, outcome))
        if not shown:
            return []
        ts_text = encode_timestamp(ts)
        if beginnings is None:
            return self._moved(ts, ts_text, self._beginning_of(ts_text, shown), server_ts)
        place = (self._start_head, self._ts_text, self._version_head, ts, *shown)
        beginning = beginnings.get(place)
        if beginning is None:
            beginning = beginnings[place] = self._beginning_of(ts_text, shown)
        return self._moved(ts, ts_text, beginning, server_ts)

    def _beginning_of(self, ts_text: bytes, shown: Iterable[tuple[int, QueryOutcome]]) -> bytes:
        return self._beginning(ts_text, [outcome.modification(number) for number, outcome in shown])

    def _beginning(self, ts_text: bytes, modifications: list[bytes]) -> bytes:
        """A Transition's text up to what differs between clients."""
        return b"".join(
            (
                b'{"type":"Transition","startVersion":',
                self._start_head,
                self._ts_text,
                b'"},"endVersion":',
                self._version_head,
                ts_text,
                b'"},"modifications":[',
                b",".join(modifications),
            )
        )

    def _moved(
        self, ts: int, ts_text: bytes, beginning: bytes, server_ts: int | None
    ) -> list[Frame]:
        """The Transition with this beginning. The client is at `ts` now."""
        skew = self._skew_field
        # JavaScript clients misread null here: both numbers, or neither.
        end = b"]}" if skew is None or server_ts is None else skew + closing(server_ts)
        self._start_head = self._version_head
        self.ts = ts
        self._ts_text = ts_text
        if self._transition_owed and ts >= self._response_ts:
            self._transition_owed = False
        size = len(beginning) + len(end)
        if size > self._chunk_size_bytes:
            return [*messages.cut_into_chunks(beginning + end, self._chunk_size_bytes)]
        return [beginning + end if size < SHARED_BYTES_MIN else SharedFrame(beginning, end)]

    # ----------------------------------------------------------------- answers to calls

    def mutation_response(
        self, request_id: int, *, result: bytes, ts: int, log_lines: bytes = b"[]"
    ) -> list[bytes]:
        """Answer the oldest unanswered mutation: it committed at `ts` (or had, if it was re-sent).

        `result` and `log_lines` are encoded JSON. While an update runs the frame is kept for
        `finish_update`. In any case the client now waits for a Transition at or after `ts`.
        """
        self._response_ts = max(self._response_ts, ts)
        frame = messages.mutation_response_frame(
            request_id, result=result, ts=ts, log_lines=log_lines
        )
        return self._answer_mutation(request_id, frame, is_held=self._taken is not None)

    def mutation_failure(
        self,
        request_id: int,
        *,
        error_message: str,
        error_data: bytes | None = None,
        log_lines: bytes = b"[]",
    ) -> list[bytes]:
        """Answer the oldest unanswered mutation: it failed and changed nothing.

        The client waits for a Transition all the same.
        """
        frame = messages.mutation_failure_frame(
            request_id, error_message=error_message, error_data=error_data, log_lines=log_lines
        )
        return self._answer_mutation(request_id, frame, is_held=bool(self._held_responses))

    def _answer_mutation(self, request_id: int, frame: bytes, *, is_held: bool) -> list[bytes]:
        if self._state is _State.CLOSED:
            return []
        assert self._mutations and self._mutations[0] == request_id, (
            f"mutation {request_id} is not the oldest unanswered one"
        )
        self._mutations.popleft()
        self._transition_owed = True
        if is_held:
            # Never before an earlier answer: so under the greatest ts of any answer.
            self._held_responses.append((self._response_ts, frame))
            return []
        return [frame]

    def action_response(
        self, request_id: int, *, result: bytes, log_lines: bytes = b"[]"
    ) -> list[bytes]:
        """Answer an action: it returned."""
        return self._answer_action(
            messages.action_response_frame(request_id, result=result, log_lines=log_lines)
        )

    def action_failure(
        self,
        request_id: int,
        *,
        error_message: str,
        error_data: bytes | None = None,
        log_lines: bytes = b"[]",
    ) -> list[bytes]:
        """Answer an action: it failed, perhaps after having done something."""
        return self._answer_action(
            messages.action_failure_frame(
                request_id, error_message=error_message, error_data=error_data, log_lines=log_lines
            )
        )

    def _answer_action(self, frame: bytes) -> list[bytes]:
        if self._state is _State.CLOSED:
            return []
        assert self._actions_running > 0, "action_response answers a RunAction"
        self._actions_running -= 1
        self._transition_owed = True
        return [frame]

    # ------------------------------------------------------------------------ alive and dead

    def ping(self) -> bytes:
        """To be sent after 15 s of silence, before Connect too: a silent socket is normal."""
        return PING_FRAME

    def fatal(self, error: CupolaError) -> list[Effect]:
        """The client broke the protocol: say so and close. The npm client never comes back."""
        text = (
            error.message if error.code == ProtocolError.code else f"{error.code}: {error.message}"
        )
        return self._end([Send(messages.fatal_error_frame(text))], None, "")

    def close(self, code: int | None, reason: str) -> list[Effect]:
        """End the session; clients reconnect, the sooner or later by the reason's short code."""
        return self._end([], code, reason)

    def _end(self, farewell: list[Effect], code: int | None, reason: str) -> list[Effect]:
        if self._state is _State.CLOSED:
            return []
        self._state = _State.CLOSED
        answers = [Send(frame) for _, frame in self._held_responses]
        self._taken, self._removing = None, []
        self._queries = QuerySet()
        self._held_messages, self._held_responses = [], []
        self._mutations.clear()
        return [*answers, *farewell, Close(code, _close_reason(reason))]


def _close_reason(reason: str) -> str:
    """Close frames have room for 123 bytes."""
    return reason.encode()[:CLOSE_REASON_BYTES_MAX].decode(errors="ignore")

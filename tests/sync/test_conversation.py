"""Client and server sessions joined over a bad connection, against a plain model of the server.

The connection delays frames as it likes and breaks at any moment, losing what is under way in both
directions. Whatever happens, the laws of the protocol hold, and in the end everyone agrees.
"""

import json
from collections import deque
from typing import Any
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from cupola.limits import DEFAULT_LIMITS
from cupola.sync import client_session
from cupola.sync.client_session import ClientSession, Completed, ResultsChanged, Token
from cupola.sync.effects import (
    AddedQuery,
    CheckIdentity,
    Close,
    Effect,
    RunAction,
    RunMutation,
    ScheduleUpdate,
    Send,
    Update,
)
from cupola.sync.messages import (
    MutationResponse,
    QueryFailed,
    QueryRemoved,
    QueryUpdated,
    Transition,
    decode_client_message,
    decode_server_message,
)
from cupola.sync.outcome import QueryOutcome
from cupola.sync.session import Session
from cupola.sync.version import StateVersion

KEYS = st.integers(0, 2)
VALUES = st.integers(0, 4)
FAILING_VALUE = 4
REFUSED_VALUE = 3
START_TS = 1_000


class Model:
    """A server without a protocol: every version of a few keys, and the recorded requests."""

    def __init__(self) -> None:
        self.head_ts = START_TS
        self.history: dict[int, list[tuple[int, int]]] = {}
        self.recorded: dict[tuple[bytes, int], int] = {}
        self.applied: list[tuple[bytes, int]] = []
        self.executions = 0

    def commit(self, key: int, value: int) -> int:
        self.head_ts += 3
        self.history.setdefault(key, []).append((self.head_ts, value))
        return self.head_ts

    def mutate(self, session_id: bytes, request_id: int, key: int, value: int) -> int | None:
        """The commit timestamp, the first one if the request is known; None if it failed."""
        if value == REFUSED_VALUE:
            return None
        known = (session_id, request_id)
        if known not in self.recorded:
            self.applied.append(known)
            self.recorded[known] = self.commit(key, value)
        return self.recorded[known]

    def outcome(self, key: int, ts: int, identity: str) -> QueryOutcome:
        self.executions += 1  # shows in request ids, and nowhere else
        value = next((v for at, v in reversed(self.history.get(key, [])) if at <= ts), None)
        if value == FAILING_VALUE:
            return QueryOutcome.failure(
                f"[Request ID: {self.executions}] Server Error\n{identity}: {key}", error_data=b"4"
            )
        return QueryOutcome.success(
            json.dumps([key, value, identity], ensure_ascii=False).encode(),
            journal=f"journal of {key}",
        )


class Host:
    """The server's end of one connection, written as `Session` says."""

    def __init__(self, model: Model, *, chunked: bool) -> None:
        self.model = model
        self.session = Session(chunked=chunked, chunk_size_bytes=90, limits=DEFAULT_LIMITS)
        self.outbox: deque[bytes | Close] = deque()
        self.identity = self.shown_identity = "nobody"
        self.checking: CheckIdentity | None = None
        self.mutations: deque[RunMutation] = deque()
        self.actions: list[RunAction] = []
        self.queries: dict[int, AddedQuery] = {}
        self.update: tuple[int, str] | None = None

    def carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(frame):
                    self.outbox.append(frame)
                case RunMutation():
                    self.mutations.append(effect)
                case RunAction():
                    self.actions.append(effect)
                case CheckIdentity():
                    self.checking = effect
                case ScheduleUpdate():
                    assert self.session.update_due or self.session.updating
                case Close():
                    self.outbox.append(effect)
                case _:
                    raise AssertionError(effect)

    def receive(self, frame: bytes) -> None:
        self.carry_out(self.session.receive(decode_client_message(frame), 5, self.model.head_ts))

    def verify(self) -> None:
        assert self.checking is not None
        token, self.checking = self.checking, None
        if token.value == "bad":
            self.carry_out(self.session.auth_rejected("bad token"))
        else:
            self.identity = token.value or "nobody"
            self.carry_out(self.session.auth_accepted())

    def run_mutation(self) -> None:
        call = self.mutations.popleft()
        args = json.loads(call.args)
        ts = self.model.mutate(self.session.session_id, call.request_id, args["key"], args["value"])
        if ts is None:
            frames = self.session.mutation_failure(call.request_id, error_message="refused")
        else:
            frames = self.session.mutation_response(
                call.request_id, result=b"%d" % call.request_id, ts=ts
            )
        self.outbox += frames

    def run_action(self, index: int) -> None:
        call = self.actions.pop(index)
        self.outbox += self.session.action_response(call.request_id, result=b"%d" % call.request_id)

    def begin_update(self) -> None:
        update = self.session.begin_update()
        assert isinstance(update, Update)
        for query_id in update.removed:
            del self.queries[query_id]
        self.queries |= {added.query_id: added for added in update.added}
        self.update = (self.model.head_ts, self.identity)

    def finish_update(self) -> None:
        assert self.update is not None
        (ts, identity), self.update = self.update, None
        self.shown_identity = identity
        self.outbox += self.session.finish_update(ts, dict(self._outcomes(ts, identity)), None)

    def push(self) -> None:
        """All queries at the head, as the identity that the last update showed."""
        ts = self.model.head_ts
        self.outbox += self.session.push(ts, self._outcomes(ts, self.shown_identity), 7)

    def _outcomes(self, ts: int, identity: str) -> list[tuple[int, QueryOutcome]]:
        return [
            (query_id, self.model.outcome(json.loads(query.args)["key"], ts, identity))
            for query_id, query in self.queries.items()
        ]


class Conversation(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.client = ClientSession(UUID(int=7))
        self.keys: dict[int, int] = {}  # live query id -> key
        self.calls: dict[int, tuple[str, int, int]] = {}  # request id -> kind, key, value
        self.completed: dict[int, client_session.Result] = {}
        self.lost_actions: set[int] = set()
        self.shown_ts = 0
        self.host: Host | None = None
        self.to_server: deque[bytes] = deque()
        # Of the current connection, as the client wrote it:
        self.added_in: dict[int, int] = {}  # query id -> query set version
        self.identities: list[str] = []  # identity version -> who
        self.answered: list[int] = []
        self.answered_ts = 0
        self.listed: dict[int, QueryUpdated | QueryFailed] = {}

    # ---------------------------------------------------------------------- the client's side

    def carry_out(self, effects: list[Any]) -> None:
        for effect in effects:
            match effect:
                case Send(frame):
                    self._note_sent(frame)
                    self.to_server.append(frame)
                case ResultsChanged(version=version):
                    self._check_results(version)
                case Completed(request_id=request_id, result=result):
                    self._check_completed(request_id, result)
                case client_session.Authenticated():
                    pass
                case client_session.AuthenticationFailed():
                    self.carry_out(self.client.authenticate(None))
                case _:
                    raise AssertionError(f"the server broke the protocol: {effect}")

    def _note_sent(self, frame: bytes) -> None:
        message = json.loads(frame)
        if message["type"] == "ModifyQuerySet":
            for modification in message["modifications"]:
                if modification["type"] == "Add":
                    self.added_in[modification["queryId"]] = message["newVersion"]
        elif message["type"] == "Authenticate":
            assert message["baseVersion"] == len(self.identities) - 1
            self.identities.append(message.get("value", "nobody"))

    def _check_results(self, version: StateVersion) -> None:
        """Every result is the model's at the version shown: as of its time, as its identity."""
        assert version.ts >= self.shown_ts, "time went back"
        self.shown_ts = version.ts
        due = {q for q in self.keys if self.added_in[q] <= version.query_set}
        assert due <= self.client.results.keys()
        for query_id in due:
            expected = self.model.outcome(
                self.keys[query_id], version.ts, self.identities[version.identity]
            )
            result = self.client.results[query_id]
            assert result.value == expected.value
            assert result.error_data == expected.error_data
            assert self.client.journal(query_id) == expected.journal

    def _check_completed(self, request_id: int, result: client_session.Result) -> None:
        assert request_id not in self.completed, "completed twice"
        self.completed[request_id] = result
        kind, _, value = self.calls[request_id]
        if kind == "action":
            assert result.value == b"%d" % request_id or not result.ok
        elif value == REFUSED_VALUE:
            assert result.error_message == "refused"
        else:
            assert result.value == b"%d" % request_id
            committed_ts = self.model.recorded[UUID(int=7).bytes, request_id]
            assert self.client.version.ts >= committed_ts, "its write does not show"

    # -------------------------------------------------------------------- what the app does

    @precondition(lambda self: len(self.keys) < 6)
    @rule(key=KEYS)
    def subscribe(self, key: int) -> None:
        query_id, effects = self.client.subscribe("kv:get", b'{"key":%d}' % key)
        self.keys[query_id] = key
        self.carry_out(effects)

    @precondition(lambda self: self.keys)
    @rule(data=st.data())
    def unsubscribe(self, data: st.DataObject) -> None:
        query_id = data.draw(st.sampled_from(sorted(self.keys)))
        del self.keys[query_id]
        self.carry_out(self.client.unsubscribe(query_id))

    @rule(key=KEYS, value=VALUES)
    def mutate(self, key: int, value: int) -> None:
        request_id, effects = self.client.mutation(
            "kv:set", b'{"key":%d,"value":%d}' % (key, value)
        )
        self.calls[request_id] = ("mutation", key, value)
        self.carry_out(effects)

    @rule()
    def act(self) -> None:
        request_id, effects = self.client.action("kv:act", b"{}")
        self.calls[request_id] = ("action", 0, 0)
        self.carry_out(effects)

    @rule(who=st.sampled_from(["ädä", "bob 😀", "bad", None]))
    def authenticate(self, who: str | None) -> None:
        self.carry_out(self.client.authenticate(None if who is None else Token("User", who)))

    # ------------------------------------------------------------------------ the connection

    @initialize(chunked=st.booleans(), key=KEYS)
    def begin(self, chunked: bool, key: int) -> None:
        self.subscribe(key)
        self.open(chunked)

    @precondition(lambda self: self.host is None)
    @rule(chunked=st.booleans())
    def open(self, chunked: bool) -> None:
        self.host = Host(self.model, chunked=chunked)
        self.added_in, self.identities, self.answered = {}, ["nobody"], []
        self.answered_ts = 0
        self.listed = {}
        self.carry_out(self.client.opened(now_ms=3))

    @precondition(lambda self: self.host is not None)
    @rule()
    def cut(self) -> None:
        self.host = None
        self.to_server.clear()
        self.carry_out(self.client.closed("closed with code 1006"))

    @precondition(lambda self: self.host is not None and self.to_server)
    @rule(count=st.integers(1, 4))
    def deliver_to_server(self, count: int) -> None:
        assert self.host is not None
        for _ in range(min(count, len(self.to_server))):
            self.host.receive(self.to_server.popleft())

    @precondition(lambda self: self.host is not None and self.host.outbox)
    @rule(count=st.integers(1, 6))
    def deliver_to_client(self, count: int) -> None:
        assert self.host is not None
        for _ in range(min(count, len(self.host.outbox))):
            frame = self.host.outbox.popleft()
            if isinstance(frame, Close):
                self.cut()
                return
            self._check_frame(frame)
            self.carry_out(self.client.receive(frame))

    def _check_frame(self, frame: bytes) -> None:
        message = decode_server_message(frame)
        if isinstance(message, MutationResponse):
            assert self.answered == [] or message.request_id > self.answered[-1]
            self.answered.append(message.request_id)
            self.answered_ts = max(self.answered_ts, message.ts or 0)
        if isinstance(message, Transition):
            ids = [modification.query_id for modification in message.modifications]
            assert len(ids) == len(set(ids)), "a query is listed twice"
            assert message.end_version.ts >= self.answered_ts, "an answered write does not show"
            for modification in message.modifications:
                if not isinstance(modification, QueryRemoved):
                    before = self.listed.get(modification.query_id)
                    assert before is None or shown(before) != shown(modification), "unchanged"
                    self.listed[modification.query_id] = modification

    # ---------------------------------------------------------------------- the server's side

    @rule(count=st.integers(1, 10))
    def proceed(self, count: int) -> None:
        """A few steps as they usually go, so that the other rules meet all kinds of moments."""
        for _ in range(count):
            self._step()

    @rule(key=KEYS, value=VALUES)
    def commit_elsewhere(self, key: int, value: int) -> None:
        self.model.commit(key, value)

    @precondition(lambda self: self.host is not None and self.host.checking)
    @rule()
    def verify(self) -> None:
        assert self.host is not None
        self.host.verify()

    @precondition(lambda self: self.host is not None and self.host.mutations)
    @rule()
    def run_mutation(self) -> None:
        assert self.host is not None
        self.host.run_mutation()

    @precondition(lambda self: self.host is not None and self.host.actions)
    @rule(data=st.data())
    def run_action(self, data: st.DataObject) -> None:
        assert self.host is not None
        self.host.run_action(data.draw(st.integers(0, len(self.host.actions) - 1)))

    @precondition(
        lambda self: (
            self.host is not None and self.host.session.connected and not self.host.session.updating
        )
    )
    @rule()
    def begin_update(self) -> None:
        assert self.host is not None
        self.host.begin_update()

    @precondition(lambda self: self.host is not None and self.host.session.updating)
    @rule()
    def finish_update(self) -> None:
        assert self.host is not None
        self.host.finish_update()

    @precondition(
        lambda self: (
            self.host is not None and self.host.session.connected and not self.host.session.updating
        )
    )
    @rule()
    def push(self) -> None:
        assert self.host is not None
        self.host.push()

    # ------------------------------------------------------------------------------ the laws

    @invariant()
    def every_mutation_is_applied_once_and_in_order(self) -> None:
        request_ids = [request_id for _, request_id in self.model.applied]
        assert request_ids == sorted(set(request_ids))

    def teardown(self) -> None:
        """Left in peace, everything settles: all calls are answered, all results are the newest."""
        if self.host is None:
            self.open(chunked=True)
        for _ in range(200):
            if not self._step():
                break
        else:
            raise AssertionError("it never settles")
        for request_id in self.calls:
            assert request_id in self.completed
        assert self.client.pending_requests == []
        assert self.client.results.keys() == self.keys.keys()
        assert not self.keys or self.client.shown_ts == self.model.head_ts
        if self.host is not None and self.host.session.connected:
            assert not self.host.session.update_due

    def _step(self) -> bool:
        if self.host is None:
            self.open(chunked=False)
        host = self.host
        assert host is not None
        if self.to_server:
            self.deliver_to_server(len(self.to_server))
        elif host.checking:
            host.verify()
        elif host.mutations:
            host.run_mutation()
        elif host.actions:
            host.run_action(0)
        elif host.session.updating:
            host.finish_update()
        elif host.session.update_due or (
            host.session.connected and host.queries and host.session.version.ts < self.model.head_ts
        ):
            host.begin_update()
        elif host.outbox:
            self.deliver_to_client(len(host.outbox))
        else:
            return False
        return True


def shown(modification: QueryUpdated | QueryFailed) -> bytes | str:
    """What a user sees of it: not the request id."""
    if isinstance(modification, QueryUpdated):
        return bytes(modification.value)
    return modification.error_message.partition("]")[2]


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)

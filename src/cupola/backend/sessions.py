"""One sync connection: a pure session, its subscriptions, and frames that wait for durability."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cupola.auth import ANONYMOUS, NOWHERE, Identity, Origin, UserToken
from cupola.backend.calls import CallRequest, CallResult, Channel
from cupola.backend.mutations import PendingMutation
from cupola.backend.node import request_id_of
from cupola.backend.redaction import shown_to
from cupola.errors import CupolaError, OperatorError, OverloadedError, ProtocolError
from cupola.reactivity import CacheEntry
from cupola.sync.effects import (
    CheckIdentity,
    Close,
    Effect,
    RunAction,
    RunMutation,
    ScheduleUpdate,
    Send,
)
from cupola.sync.frames import Frame
from cupola.sync.messages import decode_client_message
from cupola.sync.session import TRY_AGAIN_CODE, Session
from cupola.values import qualified

if TYPE_CHECKING:
    from cupola.backend.backend import Backend


class SessionHost:
    """Joins a `Session` to the engine and to a transport."""

    __slots__ = (
        "_answered_ts",
        "_backend",
        "_channel",
        "_frames",
        "_mutations",
        "_token",
        "changed",
        "identity",
        "is_open",
        "is_writable",
        "missed",
        "mutation_since_ns",
        "number",
        "queries",
        "sent_at_ns",
        "session",
    )

    def __init__(
        self,
        backend: Backend,
        channel: Channel,
        number: int,
        *,
        chunked: bool,
        origin: Origin = NOWHERE,
    ) -> None:
        limits = backend.limits
        self.number = number
        self.session = Session(
            chunked=chunked, chunk_size_bytes=limits.chunk_size_bytes, limits=limits
        )
        self.identity: Identity = ANONYMOUS.seen_from(origin)
        self._token: str | None = None  # of a user, that is being verified
        self.is_writable = True
        self.is_open = True
        self.queries: dict[int, CacheEntry] = {}
        self.changed: dict[int, None] = {}  # live queries whose outcome the client may not have
        self.missed = 0  # results of workers since it last was where all its queries hold
        self.sent_at_ns = backend.clock.monotonic_ns()
        self._backend = backend
        self._channel = channel
        self._mutations: collections.deque[PendingMutation] = collections.deque()
        self.mutation_since_ns: int | None = None  # when the running mutation was handed on
        self._answered_ts = 0  # the newest commit that any answer so far shows
        self._frames: collections.deque[tuple[int, Frame | Close]] = collections.deque()

    # ---------------------------------------------------------------- what the transport says

    def receive(self, frame: bytes) -> None:
        """One whole text message from the client."""
        if not self.is_open:
            return
        backend = self._backend
        try:
            message = decode_client_message(frame)
        except ProtocolError as error:
            self.carry_out(self.session.fatal(error))
            return
        now_ms = backend.clock.now_ns() // 1_000_000
        self.carry_out(self.session.receive(message, now_ms, backend.newest_durable_ts()))

    def writable(self, is_writable: bool) -> None:
        """While the transport's buffer is full, nothing is computed for this session."""
        self.is_writable = is_writable
        if is_writable and self.is_open:
            self._backend.passes.catch_up(self)

    def disconnected(self) -> None:
        """The transport is gone: queued mutations are dropped, the running one is not."""
        if not self.is_open:
            return
        self.is_open = False
        self._mutations.clear()
        self._frames.clear()
        for query_id, entry in self.queries.items():
            self._backend.node.cache.unlisten(entry, (self, query_id))
        self.queries.clear()
        self._backend.forget_session(self)

    # ---------------------------------------------------------------- what the session says

    def carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self.send(0, effect.frame)
                case RunMutation():
                    if self.identity_holds():
                        self._queue_mutation(effect)
                case RunAction():
                    if self.identity_holds():
                        self._start_action(effect)
                case CheckIdentity():
                    self._check_identity(effect)
                case ScheduleUpdate():
                    self._backend.passes.schedule(self)
                case Close():
                    self._put(0, effect)
                case _:
                    raise AssertionError(effect)

    def send(self, ts: int, *frames: Frame) -> None:
        """Send frames once `ts` is durable, after everything before them."""
        if self.is_open:
            ts = max(ts, self._answered_ts)  # answers may be among the frames of a Transition
            self.keep(ts, frames)
            self._backend.node.outbox.put(ts, self.deliver)

    def keep(self, ts: int, frames: Iterable[Frame]) -> None:
        """Frames for the next `deliver` once `ts` is durable, which the caller sees to."""
        for frame in frames:
            self._frames.append((ts, frame))

    def _put(self, ts: int, close: Close) -> None:
        self._frames.append((ts, close))
        self._backend.node.outbox.put(ts, self.deliver)

    def deliver(self) -> None:
        """Send what waited for commits that are durable now."""
        durable_ts = self._backend.node.persistence.durable_ts
        frames = self._frames
        due: list[Frame] = []
        close: Close | None = None
        while frames and frames[0][0] <= durable_ts and close is None:
            frame = frames.popleft()[1]
            if isinstance(frame, Close):
                close = frame
            else:
                due.append(frame)
        if due:
            self._channel.send(*due)  # together: they leave in one system call
            self.sent_at_ns = self._backend.clock.monotonic_ns()
        if close is not None:
            self._channel.close(close.code, close.reason)

    def _queue_mutation(self, effect: RunMutation) -> None:
        mutation = PendingMutation(
            path=qualified(effect.component_path or "", effect.path),
            args=effect.args,
            identity=self.identity,
            done=lambda result: self._mutation_done(effect.request_id, result),
            request_id=request_id_of(self.session.session_id, effect.request_id),
            session=self.session.session_id,
            request=effect.request_id,
            public_only=not self.identity.may_call_internal,
        )
        self._mutations.append(mutation)
        if self.mutation_since_ns is None:
            self._start_mutation()

    def _start_mutation(self) -> None:
        if not self._mutations or not self.is_open:
            return
        self.mutation_since_ns = self._backend.clock.monotonic_ns()
        try:
            self._backend.mutations.put(self._mutations.popleft())
        except OverloadedError as error:
            self.carry_out(self.session.close(1013, error.code))

    def _mutation_done(self, request_id: int, result: CallResult) -> None:
        self.mutation_since_ns = None
        if not self.is_open:
            return
        self._answered_ts = max(self._answered_ts, result.ts)
        if self._backend.node.redacts_errors:
            result = shown_to(self.identity, result)
        if result.value is not None:
            frames = self.session.mutation_response(
                request_id, result=result.value, ts=result.ts, log_lines=result.log_lines
            )
        else:
            frames = self.session.mutation_failure(
                request_id,
                error_message=result.error_message or "",
                error_data=result.error_data,
                log_lines=result.log_lines,
            )
        self.send(result.ts, *frames)
        self._backend.passes.schedule(self, first=True)
        self._start_mutation()

    def _start_action(self, effect: RunAction) -> None:
        request = CallRequest(
            "action",
            effect.path,
            effect.args,
            self.identity,
            request_id_of(self.session.session_id, effect.request_id),
            component_path=effect.component_path,
            visibility="any" if self.identity.may_call_internal else "public",
        )

        def done(result: CallResult) -> None:
            if not self.is_open:
                return
            if self._backend.node.redacts_errors:
                result = shown_to(self.identity, result)
            if result.value is not None:
                frames = self.session.action_response(
                    effect.request_id, result=result.value, log_lines=result.log_lines
                )
            else:
                frames = self.session.action_failure(
                    effect.request_id,
                    error_message=result.error_message or "",
                    error_data=result.error_data,
                    log_lines=result.log_lines,
                )
            self.send(result.ts, *frames)
            self._backend.passes.schedule(self)

        self._backend.submit(request, done)

    def _check_identity(self, effect: CheckIdentity) -> None:
        self._token = effect.value if effect.token_type == "User" else None
        try:
            who = self._backend.authenticate(effect.token_type, effect.value, effect.impersonating)
        except CupolaError as error:
            self._identified(error)
            return
        if isinstance(who, UserToken):
            self._backend.users.verify(who.text, self._identified)
        else:
            self._identified(who)

    def _identified(self, result: Identity | CupolaError) -> None:
        """The answer to `CheckIdentity`, at once or later."""
        if not self.is_open:
            return
        match result:
            case Identity():
                origin = dataclasses.replace(self.identity.origin, token=self._token)
                self.identity = result.seen_from(origin)
                self.carry_out(self.session.auth_accepted())
            case OperatorError():  # no fault of the token: the client comes back with it
                self.carry_out(self.session.close(TRY_AGAIN_CODE, result.code))
            case _:
                self.carry_out(self.session.auth_rejected(result.message))

    def identity_holds(self) -> bool:
        """Whether anything may still happen as this identity. If its token has expired, the session
        ends here; unless another token is being verified, which will say how it goes on.
        """
        expires_ns = self.identity.expires_ns
        if expires_ns is None or self._backend.clock.now_ns() < expires_ns:
            return True
        if not self.session.authenticating:
            text = "The token has expired."
            self.carry_out(self.session.auth_rejected(text, attempted=False))
        return False

    def ping(self) -> None:
        """Say something if nothing was said for a while."""
        self.send(0, self.session.ping())

    def close(self, code: int | None, reason: str) -> None:
        """End the connection from this side."""
        self.carry_out(self.session.close(code, reason))

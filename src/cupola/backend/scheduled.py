"""How scheduled functions run here: the executor's engine."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from cupola.auth import ANONYMOUS
from cupola.backend.actions import SYSTEM
from cupola.backend.answers import deliver, failed
from cupola.backend.calls import CallRequest, CallResult
from cupola.backend.mutations import PendingMutation
from cupola.errors import CupolaError
from cupola.functions.definitions import Function, Kind
from cupola.persistence import Reader
from cupola.scheduling.executor import Ended, Outcome
from cupola.values import decode, encode

if TYPE_CHECKING:
    from cupola.backend.backend import Backend

_WAIT_S_MAX = 3600.0


class ScheduledCalls:
    """Calls that nobody outside waits for. The functions of the app run as nobody in particular."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._node = backend.node
        self.loop: asyncio.AbstractEventLoop | None = None
        """Who wakes this deployment at a time; None: a test does."""
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at_ns: int | None = None

    @property
    def is_serving(self) -> bool:
        return self._node.state == "ready"

    @property
    def is_paused(self) -> bool:
        return self._node.is_paused

    @property
    def reader(self) -> Reader:
        return self._node.persistence.reader

    @property
    def may_start_action(self) -> bool:
        return self._backend.may_start_action

    def find(self, path: str) -> Function[Any, Any]:
        return self._node.find(path, None, ANONYMOUS, public_only=False)

    def run_mutation(self, job: str, path: str, args: bytes, ended: Ended) -> None:
        self._node.counters["scheduled_mutations"] += 1
        self._backend.mutations.put(
            PendingMutation(
                path=path,
                args=args,
                identity=ANONYMOUS,
                done=lambda result: ended(outcome_of(result)),
                request_id=self._node.new_request_id(),
                public_only=False,
                job=job,
                completes_job=True,
                is_background=True,
            )
        )

    def run_action(self, job: str, path: str, args: bytes, ended: Ended) -> None:
        self._node.counters["scheduled_actions"] += 1
        request = CallRequest("action", path, args, ANONYMOUS, visibility="any", job=job)

        def done(result: CallResult) -> None:
            ended(outcome_of(result))

        try:
            function = self._node.find(path, Kind.ACTION, ANONYMOUS, public_only=False)
            self._backend.start_action(function, request, done)
        except CupolaError as error:  # the code has changed since it was due, or no room is left
            done(failed(self._node, error, request))

    def run_system(
        self, path: str, args: Mapping[str, Any], ended: Ended, *, is_durable: bool = False
    ) -> None:
        def done(result: CallResult) -> None:
            ended(outcome_of(result))

        self._backend.mutations.put(
            PendingMutation(
                path=path,
                args=encode(dict(args)),
                identity=SYSTEM,
                done=partial(deliver, self._node, done=done) if is_durable else done,
                request_id=self._node.new_request_id(),
                public_only=False,
                is_background=True,
            )
        )

    def wake(self) -> None:
        self._node.wake()

    def wake_at(self, time_ns: int | None) -> None:
        if time_ns == self._wakes_at_ns or self.loop is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._wakes_at_ns = None, time_ns
        if time_ns is not None:
            wait_ms = math.ceil((time_ns - self._node.clock.now_ns()) / 1e6)  # loops round down
            wait_s = min(wait_ms / 1000, _WAIT_S_MAX)
            self._timer = self.loop.call_later(max(0.0, wait_s), self._woken)

    def _woken(self) -> None:
        self._timer = self._wakes_at_ns = None
        self._node.wake()

    def close(self) -> None:
        self.wake_at(None)


def outcome_of(result: CallResult) -> Outcome:
    if result.value is not None:
        return Outcome(value=decode(result.value))
    return Outcome(result.error, result.error_message or "The function failed.")

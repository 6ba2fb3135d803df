"""Mutations that transaction workers run.

A worker's transaction ran on an older snapshot. The committer validates it against what was
committed since; a loser runs again, and after some losses gets an exclusive turn: no mutation is
executed in process until it has ended, for a tenth of a second at most, so that none starves.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from collections.abc import Callable
from typing import Any

from cupola.backend.calls import CallResult
from cupola.backend.mutations import PendingMutation
from cupola.backend.node import ExecutionLog, Node
from cupola.backend.queries import IDENTITIES, log_lines_json, resolved_audits
from cupola.backend.worker_calls import WorkerCalls
from cupola.database.catalog import TABLES, Catalog
from cupola.database.documents import StoredDocument
from cupola.database.read_set import Interval
from cupola.database.writes import Write
from cupola.errors import ConflictError, CupolaError
from cupola.functions.definitions import Function, Kind
from cupola.functions.failure import RemoteError, RemoteSystemError, error_data, error_message
from cupola.persistence import Timestamp
from cupola.runtimes.python.messages import CallDone
from cupola.runtimes.python.worker_pool import Outcome
from cupola.values import decode, encode_key, resolved


@dataclasses.dataclass(slots=True, eq=False)
class _Finished:
    """A worker's result that waits for its turn."""

    mutation: PendingMutation
    path: str
    outcome: Outcome
    started_ns: int
    release: Callable[[], None]


class WorkerMutations:
    """Sends them, and commits what comes back."""

    def __init__(self, node: Node, calls: WorkerCalls, loop: asyncio.AbstractEventLoop) -> None:
        self._node = node
        self._calls = calls
        self._loop = loop
        self._finished: collections.deque[_Finished] = collections.deque()
        self._exclusive: PendingMutation | None = None
        self._exclusive_ends: asyncio.TimerHandle | None = None

    @property
    def is_exclusive(self) -> bool:
        """One that keeps losing has its exclusive turn."""
        return self._exclusive is not None

    def send(self, mutation: PendingMutation, function: Function[Any, Any]) -> None:
        started = self._node.clock.monotonic_ns()
        path = function.path

        def done(outcome: Outcome, since: int, release: Callable[[], None]) -> None:
            self._finished.append(_Finished(mutation, path, outcome, started, release))
            self._node.wake()

        def starts() -> None:
            if mutation.conflicts >= self._node.limits.conflicts_before_exclusive:
                self._begin_exclusive_turn(mutation)

        job = self._calls.job(
            path,
            mutation.args,
            mutation.identity,
            None,
            mutation.request_id,
            done,
            starts,
            mutation.job,
            mutation.completes_job,
        )
        self._calls.send(job)

    def _begin_exclusive_turn(self, mutation: PendingMutation) -> None:
        """Nothing else is committed until it has ended, within bounds."""
        if self._exclusive is None:
            self._exclusive = mutation
            turn_s = self._node.limits.exclusive_turn_s
            self._exclusive_ends = self._loop.call_later(turn_s, self._turn_is_over, mutation)

    def _turn_is_over(self, mutation: PendingMutation) -> None:
        self._end_exclusive_turn(mutation)
        self._node.wake()  # for those who wait

    def _end_exclusive_turn(self, mutation: PendingMutation) -> None:
        if self._exclusive is mutation:
            assert self._exclusive_ends is not None
            self._exclusive_ends.cancel()
            self._exclusive = self._exclusive_ends = None

    # ---------------------------------------------------------------- what comes back

    @property
    def has_finished(self) -> bool:
        """Whether a result may be committed now."""
        return self._next() is not None

    def next_finished(self) -> _Finished:
        finished = self._next()
        assert finished is not None
        self._finished.remove(finished)
        return finished

    def give_up_finished(self) -> PendingMutation:
        """The mutation of a result that cannot be committed."""
        finished = self.next_finished()
        finished.release()
        self._end_exclusive_turn(finished.mutation)
        return finished.mutation

    def _next(self) -> _Finished | None:
        may_come = self._finished
        if self.is_exclusive:
            return next((each for each in may_come if each.mutation is self._exclusive), None)
        return may_come[0] if may_come else None

    def commit(self, finished: _Finished) -> CallResult | None:
        """Validate a worker's transaction and apply it to the open group.

        Returns: its answer; None if it lost a conflict and runs again.

        Raises:
            PersistenceError: The group is rolled back.
        """
        mutation, outcome = finished.mutation, finished.outcome
        node = self._node
        if not isinstance(outcome, CallDone) or outcome.failure is not None:
            return self._failed(finished)
        intervals = [Interval(*interval) for interval in outcome.intervals]
        try:
            node.committer.validate(intervals, Timestamp(outcome.ts))
        except ConflictError as error:
            return self._lost(finished, error)
        self._end_exclusive_turn(mutation)
        assert outcome.value is not None
        lines = log_lines_json(outcome.log_lines)
        ts = node.committer.group_ts
        if outcome.writes:
            record = mutation.record(finished.path, outcome.value, lines)
            writes = self._writes(outcome)
            ts = node.committer.apply(
                writes,
                record,
                creation_time=outcome.creation_time,
                awaits_commit=outcome.awaits_commit,
            )
        self._report("mutation", finished, None)
        result = resolved(outcome.value, ts) if outcome.awaits_commit else outcome.value
        return CallResult(True, result, lines, ts)

    def _writes(self, outcome: CallDone) -> list[Write]:
        """A worker's write set with the old sides read here, where they are valid."""
        node = self._node
        catalog: Catalog = node.committer.group_catalog
        writes = []
        for remote in outcome.writes:
            table = catalog.by_number[remote.table]
            old = None
            if remote.old_version is not None:
                row = node.persistence.reader.get(table.primary.number, encode_key(remote.id))
                assert row is not None and row[1] == remote.old_version, "validated above"
                old = StoredDocument(row[1], row[2])
            new = StoredDocument(None, remote.body) if remote.body is not None else None
            writes.append(Write(table, remote.id, old, new))
            if remote.table == TABLES:
                value = decode(remote.body) if remote.body is not None else None
                catalog = catalog.with_document(TABLES, remote.id, value)  # type: ignore[arg-type]
        return writes

    def _lost(self, finished: _Finished, error: ConflictError) -> CallResult | None:
        mutation = finished.mutation
        mutation.conflicts += 1
        limits = self._node.limits
        if mutation.conflicts > limits.conflict_retries_max + limits.conflicts_before_exclusive:
            return self._answer(finished, error)
        self._end_exclusive_turn(mutation)  # it was over before it came back
        try:
            function = self._node.find(
                mutation.path, Kind.MUTATION, mutation.identity, mutation.public_only
            )
        except CupolaError as gone:  # the code has changed meanwhile
            return self._answer(finished, gone)
        self.send(mutation, function)
        return None

    def _failed(self, finished: _Finished) -> CallResult:
        outcome = finished.outcome
        self._end_exclusive_turn(finished.mutation)
        if isinstance(outcome, CallDone):
            assert outcome.failure is not None
            failure = outcome.failure
            may_work = failure.is_systems and finished.mutation.completes_job
            kind = RemoteSystemError if may_work else RemoteError  # a job is tried again
            error: Exception = kind(failure.message, failure.code, failure.data)
            return self._answer(finished, error, outcome.log_lines)
        self._node.counters["worker_kills"] = self._calls.pool.kills
        return self._answer(finished, outcome)

    def _answer(
        self, finished: _Finished, error: Exception, log_lines: list[str] | None = None
    ) -> CallResult:
        message = error_message(error, finished.mutation.request_id, self._node.app.folder)
        self._report("mutation", finished, message, log_lines)
        typed = error if isinstance(error, CupolaError) else None
        ts = self._node.committer.group_ts
        lines = log_lines_json(log_lines or [])
        return CallResult(False, None, lines, ts, message, error_data(error), typed)

    def _report(
        self,
        kind: str,
        finished: _Finished,
        message: str | None,
        log_lines: list[str] | None = None,
    ) -> None:
        outcome, mutation = finished.outcome, finished.mutation
        if log_lines is None:
            log_lines = outcome.log_lines if isinstance(outcome, CallDone) else []
        audits = outcome.audits if isinstance(outcome, CallDone) else ()
        seconds = (self._node.clock.monotonic_ns() - finished.started_ns) / 1e9
        log = ExecutionLog(
            kind,
            mutation.path,
            mutation.request_id,
            seconds,
            log_lines,
            message,
            mutation.caller,
            IDENTITIES[mutation.identity.kind],
            resolved_audits(self._node, audits, mutation.identity, mutation.request_id),
            rows_read=outcome.rows_read if isinstance(outcome, CallDone) else None,
        )
        if self._node.watchers or audits:
            self._node.report(log, None)

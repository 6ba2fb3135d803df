"""Mutations: executed one after the other on the head, committed in groups.

A turn opens a group, runs mutations until one of the group's bounds is reached, and appends it.
Each mutation reads what the ones before it wrote, so those that run here never conflict. Whatever
fails while the group is applied or appended fails the whole group: it never happened, and each
caller is told so.
"""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

from cupola.auth import Identity
from cupola.backend.calls import CallResult, Done
from cupola.backend.node import Node, arguments_digest
from cupola.backend.queries import log_lines_json, report
from cupola.database.transaction import Transaction
from cupola.database.writes import IdSource
from cupola.errors import CupolaError, OverloadedError, PersistenceError
from cupola.functions.call import Call
from cupola.functions.definitions import Function, Kind
from cupola.functions.execution import Execution
from cupola.functions.jobs import run_as_job
from cupola.persistence import CommitRecord
from cupola.runtimes.python.in_process import CallTooLong
from cupola.runtimes.python.worker_pool import time_limit_error
from cupola.values import resolved


@dataclasses.dataclass(slots=True, eq=False)
class PendingMutation:
    """A mutation that waits for its turn. `session` and `request` make it take effect once.

    `job`: the scheduled job it is part of; `completes_job`: it is that job, and completes it.
    `is_background`: nobody outside waits for it.
    """

    path: str
    args: bytes
    identity: Identity
    done: Done
    request_id: str
    session: bytes | None = None
    request: int | None = None
    public_only: bool = True
    conflicts: int = 0
    job: str | None = None
    completes_job: bool = False
    is_background: bool = False

    @property
    def caller(self) -> str:
        """Who asked, in the words of the log stream."""
        if self.is_background:
            return "Scheduler"
        return "HttpApi" if self.session is None else "SyncWorker"

    def record(self, function: str, result: bytes, log_lines: bytes) -> CommitRecord:
        """What is written beside its commit; `result` and `log_lines`: encoded."""
        return CommitRecord(
            function=function,
            session=self.session,
            request=self.request,
            result=result,
            log_lines=log_lines,
            identity=self.identity.cache_key or None,
            arguments=arguments_digest(self.args),
        )


class MutationQueue:
    """Mutations in the order in which they arrived, those of scheduled jobs in a lane of their own.

    Where both lanes have some they take turns, so that neither keeps the other waiting.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._queue: collections.deque[PendingMutation] = collections.deque()
        self._background: collections.deque[PendingMutation] = collections.deque()
        self._background_is_next = False
        self._current: PendingMutation | None = None
        self.offload: Any = None  # backend.offload.Offload, where workers exist

    def __len__(self) -> int:
        return len(self._queue) + len(self._background)

    def put(self, mutation: PendingMutation) -> None:
        """Queue a mutation.

        Raises:
            OverloadedError: The queue is full; never for one in the background, whose number is
                bounded by who makes them.
        """
        if mutation.is_background:
            self._background.append(mutation)
            self._node.wake()
            return
        waiting = len(self._queue) + (len(self.offload) if self.offload is not None else 0)
        if waiting >= self._node.limits.queued_calls_max:
            raise OverloadedError(
                f"{waiting} calls are waiting already; try again later.",
                code="CommitterFullError",
            )
        self._queue.append(mutation)
        self._node.wake()

    @property
    def may_run(self) -> bool:
        """Whether a group could be run now: something waits, and nothing holds it back."""
        return not self._node.persistence.holding_commits() and (
            self._may_execute or self._has_results
        )

    @property
    def _may_execute(self) -> bool:
        return len(self) > 0 and not (
            self.offload is not None and self.offload.mutations.is_exclusive
        )

    @property
    def _has_results(self) -> bool:
        return self.offload is not None and self.offload.mutations.has_finished

    def run_group(self) -> None:
        """Execute and commit one group, if anything is to be done and the log takes commits."""
        if not self.may_run:
            return
        may_execute, offload = self._may_execute, self.offload
        if may_execute and offload is not None and self._all_go_to_workers():
            return
        group = _Group(self._node)
        self._current = None
        try:
            group.begin()
            while self._has_results and not group.is_full:
                finished = offload.mutations.next_finished()
                self._current = finished.mutation
                group.take(finished, offload)
            if may_execute:
                self._execute(group)
            self._current = None
            group.append()
        except PersistenceError as error:
            if self._current is None and not group:
                self._current = self._first()  # the group could not even begin
            group.fail(error, self._current)

    def _first(self) -> PendingMutation | None:
        """Whose turn it would have been."""
        if self._has_results:
            mutation: PendingMutation = self.offload.mutations.give_up_finished()
            return mutation
        return self._next() if len(self) else None

    def _all_go_to_workers(self) -> bool:
        """Send those away that head the queue. True: no group is needed, before they come back."""
        while self._queue and not self._background and self.offload.takes(self._queue[0]):
            self._queue.popleft()
        return not self.may_run

    def _execute(self, group: _Group) -> None:
        node, offload = self._node, self.offload
        deadline = node.clock.monotonic_ns() + int(node.limits.group_time_s * 1e9)
        while len(self) and not group.is_full:
            self._current = mutation = self._next()
            if offload is None or not offload.takes(mutation):
                try:
                    group.run(mutation)
                except CallTooLong:
                    self._too_long(mutation, group)
            if node.clock.monotonic_ns() >= deadline:
                return

    def _next(self) -> PendingMutation:
        background = self._background_is_next if self._queue else True
        self._background_is_next = not self._background_is_next
        return (
            self._background.popleft() if background and self._background else self._queue.popleft()
        )

    def _too_long(self, mutation: PendingMutation, group: _Group) -> None:
        if self.offload is not None:
            self.offload.take(mutation)
            return
        group.refuse(mutation, time_limit_error(mutation.path, self._node.runtime.time_s))


class _Group:
    """One open group: what ran in it, and who waits for it."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._results: list[tuple[PendingMutation, CallResult]] = []
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        limits = self._node.limits
        return len(self._results) >= limits.group_calls_max or self._bytes >= limits.group_bytes_max

    def begin(self) -> None:
        self._node.committer.begin_group()

    def run(self, mutation: PendingMutation) -> None:
        """Execute one mutation and apply it to the group.

        Raises:
            PersistenceError: The group is rolled back.
            CallTooLong: The mutation kept the loop too long; nothing of it is in the group.
        """
        node = self._node
        recorded = self._recorded(mutation)
        if recorded is not None:
            self._results.append((mutation, recorded))
            return
        started = node.clock.monotonic_ns()
        try:
            function = node.find(
                mutation.path, Kind.MUTATION, mutation.identity, mutation.public_only
            )
        except CupolaError as error:
            self.refuse(mutation, error)
            return
        transaction, execution = self._execute(mutation, function)
        if execution.error is None:
            result = self._apply(mutation, function, transaction, execution)
        else:
            result = self._failure(mutation, execution)
        self._results.append((mutation, result))
        if node.watchers or execution.audits:
            report(
                node,
                "mutation",
                function.path,
                mutation.request_id,
                started,
                execution,
                result.error_message,
                None,
                mutation.identity,
                mutation.caller,
                rows_read=transaction.rows_read,
            )

    def take(self, finished: Any, offload: Any) -> None:
        """Commit what a worker ran, unless its caller was answered already.

        Raises:
            PersistenceError: The group is rolled back.
        """
        mutation = finished.mutation
        try:
            result = self._recorded(mutation) or offload.mutations.commit(finished)
        finally:
            finished.release()
        if result is not None:
            self._results.append((mutation, result))

    def _recorded(self, mutation: PendingMutation) -> CallResult | None:
        """The answer this request got when it committed, if it did."""
        if mutation.session is None or mutation.request is None:
            return None
        node = self._node
        found = node.persistence.reader.recorded_request(mutation.session, mutation.request)
        if found is None:
            return None
        node.counters["mutations_repeated"] += 1
        return CallResult(True, found.result, found.log_lines, found.ts)

    def _execute(
        self, mutation: PendingMutation, function: Function[Any, Any]
    ) -> tuple[Transaction, Execution]:
        node = self._node
        now_ns = node.clock.now_ns()
        seed = node.clock.random_bytes(16)
        committer = node.committer
        transaction = node.transaction_type(
            node.persistence.reader,
            committer.group_catalog,
            committer.group_ts,
            ids=IdSource(seed, now_ns),
            creation_time=committer.next_creation_time(),
            limits=node.limits,
        )
        transaction.component = function.component
        call = Call(
            app=node.app,
            path=function.path,
            kind=Kind.MUTATION,
            transaction=transaction,
            identity=mutation.identity,
            now_ns=now_ns,
            seed=seed,
            request_id=mutation.request_id,
            limits=node.limits,
            sealer=node.sealer,
            session_tokens=node.session_tokens,
            job=mutation.job,
            completes_job=mutation.completes_job,
            links=node.links,
            text_indexes=node.text_indexes,
        )
        execution = run_as_job(call, lambda: node.runtime.run(call, function, mutation.args))
        return transaction, execution

    def _apply(
        self,
        mutation: PendingMutation,
        function: Function[Any, Any],
        transaction: Transaction,
        execution: Execution,
    ) -> CallResult:
        node = self._node
        assert execution.value is not None
        lines = log_lines_json(execution.log_lines)
        writes = transaction.writes()
        ts = node.committer.group_ts
        result = execution.value
        if writes:
            record = mutation.record(function.path, execution.value, lines)
            ts = node.committer.apply(
                writes,
                record,
                creation_time=transaction.creation_time,
                awaits_commit=transaction.awaits_commit,
            )
            self._bytes += transaction.usage.bytes_written
        if transaction.awaits_commit:
            result = resolved(result, ts)
        return CallResult(True, result, lines, ts)

    def _failure(self, mutation: PendingMutation, execution: Execution) -> CallResult:
        error = execution.error
        told = execution.failure(mutation.request_id, self._node.app.folder)
        return CallResult(
            False,
            None,
            log_lines_json(execution.log_lines),
            self._node.committer.group_ts,
            told.message,
            told.data,
            error if isinstance(error, CupolaError) else None,
        )

    def refuse(self, mutation: PendingMutation, error: CupolaError) -> None:
        """Answer a mutation that did not run."""
        self._results.append((mutation, self._failure(mutation, Execution(None, error, []))))

    def append(self) -> None:
        """Commit, publish, and hand the answers to the outbox."""
        node = self._node
        published = node.committer.append_group()
        node.counters["mutations"] += len(self._results)
        node.publish(published)
        node.group_decided()
        for mutation, result in self._results:
            mutation.done(result)

    def __bool__(self) -> bool:
        return bool(self._results)

    def fail(self, error: PersistenceError, current: PendingMutation | None) -> None:
        """The group never happened: every caller of it, and of `current`, gets the same error.

        Answers that show nothing of it stand: above all those of mutations that were sent again and
        had committed before.
        """
        head_ts = self._node.head_ts
        self._node.group_decided(error.message)
        answered = [(caller, result) for caller, result in self._results if result.ts <= head_ts]
        callers = [mutation for mutation, result in self._results if result.ts > head_ts]
        for mutation, result in answered:
            mutation.done(result)
        if any(mutation is current for mutation, _ in answered):
            current = None
        for mutation in callers if current is None or current in callers else [*callers, current]:
            mutation.done(self._failure(mutation, Execution(None, error, [])))

"""Functions that would keep the loop: they run in transaction workers, and their results come back.

Who goes there: a call that passed the in-process budget (and its function, for a while), and
functions that may spend long inside one C call, which nothing on this thread could end.

A worker's transaction ran on an older snapshot. The committer validates it against what was
committed since; a loser runs again, and after some losses gets an exclusive turn: no mutation is
executed here until it has ended, for a tenth of a second at most, so that none starves.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from cupola.auth import Identity
from cupola.backend.answers import deliver, failed, moved_on
from cupola.backend.calls import CallRequest, CallResult, Done
from cupola.backend.mutations import PendingMutation
from cupola.backend.node import ExecutionLog, arguments_digest
from cupola.backend.queries import (
    IDENTITIES,
    QueryRun,
    QueryRunner,
    log_lines_json,
    outcome_of,
    report_shown,
    resolved_audits,
)
from cupola.backend.slow_functions import SlowFunctions
from cupola.database.catalog import TABLES, Catalog
from cupola.database.documents import StoredDocument
from cupola.database.read_set import Interval
from cupola.database.transaction import Transaction
from cupola.database.writes import Write
from cupola.errors import ConflictError, CupolaError
from cupola.functions.app import App
from cupola.functions.definitions import Function, Kind, Visibility
from cupola.functions.execution import Execution
from cupola.functions.failure import RemoteError, RemoteSystemError, error_data, error_message
from cupola.functions.javascript import JavaScriptFunction
from cupola.persistence import CommitRecord, Timestamp
from cupola.reactivity import CacheEntry, QueryKey
from cupola.runtimes.python.messages import CallDone, RunCall, Setup, caller_of, limit_fields
from cupola.runtimes.python.suspects import suspects
from cupola.runtimes.python.worker_pool import Job, Outcome, WorkerPool
from cupola.values import decode, encode_key, resolved

if TYPE_CHECKING:
    from cupola.backend.backend import Backend


@dataclasses.dataclass(slots=True, eq=False)
class _Finished:
    """A worker's result that waits for its turn."""

    mutation: PendingMutation
    path: str
    outcome: Outcome
    started_ns: int
    release: Callable[[], None]


class Offload:
    """The engine's side of transaction workers."""

    def __init__(
        self, backend: Backend, data_path: str, secret: bytes, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._backend = backend
        self._node = backend.node
        self._data_path = data_path
        self._secret = secret
        self._loop = loop
        self._pool = WorkerPool(
            self._setup,
            backend.limits,
            loop,
            lambda: not backend.node.persistence.holding_snapshots(),
        )
        self._runner = QueryRunner(self._node)
        self._slow = SlowFunctions(backend.clock, backend.limits.in_process_time_s)
        self._suspects: dict[str, list[str]] = {}
        self.stalled: list[str] = []
        self._call = 0
        self._to_send: collections.deque[Job] = collections.deque()
        self._finished: collections.deque[_Finished] = collections.deque()
        self._running_queries: set[CacheEntry] = set()
        self._exclusive: PendingMutation | None = None
        self._exclusive_ends: asyncio.TimerHandle | None = None
        self._unfinished = 0

    def __len__(self) -> int:
        return self._unfinished

    def outstanding(self) -> collections.Counter[tuple[Kind, str]]:
        """Calls in workers ("running"), and those that wait for one ("queued"), by kind."""
        running, queued = self._pool.paths()
        counts: collections.Counter[tuple[Kind, str]] = collections.Counter()
        for state, paths in (("running", running), ("queued", queued)):
            for path in paths:
                function = self._node.app.functions.get(path)
                if function is not None:
                    counts[function.kind, state] += 1
        return counts

    @property
    def holds_mutations(self) -> bool:
        """A worker's mutation that keeps losing has its exclusive turn."""
        return self._exclusive is not None

    def _setup(self) -> Setup:
        return self._setup_of(self._node.app)

    def _setup_of(self, app: App) -> Setup:
        return Setup(
            str(app.folder),
            app.sources,
            self._data_path,
            self._secret,
            limit_fields(self._node.limits),
            self._node.runtime.environment,
            msgspec.msgpack.encode(app.javascript) if app.javascript is not None else b"",
            self._node.links.origin,
        )

    def prepare(self, app: App) -> None:
        """This code will run soon: have a worker ready for it."""
        if app.javascript is not None:  # workers start anew for the same code, too
            self._pool.prepare(self._setup_of(app), app.version)

    def expect(self) -> None:
        """A push has begun."""
        self._pool.expect()

    async def wait_prepared(self, app: App) -> None:
        """Until a worker is ready for this code, if `prepare` has been told of it."""
        await self._pool.wait_prepared(app.version)

    def code_changed(self) -> None:
        """Other code: other suspects, and workers that know it."""
        self._slow.clear()
        self._suspects = {
            path: found
            for path, function in self._node.app.functions.items()
            if function.kind is not Kind.ACTION
            and not isinstance(function, JavaScriptFunction)
            and (found := suspects(function.handler))
        }
        for path in self.stalled:
            self._suspects[path] = ["it has stopped the server before"]
        self._pool.restart(self._node.app.version)
        self._pool.keeps_warm = False
        if self._node.app.javascript is not None:
            self._pool.warm_up()

    def close(self) -> None:
        self._pool.close()

    # ---------------------------------------------------------------- who goes there

    def _belongs_here(self, path: str) -> bool:
        if self._node.is_paused:  # nothing runs; who asks is told so on the way that is left
            return False
        return path in self._suspects or path in self._slow or self._is_javascript(path)

    def _is_javascript(self, path: str) -> bool:
        return isinstance(self._node.app.functions.get(path), JavaScriptFunction)

    def takes(self, mutation: PendingMutation) -> bool:
        """Whether this mutation goes to a worker; if so, it is on its way."""
        try:
            function = self._node.find(
                mutation.path, Kind.MUTATION, mutation.identity, mutation.public_only
            )
        except CupolaError:
            return False
        if not self._belongs_here(function.path):
            return False
        self._send_mutation(mutation, function)
        return True

    def take(self, mutation: PendingMutation) -> None:
        """A mutation has passed the in-process budget."""
        function = self._node.app.find(mutation.path)
        self._slow.add(function.path)
        self._send_mutation(mutation, function)

    def takes_query(self, entry: CacheEntry) -> bool:
        if not self.asks_for(entry.key):
            return False
        self._send_query(entry)
        return True

    def take_query(self, entry: CacheEntry) -> None:
        self._slow.add(entry.key.path)
        self._send_query(entry)

    # ---------------------------------------------------------------- sending

    def dispatch(self) -> None:
        """Send what this turn has collected: after its group, so that workers see its commits."""
        while self._to_send:
            self._pool.submit(self._to_send.popleft())
        if len(self._pool):
            self._pool.assign()

    def _job(
        self,
        path: str,
        args: bytes,
        identity: Identity,
        journal: str | None,
        request_id: str,
        done: Callable[[Outcome, int, Callable[[], None]], None],
        starts: Callable[[], None] = lambda: None,
        job: str | None = None,
        completes_job: bool = False,
    ) -> Job:
        """A call for the pool. `done(outcome, since, release)`: the write log keeps what was
        committed after `since` until `release` is called. `starts()`: a worker takes it now."""
        node = self._node
        opened: list[int] = []

        def prepare() -> RunCall:
            starts()
            node.counters["worker_calls"] += 1
            ts = node.committer.head_ts  # the worker's snapshot is this one or a later one
            node.committer.write_log.open_snapshot(ts)
            opened.append(ts)
            self._call += 1
            return RunCall(
                self._call,
                path,
                args,
                caller_of(identity),
                node.clock.now_ns(),
                node.clock.random_bytes(16),
                request_id,
                journal,
                node.committer.next_creation_time(),
                job,
                completes_job,
                node.transaction_type is not Transaction,
            )

        def finish(outcome: Outcome) -> None:
            self._unfinished -= 1
            done(outcome, opened[-1] if opened else node.committer.head_ts, release)

        def release() -> None:
            while opened:
                node.committer.write_log.close_snapshot(opened.pop())

        self._unfinished += 1
        return Job(path, prepare, finish, watches_time=self._is_javascript(path))

    def _send_mutation(self, mutation: PendingMutation, function: Function) -> None:  # type: ignore[type-arg]
        started = self._node.clock.monotonic_ns()
        path = function.path

        def done(outcome: Outcome, since: int, release: Callable[[], None]) -> None:
            self._finished.append(_Finished(mutation, path, outcome, started, release))
            self._node.wake()

        def starts() -> None:
            if mutation.conflicts >= self._node.limits.conflicts_before_exclusive:
                self._begin_exclusive_turn(mutation)

        job = self._job(
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
        self._to_send.append(job)
        self._node.wake()

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

    # ---------------------------------------------------------------- mutations coming back

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
        if self.holds_mutations:
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
            record = CommitRecord(
                function=finished.path,
                session=mutation.session,
                request=mutation.request,
                result=outcome.value,
                log_lines=lines,
                identity=mutation.identity.cache_key or None,
                arguments=arguments_digest(mutation.args),
            )
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
        self._send_mutation(mutation, function)
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
        self._node.counters["worker_kills"] = self._pool.kills
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

    # ---------------------------------------------------------------- queries

    def _send_query(self, entry: CacheEntry) -> None:
        if entry in self._running_queries:
            return
        self._running_queries.add(entry)
        journal, started_ns = entry.journal, self._node.clock.monotonic_ns()
        generation, request_id = self._node.cache.generation, self._node.new_request_id()

        def done(outcome: Outcome, since: int, release: Callable[[], None]) -> None:
            self._running_queries.discard(entry)
            if self._node.cache.generation != generation:  # of the code before, say
                release()
                if entry.stale:
                    self._backend.passes.mark_stale(entry)
                    self._node.wake()
                return
            run = self._query_run(
                entry.key.path, outcome, since, journal, started_ns, entry.identity, request_id
            )
            self._backend.passes.worker_result(entry, run)
            release()

        self._to_send.append(
            self._job(
                entry.key.path,
                entry.key.args,
                entry.identity,
                journal,
                request_id,
                done,
            )
        )
        self._node.wake()

    def run_together(
        self, entries: Sequence[CacheEntry], done: Callable[[dict[CacheEntry, QueryRun]], None]
    ) -> None:
        """Run live queries in one worker, one after the other, at one snapshot.

        `done`: with their runs; without any, if the worker has failed, or the code is another.
        """
        node = self._node
        entries = [entry for entry in entries if self._may_be_asked(entry.key)]
        if not entries or node.is_paused:
            self._loop.call_soon(done, {})
            return
        generation, started_ns = node.cache.generation, node.clock.monotonic_ns()
        first = entries[0]
        asked = [(entry, entry.journal, node.new_request_id()) for entry in entries]

        def finished(outcome: Outcome, since: int, release: Callable[[], None]) -> None:
            runs: dict[CacheEntry, QueryRun] = {}
            if node.cache.generation == generation and isinstance(outcome, CallDone):
                for (entry, journal, number), part in zip(
                    asked, [outcome, *outcome.more], strict=True
                ):
                    path, who = entry.key.path, entry.identity
                    runs[entry] = self._query_run(
                        path, part, since, journal, started_ns, who, number
                    )
            done(runs)
            release()

        _, journal, number = asked[0]
        job = self._job(first.key.path, first.key.args, first.identity, journal, number, finished)
        prepare_first = job.prepare

        def prepare() -> RunCall:
            run = prepare_first()
            more = [
                msgspec.structs.replace(
                    run,
                    path=entry.key.path,
                    args=entry.key.args,
                    caller=caller_of(entry.identity),
                    seed=node.clock.random_bytes(16),
                    request_id=number,
                    journal=journal,
                )
                for entry, journal, number in asked[1:]
            ]
            return msgspec.structs.replace(run, more=more)

        job.prepare = prepare
        job.watches_time = True  # the bound is that of a snapshot's age
        self._to_send.append(job)
        node.wake()

    def answer_query(self, request: CallRequest, key: QueryKey, done: Done) -> None:
        """A query asked over HTTP, run for this caller alone."""
        self._slow.add(key.path)
        self.ask(request, key, done)

    def asks_for(self, key: QueryKey) -> bool:
        """Whether a worker should run this query. What may not be asked is refused in process."""
        return self._may_be_asked(key) and self._belongs_here(key.path)

    def _may_be_asked(self, key: QueryKey) -> bool:
        function = self._node.app.functions.get(key.path)
        if function is None or function.kind is not Kind.QUERY:
            return False
        return function.visibility is not Visibility.INTERNAL or key.internal

    def ask_now(self, request: CallRequest, key: QueryKey, done: Done) -> bool:
        """Send a query that needs a worker without waiting for a turn. False: it needs none, or
        this is a turn, with commits to come that the query should see.
        """
        if self._backend.in_turn or not self.asks_for(key):
            return False
        self._pool.submit(self._asked_job(request, key, done))
        return True

    def ask(self, request: CallRequest, key: QueryKey, done: Done) -> None:
        self._to_send.append(self._asked_job(request, key, done))
        self._node.wake()

    def _asked_job(self, request: CallRequest, key: QueryKey, done: Done) -> Job:
        generation, started_ns = self._node.cache.generation, self._node.clock.monotonic_ns()
        request_id = request.request_id or self._node.new_request_id()
        write_log, at_ts = self._node.committer.write_log, request.at_ts
        if at_ts is not None:  # the head; the worker's snapshot may be a later one
            write_log.open_snapshot(at_ts)

        def finished(outcome: Outcome, since: int, release: Callable[[], None]) -> None:
            run = self._query_run(
                key.path, outcome, since, None, started_ns, request.identity, request_id
            )
            if at_ts is not None:
                is_touched = write_log.first_touch(run.intervals, at_ts) is not None
                write_log.close_snapshot(at_ts)
                if is_touched:
                    error = moved_on(at_ts, self._node.head_ts)
                    deliver(self._node, failed(self._node, error, request), done)
                    release()
                    return
            shown = run.outcome
            if run.audits:
                ts, number = run.ts, request.request_id
                audits = run.audits
                report_shown(self._node, key.path, audits, request.identity, ts, number, "HttpApi")
            typed = run.error if isinstance(run.error, CupolaError) else None
            result = CallResult(
                shown.ok,
                shown.value,
                shown.log_lines,
                run.ts,
                shown.error_message,
                shown.error_data,
                typed,
            )
            self._node.outbox.put(run.ts, lambda: done(result))
            self._loop.call_soon(keep, run, release)  # whoever waits for the answer comes first

        def keep(run: QueryRun, release: Callable[[], None]) -> None:
            if self._node.cache.generation == generation:
                self._remember(request, key, run)
            release()

        return self._job(key.path, key.args, request.identity, None, request_id, finished)

    def _remember(self, request: CallRequest, key: QueryKey, run: QueryRun) -> None:
        """Let those who ask the same share the outcome, as in process."""
        if not run.outcome.ok or not run.reads_known:
            return
        entry = self._runner.entry(key, request.identity)
        is_free = not entry.listeners and entry.identity.cache_key == request.identity.cache_key
        if is_free and (entry.outcome is None or entry.stale):
            self._runner.record(entry, run)

    def _query_run(
        self,
        path: str,
        outcome: Outcome,
        since: int,
        journal: str | None,
        started_ns: int,
        identity: Identity,
        request_id: str,
    ) -> QueryRun:
        node = self._node
        if not isinstance(outcome, CallDone):
            node.counters["worker_kills"] = self._pool.kills
            execution = Execution(None, outcome, [])
            shown = outcome_of(node, execution, request_id, journal)
            return QueryRun(shown, (), since, False, outcome, reads_known=False)
        error: Exception | None = None
        if outcome.failure is not None:
            failure = outcome.failure
            error = RemoteError(failure.message, failure.code, failure.data)
        execution = Execution(
            outcome.value, error, outcome.log_lines, outcome.identity_observed, outcome.journal
        )
        shown = outcome_of(node, execution, request_id, journal)
        intervals = tuple(Interval(*interval) for interval in outcome.intervals)
        if node.watchers:
            text = shown.error_message
            seconds = (node.clock.monotonic_ns() - started_ns) / 1e9
            who = IDENTITIES[identity.kind]
            lines = outcome.log_lines
            rows = outcome.rows_read
            log = ExecutionLog(
                "query", path, request_id, seconds, lines, text, identity=who, rows_read=rows
            )
            node.report(log, outcome.ts)
        return QueryRun(
            shown,
            intervals,
            outcome.ts,
            outcome.identity_observed,
            error,
            time_observed=outcome.time_observed,
            audits=outcome.audits,
        )

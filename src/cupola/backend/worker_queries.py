"""Queries that transaction workers run, each at the newest snapshot when it begins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from cupola.auth import Identity
from cupola.backend.answers import deliver, failed, moved_on
from cupola.backend.calls import CallRequest, CallResult, Done
from cupola.backend.node import ExecutionLog
from cupola.backend.queries import IDENTITIES, QueryRun, QueryRunner, outcome_of, report_shown
from cupola.backend.worker_calls import WorkerCalls
from cupola.database.read_set import Interval
from cupola.errors import CupolaError
from cupola.functions.execution import Execution
from cupola.functions.failure import RemoteError
from cupola.reactivity import CacheEntry, QueryKey
from cupola.runtimes.python.messages import CallDone, RunCall, caller_of
from cupola.runtimes.python.worker_pool import Job, Outcome

if TYPE_CHECKING:
    from cupola.backend.backend import Backend


class _Asked(NamedTuple):
    """One of several queries that run at one snapshot."""

    key: QueryKey
    identity: Identity
    journal: str | None
    request_id: str


class WorkerQueries:
    """Sends them, and hands over what they came to."""

    def __init__(
        self, backend: Backend, calls: WorkerCalls, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._backend = backend
        self._node = backend.node
        self._calls = calls
        self._loop = loop
        self._runner = QueryRunner(backend.node)
        self.running: set[CacheEntry] = set()
        """Live queries that a worker runs, or will."""

    def send(self, entry: CacheEntry) -> None:
        """Run a live query anew, unless that is under way already."""
        if entry in self.running:
            return
        self.running.add(entry)
        journal, started_ns = entry.journal, self._node.clock.monotonic_ns()
        generation, request_id = self._node.cache.generation, self._node.new_request_id()

        def done(outcome: Outcome, since: int, release: Callable[[], None]) -> None:
            self.running.discard(entry)
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

        key, who = entry.key, entry.identity
        self._calls.send(self._calls.job(key.path, key.args, who, journal, request_id, done))

    def run_together(
        self, entries: Sequence[CacheEntry], done: Callable[[dict[CacheEntry, QueryRun]], None]
    ) -> None:
        """Run live queries in one worker, one after the other, at one snapshot.

        `done`: with their runs; without any, if the worker has failed, or the code is another.
        """
        cache, new_id = self._node.cache, self._node.new_request_id
        generation = cache.generation

        def finished(runs: list[QueryRun]) -> None:
            is_sound = cache.generation == generation and runs[0].reads_known
            done(dict(zip(entries, runs, strict=True)) if is_sound else {})

        asked = [_Asked(entry.key, entry.identity, entry.journal, new_id()) for entry in entries]
        self._send_together(asked, finished)

    def ask_together(
        self,
        asked: Sequence[tuple[CallRequest, QueryKey]],
        done: Callable[[list[QueryRun]], None],
    ) -> None:
        """Run queries that are asked once in one worker, at one snapshot. `done`: with a run for
        each; if the worker has failed it is the same for all, whose reads are not known.
        """
        new_id = self._node.new_request_id
        self._send_together(
            [_Asked(key, r.identity, None, r.request_id or new_id()) for r, key in asked], done
        )

    def _send_together(
        self, asked: Sequence[_Asked], done: Callable[[list[QueryRun]], None]
    ) -> None:
        node, started_ns = self._node, self._node.clock.monotonic_ns()

        def finished(outcome: Outcome, since: int, release: Callable[[], None]) -> None:
            parts: Sequence[Outcome] = [outcome] * len(asked)
            if isinstance(outcome, CallDone):
                parts = [outcome, *outcome.more]
            done(
                [
                    self._query_run(
                        key.path, part, since, journal, started_ns, identity, request_id
                    )
                    for (key, identity, journal, request_id), part in zip(asked, parts, strict=True)
                ]
            )
            release()

        key, who, journal, request_id = asked[0]
        job = self._calls.job(key.path, key.args, who, journal, request_id, finished)
        prepare_first = job.prepare

        def prepare() -> RunCall:
            run = prepare_first()
            more = [
                msgspec.structs.replace(
                    run,
                    path=key.path,
                    args=key.args,
                    caller=caller_of(identity),
                    seed=node.clock.random_bytes(16),
                    request_id=request_id,
                    journal=journal,
                )
                for key, identity, journal, request_id in asked[1:]
            ]
            return msgspec.structs.replace(run, more=more)

        job.prepare = prepare
        job.watches_time = True  # the bound is that of a snapshot's age
        self._calls.send(job)

    def job_for(self, request: CallRequest, key: QueryKey, done: Done) -> Job:
        """A query that is asked once, over HTTP say."""
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
                touched_ts = write_log.first_touch(run.intervals, at_ts)
                write_log.close_snapshot(at_ts)
                if touched_ts is not None and touched_ts <= run.ts:
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

        return self._calls.job(key.path, key.args, request.identity, None, request_id, finished)

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
            node.counters["worker_kills"] = self._calls.pool.kills
            execution = Execution(None, outcome, [])
            shown = outcome_of(node, execution, request_id, journal)
            return QueryRun(shown, (), since, False, outcome, reads_known=False)
        error: Exception | None = None
        failure = outcome.failure
        if failure is not None:
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
            reads_known=failure is None or not failure.is_systems,  # a failing disk, say
            time_observed=outcome.time_observed,
            audits=outcome.audits,
        )

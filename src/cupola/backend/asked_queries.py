"""Queries that are asked once, over HTTP or by an action: from the cache, or at a turn's head."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from functools import partial

from cupola.backend.answers import deliver, failed, moved_on
from cupola.backend.calls import CallRequest, CallResult, Done
from cupola.backend.mutations import MutationQueue
from cupola.backend.node import Node
from cupola.backend.queries import QueryRun, QueryRunner, Snapshot, report_shown
from cupola.errors import BadRequestError, CupolaError, OutOfRetentionError, OverloadedError
from cupola.reactivity import QueryKey
from cupola.runtimes.python.in_process import CallTooLong
from cupola.sync.outcome import QueryOutcome
from cupola.values import parse_function_path, split_qualified


@dataclasses.dataclass(slots=True)
class _Asked:
    """A query over HTTP that waits for its turn; `is_followed`: by another of its batch, which is
    answered at the same timestamp.
    """

    request: CallRequest
    done: Done
    is_in_batch: bool = False
    is_followed: bool = False


class AskedQueries:
    """Those that wait for a turn."""

    def __init__(
        self,
        node: Node,
        runner: QueryRunner,
        mutations: MutationQueue,
        is_deploying: Callable[[], bool],
    ) -> None:
        """`is_deploying`: other code is on its way in, so nothing is answered outside a turn."""
        self._node = node
        self._runner = runner
        self._mutations = mutations
        self._is_deploying = is_deploying
        self._asked: collections.deque[_Asked] = collections.deque()

    def __len__(self) -> int:
        return len(self._asked)

    def submit_batch(
        self,
        requests: Sequence[CallRequest],
        done: Callable[[list[CallResult]], None],
        attempts: int = 0,
    ) -> None:
        """Run several queries at one timestamp, in order. Where a worker's result does not hold
        there any more they are all run again, a few times.
        """
        results: list[CallResult | None] = [None] * len(requests)
        left = len(requests)
        if not requests:
            done([])
            return

        def receive(place: int, result: CallResult) -> None:
            nonlocal left
            results[place] = result
            left -= 1
            if left > 0:
                return
            ended = [r for r in results if r is not None]
            moved = any(isinstance(r.error, OutOfRetentionError) for r in ended)
            if moved and attempts < self._node.limits.conflict_retries_max:
                self.submit_batch(requests, done, attempts + 1)
            else:
                done(ended)

        if self._waiting + len(requests) > self._node.limits.queued_calls_max:
            error = self._too_many()
            done([failed(self._node, error, request) for request in requests])
            return
        places = self._ask_together(requests, receive)
        for place in places:
            asked = _Asked(requests[place], partial(receive, place), True, place != places[-1])
            self._asked.append(asked)
        self._node.wake()

    def _ask_together(
        self, requests: Sequence[CallRequest], receive: Callable[[int, CallResult], None]
    ) -> Sequence[int]:
        """Send a batch to a worker if one of its queries needs one, so that all are run at one
        snapshot, however many commits come meanwhile. Returns: which of them are left; then all,
        or those that are refused. If the worker has to be ended, each is asked on its own, so that
        one that does not end harms itself alone.
        """
        node, offload, everything = self._node, self._mutations.offload, range(len(requests))
        if offload is None or node.is_paused or self._is_deploying():
            return everything
        keys: dict[int, QueryKey] = {}
        for place in everything:
            with contextlib.suppress(CupolaError):
                keys[place] = self._key_of(requests[place])
        if not any(offload.asks_for(key) for key in keys.values()):
            return everything
        places = [place for place, key in keys.items() if offload.may_be_asked(key)]

        def finished(runs: list[QueryRun]) -> None:
            if not runs[0].reads_known:
                for place in places:
                    self._asked.append(_Asked(requests[place], partial(receive, place)))
                node.wake()
                return
            for place, run in zip(places, runs, strict=True):
                self._shown(requests[place], run.audits, run.ts)
                result = _result(run.outcome, run.ts, run.error)
                deliver(node, result, partial(receive, place))

        asked = [(requests[place], keys[place]) for place in places]
        offload.queries.ask_together(asked, finished)
        return [place for place in everything if place not in set(places)]

    def submit(self, request: CallRequest, done: Done) -> None:
        if request.at_ts is not None:
            self._require_head(request.at_ts)
        key = self._key_of(request)
        entry = self._node.cache.find(key, request.identity.cache_key)
        if (
            entry is not None
            and not entry.stale
            and entry.outcome is not None
            and not self._is_deploying()
            and (request.at_ts is None or entry.ts <= request.at_ts)
        ):
            self._node.cache.hits += 1
            if self._node.saw_cached is not None:
                self._node.saw_cached(key.path)
            self._shown(request, entry.audits, self._node.head_ts)
            deliver(self._node, _result(entry.outcome, self._node.head_ts), done)
            return
        if self._waiting >= self._node.limits.queued_calls_max:
            raise self._too_many()
        if request.at_ts is None and not self._asked and not self._is_deploying():
            offload = self._mutations.offload
            if offload is not None and offload.ask_now(request, key, done):
                return
        self._asked.append(_Asked(request, done))
        self._node.wake()

    def _too_many(self) -> OverloadedError:
        return OverloadedError(
            f"{self._waiting} queries are waiting already; try again later.",
            code="TooManyConcurrentRequests",
        )

    @property
    def _waiting(self) -> int:
        """Those of HTTP, and all calls in workers."""
        offload = self._mutations.offload
        return len(self._asked) + (len(offload) if offload is not None else 0)

    def _key_of(self, request: CallRequest) -> QueryKey:
        if request.path not in self._node.app.functions:
            parse_function_path(
                split_qualified(request.path)[1]
            )  # else the second asker would hear of it differently
        return self._runner.key_of(
            request.path,
            request.args,
            None,
            request.component_path,
            may_call_internal=request.visibility == "any" or request.identity.may_call_internal,
        )

    def _require_head(self, ts: int) -> None:
        """The present state stands for every moment since the newest commit."""
        head = self._node.head_ts
        if ts > head:
            raise BadRequestError(
                f"The timestamp {ts} is newer than anything committed here ({head}).",
                code="TimestampInFuture",
            )

    def answer(self) -> None:
        """Queries asked over HTTP, at the head, for a turn's budget; a batch is one turn's."""
        deadline = self._node.clock.monotonic_ns() + int(self._node.limits.rerun_time_s * 1e9)
        while self._asked:
            asked = self._asked.popleft()
            try:
                result = self._run(asked)
            except CupolaError as error:
                result = failed(self._node, error, asked.request)
            if result is not None:
                deliver(self._node, result, asked.done)
            if not asked.is_followed and self._node.clock.monotonic_ns() >= deadline:
                return

    def _run(self, asked: _Asked) -> CallResult | None:
        request, done = asked.request, asked.done
        snapshot = self._runner.head()
        if request.at_ts is not None and request.at_ts < snapshot.ts:
            return self._at(request, request.at_ts, snapshot)
        key = self._key_of(request)
        entry = self._runner.entry(key, request.identity)
        if not entry.stale and entry.outcome is not None:
            self._shown(request, entry.audits, snapshot.ts)
            return _result(entry.outcome, snapshot.ts)
        offload = self._mutations.offload
        if asked.is_in_batch:
            request = dataclasses.replace(request, at_ts=snapshot.ts)
        if offload is not None and offload.asks_for(key):
            offload.ask(request, key, done)
            return None
        try:
            if entry.listeners or entry.identity.cache_key != request.identity.cache_key:
                # Its sessions' pass will run it, and one that spans turns stands at another time.
                run = self._runner.run(key, request.identity, snapshot)
            else:
                _, run = self._runner.run_entry(entry, snapshot)
        except CallTooLong:
            if offload is not None:
                offload.answer_query(request, key, done)
                return None
            run = self._runner.timed_out(entry, snapshot)
        self._shown(request, run.audits, snapshot.ts)
        return _result(run.outcome, snapshot.ts, run.error)

    def _shown(self, request: CallRequest, audits: Sequence[str], ts: int) -> None:
        """The caller gets a result: now its audit log is emitted, if it has one."""
        if audits:
            number, path = request.request_id, request.path
            report_shown(self._node, path, audits, request.identity, ts, number, "HttpApi")

    def _at(self, request: CallRequest, ts: int, head: Snapshot) -> CallResult:
        """A query at an earlier timestamp: served while nothing that it reads has been written
        since.
        """
        key = self._key_of(request)
        entry = self._node.cache.find(key, request.identity.cache_key)
        if entry is not None and not entry.stale and entry.outcome is not None and entry.ts <= ts:
            self._shown(request, entry.audits, head.ts)
            return _result(entry.outcome, ts)
        raise moved_on(ts, head.ts)


def _result(outcome: QueryOutcome, ts: int, error: BaseException | None = None) -> CallResult:
    return CallResult(
        outcome.ok,
        outcome.value,
        outcome.log_lines,
        ts,
        outcome.error_message,
        outcome.error_data,
        error if isinstance(error, CupolaError) else None,
    )

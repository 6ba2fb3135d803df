"""Calls on their way to transaction workers."""

from __future__ import annotations

import collections
from collections.abc import Callable

from cupola.auth import Identity
from cupola.backend.node import Node
from cupola.database.transaction import Transaction
from cupola.functions.javascript import JavaScriptFunction
from cupola.runtimes.python.messages import RunCall, caller_of
from cupola.runtimes.python.worker_pool import Job, Outcome, WorkerPool


class WorkerCalls:
    """Makes them, and sends them when it is time. The length: how many have not ended."""

    def __init__(self, node: Node, pool: WorkerPool) -> None:
        self._node = node
        self.pool = pool
        self._call = 0
        self._to_send: collections.deque[Job] = collections.deque()
        self._unfinished = 0

    def __len__(self) -> int:
        return self._unfinished

    def send(self, job: Job) -> None:
        """At the end of the turn, so that workers see its commits."""
        self._to_send.append(job)
        self._node.wake()

    def send_now(self, job: Job) -> None:
        """Without waiting for a turn."""
        self.pool.submit(job)

    def dispatch(self) -> None:
        """Send what this turn has collected."""
        while self._to_send:
            self.pool.submit(self._to_send.popleft())
        if len(self.pool):
            self.pool.assign()

    def job(
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

    def _is_javascript(self, path: str) -> bool:
        return isinstance(self._node.app.functions.get(path), JavaScriptFunction)

"""Functions that would keep the loop: they run in transaction workers, and their results come back.

Who goes there: TypeScript, a call that passed the in-process budget (and its function, for a
while), and functions that may spend long inside one C call, which nothing on this thread could end.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from cupola.backend.calls import CallRequest, Done
from cupola.backend.mutations import PendingMutation
from cupola.backend.queries import QueryRun
from cupola.backend.slow_functions import SlowFunctions
from cupola.backend.worker_calls import WorkerCalls
from cupola.backend.worker_mutations import WorkerMutations
from cupola.backend.worker_queries import WorkerQueries
from cupola.errors import CupolaError
from cupola.functions.app import App
from cupola.functions.definitions import Kind, Visibility
from cupola.functions.javascript import JavaScriptFunction
from cupola.reactivity import CacheEntry, QueryKey
from cupola.runtimes.python.messages import Setup, limit_fields
from cupola.runtimes.python.suspects import suspects
from cupola.runtimes.python.worker_pool import WorkerPool

if TYPE_CHECKING:
    from cupola.backend.backend import Backend


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
        self.calls = WorkerCalls(self._node, self._pool)
        self.mutations = WorkerMutations(self._node, self.calls, loop)
        self.queries = WorkerQueries(backend, self.calls, loop)
        self._slow = SlowFunctions(backend.clock, backend.limits.in_process_time_s)
        self._suspects: dict[str, list[str]] = {}
        self.stalled: list[str] = []

    def __len__(self) -> int:
        return len(self.calls)

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
        self.mutations.send(mutation, function)
        return True

    def take(self, mutation: PendingMutation) -> None:
        """A mutation has passed the in-process budget."""
        function = self._node.app.find(mutation.path)
        self._slow.add(function.path)
        self.mutations.send(mutation, function)

    def takes_query(self, entry: CacheEntry) -> bool:
        if not self.asks_for(entry.key):
            return False
        self.queries.send(entry)
        return True

    def take_query(self, entry: CacheEntry) -> None:
        self._slow.add(entry.key.path)
        self.queries.send(entry)

    def answer_query(self, request: CallRequest, key: QueryKey, done: Done) -> None:
        """A query asked over HTTP, run for this caller alone."""
        self._slow.add(key.path)
        self.ask(request, key, done)

    def asks_for(self, key: QueryKey) -> bool:
        """Whether a worker should run this query. What may not be asked is refused in process."""
        return self.may_be_asked(key) and self._belongs_here(key.path)

    def may_be_asked(self, key: QueryKey) -> bool:
        """Whether it is a query that this caller may know of."""
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
        self.calls.send_now(self.queries.job_for(request, key, done))
        return True

    def ask(self, request: CallRequest, key: QueryKey, done: Done) -> None:
        """A query that needs a worker."""
        self.calls.send(self.queries.job_for(request, key, done))

    def run_together(
        self, entries: Sequence[CacheEntry], done: Callable[[dict[CacheEntry, QueryRun]], None]
    ) -> None:
        """Live queries at one snapshot, as `WorkerQueries.run_together`; none that may not be asked
        (any more).
        """
        entries = [entry for entry in entries if self.may_be_asked(entry.key)]
        if entries and not self._node.is_paused:
            self.queries.run_together(entries, done)
        else:
            self._loop.call_soon(done, {})

"""A whole deployment as one object, without a network.

The heart is `turn`, one turn of the event loop:

    1. mutations: execute, validate, apply them to one open group, append it, publish it
    2. a slice of a schema push, if one is under way; scheduled functions that are due begin
    3. queries asked over HTTP, at the new head
    4. live queries that the commits touched, and sessions that wait: one pass, bounded in time
    5. ask for durability; deliver what is durable

Nobody runs queries while a group is open, no statement stays open between turns, and whatever
leaves goes through the outbox. `wake` asks whoever owns the loop for another turn: the server's
event loop, or a test that turns by hand.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cupola.auth import (
    ANONYMOUS,
    DEFAULT_INSTANCE_NAME,
    NOWHERE,
    AdminKeys,
    Identity,
    Origin,
    TokenVerifier,
    UserToken,
    authenticate,
)
from cupola.backend.actions import ActionRuntime, InlineActions
from cupola.backend.answers import action_result, deliver, failed
from cupola.backend.api_keys import exchange_api_key
from cupola.backend.asked_queries import AskedQueries
from cupola.backend.calls import CallRequest, CallResult, Channel, Done
from cupola.backend.files import Files
from cupola.backend.http_actions import HttpActions
from cupola.backend.metrics import NodeCollector
from cupola.backend.mutations import MutationQueue, PendingMutation
from cupola.backend.node import Node, State
from cupola.backend.passes import Passes
from cupola.backend.pausing import Pausing
from cupola.backend.pushes import PushDone, Pushes
from cupola.backend.queries import QueryRunner, report
from cupola.backend.scheduled import ScheduledCalls
from cupola.backend.sessions import SessionHost
from cupola.backend.vector_searches import InlineVectors, VectorSearches
from cupola.backend.workers import Workers
from cupola.clock import Clock, SystemClock
from cupola.database.committer import Committer
from cupola.database.load import load_catalog
from cupola.database.transaction import Transaction
from cupola.errors import (
    CupolaError,
    OperatorError,
    OverloadedError,
)
from cupola.files import FileStore, MemoryFiles
from cupola.functions.app import App
from cupola.functions.definitions import Function, Kind
from cupola.functions.execution import Execution
from cupola.functions.javascript import PushedCode
from cupola.limits import DEFAULT_LIMITS, Limits
from cupola.persistence import MemoryPersistence, Persistence
from cupola.runtimes.python.in_process import InProcessRuntime
from cupola.scheduling import Executor
from cupola.values import qualified, use_limits

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_LOG = logging.getLogger("cupola")
_PING_SLICES = 5


class Backend:
    """One deployment: its data, its code, its sessions. Everything happens on one thread."""

    def __init__(
        self,
        persistence: Persistence | None = None,
        *,
        clock: Clock | None = None,
        limits: Limits = DEFAULT_LIMITS,
        instance_name: str = DEFAULT_INSTANCE_NAME,
        instance_secret: bytes | None = None,
        in_process_time_s: float | None = None,
        files: FileStore | None = None,
    ) -> None:
        """`in_process_time_s`: how long a query or mutation may keep this thread; by default as
        `limits` says. Those of values and names hold for the whole process, the app's import too.
        `files`: where stored files are kept; by default in memory.

        Raises:
            ConfigurationError: A limit that cannot be kept.
        """
        use_limits(limits)
        self.clock: Clock = clock or SystemClock()
        self.limits = limits
        secret = self._secret = instance_secret or self.clock.random_bytes(32)
        self.admin_keys = AdminKeys(instance_name, secret, self.clock)
        persistence = persistence or MemoryPersistence(limits)
        committer = Committer(persistence, load_catalog(persistence.reader), self.clock)
        runtime = InProcessRuntime(in_process_time_s or limits.user_time_s)
        self.node = Node(persistence, committer, self.clock, limits, secret, runtime)
        self.node.wake = self.wake
        self.users = TokenVerifier(self.clock, limits, self.node.session_tokens)
        self.users.exchange_api_key = partial(exchange_api_key, self)
        self.workers = Workers(self, secret)
        self.pushes = Pushes(self.node, self.use, self.workers.search_builds)
        self._queries = QueryRunner(self.node)
        self.mutations = MutationQueue(self.node)
        self.passes = Passes(self.node, self._queries)
        self._asked = AskedQueries(
            self.node, self._queries, self.mutations, lambda: bool(self.pushes)
        )
        self.files = Files(self, files or MemoryFiles())
        self.node.system.keeps_files = bool(self.files.store.address)
        self.http_actions = HttpActions(self)
        self.actions: ActionRuntime = InlineActions(self)
        self.vectors: VectorSearches = InlineVectors(self)
        self._scheduled = ScheduledCalls(self)
        self.scheduler = Executor(self._scheduled, limits, self.clock)
        """Runs scheduled functions and cron jobs."""
        self.node.followers.append(self.scheduler.saw)
        self.pausing = Pausing(self)
        self.collectors: list[Any] = [NodeCollector(self)]
        """Prometheus collectors, asked when somebody looks at `registry`."""
        self.request_turn: Callable[[Callable[[], None]], object] | None = None
        self.on_failure: Callable[[CupolaError], None] | None = None
        self.forbids_private_addresses = False
        self._turn_requested = False
        self.in_turn = False
        self._sessions: dict[int, SessionHost] = {}
        self._session_number = 0
        self._running_actions = 0
        self._tick = 0

    # ---------------------------------------------------------------- what it is

    @property
    def instance_name(self) -> str:
        return self.admin_keys.instance_name

    @property
    def registry(self) -> CollectorRegistry:
        """Everything that can be measured. The library is loaded when it is first asked for."""
        from prometheus_client import CollectorRegistry

        registry = CollectorRegistry(auto_describe=False)
        for collector in self.collectors:
            registry.register(collector)
        return registry

    @property
    def data_path(self) -> str | None:
        """The database file, where other processes read it too."""
        return self.workers.data_path

    @property
    def state(self) -> State:
        return self.node.state

    @property
    def app(self) -> App:
        return self.node.app

    @property
    def packages_folder(self) -> str:
        """Where npm packages are installed; empty without a data folder."""
        return self.workers.packages_folder

    @property
    def redacts_errors(self) -> bool:
        """Whether texts of errors and log lines are kept from clients."""
        return self.node.redacts_errors

    @redacts_errors.setter
    def redacts_errors(self, value: bool) -> None:
        self.node.redacts_errors = value

    def newest_durable_ts(self) -> int:
        """The newest commit that may be shown to anyone."""
        return self.node.persistence.durable_ts

    @property
    def session_count(self) -> int:
        return len(self._sessions)

    def status(self) -> dict[str, Any]:
        """The Global State Manager's view: what commits, and what waits."""
        node = self.node
        return {
            "state": node.state,
            "isPaused": node.is_paused,
            "headTs": node.persistence.head_ts,
            "durableTs": node.persistence.durable_ts,
            "commits": node.committer.commits,
            "conflicts": node.committer.conflicts,
            "queuedMutations": len(self.mutations),
            "queuedQueries": len(self._asked),
            "staleQueries": len(self.passes),
            "runningActions": self._running_actions,
            "undelivered": len(node.outbox),
            "sessions": len(self._sessions),
            "liveAndCachedQueries": len(node.cache),
            "codeVersion": node.app.version,
        }

    # ---------------------------------------------------------------- turning

    def use_workers(self, data_path: str) -> None:
        """Run slow queries and mutations, and actions, in processes of their own, from `attach` on.

        `data_path`: the database file, which transaction workers read.
        """
        self.workers.use(data_path)

    def always_in_workers(self, paths: Sequence[str]) -> None:
        """These functions never run on the loop: they have stopped it before."""
        self.workers.stalled = list(paths)

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let an event loop do the turns, and start working in the background."""
        self.workers.attach(loop)
        self.request_turn = loop.call_soon
        self.workers.attach_indexes(loop)
        self._scheduled.loop = loop

        owner = threading.get_ident()

        def notify() -> None:
            if threading.get_ident() != owner:
                loop.call_soon_threadsafe(self.wake)
            elif not self.in_turn:  # a turn looks for itself
                self.wake()

        self.node.persistence.start(notify)
        self._turn_requested = False  # whoever turned by hand has stopped now
        self.wake()

    def wake(self) -> None:
        """Something is to be done: ask for a turn, once."""
        if self._turn_requested:
            return
        self._turn_requested = True
        if self.request_turn is not None and not self.in_turn:
            self.request_turn(self.turn)

    @property
    def needs_turn(self) -> bool:
        return self._turn_requested

    def turn(self) -> None:
        """One turn; see the module's docstring."""
        self._turn_requested = False
        if self._stop_if_failed():
            return
        self.in_turn = True
        try:
            more = self._work()
        finally:
            self.in_turn = False
        if more or self._turn_requested or self.node.persistence.failure is not None:
            self._turn_requested = False
            self.wake()

    def _work(self) -> bool:
        """All phases of a turn. Returns whether another is needed."""
        node = self.node
        budget = node.runtime.budget
        budget.start_turn()
        try:
            self.mutations.run_group()
            self.pushes.run()
            self.scheduler.run()
            self._asked.answer()
            more = self.passes.run()
        except CupolaError as error:
            self._stop(error)
            return False
        except Exception as error:
            _LOG.exception(
                "An error of Cupola itself; the deployment stops rather than go on wrong"
            )
            self._stop(OperatorError(f"Internal error: {error!r}", code="InternalServerError"))
            return False
        finally:
            budget.end_turn()
        self._turn_requested = False  # so far by one phase for a later one, which has run
        if self.mutations.offload is not None:
            self.mutations.offload.calls.dispatch()
        persistence = node.persistence
        if persistence.head_ts > persistence.durable_ts:
            persistence.sync()
        node.outbox.release(persistence.durable_ts)
        return more or self.pushes.is_busy or bool(self._asked) or self.mutations.may_run

    def run_until_idle(self) -> None:
        """Turn until nothing is left to do: for tests and scripts without an event loop."""
        while self._turn_requested:
            self.turn()

    def tick(self) -> None:
        """Once a second: pings for silent sessions, the end of stuck ones, upkeep of the log."""
        self._tick += 1
        for ticker in tuple(self.node.tickers):
            ticker()
        now_ns = self.clock.monotonic_ns()
        silence_ns = int((self.limits.ping_interval_s - _PING_SLICES) * 1e9)
        overdue_ns = now_ns - int(self.limits.mutation_time_s * 1e9)
        for number, host in list(self._sessions.items()):
            if host.mutation_since_ns is not None and host.mutation_since_ns < overdue_ns:
                host.close(1011, "InternalServerError")  # its mutation may still commit, once
                continue
            is_due = number % _PING_SLICES == self._tick % _PING_SLICES
            if is_due and now_ns - host.sent_at_ns >= silence_ns:
                host.ping()
        if self.node.state == "ready" and not self.node.persistence.holding_commits():
            try:
                self.node.persistence.maintain()
            except OperatorError as error:
                _LOG.warning("Upkeep of the log failed and will be tried again: %s", error.message)
            self.wake()

    def _stop_if_failed(self) -> bool:
        failure = self.node.persistence.failure
        if failure is not None:
            self._stop(failure)
        return self.node.state == "failed"

    def _stop(self, failure: CupolaError) -> None:
        """Nothing more is executed or sent; what was acknowledged is on disk."""
        if self.node.state == "failed":
            return
        self.node.state = "failed"
        self.node.outbox.stop()
        _LOG.critical("The deployment stops: %s", failure.message)
        if self.on_failure is not None:
            self.on_failure(failure)

    # ---------------------------------------------------------------- calls

    def submit(self, request: CallRequest, done: Done) -> None:
        """Run a function. `done` is called once, on this thread, possibly before this returns, and
        never before what it shows is durable."""
        if request.component_path:
            path = qualified(request.component_path, request.path)
            request = dataclasses.replace(request, path=path, component_path=None)
        try:
            kind = self._kind_of(request)
            if kind is Kind.QUERY:
                self._asked.submit(request, done)
            elif kind is Kind.MUTATION:
                self._submit_mutation(request, done)
            else:
                self._submit_action(request, done)
        except CupolaError as error:
            deliver(self.node, failed(self.node, error, request), done)

    async def call(self, request: CallRequest) -> CallResult:
        """`submit` for those who can wait."""
        future: asyncio.Future[CallResult] = asyncio.get_running_loop().create_future()

        def done(result: CallResult) -> None:
            if not future.done():
                future.set_result(result)

        self.submit(request, done)
        if future.done():  # from the cache
            await asyncio.sleep(0)  # who asks in a loop lets the loop turn, so that writers come in
        return await future

    def submit_batch(
        self, requests: Sequence[CallRequest], done: Callable[[list[CallResult]], None]
    ) -> None:
        """Run several queries at one timestamp, in order."""
        self._asked.submit_batch(requests, done)

    def _kind_of(self, request: CallRequest) -> Kind:
        if request.kind != "any":
            return Kind(request.kind)
        return self.node.find(
            request.path, None, request.identity, request.visibility == "public"
        ).kind

    def _submit_mutation(self, request: CallRequest, done: Done) -> None:
        self.mutations.put(
            PendingMutation(
                path=request.path,
                args=request.args,
                identity=request.identity,
                done=lambda result: deliver(self.node, result, done),
                request_id=request.request_id or self.node.new_request_id(),
                public_only=request.visibility == "public",
                job=request.job,
            )
        )

    def _submit_action(self, request: CallRequest, done: Done) -> None:
        public_only = request.visibility == "public"
        function = self.node.find(request.path, Kind.ACTION, request.identity, public_only)
        self.start_action(function, request, done)

    @property
    def may_start_action(self) -> bool:
        return self._running_actions < self.limits.concurrent_actions_max

    def start_action(self, function: Function[Any, Any], request: CallRequest, done: Done) -> None:
        """Run an action; `done` as in `submit`.

        Raises:
            OverloadedError: As many run as may be.
        """
        node = self.node
        request_id = request.request_id or node.new_request_id()
        started = node.clock.monotonic_ns()
        self.begin_action()

        def finished(execution: Execution) -> None:
            self.end_action()
            result = action_result(node, execution, request_id)
            if node.watchers or execution.audits:
                report(
                    node,
                    "action",
                    function.path,
                    request_id,
                    started,
                    execution,
                    result.error_message,
                    result.ts,
                    request.identity,
                    "HttpApi" if request.job is None else "Scheduler",
                )
            deliver(self.node, result, done)

        self.actions.start(
            function, request.args, request.identity, request_id, finished, request.job
        )

    def begin_action(self) -> None:
        """Count one more running action.

        Raises:
            OverloadedError: There are as many as may be.
        """
        if self._running_actions >= self.limits.concurrent_actions_max:
            raise OverloadedError(
                f"{self._running_actions} actions are running already; try again later.",
                code="TooManyConcurrentActions",
            )
        self._running_actions += 1
        self.node.counters["actions"] += 1

    def end_action(self) -> None:
        self._running_actions -= 1
        if self.scheduler.waiting:  # for the room that this one leaves
            self.node.wake()

    # ---------------------------------------------------------------- sessions

    def open_session(
        self, channel: Channel, *, chunked: bool = False, origin: Origin = NOWHERE
    ) -> SessionHost:
        """A client has connected, from `origin`; `chunked`: it understands TransitionChunk."""
        if len(self._sessions) >= self.limits.sessions_max:
            raise OverloadedError(
                f"{len(self._sessions)} clients are connected already.",
                code="TooManyConcurrentRequests",
            )
        self._session_number += 1
        host = SessionHost(self, channel, self._session_number, chunked=chunked, origin=origin)
        self._sessions[host.number] = host
        return host

    def forget_session(self, host: SessionHost) -> None:
        self._sessions.pop(host.number, None)

    def authenticate(
        self, token_type: str, value: str, impersonating: bytes | None
    ) -> Identity | UserToken:
        """Who a client says it is; the token of a user is still to be verified, by `users`.

        Raises:
            UnauthenticatedError: The key proves nothing here.
        """
        if token_type == "None":
            return ANONYMOUS
        return authenticate(token_type, value, impersonating, self.admin_keys)  # type: ignore[arg-type]

    # ---------------------------------------------------------------- code

    def deploy(
        self, app: App, done: PushDone, also: Callable[[Transaction], None] | None = None
    ) -> None:
        """Make `app` the running code, once its schema is accepted; until then the old one serves.
        `also` writes in the transaction that puts the schema in force.

        `done(None)` when it is live, `done(error)` when the old code stays.
        """
        self.pushes.deploy(app, done, also)

    def use(self, app: App, environment: Mapping[str, str] | None = None) -> None:
        """Run other code on the schema in force. `environment`: other variables for it."""
        node = self.node
        app.system = node.system
        node.app = app
        self.users.use(app.auth_providers)
        if environment is not None:
            node.runtime.environment = dict(environment)
        app.table_numbers.update(node.committer.catalog.numbers)
        self.mutations_code_changed()
        self.passes.everything_stale()
        node.state = "ready" if node.state == "starting" else node.state
        self.scheduler.declare(app.crons)
        for _, index in node.committer.catalog.searches.values():
            if index.state == "staged":  # nobody waits for it, but it is to be built
                self.workers.search_builds().is_built(index)

    def prepare(self, app: App) -> None:
        """`app` will become the running code, most likely: start its workers now."""
        if self.mutations.offload is not None:
            self.mutations.offload.prepare(app)
        self.actions.prepare(app)

    def expect_push(self) -> None:
        """Other code will come soon: start what can be started without it."""
        if self.mutations.offload is not None:
            self.mutations.offload.expect()

    async def wait_prepared(self, app: App) -> None:
        """Until its workers have loaded `app`, which `prepare` was given; but not for long."""
        if self.mutations.offload is not None:
            await self.mutations.offload.wait_prepared(app)

    async def run_one_off(self, code: PushedCode, path: str, identity: Identity) -> CallResult:
        """Run a query of code that is not deployed; see `run_one_off`. Needs a data file."""
        from cupola.backend.one_off import run_one_off

        assert self.data_path is not None
        return await run_one_off(self.node, self.data_path, self._secret, code, path, identity)

    def mutations_code_changed(self) -> None:
        if self.mutations.offload is not None:
            self.mutations.offload.code_changed()

    def deploy_now(self, app: App) -> None:
        """`deploy`, turning by hand until it is over.

        Raises: what the push failed with.
        """
        outcome: list[BaseException | None] = []
        self.deploy(app, outcome.append)
        while not outcome:
            self.turn()
        if outcome[0] is not None:
            raise outcome[0]

    def load(self, folder: Path | str) -> None:
        """Import an app from its folder and make it the running code, now."""
        from cupola.functions.app import load_app

        self.deploy_now(load_app(folder))

    # ---------------------------------------------------------------- the end

    def drain(self) -> None:
        """Stop taking part: readiness is false from now on; running calls go on."""
        if self.node.state != "failed":
            self.node.state = "draining"

    @property
    def is_idle(self) -> bool:
        return (
            not len(self.mutations)
            and not self._asked
            and self.passes.is_idle
            and not self._running_actions
            and not (self.mutations.offload is not None and len(self.mutations.offload))
            and not len(self.node.outbox)
        )

    async def close(self) -> None:
        """End everything; what was acknowledged is on disk."""
        self.drain()
        self._scheduled.close()
        self.passes.abandon()
        await self.actions.close()
        self.workers.close_indexes()
        await self.files.close()
        if self.mutations.offload is not None:
            self.mutations.offload.close()
        self.node.persistence.close()

"""A deployment for tests: the real engine on the log in memory, with a clock that stands still.

Nothing runs by itself. A call turns the engine until nothing is left to do, carries every frame of
every client, and returns; so a test needs neither an event loop nor a wait. Actions, which may wait
for the outside, get an event loop for as long as they run.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

from cupola.auth import ANONYMOUS, Identity, UserToken
from cupola.backend import Backend
from cupola.backend.actions import ActionDone, InlineActions, error_of
from cupola.backend.calls import CallRequest, CallResult
from cupola.clock import ManualClock
from cupola.errors import CupolaError
from cupola.functions.app import App, load_app
from cupola.functions.context import MutationCtx
from cupola.functions.definitions import Function, internal_mutation, path_of
from cupola.functions.execution import decode_result, encode_arguments
from cupola.limits import DEFAULT_LIMITS, Limits
from cupola.persistence import MemoryPersistence, Persistence
from cupola.sync.client_session import Token
from cupola.testing.client import Client
from cupola.values import decode, encode

T = TypeVar("T")

ISSUER = "https://testing.invalid"
RUN_PATH = "testing:run"
_JOBS_MAX = 20_000
_MOMENT_NS = 10_000  # times of jobs are ms as floats: a chain of them drifts by less
_SECRET = b"cupola.testing: always this one."


class TestBackend(Backend):
    """A backend that knows the users a test made up."""

    __test__ = False

    def __init__(self, persistence: Persistence, **settings: Any) -> None:
        super().__init__(persistence, **settings)
        self.made_up: dict[str, Identity] = {}

    def authenticate(
        self, token_type: str, value: str, impersonating: bytes | None
    ) -> Identity | UserToken:
        if token_type == "User" and value in self.made_up:
            return self.made_up[value]
        return super().authenticate(token_type, value, impersonating)


class QueuedActions(InlineActions):
    """Actions wait for an event loop, where none is running."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self._queue: collections.deque[tuple[Any, ...]] = collections.deque()

    def __len__(self) -> int:
        return len(self._queue)

    def start(
        self,
        function: Function[Any, Any],
        args: bytes,
        identity: Identity,
        request_id: str,
        done: ActionDone,
        job: str | None = None,
    ) -> None:
        try:
            super().start(function, args, identity, request_id, done, job)
        except RuntimeError:
            self._queue.append((function, args, identity, request_id, done, job))

    async def run(self) -> None:
        """Run all that wait, and those that they start, to their ends."""
        while self._queue:
            self.start(*self._queue.popleft())
        while self._tasks:
            await asyncio.wait(self._tasks)


class Caller:
    """Calls functions as somebody: nobody in particular, a user, or an admin."""

    def __init__(self, deployment: Deployment, identity: Identity) -> None:
        self._deployment = deployment
        self._identity = identity

    def query(self, function: Function[Any, Any] | str, /, **args: Any) -> Any:
        """Run a query: `app.query("messages:list", channel="general")`, or by reference.

        Returns: what the function returns, in the types that it declares.

        Raises: the typed error the call failed with; ApplicationError has the app's data.
        """
        return self._deployment.call_now("query", function, args, self._identity)

    def mutation(self, function: Function[Any, Any] | str, /, **args: Any) -> Any:
        """Run a mutation; all clients have heard of it when this returns. Else as `query`."""
        return self._deployment.call_now("mutation", function, args, self._identity)

    def action(self, function: Function[Any, Any] | str, /, **args: Any) -> Any:
        """Run an action, in an event loop of its own. Where one runs already, await `call`."""
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop()
            raise AssertionError("An event loop is running: use `await app.call(...)` instead.")
        return self._deployment.call_now("action", function, args, self._identity)

    async def call(self, function: Function[Any, Any] | str, /, **args: Any) -> Any:
        """Run a function of any kind, for tests that have an event loop."""
        return await self._deployment.call_later(function, args, self._identity)

    def connect(self) -> Client:
        """A client that shows who this is, connected."""
        return self._deployment.connect_as(self._identity)


class Deployment(Caller):
    """One deployment, to itself. Calls on it are those of an anonymous caller; see `as_user`."""

    def __init__(
        self,
        app: App | Path | str,
        *,
        persistence: Persistence | None = None,
        clock: ManualClock | None = None,
        limits: Limits = DEFAULT_LIMITS,
        time_s: float = 5.0,
    ) -> None:
        """`app`: the folder with `functions/`, or what `load_app` made of it.

        `time_s`: after how long a query or mutation that does not end is ended. Longer than in
        production, since a machine that runs tests is busy.

        Raises:
            SchemaError: The app cannot be loaded.
        """
        super().__init__(self, ANONYMOUS)
        self.app = app if isinstance(app, App) else load_app(app)
        self.clock = clock or ManualClock()
        self.limits = limits
        self.log_lines: list[str] = []
        """What the last call logged, as clients see it: `[LOG] 'text'`."""
        self._time_s = time_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turners = 0
        self._clients: list[Client] = []
        self.backend = self._start(persistence or MemoryPersistence())

    def _start(self, persistence: Persistence) -> TestBackend:
        self.app.table_numbers.clear()  # an app may have run on other data before
        backend = TestBackend(
            persistence,
            clock=self.clock,
            limits=self.limits,
            instance_name="testing",
            instance_secret=_SECRET,
            in_process_time_s=self._time_s,
        )
        self._actions = backend.actions = QueuedActions(backend)
        persistence.start(self._notified)
        backend.deploy_now(self.app)
        return backend

    def __enter__(self) -> Deployment:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # ---------------------------------------------------------------- who calls

    def as_user(self, subject: str, *, issuer: str = ISSUER, **claims: Any) -> Caller:
        """The user that `ctx.auth.get_user_identity()` tells of: `as_user("ada", email="…")`."""
        token_identifier = claims.pop("tokenIdentifier", f"{issuer}|{subject}")
        attributes = {
            "subject": subject,
            "issuer": issuer,
            "tokenIdentifier": token_identifier,
            **claims,
        }
        normal = decode(encode(attributes))
        assert isinstance(normal, dict)
        return Caller(self, Identity("user", normal))

    def with_token(self, token: str) -> Caller:
        """Whoever holds a token or an API key, as clients give it to `setAuth`.

        Raises:
            UnauthenticatedError: It proves nothing, or not any more.
        """
        answers: list[Identity | CupolaError] = []
        self.backend.users.verify(token, answers.append)
        self.settle()
        if isinstance(answers[0], CupolaError):
            raise answers[0]
        return Caller(self, answers[0])

    def as_admin(self) -> Caller:
        """Whoever holds the admin key: may call internal functions too."""
        return Caller(self, Identity("admin"))

    # ---------------------------------------------------------------- the data, directly

    def run(self, code: Callable[[MutationCtx], T]) -> T:
        """Run Python in one transaction, as an internal mutation: to seed data, or to look at it.

            app.run(lambda ctx: ctx.db.insert(Message(channel="general", author="ada", body="hi")))

        Returns: what `code` returns, as it is.

        Raises: what `code` raises, and then nothing is written.
        """
        returned: list[T] = []
        raised: list[Exception] = []

        def run(ctx: MutationCtx) -> None:
            try:
                returned.append(code(ctx))
            except Exception as error:  # the caller gets it as it is
                raised.append(error)
                raise

        function = internal_mutation(run)
        function.compile(RUN_PATH, self.app.table_numbers)
        functions = self.backend.app.functions
        functions[RUN_PATH] = function
        try:
            self.call_now("mutation", RUN_PATH, {}, self._identity, visibility="any")
        except Exception:  # what `code` raised, told as a failed call, or the call's own failure
            if raised:
                raise raised[-1] from None
            raise
        finally:
            del functions[RUN_PATH]
        return returned[-1]

    # ---------------------------------------------------------------- calls

    def call_now(
        self,
        kind: Literal["query", "mutation", "action"],
        function: Function[Any, Any] | str,
        args: dict[str, Any],
        identity: Identity,
        visibility: Literal["public", "any"] = "public",
    ) -> Any:
        path = path_of(function)
        request = CallRequest(kind, path, encode_arguments(args), identity, visibility=visibility)
        results: list[CallResult] = []
        self.backend.submit(request, results.append)
        self.settle()
        assert results, f"{path} is not answered: what it shows is not durable"
        return self._value(path, results[0])

    async def call_later(
        self, function: Function[Any, Any] | str, args: dict[str, Any], identity: Identity
    ) -> Any:
        path = path_of(function)
        request = CallRequest("any", path, encode_arguments(args), identity)
        with self._turning():
            result = await self.backend.call(request)
        self.settle()
        return self._value(path, result)

    def _value(self, path: str, result: CallResult) -> Any:
        lines = decode(result.log_lines)
        assert isinstance(lines, list)
        self.log_lines = [str(line) for line in lines]
        if result.value is None:
            raise error_of(result)
        return decode_result(self.backend.app.find(path), result.value)

    # ---------------------------------------------------------------- clients

    def connect_as(self, identity: Identity) -> Client:
        client = Client(self, self._token_of(identity))
        self._clients.append(client)
        client.reconnect()
        return client

    def _token_of(self, identity: Identity) -> Token | None:
        if identity.kind == "anonymous":
            return None
        if identity.kind == "admin":
            return Token("Admin", self.backend.admin_keys.issue())
        name = identity.cache_key.hex()
        self.backend.made_up[name] = identity
        return Token("User", name)

    # ---------------------------------------------------------------- turning

    def advance(self, seconds: float) -> None:
        """Let time pass: scheduled functions and cron jobs run, each at the time when it is due."""
        end_ns = self.clock.now_ns() + round(seconds * 1e9)
        self.settle()
        while (due_ns := self.backend.scheduler.next_due_ns) is not None:
            if due_ns > end_ns + _MOMENT_NS:
                break
            self._move_clock(due_ns)
            self.settle()
        self._move_clock(end_ns)
        self.settle()

    def _move_clock(self, time_ns: int) -> None:
        self.clock.advance(max(0, time_ns - self.clock.now_ns()) / 1e9)

    def settle(self) -> None:
        """Run the engine and carry frames until nothing is left to do. Calls do this themselves.

        Scheduled functions that are due run too; those that are due later wait for `advance`.
        """
        backend = self.backend
        persistence = backend.node.persistence
        began = backend.scheduler.begun
        backend.wake()  # durability may have advanced
        while True:
            while backend.needs_turn:
                backend.turn()
                assert backend.scheduler.begun - began < _JOBS_MAX, (
                    f"{_JOBS_MAX} scheduled functions have run at one moment: they schedule each "
                    "other without an end. Give them a delay."
                )
            moved = [client.move_frames() for client in self._clients]
            if any(moved) or backend.needs_turn:
                continue
            if len(self._actions):
                asyncio.run(self._run_actions())
            elif self._waits_for_durability(persistence):
                persistence.wait_durable()
                backend.wake()
            else:
                return

    @staticmethod
    def _waits_for_durability(persistence: Persistence) -> bool:
        """In memory it comes at once, or when a test releases it."""
        return not (
            isinstance(persistence, MemoryPersistence)
            or persistence.failure is not None
            or persistence.durable_ts >= persistence.head_ts
        )

    async def _run_actions(self) -> None:
        with self._turning():
            await self._actions.run()

    @contextlib.contextmanager
    def _turning(self) -> Iterator[None]:
        """The running event loop does the turns, until the last who waits in it is done."""
        backend = self.backend
        self._turners += 1
        self._loop = asyncio.get_running_loop()
        backend.request_turn = self._loop.call_soon
        if backend.needs_turn:
            self._loop.call_soon(backend.turn)
        try:
            yield
        finally:
            self._turners -= 1
            if not self._turners:
                self._loop = None
                backend.request_turn = None

    def _notified(self) -> None:
        """The log has news; called from any thread."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it has just ended
                loop.call_soon_threadsafe(self.backend.wake)

    # ---------------------------------------------------------------- the end

    def restart(self, persistence: Persistence | None = None) -> None:
        """Start again on the same log, as after a crash; `persistence`: the log, opened anew.

        Clients lose their connections and may `reconnect`.
        """
        for client in self._clients:
            client.disconnect("ServerRestart")
        made_up = self.backend.made_up
        self.backend = self._start(persistence or self.backend.node.persistence)
        self.backend.made_up = made_up

    def close(self) -> None:
        """Let go of the log. What is in memory is gone then."""
        for client in self._clients:
            client.disconnect()
        self.backend.drain()
        self.backend.passes.abandon()
        self.backend.node.persistence.close()

"""Actions in processes of their own, where they may block, import and compute as they like."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

import msgspec

from cupola.auth import Identity
from cupola.backend.actions import ActionDone, error_of, nested_request
from cupola.backend.answers import failed
from cupola.backend.calls import CallRequest, CallResult
from cupola.errors import ApplicationError, CupolaError, DeveloperError, OperatorError
from cupola.functions.app import App
from cupola.functions.definitions import Function
from cupola.functions.execution import Execution
from cupola.functions.failure import RemoteError
from cupola.functions.http import AnyHttpAction
from cupola.runtimes.python import messages
from cupola.runtimes.python.messages import Alive, NestedCall, NestedResult, Probe, Ready, Setup
from cupola.runtimes.python.worker_process import WorkerProcess
from cupola.values import decode, encode, split_qualified

if TYPE_CHECKING:
    from cupola.backend.backend import Backend
    from cupola.backend.http_actions import Exchange

MODULE = "cupola.runtimes.python.action_worker"
JAVASCRIPT_MODULE = "cupola.runtimes.v8.action_worker"
_PROBE_S = 5.0
_BLOCKED_PROBES_MAX = 6
_IDLE_S = 60.0
_START_S = 30.0


@dataclasses.dataclass(slots=True)
class _Running:
    path: str
    identity: Identity
    done: ActionDone
    request_id: str
    exchange: Exchange | None = None
    job: str | None = None


class ActionWorkers:
    """One worker for the running code; workers of older code end with their last action.

    A worker that does not answer for half a minute has something blocking its loop, which stops all
    its actions: it is ended, they fail, and the next action starts another.
    """

    def __init__(self, backend: Backend, loop: asyncio.AbstractEventLoop) -> None:
        self._backend = backend
        self._loop = loop
        self._current: _ActionWorker | None = None
        self._prepared: _ActionWorker | None = None  # of code that does not run yet
        self._all: set[_ActionWorker] = set()

    def start(
        self,
        function: Function[Any, Any],
        args: bytes,
        identity: Identity,
        request_id: str,
        done: ActionDone,
        job: str | None = None,
    ) -> None:
        """Run an action in the current worker, starting it if need be."""
        worker = self._current_or_new(done)
        if worker is not None:
            worker.run(_Running(function.path, identity, done, request_id, job=job), args)

    def start_http(self, action: AnyHttpAction, exchange: Exchange, done: ActionDone) -> None:
        """The same for an HTTP action."""
        worker = self._current_or_new(done)
        if worker is not None:
            asked = exchange.request
            running = _Running(action.path, asked.identity, done, asked.request_id, exchange)
            worker.run_http(running)

    def prepare(self, app: App) -> None:
        """This code will run soon: where actions run, have a worker that has loaded it."""
        if self._current is None or self._current.version == app.version:
            return
        if self._prepared is not None:
            if self._prepared.version == app.version:
                return
            self._prepared.retire()
        with contextlib.suppress(OSError):  # the first action will tell
            self._prepared = self._new(app)

    def _new(self, app: App) -> _ActionWorker:
        worker = _ActionWorker(self, self._backend, self._loop, app)
        self._all.add(worker)
        return worker

    def _current_or_new(self, done: ActionDone) -> _ActionWorker | None:
        app = self._backend.node.app
        worker = self._current
        if worker is None or worker.is_ended or worker.version != app.version:
            if worker is not None:
                worker.retire()
            prepared, self._prepared = self._prepared, None
            if prepared is not None and prepared.version != app.version:
                prepared.retire()
                prepared = None
            try:
                worker = self._current = prepared or self._new(app)
            except OSError as error:
                reason = f"No worker process can be started: {error}"
                done(Execution(None, OperatorError(reason, code="NoWorker"), []))
                return None
        return worker

    def is_wanted(self, worker: _ActionWorker) -> bool:
        """Whether it runs the present code, and will have more to do."""
        return worker is self._current

    def forget(self, worker: _ActionWorker) -> None:
        self._all.discard(worker)
        if self._current is worker:
            self._current = None
        if self._prepared is worker:
            self._prepared = None

    async def close(self) -> None:
        for worker in list(self._all):
            worker.process.kill()


class _ActionWorker:
    """One process and the actions it runs."""

    def __init__(
        self,
        workers: ActionWorkers,
        backend: Backend,
        loop: asyncio.AbstractEventLoop,
        app: App,
    ) -> None:
        self._workers = workers
        self._backend = backend
        self._loop = loop
        self._running: dict[int, _Running] = {}
        self._storing: set[str] = set()
        self._tables: dict[str, int] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._retired = False
        self._call = 0
        self._probe = 0
        self._answered = 0
        self.is_ended = False
        node = backend.node
        self.version = app.version
        limits = messages.limit_fields(backend.limits)
        code = app.javascript
        setup = Setup(
            str(app.folder),
            app.sources,
            "",
            b"",
            limits,
            node.runtime.environment,
            msgspec.msgpack.encode(code) if code is not None else b"",
            files=backend.files.store.address,
            handle_key=node.handle_key,
            packages=backend.packages_folder,
            forbids_private_addresses=backend.forbids_private_addresses,
        )
        module = MODULE if code is None else JAVASCRIPT_MODULE
        self._is_slow_to_start = code is not None  # once needed, it stays
        self.process = WorkerProcess(module, setup, loop, self._received, self._ended)
        self._timer = loop.call_later(_PROBE_S, self._look)
        self._started = self._idle_since = loop.time()

    def run(self, running: _Running, args: bytes) -> None:
        self._call += 1
        self._running[self._call] = running
        caller = messages.caller_of(running.identity)
        request_id, job = running.request_id, running.job
        self._send(messages.RunAction(self._call, running.path, args, caller, request_id, job))

    def run_http(self, running: _Running) -> None:
        assert running.exchange is not None
        self._call = number = self._call + 1
        self._running[number] = running
        asked = running.exchange.request
        running.exchange.cancel = lambda: self._send(messages.Cancel(number))
        self._send(
            messages.RunHttp(
                number,
                running.path,
                asked.method,
                asked.url,
                asked.headers,
                messages.caller_of(asked.identity),
                asked.identity_problem,
                asked.request_id,
            )
        )

    def _on_http(self, message: messages.FromHttpAction) -> None:
        running = self._running.get(message.call)
        if running is None or running.exchange is None:
            return
        exchange = running.exchange
        match message:
            case messages.BodyWanted():
                task = self._loop.create_task(self._send_body(message.call, exchange))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            case messages.ResponseHead():
                exchange.offer_head(message.status, message.headers)
            case messages.ResponsePart():
                taken = messages.PartTaken(message.call)
                exchange.offer_part(message.data, lambda: self._send(taken))

    async def _send_body(self, call: int, exchange: Exchange) -> None:
        try:
            data = await anext(exchange.request.body, None)
        except CupolaError as error:
            self._send(messages.BodyPart(call, b"", False, error.message))
        else:
            self._send(messages.BodyPart(call, data or b"", data is not None))

    def _send(self, message: messages.Message) -> None:
        """Send a message behind the tables it may speak of."""
        numbers = self._backend.node.committer.catalog.numbers  # another dict when they change
        if numbers is not self._tables:
            self._tables = numbers
            self.process.send(messages.Tables(numbers))
        self.process.send(message)

    def retire(self) -> None:
        """Other code is running now: end when the last action has."""
        self._retired = True
        if not self._running and not self.is_ended:
            self.process.kill()

    def _received(self, message: Any) -> None:
        match message:
            case Ready():
                if message.problem is not None:
                    self._fail(DeveloperError(message.problem, code="ImportFailed"))
                    self.process.kill()
            case messages.ActionDone():
                self._finish(message)
            case NestedCall():
                self._nested(message)
            case messages.BodyWanted() | messages.ResponseHead() | messages.ResponsePart():
                self._on_http(message)
            case Alive():
                self._answered = message.number

    def _finish(self, message: messages.ActionDone) -> None:
        running = self._running.pop(message.call, None)
        if running is None:
            return
        error: Exception | None = None
        if message.failure is not None:
            failure = message.failure
            error = RemoteError(failure.message, failure.code, failure.data)
        running.done(Execution(message.value, error, message.log_lines, audits=message.audits))
        self._idle_since = self._loop.time()
        if self._retired and not self._running:
            self.process.kill()

    def _nested(self, message: NestedCall) -> None:
        running = self._running.get(message.call)
        if message.kind == "storage" and message.path == "end":  # also behind the action's own end
            self._store(message)
            return
        if running is None:
            over = messages.Failure("The action has ended.", "ActionEnded", None)
            self.process.send(NestedResult(message.call, message.nested, None, over))
            return
        if message.kind == "storage" and message.path == "begin":
            self._store(message)
            return

        def done(result: CallResult) -> None:
            failure = None
            if result.value is None:
                error = error_of(result)
                data = result.error_data if isinstance(error, ApplicationError) else None
                text = error.message if isinstance(error, CupolaError) else str(error)
                failure = messages.Failure(text, str(error.code), data)
            self._send(NestedResult(message.call, message.nested, result.value, failure))

        if message.kind in ("storage", "vectors"):
            try:
                component, _ = split_qualified(running.path)
                if message.kind == "storage":
                    self._backend.files.submit(message.path, message.args, done, component)
                else:
                    self._backend.vectors.submit(message.args, done)
            except CupolaError as error:
                failure = messages.Failure(error.message, error.code, None)
                self._send(NestedResult(message.call, message.nested, None, failure))
            return
        identity = running.identity
        try:
            request = nested_request(
                message.kind,
                message.path,
                message.args,
                identity,
                running.job,
                running.path,
                running.request_id,
            )
        except CupolaError as error:
            request = CallRequest("mutation", message.path, message.args, identity)
            done(failed(self._backend.node, error, request))
            return
        self._backend.submit(request, done)

    def _store(self, message: NestedCall) -> None:
        """An action begins to store a file, or has stored it, or has failed to."""
        value, failure = b"null", None
        try:
            if message.path == "begin":
                name = self._backend.files.begin()
                self._storing.add(name)
                value = encode(name)
            else:
                arguments: Any = decode(message.args)
                self._stored(str(arguments["storageId"]))
        except CupolaError as error:
            failure = messages.Failure(error.message, error.code, None)
        answer = None if failure is not None else value
        self.process.send(NestedResult(message.call, message.nested, answer, failure))

    def _stored(self, name: str) -> None:
        if name in self._storing:
            self._storing.discard(name)
            self._backend.files.end(name)

    def _look(self) -> None:
        """Every few seconds: is its loop turning, and is it still needed?"""
        if not self.process.is_ready and self._loop.time() - self._started > _START_S:
            text = f"The actions' worker has not imported the app within {_START_S:g} s."
            self._fail(DeveloperError(text, code="WorkerStartTimeout"))
            self.process.kill()
            return
        if self._probe - self._answered >= _BLOCKED_PROBES_MAX:
            blocked = DeveloperError(
                "An action blocked its worker for half a minute, and was ended with all actions "
                "there; wait with `await`, or run blocking code in a thread.",
                code="ActionWorkerBlocked",
            )
            self._fail(blocked)
            self.process.kill()
            return
        is_idle = not self._running and self._loop.time() - self._idle_since > _IDLE_S
        if is_idle and not (self._is_slow_to_start and self._workers.is_wanted(self)):
            self.process.kill()
            return
        if self.process.is_ready:
            self._probe += 1
            self.process.send(Probe(self._probe))
        self._timer = self._loop.call_later(_PROBE_S, self._look)

    def _fail(self, error: CupolaError) -> None:
        running, self._running = self._running, {}
        for each in running.values():
            each.done(Execution(None, error, []))

    def _ended(self) -> None:
        self.is_ended = True
        self._timer.cancel()
        self._workers.forget(self)
        for name in list(self._storing):
            self._stored(name)
        self._fail(
            DeveloperError(
                "The action's worker process ended unexpectedly; the action may have done part of "
                "its work.",
                code="ActionWorkerEnded",
            )
        )

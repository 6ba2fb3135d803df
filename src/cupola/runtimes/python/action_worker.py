"""The action worker: a process that runs many Python actions at a time, on an event loop of its
own.

Actions may do whatever Python may; their calls of functions go back to the engine over the socket.
Started as `python -m cupola.runtimes.python.action_worker FD PARENT`.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
import socket
import sys
from collections.abc import Mapping
from typing import Any

from cupola.errors import ApplicationError, CupolaError, FunctionNotFoundError
from cupola.functions.actions import run_action
from cupola.functions.app import App, load_app
from cupola.functions.definitions import Function, Kind
from cupola.functions.execution import Execution, decode_result, encode_arguments
from cupola.functions.failure import RemoteError
from cupola.functions.handles import FunctionHandles
from cupola.functions.http import Request
from cupola.functions.http_run import Outlet, run_http_action
from cupola.functions.log_lines import LogBuffer
from cupola.functions.near_limits import CLIENT_GONE, warn_of_sizes, warn_of_time
from cupola.functions.requests import metadata_of
from cupola.functions.storage import ActionFiles
from cupola.limits import Limits
from cupola.runtimes.python.http_runs import HttpRuns
from cupola.runtimes.python.lifeline import die_with_parent
from cupola.runtimes.python.log_capture import level_of_stream, logged, printed
from cupola.runtimes.python.messages import (
    PIECE_BYTES,
    ActionDone,
    Alive,
    BodyPart,
    Cancel,
    FrameBuffer,
    Message,
    NestedCall,
    NestedResult,
    PartTaken,
    Probe,
    Ready,
    RunAction,
    RunHttp,
    Setup,
    Tables,
    frame,
    identity_of,
    limits_of,
    to_worker_decoder,
)
from cupola.runtimes.python.transaction_worker import failure_of, sendable
from cupola.runtimes.python.worker_files import WorkerFiles
from cupola.values import Value, decode, use_limits

Run = RunAction | RunHttp

_current: contextvars.ContextVar[LogBuffer | None] = contextvars.ContextVar("log", default=None)


class ActionWorker:
    """Runs the actions of one socket."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._tasks: set[asyncio.Task[None]] = set()
        self._nested: dict[int, asyncio.Future[NestedResult]] = {}
        self._nested_count = 0
        self._unsent = bytearray()
        self._app: App
        self._limits: Limits
        self._files: str
        self._http = HttpRuns(self)

    async def serve(self) -> None:
        """Until the engine goes away."""
        loop = asyncio.get_running_loop()
        buffer = FrameBuffer()
        while data := await loop.sock_recv(self._socket, PIECE_BYTES):
            for body in buffer.feed(data):
                self._receive(to_worker_decoder.decode(body))

    def _receive(self, message: Any) -> None:
        match message:
            case Setup():
                self.send(self._set_up(message))
            case RunAction():
                self.keep(asyncio.get_running_loop().create_task(self._run(message)))
            case RunHttp():
                self._http.start(message)
            case BodyPart() | PartTaken() | Cancel():
                self._http.receive(message)
            case Tables():
                self._app.table_numbers.update(message.numbers)
            case NestedResult():
                future = self._nested.pop(message.nested, None)
                if future is not None and not future.done():
                    future.set_result(message)
            case Probe():
                self.send(Alive(message.number))

    def keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def send(self, message: Message) -> None:
        was_empty = not self._unsent
        self._unsent += frame(message)
        if was_empty:
            self._write()

    def _write(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._unsent:
                sent = self._socket.send(self._unsent)
                del self._unsent[:sent]
        except BlockingIOError:
            loop.add_writer(self._socket, self._write)
            return
        except OSError:
            sys.exit(0)  # the engine has gone
        loop.remove_writer(self._socket)

    def _set_up(self, setup: Setup) -> Ready:
        self._limits = limits_of(setup.limits)
        self._files = setup.files
        use_limits(self._limits)
        _show_variables(setup.environment)
        try:
            self._app = self._load(setup)
            self._app.handles = FunctionHandles(setup.handle_key)
        except CupolaError as error:
            return Ready(error.message)
        return Ready(None)

    def _load(self, setup: Setup) -> App:
        return load_app(setup.app_folder, setup.sources)

    async def _execute(
        self, function: Function[Any, Any], run: RunAction, logs: LogBuffer
    ) -> Execution:
        caller = _Caller(self, run, logs)
        return await run_action(function, run.args, caller, logs, self._limits)

    async def _run(self, run: RunAction) -> None:
        logs = LogBuffer(self._limits)
        _current.set(logs)
        try:
            function = self._app.find(run.path)
        except CupolaError as error:  # it was sent before the code changed
            execution = Execution(None, error, [])
        else:
            started = asyncio.get_running_loop().time()
            execution = await self._execute(function, run, logs)
            self._warn(logs, started)
            warn_of_sizes(logs, self._limits, run.args, execution.value)
        failure = failure_of(execution, run.request_id, self._app)
        self.send(ActionDone(run.call, execution.value, failure, *_sendable_logs(logs)))

    def _warn(self, logs: LogBuffer, started: float) -> None:
        seconds = asyncio.get_running_loop().time() - started
        warn_of_time(logs, self._limits, "action_time_s", seconds)

    async def run_http(self, run: RunHttp, request: Request, outlet: Outlet) -> None:
        """Run an HTTP action to its end, and tell how it ended."""
        logs = LogBuffer(self._limits)
        _current.set(logs)
        started = asyncio.get_running_loop().time()
        try:
            execution = await self._execute_http(run, request, logs, outlet)
            self._warn(logs, started)
        except asyncio.CancelledError:
            logs.add("INFO", CLIENT_GONE)
            execution = Execution(b"null", None, logs.lines)  # nobody is left who asks
        failure = failure_of(execution, run.request_id, self._app)
        self.send(ActionDone(run.call, execution.value, failure, *_sendable_logs(logs)))

    async def _execute_http(
        self, run: RunHttp, request: Request, logs: LogBuffer, outlet: Outlet
    ) -> Execution:
        action = self._app.http_actions.get(run.path)
        if action is None:  # it was sent before the code changed
            return Execution(None, FunctionNotFoundError(f"There is no `{run.path}`."), [])
        caller, problem = _Caller(self, run, logs), run.identity_problem
        return await run_http_action(action, request, caller, logs, self._limits, outlet, problem)

    async def ask(self, run: Run, kind: str, path: str, args: bytes) -> NestedResult:
        """A call of a function by an action: the engine runs it. `kind`: as in `NestedCall`."""
        self._nested_count += 1
        number = self._nested_count
        future: asyncio.Future[NestedResult] = asyncio.get_running_loop().create_future()
        self._nested[number] = future
        self.send(NestedCall(run.call, number, kind, path, args))
        return await future

    async def call(self, run: Run, kind: str, path: str, args: bytes) -> Any:
        """`ask` for Python: the result decoded, errors raised."""
        value = value_or_raise(await self.ask(run, kind, path, args))
        function = self._app.functions.get(path)
        return decode_result(function, value) if function else decode(value)

    def files_of(self, run: Run) -> WorkerFiles:
        """Files, for one action."""

        async def ask(operation: str, args: dict[str, Any]) -> Any:
            result = await self.ask(run, "storage", operation, encode_arguments(args))
            return decode(value_or_raise(result))

        return WorkerFiles(ask, self._files, self._limits)


def value_or_raise(result: NestedResult) -> bytes:
    """The result of a nested call as encoded JSON. Raises: what it failed with."""
    if result.value is not None:
        return result.value
    failure = result.failure
    assert failure is not None
    if failure.data is not None:
        raise ApplicationError(decode(failure.data))
    raise RemoteError(failure.message, failure.code, None)


def _sendable_logs(logs: LogBuffer) -> tuple[list[str], list[str]]:
    return [sendable(line) for line in logs.lines], [sendable(each) for each in logs.audits]


def job_of(run: Run) -> str | None:
    """The scheduled job that an action is."""
    return run.job if isinstance(run, RunAction) else None


class _Caller:
    """How one action reaches the engine."""

    def __init__(self, worker: ActionWorker, run: Run, logs: LogBuffer) -> None:
        self._worker = worker
        self._run = run
        self.logs = logs
        identity = identity_of(run.caller)
        self.identity_attributes: Mapping[str, Value] | None = identity.attributes
        self.request = metadata_of(identity, run.request_id, job_of(run))
        self.files: ActionFiles = worker.files_of(run)

    async def call(self, kind: Kind, path: str, args: Mapping[str, Any]) -> Any:
        return await self._worker.call(self._run, kind.value, path, encode_arguments(args))

    async def call_system(self, path: str, args: Mapping[str, Any]) -> Any:
        return await self._worker.call(self._run, "system", path, encode_arguments(args))

    async def search_vectors(self, asked: bytes) -> bytes:
        return value_or_raise(await self._worker.ask(self._run, "vectors", "search", asked))


def _show_variables(variables: Mapping[str, str]) -> None:
    """Actions find the deployment's variables in `os.environ`, before those of the process, which
    libraries ask for. A text that no process can have as a variable, such as one with NUL, is left
    out.
    """
    for name, value in variables.items():
        with contextlib.suppress(ValueError):
            os.environ[name] = value


class _LogHandler(logging.Handler):
    """`logging` in an action becomes its log lines."""

    def emit(self, record: logging.LogRecord) -> None:
        logs = _current.get()
        if logs is not None:
            logs.add(*logged(record))


def _capture_logs() -> None:
    """`print` in an action becomes a log line; elsewhere it prints."""
    import builtins

    plain_print = builtins.print

    def print_to_log(*values: Any, sep: str | None = None, **options: Any) -> None:
        logs = _current.get()
        level = level_of_stream(options.get("file"))
        if logs is None or level is None:
            plain_print(*values, sep=sep, **options)
        else:
            logs.add(level, printed(values, sep))

    builtins.print = print_to_log
    logging.getLogger().addHandler(_LogHandler())
    logging.getLogger().setLevel(logging.INFO)


def main(arguments: list[str], worker: type[ActionWorker] = ActionWorker) -> None:
    die_with_parent(int(arguments[2]))
    _capture_logs()
    connection = socket.socket(fileno=int(arguments[1]))
    with contextlib.suppress(ConnectionResetError):
        asyncio.run(worker(connection).serve())


if __name__ == "__main__":
    main(sys.argv)

"""Actions: they may wait for the outside world, and reach the data through calls of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from cupola.auth import Identity
from cupola.backend.calls import CallRequest, CallResult
from cupola.errors import (
    ApplicationError,
    CupolaError,
    DeveloperError,
    FunctionNotFoundError,
    OperatorError,
)
from cupola.functions.actions import run_action
from cupola.functions.app import App
from cupola.functions.definitions import Function, Kind
from cupola.functions.execution import Execution, decode_result, encode_arguments
from cupola.functions.http import AnyHttpAction, HeaderPairs, HttpAction, Request
from cupola.functions.http_run import run_http_action
from cupola.functions.log_lines import LogBuffer
from cupola.functions.requests import metadata_of
from cupola.functions.scheduler import OF_ACTIONS
from cupola.functions.storage import ActionFiles
from cupola.values import Value, decode, split_qualified

if TYPE_CHECKING:
    from cupola.backend.backend import Backend
    from cupola.backend.files import Files
    from cupola.backend.http_actions import Exchange

ActionDone = Callable[[Execution], None]

SYSTEM = Identity("admin")
"""Who runs the system's own functions."""


class ActionRuntime(Protocol):
    """Who executes actions: this process, for tests, or action workers."""

    def start(
        self,
        function: Function[Any, Any],
        args: bytes,
        identity: Identity,
        request_id: str,
        done: ActionDone,
        job: str | None = None,
    ) -> None:
        """Start an action; `done` is called on the loop's thread, exactly once. `job`: the
        scheduled job that it is.
        """
        ...

    def start_http(self, action: AnyHttpAction, exchange: Exchange, done: ActionDone) -> None:
        """Start an HTTP action; its answer goes to the exchange, its end to `done` as above."""
        ...

    def prepare(self, app: App) -> None:
        """This code will run soon."""
        ...

    async def close(self) -> None: ...


class InlineActions:
    """Actions as tasks of the current event loop: for tests and notebooks, where nobody else is
    waiting.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._tasks: set[asyncio.Task[None]] = set()

    def start(
        self,
        function: Function[Any, Any],
        args: bytes,
        identity: Identity,
        request_id: str,
        done: ActionDone,
        job: str | None = None,
    ) -> None:
        self._keep(
            asyncio.get_running_loop().create_task(
                self._run(function, args, identity, request_id, done, job)
            )
        )

    def start_http(self, action: AnyHttpAction, exchange: Exchange, done: ActionDone) -> None:
        if not isinstance(action, HttpAction):
            done(Execution(None, no_javascript(action.name), []))
            return
        task = asyncio.get_running_loop().create_task(self._run_http(action, exchange, done))
        exchange.cancel = task.cancel
        self._keep(task)

    def prepare(self, app: App) -> None:
        """Nothing has to be started."""

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_http(self, action: HttpAction, exchange: Exchange, done: ActionDone) -> None:
        asked = exchange.request
        logs = LogBuffer(self._backend.limits)
        execution = Execution(b"null", None, logs.lines)  # of one whose client has gone
        try:
            execution = await run_http_action(
                action,
                Request(asked.method, asked.url, asked.headers, asked.body),
                _InlineCaller(self._backend, asked.identity, logs, asked.request_id),
                logs,
                self._backend.limits,
                _InlineOutlet(exchange),
                asked.identity_problem,
            )
        finally:
            execution.audits = logs.audits
            done(execution)

    async def _run(
        self,
        function: Function[Any, Any],
        args: bytes,
        identity: Identity,
        request_id: str,
        done: ActionDone,
        job: str | None,
    ) -> None:
        logs = LogBuffer(self._backend.limits)
        caller = _InlineCaller(self._backend, identity, logs, request_id, job)
        execution = await run_action(function, args, caller, logs, self._backend.limits)
        execution.audits = logs.audits
        done(execution)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class _InlineCaller:
    """How an action of this process calls functions."""

    def __init__(
        self,
        backend: Backend,
        identity: Identity,
        logs: LogBuffer,
        request_id: str,
        job: str | None = None,
    ) -> None:
        self.logs = logs
        self._backend = backend
        self._identity = identity
        self._request_id = request_id
        self._job = job
        self.request = metadata_of(identity, request_id, job)
        self.identity_attributes: Mapping[str, Value] | None = identity.attributes
        self.files: ActionFiles = EngineFiles(backend.files)

    async def call(self, kind: Kind, path: str, args: Mapping[str, Any]) -> Any:
        return await self._call(kind.value, path, args)

    async def call_system(self, path: str, args: Mapping[str, Any]) -> Any:
        return await self._call("system", path, args)

    async def search_vectors(self, asked: bytes) -> bytes:
        found: asyncio.Future[CallResult] = asyncio.get_running_loop().create_future()

        def done(result: CallResult) -> None:
            if not found.done():
                found.set_result(result)

        self._backend.vectors.submit(asked, done)
        result = await found
        if result.value is None:
            raise error_of(result)
        return result.value

    async def _call(self, kind: str, path: str, args: Mapping[str, Any]) -> Any:
        data, mine = encode_arguments(args), self._request_id
        request = nested_request(kind, path, data, self._identity, self._job, request_id=mine)
        result = await self._backend.call(request)
        return value_or_raise(result, self._backend.node.app.find(path))


def nested_request(
    kind: str,
    path: str,
    args: bytes,
    identity: Identity,
    job: str | None,
    caller: str = "",
    request_id: str | None = None,
) -> CallRequest:
    """A call that an action makes: of the app as who called the action, of the system (kind
    "system") as itself. `caller`: the action's path; who calls is known inside the app only, not to
    components nor to whom they call. `request_id`: of the action, whose request this is part of.

    Raises:
        FunctionNotFoundError: The system lets no action run this.
    """
    if kind != "system":
        if split_qualified(path)[0] or split_qualified(caller)[0]:
            identity = identity.without_user()
        return CallRequest(kind, path, args, identity, request_id, visibility="any", job=job)  # type: ignore[arg-type]
    if path not in OF_ACTIONS:
        raise FunctionNotFoundError(f"Actions cannot run `{path[:200]}`.")
    return CallRequest("mutation", path, args, SYSTEM, visibility="any", job=job)


class _InlineOutlet:
    """Where an HTTP action of this process sends its answer."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def head(self, status: int, headers: HeaderPairs) -> None:
        self._exchange.offer_head(status, headers)

    async def part(self, data: bytes) -> None:
        taken = asyncio.Event()
        self._exchange.offer_part(data, taken.set)
        await taken.wait()


class EngineFiles:
    """How an action of this process reaches files."""

    def __init__(self, files: Files) -> None:
        self._files = files

    async def ask(self, operation: str, args: dict[str, Any]) -> Any:
        return await self._files.ask(operation, args)

    async def store(
        self, parts: AsyncIterator[bytes], content_type: str | None, sha256: bytes | None
    ) -> str:
        return await self._files.upload(parts, content_type, sha256)

    def read(self, storage_id: str, size: int) -> AsyncGenerator[bytes, None]:
        return self._files.store.read(storage_id, 0, size)


def no_javascript(name: str) -> OperatorError:
    """What a deployment without workers answers for pushed code."""
    return OperatorError(
        f"`{name}` is JavaScript, which runs in workers, and this deployment has none.",
        code="NoJavaScriptRuntime",
    )


def value_or_raise(result: CallResult, function: Function[Any, Any]) -> Any:
    """A nested call's result as the caller's Python sees it.

    Raises: the error it failed with; an application error keeps its data.
    """
    if result.value is not None:
        return decode_result(function, result.value)
    raise error_of(result)


def error_of(result: CallResult) -> CupolaError:
    """A failed call as an exception."""
    if result.error_data is not None:
        return ApplicationError(decode(result.error_data))
    if result.error is not None:
        return result.error
    return DeveloperError(result.error_message or "The function failed.", code="FunctionFailed")


__all__ = ["ActionRuntime", "InlineActions", "error_of", "value_or_raise"]

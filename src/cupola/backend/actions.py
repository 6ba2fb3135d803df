"""Actions: they may wait for the outside world, and reach the data through calls of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from cupola.auth import Identity
from cupola.backend.calls import CallRequest, CallResult
from cupola.errors import ApplicationError, CupolaError, DeveloperError, FunctionNotFoundError
from cupola.functions.actions import run_action
from cupola.functions.definitions import Function, Kind
from cupola.functions.execution import Execution, decode_result, encode_arguments
from cupola.functions.log_lines import LogBuffer
from cupola.functions.scheduler import OF_ACTIONS
from cupola.values import Value, decode

if TYPE_CHECKING:
    from cupola.backend.backend import Backend

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
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._run(function, args, identity, done, job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(
        self,
        function: Function[Any, Any],
        args: bytes,
        identity: Identity,
        done: ActionDone,
        job: str | None,
    ) -> None:
        logs = LogBuffer(self._backend.limits)
        caller = _InlineCaller(self._backend, identity, job)
        done(await run_action(function, args, caller, logs, self._backend.limits))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class _InlineCaller:
    """How an action of this process calls functions."""

    def __init__(self, backend: Backend, identity: Identity, job: str | None) -> None:
        self._backend = backend
        self._identity = identity
        self._job = job
        self.identity_attributes: Mapping[str, Value] | None = identity.attributes

    async def call(self, kind: Kind, path: str, args: Mapping[str, Any]) -> Any:
        return await self._call(kind.value, path, args)

    async def call_system(self, path: str, args: Mapping[str, Any]) -> Any:
        return await self._call("system", path, args)

    async def _call(self, kind: str, path: str, args: Mapping[str, Any]) -> Any:
        request = nested_request(kind, path, encode_arguments(args), self._identity, self._job)
        result = await self._backend.call(request)
        return value_or_raise(result, self._backend.node.app.find(path))


def nested_request(
    kind: str, path: str, args: bytes, identity: Identity, job: str | None
) -> CallRequest:
    """A call that an action makes: of the app as who called the action, of the system (kind
    "system") as itself.

    Raises:
        FunctionNotFoundError: The system lets no action run this.
    """
    if kind != "system":
        return CallRequest(kind, path, args, identity, visibility="any", job=job)  # type: ignore[arg-type]
    if path not in OF_ACTIONS:
        raise FunctionNotFoundError(f"Actions cannot run `{path[:200]}`.")
    return CallRequest("mutation", path, args, SYSTEM, visibility="any", job=job)


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

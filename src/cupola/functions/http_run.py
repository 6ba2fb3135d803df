"""How an HTTP action runs: as a coroutine of whichever loop it was given to."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol

from cupola.errors import DeveloperError
from cupola.functions.context import ActionCaller
from cupola.functions.deadline import action_deadline, is_own_cancellation
from cupola.functions.execution import Execution
from cupola.functions.http import HeaderPairs, HttpAction, HttpCtx, Request, Response
from cupola.functions.log_lines import LogBuffer
from cupola.limits import Limits

_PIECE_BYTES = 256 * 1024


class Outlet(Protocol):
    """Where the answer goes."""

    async def head(self, status: int, headers: HeaderPairs) -> None: ...

    async def part(self, data: bytes) -> None:
        """A part of the body; returns once there is room for the next."""
        ...


async def run_http_action(
    action: HttpAction,
    request: Request,
    caller: ActionCaller,
    logs: LogBuffer,
    limits: Limits,
    outlet: Outlet,
    identity_problem: str | None = None,
) -> Execution:
    """Run an HTTP action to its end, whatever that is. An error after the head only ends the body,
    and is logged.
    """
    began = False
    try:
        async with action_deadline(limits):
            response = await action.handler(HttpCtx(caller, identity_problem), request)
            _check(response, action)
            began = True
            await _send(response, outlet, logs, limits)
        return Execution(b"null", None, logs.lines)
    except BaseException as error:  # whatever user code raises is its result, not our failure
        if is_own_cancellation(error):
            raise  # the client went away
        if began:
            logs.add("ERROR", f"The response was cut off: {_in_words(error)}")
        return Execution(None, error, logs.lines)


def _in_words(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except BaseException as another:  # the error's own code, which may raise anything
        return f"{type(error).__name__} (its text failed: {type(another).__name__})"


def _check(response: object, action: HttpAction) -> None:
    if not isinstance(response, Response):
        raise DeveloperError(
            f"`{action.path}` must return a Response, not {type(response).__name__}.",
            code="BadHttpResponse",
        )


async def _send(response: Response, outlet: Outlet, logs: LogBuffer, limits: Limits) -> None:
    body, headers = response.body, response.headers
    if isinstance(body, bytes):
        if not any(name == "content-length" for name, _ in headers):
            headers = [*headers, ("content-length", str(len(body)))]
        body = _pieces_of(body)
    await outlet.head(response.status, headers)
    size = 0
    async with contextlib.aclosing(_as_bytes(body)) as parts:
        async for part in parts:
            size += len(part)
            if size > limits.http_action_body_bytes_max:
                logs.add(
                    "ERROR",
                    f"The response was cut off after {limits.http_action_body_bytes_max:,} bytes "
                    "(http_action_body_bytes_max).",
                )
                return
            if part:
                await outlet.part(part)


async def _as_bytes(body: AsyncIterator[bytes | str]) -> AsyncGenerator[bytes, None]:
    """The parts as bytes. The app's own generator is closed with this one: what stands in its
    `finally` still belongs to the call.
    """
    try:
        async for part in body:
            yield part.encode() if isinstance(part, str) else bytes(part)
    finally:
        if isinstance(body, AsyncGenerator):
            await body.aclose()


async def _pieces_of(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), _PIECE_BYTES):
        yield data[start : start + _PIECE_BYTES]

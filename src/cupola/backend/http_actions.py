"""HTTP requests that the app's own router answers: heads and bodies come from an action worker as
they are made.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from cupola.backend.calls import HttpRequest
from cupola.backend.node import ExecutionLog
from cupola.errors import OverloadedError
from cupola.functions.execution import Execution
from cupola.functions.failure import Told
from cupola.runtimes.python.messages import HttpPart

if TYPE_CHECKING:
    from cupola.backend.backend import Backend


class HttpFailure(Exception):
    """The handler failed before it began to answer."""

    def __init__(self, told: Told) -> None:
        super().__init__(told.message)
        self.told = told


def has_router(backend: Backend) -> bool:
    """Whether the running code answers HTTP requests."""
    code = backend.app.javascript
    module = code.analysis.get("http.js") if code is not None else None
    return module is not None and module.routes is not None


class HttpExchange:
    """One request and its answer, on the event loop."""

    def __init__(self, backend: Backend, request: HttpRequest) -> None:
        """Starts at once.

        Raises:
            OverloadedError: Too many actions are running.
        """
        from cupola.backend.action_workers import ActionWorkers

        workers = backend.actions
        if not isinstance(workers, ActionWorkers):
            raise OverloadedError("HTTP actions need worker processes.", code="NoWorker")
        self._backend = backend
        self._request = request
        self._request_id = backend.node.new_request_id()
        self._started_ns = backend.node.clock.monotonic_ns()
        loop = asyncio.get_running_loop()
        self._head: asyncio.Future[HttpPart] = loop.create_future()
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._is_over = False
        backend.begin_action()
        self._tell_left = workers.start_http(request, self._request_id, self._part, self._done)

    def _part(self, part: HttpPart) -> None:
        if part.status:
            if not self._head.done():
                self._head.set_result(part)
        else:
            self._pieces.put_nowait(part.body)

    def _done(self, execution: Execution) -> None:
        self._is_over = True
        self._backend.end_action()
        node = self._backend.node
        told = None
        if execution.error is not None:
            told = execution.failure(self._request_id, node.app.folder)
        if not self._head.done():
            told = told or Told("The HTTP action ended without an answer.", None)
            self._head.set_exception(HttpFailure(told))
        self._pieces.put_nowait(None)
        if node.watchers:
            path = f"{self._request.method} {self._request.path}"
            seconds = (node.clock.monotonic_ns() - self._started_ns) / 1e9
            message = told.message if told is not None else None
            lines = execution.log_lines
            log = ExecutionLog("httpAction", path, self._request_id, seconds, lines, message)
            node.report(log, node.persistence.durable_ts)

    async def head(self) -> HttpPart:
        """Status and headers.

        Raises:
            HttpFailure: The handler threw before.
        """
        return await self._head

    async def body(self) -> AsyncIterator[bytes]:
        """The body's pieces as they come."""
        while (piece := await self._pieces.get()) is not None:
            yield piece

    def leave(self) -> None:
        """The client has gone, or nobody reads any further."""
        if not self._is_over:
            self._tell_left()


__all__ = ["HttpExchange", "HttpFailure", "has_router"]

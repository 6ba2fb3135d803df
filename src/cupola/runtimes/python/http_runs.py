"""HTTP actions in an action worker: bodies cross the socket in parts, one under way at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING

from cupola.errors import BadRequestError
from cupola.functions.http import HeaderPairs, Request
from cupola.runtimes.python.messages import (
    BodyPart,
    BodyWanted,
    Cancel,
    PartTaken,
    ResponseHead,
    ResponsePart,
    RunHttp,
)

if TYPE_CHECKING:
    from cupola.runtimes.python.action_worker import ActionWorker


class HttpRuns:
    """The HTTP actions that one worker runs."""

    def __init__(self, worker: ActionWorker) -> None:
        self._worker = worker
        self._runs: dict[int, HttpRun] = {}

    def start(self, message: RunHttp) -> None:
        run = self._runs[message.call] = HttpRun(self._worker, message.call)
        request = Request(message.method, message.url, message.headers, run.body())
        work = self._worker.run_http(message, request, run)
        task = asyncio.get_running_loop().create_task(work)
        run.task = task
        task.add_done_callback(lambda _: self._runs.pop(message.call, None))
        self._worker.keep(task)

    def receive(self, message: BodyPart | PartTaken | Cancel) -> None:
        run = self._runs.get(message.call)
        if run is None:
            return
        match message:
            case BodyPart():
                run.arrived(message)
            case PartTaken():
                run.taken.set()
            case Cancel():
                run.leave()


class HttpRun:
    """One request's body on its way in, and the answer's on its way out."""

    task: asyncio.Task[None]

    def __init__(self, worker: ActionWorker, call: int) -> None:
        self._worker = worker
        self._call = call
        self._arriving: asyncio.Future[BodyPart] | None = None
        self.taken = asyncio.Event()
        self.on_leave: Callable[[], None] | None = None
        self._is_left = False

    def leave(self) -> None:
        """The client has gone. By default that ends the action; a handler that hears of it by
        `on_leave` goes on, and what it still sends is dropped.
        """
        if self.on_leave is None:
            self.task.cancel()
            return
        self._is_left = True
        self.taken.set()
        self.on_leave()

    async def body(self) -> AsyncGenerator[bytes, None]:
        """The request's body. Each part is asked for when it is wanted."""
        while True:
            self._arriving = asyncio.get_running_loop().create_future()
            self._worker.send(BodyWanted(self._call))
            part = await self._arriving
            if part.problem is not None:
                raise BadRequestError(part.problem, code="RequestBodyUnreadable")
            if not part.more:
                return
            yield part.data

    def arrived(self, part: BodyPart) -> None:
        if self._arriving is not None and not self._arriving.done():
            self._arriving.set_result(part)

    async def head(self, status: int, headers: HeaderPairs) -> None:
        self._worker.send(ResponseHead(self._call, status, headers))

    async def part(self, data: bytes) -> None:
        if self._is_left:
            return
        self.taken.clear()
        self._worker.send(ResponsePart(self._call, data))
        await self.taken.wait()

"""A deployment with everything that serving has, except sockets: SQLite, an event loop, workers."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import uvloop

from cupola.auth import ANONYMOUS
from cupola.backend import Backend
from cupola.backend.calls import CallRequest, CallResult
from cupola.functions.app import load_app
from cupola.limits import DEFAULT_LIMITS, Limits
from cupola.persistence.sqlite import SqlitePersistence
from cupola.sync.client_session import ClientSession, Completed, Result, ResultsChanged
from cupola.sync.effects import Send
from cupola.values import decode

PATIENCE_S = 30.0


class Server:
    """A backend at work, and how long its loop has stood still at worst."""

    def __init__(self, folder: Path, data: Path, limits: Limits = DEFAULT_LIMITS) -> None:
        self.folder = folder
        self.backend = Backend(SqlitePersistence(str(data)), limits=limits)
        self.backend.use_workers(str(data))
        self.backend.deploy_now(load_app(folder))
        self.worst_stall_s = 0.0

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["Server"]:
        self.backend.attach(asyncio.get_running_loop())
        heartbeat = asyncio.create_task(self._measure_stalls())
        try:
            yield self
        finally:
            heartbeat.cancel()
            await self.backend.close()

    async def _measure_stalls(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.005)
            stall = time.perf_counter() - before - 0.005
            self.worst_stall_s = max(self.worst_stall_s, stall)

    async def call(self, kind: str, path: str, /, **args: Any) -> CallResult:
        request = CallRequest(kind, path, json.dumps(args).encode(), ANONYMOUS)
        return await asyncio.wait_for(self.backend.call(request), PATIENCE_S)

    async def value(self, kind: str, path: str, /, **args: Any) -> Any:
        result = await self.call(kind, path, **args)
        assert result.value is not None, result.error_message
        return decode(result.value)

    async def failure(self, kind: str, path: str, /, **args: Any) -> CallResult:
        result = await self.call(kind, path, **args)
        assert result.value is None, result.value[:100]
        return result

    async def deploy(self, folder: Path) -> None:
        done = asyncio.get_running_loop().create_future()
        self.backend.deploy(load_app(folder), done.set_result)
        error = await asyncio.wait_for(done, PATIENCE_S)
        assert error is None, error

    def workers(self) -> list[int]:
        """Process ids of the transaction workers."""
        offload = self.backend.mutations.offload
        return [worker.process.pid for worker in offload._pool._workers]

    def connect(self, session_id: Any = None) -> "LiveClient":
        return LiveClient(self.backend, session_id)


class LiveClient:
    """The client's half of a sync connection, on the same loop."""

    def __init__(self, backend: Backend, session_id: Any = None) -> None:
        self.backend = backend
        self.session = ClientSession(session_id or uuid4())
        self.results: dict[int, list[Result]] = {}
        self.close_reason: str | None = None
        self._changed = asyncio.Event()
        self._calls: dict[int, asyncio.Future[Result]] = {}
        self._host: Any = None
        self.connect()

    def connect(self) -> None:
        """Open a connection; what is unanswered is sent again."""
        self._host = self.backend.open_session(self)
        self._carry_out(self.session.opened(time.time_ns() // 1_000_000))

    def lose_connection(self) -> None:
        host, self._host = self._host, None
        host.disconnected()
        self._carry_out(self.session.closed("gone"))

    # the Channel that the backend sees

    def send(self, *frames: bytes) -> None:
        for frame in frames:
            asyncio.get_running_loop().call_soon(self._receive, self._host, bytes(frame))

    def close(self, code: int | None, reason: str) -> None:
        self.close_reason = reason

    def _receive(self, host: Any, frame: bytes) -> None:
        if host is self._host:
            self._carry_out(self.session.receive(frame))

    def _carry_out(self, effects: list[Any]) -> None:
        for effect in effects:
            match effect:
                case Send() if self._host is not None:
                    self._host.receive(effect.frame)
                case ResultsChanged():
                    for query_id in effect.query_ids:
                        result = self.session.results[query_id]
                        self.results.setdefault(query_id, []).append(result)
                    self._changed.set()
                case Completed():
                    self._calls.pop(effect.request_id).set_result(effect.result)

    # what an app does

    def subscribe(self, path: str, **args: Any) -> int:
        query_id, effects = self.session.subscribe(path, json.dumps(args).encode())
        self._carry_out(effects)
        return query_id

    def newest(self, query_id: int) -> Any:
        """The newest value; None if there is none yet; the text of an error."""
        found = self.results.get(query_id)
        if not found:
            return None
        value = found[-1].value
        return decode(value) if value is not None else found[-1].error_message

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    def mutation(self, path: str, **args: Any) -> "asyncio.Future[Result]":
        request_id, effects = self.session.mutation(path, json.dumps(args).encode())
        future = self._calls[request_id] = asyncio.get_running_loop().create_future()
        self._carry_out(effects)
        return future


@pytest.fixture
def serve(write_app: Callable[..., Path], tmp_path: Path) -> Callable[..., None]:
    """Serves an app for as long as a story lasts: `serve(story, limits, main="...")`."""

    def run(
        story: Callable[[Server], Coroutine[Any, Any, None]],
        limits: Limits = DEFAULT_LIMITS,
        **modules: str,
    ) -> None:
        server = Server(write_app(**modules), tmp_path / "data.sqlite3", limits)

        async def main() -> None:
            async with server.serving():
                await story(server)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())

    return run

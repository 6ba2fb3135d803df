"""A real server on free ports, in a thread with a loop of its own; tests talk to its sockets."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from cupola.server import Server, ServerOptions

from .fake_backend import FakeBackend
from .raw_websocket import RawWebSocket


class RunningServer:
    """A server under test, and ways to reach into its thread. Its backend is made there too."""

    def __init__(self, make_backend: Callable[[], Any], options: ServerOptions) -> None:
        self._make_backend = make_backend
        self.options = options
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self.backend = self._make_backend()
        async with Server(self.backend, self.options) as self.server:
            self._started.set()
            await self._stop.wait()

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(10)

    def stop(self) -> None:
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._stop.set)

    def join(self) -> None:
        self._thread.join(10)
        assert not self._thread.is_alive()

    def run(self, function: Callable[[], Any]) -> Any:
        """Call a function on the server's thread and wait for what it returns."""

        async def call() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(10)

    def eventually(self, condition: Callable[[], bool]) -> None:
        """Wait until something becomes true on the server's thread."""

        async def poll() -> None:
            async with asyncio.timeout(10):
                while not condition():
                    await asyncio.sleep(0.005)

        asyncio.run_coroutine_threadsafe(poll(), self.loop).result(15)

    @property
    def url(self) -> str:
        return self.server.url

    def websocket(self, path: str = "/api/1.48.0/sync", **headers: str) -> RawWebSocket:
        return RawWebSocket("127.0.0.1", self.server.port, path, headers)


@contextlib.contextmanager
def running_servers() -> Iterator[Callable[..., RunningServer]]:
    with contextlib.ExitStack() as stack:

        def start(
            backend: Any = None,
            make_backend: Callable[[], Any] = FakeBackend,
            **options: Any,
        ) -> RunningServer:
            options = {"port": 0, "site_port": 0, "drain_s": 2.0, **options}
            running = RunningServer(
                make_backend if backend is None else lambda: backend, ServerOptions(**options)
            )
            running.start()
            stack.callback(running.join)
            stack.callback(running.stop)
            return running

        yield start


@pytest.fixture
def start_server() -> Iterator[Callable[..., RunningServer]]:
    """Start a server: `start_server(backend, **options)`; all are stopped at the end."""
    with running_servers() as start:
        yield start


@pytest.fixture(scope="module")
def shared_http() -> Iterator[httpx.Client]:
    """A server that no test changes, for those that are many."""
    with running_servers() as start, httpx.Client(base_url=start().url, timeout=10) as client:
        yield client


@pytest.fixture
def server(start_server: Callable[..., RunningServer]) -> RunningServer:
    return start_server()


@pytest.fixture
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=10) as client:
        yield client

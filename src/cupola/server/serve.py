"""From a backend to a running server: ports, signals, and an orderly end."""

import asyncio
import contextlib
import ctypes
import dataclasses
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import uvicorn

from cupola.backend import Backend
from cupola.deploy import Deployer
from cupola.errors import ConfigurationError, CupolaError
from cupola.server.app import App, Site
from cupola.server.http_protocol import HttpProtocol
from cupola.server.metrics import ServerMetrics
from cupola.server.origins import TRUSTED_BY_DEFAULT, Origins
from cupola.server.websocket import PING_INTERVAL_S, RESTART_REASON, RESTARTING, Connections

logger = logging.getLogger("cupola.server")

Result = TypeVar("Result")

_BACKLOG = 4096
_KEEP_ALIVE_S = 75  # longer than common proxies keep an idle connection, so that they close first
_POLL_S = 0.02
_TICK_S = 1.0
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Documents are bytes, which the collector does not track; what it tracks mostly stays.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_KEPT_BYTES = 64 * 2**20
_GC_THRESHOLDS = (50_000, 20, 100)


@dataclasses.dataclass(frozen=True, slots=True)
class ServerOptions:
    """Where and how to serve.

    Port 0 takes any free one. `site_port` None serves no HTTP actions. `public` is the folder of
    the app's own page. `drain_s` bounds how long running calls may take when the server stops.
    `cloud_url` and `site_url` are where the world finds the two ports, if not at this host.
    `trusted_proxies`: whose `X-Forwarded-For` counts, see `origins`.
    """

    host: str = "127.0.0.1"
    port: int = 3210
    site_port: int | None = 3211
    public: Path | None = None
    drain_s: float = 30.0
    ping_interval_s: float = PING_INTERVAL_S
    cloud_url: str | None = None
    site_url: str | None = None
    trusted_proxies: str = TRUSTED_BY_DEFAULT


class Server:
    """HTTP and WebSocket around one backend, on the running event loop.

    async with Server(backend, options) as server:
        print(server.url)
    """

    def __init__(
        self,
        backend: Backend,
        options: ServerOptions | None = None,
        *,
        deployer: Deployer | None = None,
    ) -> None:
        """`deployer`: who takes pushes; by default a new one."""
        self._backend = backend
        self._options = options or ServerOptions()
        self.metrics = ServerMetrics()
        if deployer is None and isinstance(backend, Backend):
            deployer = Deployer(backend)
        self._deployer = deployer
        public = self._options.public
        origins = Origins(self._options.trusted_proxies)
        self._app = App(
            backend, public=public, metrics=self.metrics, deployer=deployer, origins=origins
        )
        ping_interval_s = self._options.ping_interval_s
        self._connections = Connections(backend, self.metrics, ping_interval_s, origins)
        self._listeners: list[_Listener] = []
        self._ticker: asyncio.TimerHandle | None = None
        self.port = 0
        self.site_port: int | None = None

    @property
    def url(self) -> str:
        return f"http://{_printable(self._options.host)}:{self.port}"

    @property
    def site_url(self) -> str | None:
        if self.site_port is None:
            return None
        return f"http://{_printable(self._options.host)}:{self.site_port}"

    async def start(self) -> None:
        """Open the ports and begin to answer.

        Raises:
            ConfigurationError: A port is taken, or the host is none of this machine's.
        """
        options = self._options
        connections_max = self._backend.limits.queued_calls_max
        api = _bind(options.host, options.port)
        listeners = [_Listener(self._app, self._connections.protocol, api, connections_max)]
        self.port = api.getsockname()[1]
        if options.site_port is not None:
            try:
                sock = _bind(options.host, options.site_port)
            except ConfigurationError:
                api.close()
                raise
            listeners.append(_Listener(Site(self._app), None, sock, connections_max))
            self.site_port = sock.getsockname()[1]
        if self._deployer is not None:
            cloud_url = options.cloud_url or self.url
            self._deployer.serve_at(cloud_url, options.site_url or self.site_url or "")
        loop = asyncio.get_running_loop()
        if self._backend.request_turn is None:
            self._backend.attach(loop)
        if isinstance(self._backend, Backend):
            await self._backend.files.start()
        if self._deployer is not None:
            self._deployer.start()
        self._ticker = loop.call_later(_TICK_S, self._tick)
        self._backend.collectors.append(self.metrics)
        for listener in listeners:
            await listener.start()
            self._listeners.append(listener)

    async def drain(self) -> None:
        """Stop: no new connections, finish the calls that run, tell sync clients to come back."""
        self._backend.drain()
        for listener in self._listeners:
            listener.stop_accepting()
        drain_s = self._options.drain_s if self._backend.state != "failed" else 0.0
        try:
            async with asyncio.timeout(drain_s):
                while any(listener.is_busy for listener in self._listeners):
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            logger.warning("Calls still ran after %s s; they were cut off.", drain_s)
        if self._deployer is not None:
            await self._deployer.close()
        await self._connections.close_all(RESTARTING, RESTART_REASON)
        await self._stop()

    async def _stop(self) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
        for listener in self._listeners:
            await listener.stop()
        if self._listeners:
            self._backend.collectors.remove(self.metrics)
        self._listeners.clear()

    def _tick(self) -> None:
        self._ticker = asyncio.get_running_loop().call_later(_TICK_S, self._tick)
        self._backend.tick()

    async def __aenter__(self) -> "Server":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.drain()


class _Listener:
    """One uvicorn server on one socket, without its signal handlers and its way of stopping."""

    def __init__(
        self,
        app: Any,
        ws: Callable[..., Any] | None,
        sock: socket.socket,
        connections_max: int,
    ) -> None:
        self._socket = sock
        self._config = uvicorn.Config(
            app,
            http=HttpProtocol,
            ws="none" if ws is None else _as_class(ws),
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level=logging.ERROR,  # below that it logs what any peer may do at any time
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG,
            limit_concurrency=connections_max,  # of HTTP; above it 503 is the answer
            timeout_keep_alive=_KEEP_ALIVE_S,
        )
        self._server = uvicorn.Server(self._config)
        self._ticks: asyncio.Task[None] | None = None

    @property
    def is_busy(self) -> bool:
        return bool(self._server.server_state.tasks)

    async def start(self) -> None:
        self._config.load()
        self._server.lifespan = self._config.lifespan_class(self._config)
        await self._server.startup(sockets=[self._socket])
        await self._server.on_tick(0)  # the date header, before the first answer
        self._ticks = asyncio.create_task(self._server.main_loop())

    def stop_accepting(self) -> None:
        for server in self._server.servers:
            server.close()
        for connection in tuple(self._server.server_state.connections):
            connection.shutdown()  # at once if idle, else after its answer

    async def stop(self) -> None:
        if self._ticks is not None:
            self._ticks.cancel()
        state = self._server.server_state
        for task in tuple(state.tasks):
            task.cancel()
        for connection in tuple(state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)
        self._socket.close()


async def serve(
    backend: Backend,
    options: ServerOptions | None = None,
    *,
    started: Callable[[Server], None] = lambda server: None,
    deployer: Deployer | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain and close the backend.

    Args:
        started: Called once the ports are open, with the server that knows them.
        deployer: Who takes pushes; by default a new one.

    Raises:
        ConfigurationError: A port cannot be had.
        OperatorError: The log failed. Nothing more is acknowledged; a new process recovers it.
    """
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[None] = loop.create_future()

    def end(error: CupolaError | None = None) -> None:
        if stop.done():
            return
        if error is None:
            stop.set_result(None)
        else:
            stop.set_exception(error)

    server = Server(backend, options, deployer=deployer)
    backend.on_failure = end
    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, end)
    try:
        await server.start()
        settle()
        started(server)
        await stop
    finally:
        for number in _STOP_SIGNALS:
            loop.remove_signal_handler(number)
        await server.drain()
        await backend.close()


def settle() -> None:
    """After start: what is loaded now is never garbage, and collections become rare."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Let the allocator keep what a burst of frames has freed, up to a bound.

    glibc gives the top of its heap back to the kernel beyond 128 KiB; a change that goes to a
    thousand clients then pays for the same pages again each time. Other allocators have no
    `mallopt`.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES // 16)


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a program's main coroutine on the fastest event loop there is."""
    if sys.platform == "win32":
        return asyncio.run(main)
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigurationError(f"Cannot listen on host {host}: {error.strerror}.") from None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise ConfigurationError(
            f"Cannot listen on {_printable(host)}:{port}: {error.strerror}. "
            "Another server may use it; choose another with --port."
        ) from None
    return sock


def _printable(host: str) -> str:
    """The host as it stands in a URL."""
    if host in ("", "0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _as_class(factory: Callable[..., Any]) -> Any:
    """uvicorn calls its `ws` class with named arguments, which any callable can take."""
    return factory

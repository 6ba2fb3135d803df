"""`cupola dev`: the server while an app is written.

Saved code is imported in this process and pushed into the running backend, so connections, caches
and data stay. Code that cannot be imported, or whose tables do not fit the data, is shown and
otherwise ignored: the code from before goes on serving.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

from cupola.backend import Backend
from cupola.cli.assembly import is_typescript, load_and_deploy, open_backend, server_options
from cupola.cli.dev_screen import Screen
from cupola.cli.running import announced
from cupola.cli.settings import Settings
from cupola.clock import SystemClock
from cupola.deploy import Deployer
from cupola.errors import CupolaError
from cupola.functions.app import PACKAGE, App, load_app
from cupola.server.serve import Server
from cupola.server.serve import run as run_loop
from cupola.server.serve import serve as serve_backend

_SETTLE_MS = 30  # an editor's rename, write and chmod are one save
_STEP_MS = 15
_LOOK_MS = 500

Files = dict[Path, tuple[int, int]]


def dev(settings: Settings, *, open_page: bool) -> None:
    """Serve until SIGTERM or SIGINT, reloading whenever a file below functions/ is saved.

    Raises:
        CupolaError: There is no app, or the data or a port cannot be had.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    run_loop(_dev(settings, Screen(settings.app, SystemClock()), open_page))


async def _dev(settings: Settings, screen: Screen, open_page: bool) -> None:
    folder = settings.app
    if not (folder / PACKAGE).is_dir() and not is_typescript(folder):
        load_app(folder)  # raises, and says what to do
    backend = open_backend(settings)
    deployer = Deployer(backend)
    deployer.on_push = screen.pushed
    files = _files(folder / PACKAGE)
    try:
        load_and_deploy(backend, deployer, settings)
    except CupolaError as error:
        screen.refused(error, serving=False)
    backend.node.watchers.append(screen.executed)
    with announced(settings) as announce:

        def started(server: Server) -> None:
            announce(server)
            screen.started(server, backend, settings)
            if open_page:
                _open_page(server.url, screen)

        watching = asyncio.create_task(_watch(backend, deployer, folder, files, screen))
        try:
            await serve_backend(
                backend, server_options(settings), started=started, deployer=deployer
            )
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
    screen.stopped()


async def _watch(
    backend: Backend, deployer: Deployer, folder: Path, loaded: Files, screen: Screen
) -> None:
    """Push what is saved, one version after the other. `loaded`: what has been tried already."""
    refused = False
    if not (folder / PACKAGE).is_dir():
        return  # all the code is pushed
    async for _ in _looks(folder / PACKAGE):
        files = _files(folder / PACKAGE)
        if files == loaded:
            continue
        loaded = files
        started_ns = backend.clock.monotonic_ns()
        try:
            app = load_app(folder)
            if app.version != deployer.python.version:
                await _deployed(deployer, app)
            elif not refused:
                continue
        except CupolaError as error:
            refused = True
            screen.refused(error, serving=backend.state == "ready")
        else:
            refused = False
            screen.reloaded(app, (backend.clock.monotonic_ns() - started_ns) / 1e9)


async def _deployed(deployer: Deployer, app: App) -> None:
    """Returns once `app` is the running code. Raises: what the push failed with."""
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def done(error: BaseException | None) -> None:
        if error is None:
            over.set_result(None)
        else:
            over.set_exception(error)

    deployer.deploy_python(app, done)
    await over


def _files(functions: Path) -> Files:
    """What tells one state of the code from another, without reading it."""
    found = {}
    for file in functions.rglob("*.py"):
        with contextlib.suppress(FileNotFoundError):  # an editor replaces it just now
            status = file.stat()
            found[file] = (status.st_mtime_ns, status.st_size)
    return found


async def _looks(functions: Path) -> AsyncIterator[None]:
    """Yields when a save below `functions` is over, and else now and then: the first look finds
    what was saved before the watch began."""
    from watchfiles import PythonFilter, awatch

    async for _ in awatch(
        functions,
        watch_filter=PythonFilter(),
        debounce=_SETTLE_MS,
        step=_STEP_MS,
        rust_timeout=_LOOK_MS,
        yield_on_timeout=True,
    ):
        yield


def _open_page(url: str, screen: Screen) -> None:
    """Show the app in a browser, if this machine has one with a screen."""
    has_screen = sys.platform != "linux" or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    if not has_screen:
        screen.note(f"There is no browser here: open {url} yourself.")
        return
    import webbrowser

    # A thread: some browsers keep their starter waiting.
    threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()

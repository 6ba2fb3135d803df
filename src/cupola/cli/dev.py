"""`cupola dev`: the server while an app is written."""

from __future__ import annotations

import asyncio
from pathlib import Path

from cupola.backend import Backend
from cupola.cli.assembly import open_backend, server_options
from cupola.cli.running import announced
from cupola.cli.settings import Settings
from cupola.errors import CupolaError
from cupola.functions.app import load_app
from cupola.server.serve import Server
from cupola.server.serve import run as run_loop
from cupola.server.serve import serve as serve_backend


def dev(settings: Settings, *, open_browser: bool) -> None:
    """Serve until SIGTERM or SIGINT, reloading whenever a file below functions/ is saved."""
    run_loop(_dev(settings))


async def _dev(settings: Settings) -> None:
    backend = open_backend(settings)

    with announced(settings) as announce:

        def started(running: Server) -> None:
            announce(running)
            print(f"{running.url}\nadmin key {backend.admin_keys.issue()}", flush=True)

        watching = asyncio.create_task(_watch(backend, settings.app))
        try:
            await serve_backend(backend, server_options(settings), started=started)
        finally:
            watching.cancel()


def _reload(backend: Backend, folder: Path) -> None:
    def done(error: BaseException | None) -> None:
        print(error or "loaded", flush=True)

    try:
        app = load_app(folder)
    except CupolaError as error:
        done(error)
        return
    backend.deploy(app, done)


async def _watch(backend: Backend, folder: Path) -> None:
    from watchfiles import PythonFilter, awatch

    _reload(backend, folder)
    async for _ in awatch(folder / "functions", watch_filter=PythonFilter()):
        _reload(backend, folder)

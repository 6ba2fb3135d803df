"""`server.json` in the data folder: where the server that uses it can be reached."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from cupola.cli.settings import Settings
from cupola.server.serve import Server

FILE = "server.json"


class Running(msgspec.Struct, frozen=True, rename="camel"):
    """A server that runs, or ran until it was killed."""

    url: str
    port: int
    site_port: int | None
    pid: int


@contextlib.contextmanager
def announced(settings: Settings) -> Iterator[Callable[[Server], None]]:
    """Gives a function that writes the file; takes the file away when the server has ended."""
    file = settings.data / FILE
    wrote = False

    def announce(server: Server) -> None:
        nonlocal wrote
        running = Running(server.url, server.port, server.site_port, os.getpid())
        temporary = file.with_suffix(".new")
        temporary.write_bytes(msgspec.json.encode(running) + b"\n")
        temporary.replace(file)
        wrote = True

    try:
        yield announce
    finally:
        if wrote:
            file.unlink(missing_ok=True)


def find_running(data: Path) -> Running | None:
    """The server that announced itself in this data folder; it may be dead by now."""
    try:
        return msgspec.json.decode((data / FILE).read_bytes(), type=Running)
    except (OSError, msgspec.MsgspecError):
        return None

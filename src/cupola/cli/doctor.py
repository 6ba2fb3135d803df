"""`cupola doctor`: what could keep an app from being served well on this machine.

Each check looks at one thing and gives one finding. Nothing is changed: a data folder that a
server uses may be checked meanwhile.
"""

import contextlib
import json
import os
import platform
import re
import resource
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

from cupola.cli.assembly import is_typescript
from cupola.cli.data_file import examine_file
from cupola.cli.exit_codes import Exit
from cupola.cli.running import find_running
from cupola.cli.settings import Settings
from cupola.clock import Clock, SystemClock
from cupola.errors import CupolaError
from cupola.functions.app import PACKAGE, load_app
from cupola.runtimes.python import guard
from cupola.values import use_limits

PYTHON_MIN = (3, 11)
FREE_BYTES_NEEDED = 200 * 2**20
FREE_BYTES_WISHED = 2 * 2**30
OPEN_FILES_WISHED = 4096
SYNC_MS_WISHED = 10.0
_SYNCS = 20
_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}

Outcome = Literal["ok", "warning", "problem"]


class Finding(NamedTuple):
    """What a check found. `detail` of a warning or problem says what to do."""

    check: str
    outcome: Outcome
    detail: str


def examine(settings: Settings, *, as_json: bool) -> Exit:
    """Print all findings. Returns: FAILED if one of them is a problem."""
    findings = list(_findings(settings, SystemClock()))
    healthy = all(finding.outcome != "problem" for finding in findings)
    if as_json:
        rows = [finding._asdict() for finding in findings]
        print(json.dumps({"healthy": healthy, "findings": rows}))
    else:
        _print_table(findings)
    return Exit.OK if healthy else Exit.FAILED


def _findings(settings: Settings, clock: Clock) -> Iterable[Finding]:
    unguarded = guard.install()  # before the app is imported
    yield _python()
    yield _dependencies()
    yield _disk_space(settings.data)
    yield _sync_speed(settings.data, clock)
    yield from (Finding(*finding) for finding in examine_file(settings.data, clock))
    yield _open_files()
    yield from _ports(settings)
    yield _determinism(unguarded)
    yield _app(settings)


def _print_table(findings: Iterable[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    for _ in Finding._fields:
        table.add_column(overflow="fold")
    for finding in findings:
        mark = Text(finding.outcome, _STYLES[finding.outcome])
        table.add_row(finding.check, mark, Text(finding.detail))
    Console(highlight=False).print(table)


# -------------------------------------------------------------------------------------- the machine


def _python() -> Finding:
    found = f"{platform.python_implementation()} {platform.python_version()}"
    if sys.version_info < PYTHON_MIN:
        return Finding("Python", "problem", f"{found}; install Python 3.11 or newer.")
    if sys.implementation.name != "cpython":
        return Finding("Python", "warning", f"{found}; Cupola is made for CPython.")
    return Finding("Python", "ok", found)


def _dependencies() -> Finding:
    """Whether what the package declares is installed, and new enough."""
    wrong = []
    requirements = metadata.requires("cupola") or []
    for requirement in requirements:
        text, _, marker = requirement.partition(";")
        match = re.match(r"[\w.-]+", text)
        if match is None or ("win32" in marker and sys.platform == "win32"):
            continue
        minimum = re.search(r">=([\d.]+)", text)
        try:
            version = metadata.version(match[0])
        except metadata.PackageNotFoundError:
            wrong.append(f"{match[0]} is missing")
            continue
        if minimum and _numbers(version) < _numbers(minimum[1]):
            wrong.append(f"{match[0]} {version} is older than {minimum[1]}")
    if wrong:
        detail = f"{', '.join(wrong)}; install cupola again."
        return Finding("Dependencies", "problem", detail)
    return Finding("Dependencies", "ok", f"all {len(requirements)} are installed")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    detail = f"{soft} may be open at once"
    if soft != resource.RLIM_INFINITY and soft < OPEN_FILES_WISHED:
        detail += f"; each client needs one: `ulimit -n {min(hard, 65536)}` before starting."
        return Finding("Open files", "warning", detail)
    return Finding("Open files", "ok", detail)


def _ports(settings: Settings) -> Iterable[Finding]:
    running = find_running(settings.data)
    own = (running.port, running.site_port) if running is not None else ()
    for name, port in (("Port", settings.port), ("Site port", settings.site_port)):
        error = _bind_error(settings.host, port)
        if error is None:
            yield Finding(name, "ok", f"{port} is free")
        elif port in own:
            yield Finding(name, "ok", f"{port} is used by the server of this data folder")
        else:
            option = "--" + name.lower().replace(" ", "-")
            detail = f"{settings.host}:{port}: {error}; choose another with {option}."
            yield Finding(name, "problem", detail)


def _bind_error(host: str, port: int) -> str | None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error.strerror
    return None


# ----------------------------------------------------------------------------------------- the disk


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder


def _disk_space(data: Path) -> Finding:
    free = shutil.disk_usage(_existing(data)).free
    detail = f"{free / 2**30:.1f} GiB free for {data}"
    if free < FREE_BYTES_NEEDED:
        return Finding("Disk space", "problem", f"{detail}; free some, or choose another --data.")
    if free < FREE_BYTES_WISHED:
        return Finding("Disk space", "warning", f"{detail}; every version of a document is kept.")
    return Finding("Disk space", "ok", detail)


def _sync_speed(data: Path, clock: Clock) -> Finding:
    """How long a commit waits for this disk: the median of some small synced writes."""
    sync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)
    times = []
    try:
        with tempfile.TemporaryFile(dir=_existing(data)) as file:
            for _ in range(_SYNCS):
                os.write(file.fileno(), bytes(4096))
                started_ns = clock.monotonic_ns()
                sync(file.fileno())
                times.append(clock.monotonic_ns() - started_ns)
    except OSError as error:
        detail = f"{_existing(data)} cannot be written ({error.strerror}); choose another --data."
        return Finding("Disk sync", "problem", detail)
    median_ms = sorted(times)[_SYNCS // 2] / 1e6
    detail = f"{median_ms:.2f} ms"
    if median_ms > SYNC_MS_WISHED:
        return Finding("Disk sync", "warning", f"{detail}; each group of writes waits this long.")
    return Finding("Disk sync", "ok", detail)


# ------------------------------------------------------------------------------------------ the app


def _determinism(unguarded: list[str]) -> Finding:
    if unguarded:
        detail = f"not guarded on this Python: {', '.join(unguarded)}."
        return Finding("Determinism", "warning", detail)
    return Finding("Determinism", "ok", "everything that could differ between runs is guarded")


def _app(settings: Settings) -> Finding:
    """Whether the app's code can be imported, and what is in it."""
    if is_typescript(settings.app) and not (settings.app / PACKAGE).is_dir():
        return Finding("App", "ok", "no Python: its code is pushed, by `npx convex dev`")
    with contextlib.redirect_stdout(sys.stderr):  # what it prints is no part of the answer
        try:
            use_limits(settings.limits)
            app = load_app(settings.app)
        except CupolaError as error:
            return Finding("App", "problem", error.message)
    return Finding("App", "ok", f"functions: {len(app.functions)}, tables: {len(app.tables)}")

"""What `cupola doctor` can tell about a data folder without owning it."""

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import apsw

from cupola.cli.settings import DATA_FILE
from cupola.clock import Clock
from cupola.errors import CupolaError
from cupola.persistence.sqlite.failures import explain
from cupola.persistence.sqlite.file import SQLITE_MAGIC
from cupola.persistence.sqlite.schema import APPLICATION_ID, FORMAT

QUICK_CHECK_S = 5.0
CLOCK_SKEW_S = 1.0
_STEPS = 10_000  # of SQLite's machine, between looks at the clock

_Row = tuple[str, Literal["ok", "warning", "problem"], str]


def examine_file(data: Path, clock: Clock) -> Iterable[_Row]:
    """Findings as (check, outcome, detail)."""
    path = data / DATA_FILE
    if not path.exists():
        if data.exists() and not os.access(data, os.W_OK):
            yield "Data folder", "problem", f"{data} cannot be written; choose another --data."
        else:
            yield "Data folder", "ok", f"{data} holds no data yet"
        return
    holder = lock_holder(data)
    used = "" if holder is None else f", in use by process {holder}"
    yield "Data folder", "ok", f"{path.stat().st_size / 2**20:.1f} MiB in {path}{used}"
    try:
        yield from _examine_contents(path, clock)
    except apsw.Error as error:
        yield "Data file", "problem", explain(error, str(path)).message
    except CupolaError as error:
        yield "Data file", "problem", error.message
    except OSError as error:
        yield "Data file", "problem", explain(error, str(path)).message


def lock_holder(data: Path) -> str | None:
    """The id of the process that serves this folder; None if nobody does."""
    try:
        descriptor = os.open(data / (DATA_FILE + ".lock"), os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
    finally:
        os.close(descriptor)
    return None


def _examine_contents(path: Path, clock: Clock) -> Iterable[_Row]:
    with path.open("rb") as file:
        if file.read(len(SQLITE_MAGIC)) != SQLITE_MAGIC:
            yield "Data file", "problem", f"{path} is not a database; restore the newest backup."
            return
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        wrong = _wrong_format(connection, path)
        if wrong is not None:
            yield "Data file", "problem", wrong
            return
        yield _quick_check(connection, path, clock)
        yield _timestamps(connection, clock)
    finally:
        connection.close()


def _wrong_format(connection: apsw.Connection, path: Path) -> str | None:
    if connection.pragma("application_id") != APPLICATION_ID:
        return f"{path} is a database of another program; choose another --data."
    file_format = connection.pragma("user_version")
    if file_format > FORMAT:
        return (
            f"{path} has format {file_format}, this Cupola reads {FORMAT}; install a newer Cupola."
        )
    return None


def _quick_check(connection: apsw.Connection, path: Path, clock: Clock) -> _Row:
    """SQLite's own check of the file, for as long as a quick check may take."""
    deadline_ns = clock.monotonic_ns() + int(QUICK_CHECK_S * 1e9)
    connection.set_progress_handler(lambda: clock.monotonic_ns() > deadline_ns, _STEPS)
    try:
        answer = connection.execute("PRAGMA quick_check(1)").get
    except apsw.InterruptError:
        seen = f"no damage found in {QUICK_CHECK_S:.0f} s; the file is too large to see all of it"
        return "Data file", "ok", seen
    finally:
        connection.set_progress_handler(None)
    if answer != "ok":
        detail = f"{path} is damaged ({answer}). Keep a copy, and restore the newest backup."
        return "Data file", "problem", detail
    return "Data file", "ok", f"whole, format {connection.pragma('user_version')}"


def _timestamps(connection: apsw.Connection, clock: Clock) -> _Row:
    newest_ns = connection.execute("SELECT max(ts) FROM commits").get or 0
    ahead_s = (newest_ns - clock.now_ns()) / 1e9
    if ahead_s > CLOCK_SKEW_S:
        detail = (
            f"the newest commit is {ahead_s:.0f} s in the future: this machine's clock is late, or "
            "was ahead. New commits continue from there; set the clock by NTP."
        )
        return "Timestamps", "warning", detail
    return "Timestamps", "ok", "none is in the future"

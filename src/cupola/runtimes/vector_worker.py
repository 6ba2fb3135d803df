"""The vector worker: a process that keeps all vector indexes of a deployment and searches them.

It reads the database file itself: each search is answered at a snapshot, with everything that was
committed up to it. Started as `python -m cupola.runtimes.vector_worker FD PARENT`.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # one core; the others are the deployment's

import contextlib
import logging
import select
import socket
import sys
import time
from pathlib import Path
from typing import Any

from cupola.errors import CupolaError, PersistenceError
from cupola.persistence.sqlite.reader import SqliteSnapshots
from cupola.runtimes.python.lifeline import die_with_parent
from cupola.runtimes.python.messages import (
    FindVectors,
    FollowLog,
    FrameBuffer,
    Message,
    Ready,
    Setup,
    VectorProgress,
    VectorsFound,
    VectorsKept,
    frame,
    limits_of,
    to_worker_decoder,
)
from cupola.search.vector_index import Condition
from cupola.search.vector_indexes import VectorIndexes
from cupola.values import use_limits

SAVED = "-vectors"
"""Where indexes are saved: beside the database file, in a folder with this at the end."""

_LOG = logging.getLogger("cupola")
_ALLOWED_S = 1.0
_TOLD_S = 0.25
_PAUSE_SHARE = 0.25  # of the time of a slice: room for searches, checkpoints and other processes
_SAVE_AGAIN_S = 60.0


class VectorWorker:
    """Serves one socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = FrameBuffer()
        self._asked: list[tuple[float, FindVectors]] = []  # with the time each came
        self._allowed_until = 0.0
        self._is_behind = True
        self._pause_s = 0.0
        self._told: tuple[float, dict[str, Any]] = (0.0, {})
        self._save_at = 0.0
        self._waiting_s: float
        self._snapshots: SqliteSnapshots
        self._indexes: VectorIndexes | None = None

    def serve(self) -> None:
        """Until the engine goes away."""
        while self._receive():
            if self._has_work:
                self._work()
            elif self._save_in_s() == 0.0:
                self._save()

    @property
    def _has_work(self) -> bool:
        """Work on what nobody waits for needs the engine's leave, so that the log can shrink."""
        indexes = self._indexes
        if indexes is None:
            return False
        wants = self._is_behind or not indexes.is_idle
        return bool(self._asked) or (wants and time.monotonic() < self._allowed_until)

    def _save_in_s(self) -> float | None:
        """When to save; None: not before something is committed."""
        if self._indexes is None or not self._indexes.wants_saving:
            return None
        return max(0.0, self._save_at - time.monotonic())

    def _receive(self) -> bool:
        """Take what has been sent; wait for it if there is nothing else to do."""
        wait_s = self._pause_s if self._has_work else self._save_in_s()
        poll = select.poll()  # `select` knows descriptors up to 1023, and a server has more
        poll.register(self._socket, select.POLLIN)
        if poll.poll(None if wait_s is None else wait_s * 1000):
            data = self._socket.recv(1 << 20)
            if not data:
                return False
            for body in self._buffer.feed(data):
                self._take(to_worker_decoder.decode(body))
        return True

    def _take(self, message: Any) -> None:
        now = time.monotonic()
        match message:
            case Setup():
                self._send(self._set_up(message))
            case FindVectors():
                self._asked.append((now, message))
            case FollowLog():
                self._is_behind = True
        self._allowed_until = now + _ALLOWED_S

    def _send(self, message: Message) -> None:
        self._socket.sendall(frame(message))

    def _set_up(self, setup: Setup) -> Ready:
        limits = limits_of(setup.limits)
        use_limits(limits)
        self._waiting_s = limits.vector_search_time_s
        self._snapshots = SqliteSnapshots(setup.data_path)
        folder = Path(setup.data_path + SAVED)
        self._indexes = VectorIndexes(folder, limits.vector_index_bytes_max)
        return Ready(None)

    # ---------------------------------------------------------------- work

    def _work(self) -> None:
        """A slice of work on a new snapshot, and the searches that can be answered on it."""
        assert self._indexes is not None
        began = time.monotonic()
        try:
            snapshot = self._snapshots.open()
        except PersistenceError as error:
            sys.exit(error.message)
        try:
            self._is_behind = not self._indexes.step(snapshot)
        finally:
            snapshot.close()
        self._tell(self._indexes)
        if not self._is_behind:
            self._answer(self._indexes, snapshot.newest_ts())
        self._pause_s = (time.monotonic() - began) * _PAUSE_SHARE if not self._asked else 0.0

    def _answer(self, indexes: VectorIndexes, ts: int) -> None:
        """Answer what was asked of indexes that are built; the others wait, if not for too long."""
        asked, self._asked = self._asked, []
        oldest = time.monotonic() - self._waiting_s
        for came, search in asked:
            conditions = [Condition(field, value) for field, value in search.conditions]
            hits = indexes.search(search.index, search.vector, search.limit, conditions)
            if hits is None and came > oldest and indexes.is_being_built(search.index):
                self._asked.append((came, search))
                continue
            found = [(hit.id, hit.score) for hit in hits] if hits is not None else None
            self._send(VectorsFound(search.number, ts, found))

    def _tell(self, indexes: VectorIndexes) -> None:
        """Tell the engine how far the indexes are, where that is news; and now and then that this
        is still at work: who says nothing while somebody waits is taken to hang.
        """
        now = time.monotonic()
        progress = indexes.progress()
        told_at, told = self._told
        states = {name: (each.is_built, each.is_too_large) for name, each in progress.items()}
        is_done = indexes.is_idle and not self._is_behind
        if states == told and (is_done or now < told_at + _TOLD_S):
            return
        self._told = now, states
        kept = {
            name: VectorProgress(each.is_built, each.is_too_large, each.seen, each.total)
            for name, each in progress.items()
        }
        self._send(VectorsKept(kept, indexes.size_bytes))

    def _save(self) -> None:
        assert self._indexes is not None
        try:
            self._indexes.save_due()
        except CupolaError as error:
            _LOG.warning("%s", error.message)
            self._save_at = time.monotonic() + _SAVE_AGAIN_S


def main(arguments: list[str]) -> None:
    die_with_parent(int(arguments[2]))
    connection = socket.socket(fileno=int(arguments[1]))
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        VectorWorker(connection).serve()


if __name__ == "__main__":
    main(sys.argv)

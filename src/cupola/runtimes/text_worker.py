"""The text worker: a process that brings the files of all text indexes up to date with the log.

It reads the database file itself, when the engine says so. Nobody searches here: processes that run
functions open the files. Started as `python -m cupola.runtimes.text_worker FD PARENT`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import time

from cupola.errors import PersistenceError
from cupola.persistence.sqlite.reader import SqliteSnapshots
from cupola.runtimes.python.lifeline import die_with_parent
from cupola.runtimes.python.messages import (
    FrameBuffer,
    IndexText,
    Message,
    Ready,
    Setup,
    TextIndexed,
    TextProgress,
    frame,
    limits_of,
    to_worker_decoder,
)
from cupola.search.places import text_folder
from cupola.search.text_indexer import TextIndexer
from cupola.values import use_limits

_SLICE_S = 0.25  # then the engine hears how far it is, and says whether to go on
_AGAIN_S = 1.0  # after a failure, of the disk say
_NICE = 5  # calls come first


class TextWorker:
    """Serves one socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._snapshots: SqliteSnapshots
        self._indexer: TextIndexer

    def serve(self) -> None:
        """Until the engine goes away."""
        buffer = FrameBuffer()
        while data := self._socket.recv(1 << 20):
            for body in buffer.feed(data):
                message = to_worker_decoder.decode(body)
                if isinstance(message, Setup):
                    self._send(self._set_up(message))
                elif isinstance(message, IndexText):
                    self._send(self._index(message.synced_ts))

    def _send(self, message: Message) -> None:
        self._socket.sendall(frame(message))

    def _set_up(self, setup: Setup) -> Ready:
        use_limits(limits_of(setup.limits))
        self._snapshots = SqliteSnapshots(setup.data_path)
        self._indexer = TextIndexer(text_folder(setup.data_path))
        return Ready(None)

    def _index(self, synced_ts: int) -> TextIndexed:
        """Some slices of work, each on a snapshot of its own."""
        until = time.monotonic() + _SLICE_S
        is_done = False
        while not is_done and time.monotonic() < until:
            try:
                snapshot = self._snapshots.open()
            except PersistenceError as error:
                sys.exit(error.message)
            try:
                is_done = self._indexer.step(snapshot, synced_ts)
            finally:
                snapshot.close()
            if self._indexer.failures:
                time.sleep(_AGAIN_S)  # the engine waits for this answer, then asks again at once
                break
        kept = {
            name: TextProgress(each.is_built, each.version, each.seen, each.total)
            for name, each in self._indexer.progress().items()
        }
        return TextIndexed(kept, is_done)


def main(arguments: list[str]) -> None:
    die_with_parent(int(arguments[2]))
    os.nice(_NICE)
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
    connection = socket.socket(fileno=int(arguments[1]))
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        TextWorker(connection).serve()


if __name__ == "__main__":
    main(sys.argv)

"""Durability beside the loop: a thread that syncs the write-ahead log.

COMMIT only writes to the page cache. The owner then asks for a sync and goes on with the next
group; one `fdatasync` covers everything committed before it began, and requests that arrive
meanwhile share the next. SQLite recovers the longest valid prefix of its log, so what a power cut
takes is always a suffix that nobody was told of.
"""

import contextlib
import os
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from cupola.errors import PersistenceError
from cupola.persistence.protocol import Timestamp
from cupola.persistence.sqlite.failures import explain
from cupola.persistence.sqlite.file import sync_data

_ROOM_BYTES = 2 * 2**20
_ROOM_UP_TO_BYTES = 64 * 2**20  # from there on checkpoints let the log start again


class LogSync:
    """Advances `durable_ts`. `fail` is called at most once; after that nothing is ever synced."""

    def __init__(
        self,
        wal_path: str,
        durable_ts: Timestamp,
        notify: Callable[[], None],
        fail: Callable[[PersistenceError], None],
    ) -> None:
        self.durable_ts = durable_ts
        self.syncs = 0
        self._wal_path = wal_path
        self._notify = notify
        self._fail = fail
        # SQLite keeps its own descriptor of the log as long as the writer lives, and a log that
        # starts again is overwritten in place: so ours stays valid. (A second descriptor of this
        # file is harmless.)
        self._descriptor = os.open(wal_path, os.O_RDWR | os.O_CLOEXEC)
        self._inode = os.fstat(self._descriptor).st_ino
        self._used = 0
        self._size = os.fstat(self._descriptor).st_size
        self._asked: SimpleQueue[Timestamp | None] = SimpleQueue()
        self._changed = threading.Condition()
        self._stopped = False  # by `close` or a failure
        self._thread: threading.Thread | None = None

    def make_room(self, used_bytes: int) -> None:
        """Write zeros behind the log's used part, if that nears the end of the file: an fdatasync
        of pages that exist costs half of one that makes the file grow. Recovery stops where valid
        frames do.

        For the owner thread, while it alone writes.
        """
        if used_bytes < self._used:  # the log has started again, and may have been cut short
            self._size = os.fstat(self._descriptor).st_size
        self._used = used_bytes
        if used_bytes + _ROOM_BYTES // 2 > self._size and self._size < _ROOM_UP_TO_BYTES:
            size = max(used_bytes, os.fstat(self._descriptor).st_size)
            with contextlib.suppress(OSError):  # no room is slower, and nothing worse
                os.pwrite(self._descriptor, bytes(_ROOM_BYTES), size)
            self._size = size + _ROOM_BYTES

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="cupola-sync", daemon=True)
        self._thread.start()

    def request(self, head_ts: Timestamp) -> None:
        self._asked.put(head_ts)

    def wait(self, head_ts: Timestamp) -> None:
        """Block until `head_ts` is durable, or never will be."""
        if self._thread is None:
            self._sync(head_ts)
            return
        self.request(head_ts)
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self.durable_ts >= head_ts)

    def close(self) -> None:
        if self._thread is not None:
            self._asked.put(None)
            self._thread.join()
        os.close(self._descriptor)

    def _run(self) -> None:
        try:
            while not self._stopped:
                target = self._asked.get()
                with contextlib.suppress(Empty):
                    while target is not None:
                        target = self._asked.get_nowait()
                if target is None:
                    return
                self._sync(target)
        except BaseException as error:  # a bug; a dead thread must not look like a slow disk
            self._stop(PersistenceError(f"The sync thread ended: {error!r}"))
            raise

    def _sync(self, target: Timestamp) -> None:
        if self._stopped or target <= self.durable_ts:
            return
        try:
            if not self._log_is_in_place():
                self._stop(
                    PersistenceError(
                        f"{self._wal_path} was removed or replaced by another program, so commits "
                        "cannot be made durable. Restart the server; never touch this file while "
                        "it runs."
                    )
                )
            else:
                sync_data(self._descriptor)
                self.syncs += 1
                self.durable_ts = target
                with self._changed:
                    self._changed.notify_all()
        except OSError as error:
            self._stop(explain(error, self._wal_path))
        self._notify()

    def _log_is_in_place(self) -> bool:
        """A log that was removed or replaced still takes writes, into a file without a name."""
        try:
            return os.stat(self._wal_path).st_ino == self._inode
        except FileNotFoundError:
            return False

    def _stop(self, failure: PersistenceError) -> None:
        self._stopped = True
        self._fail(failure)
        with self._changed:
            self._changed.notify_all()

"""Durability beside the loop: a thread that syncs the write-ahead log.

COMMIT only writes to the page cache. The owner then asks for a sync and goes on with the next
group; one `fdatasync` covers everything committed before it began, and requests that arrive
meanwhile share the next. SQLite recovers the longest valid prefix of its log, so what a power cut
takes is always a suffix that nobody was told of.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

from cupola.errors import PersistenceError
from cupola.persistence.protocol import Timestamp
from cupola.persistence.sqlite.failures import explain
from cupola.persistence.sqlite.file import sync_data

_ROOM_BYTES = 256 * 2**10  # more at a time, and the sync that follows takes long
_ROOM_UP_TO_BYTES = 64 * 2**20  # from there on checkpoints let the log start again


_FEW_COMMITS = 64
_FAST_DISK_S = 0.001
_monotonic = time.monotonic  # the guard replaces the module's


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
        self._put = 0  # handed to the thread; written by the owner alone
        self._done = 0  # finished by the thread; written by it alone. Equal: the thread sleeps
        self._average_s = 0.0  # of the last few syncs
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

    def request(self, head_ts: Timestamp, commits: int) -> None:
        """Make everything up to `head_ts` durable, `commits` of them not asked for before.

        A few commits on a fast disk are synced here and now: waking the thread, and being woken by
        it, costs more than the disk does, while many are worth executing the next turn beside.
        """
        if (
            commits <= _FEW_COMMITS
            and self._average_s <= _FAST_DISK_S
            and self._put == self._done
            and self._thread is not None
        ):
            self._sync(head_ts)
        else:
            self._hand_over(head_ts)

    def _hand_over(self, head_ts: Timestamp) -> None:
        self._put += 1
        self._asked.put(head_ts)

    def wait(self, head_ts: Timestamp) -> None:
        """Block until `head_ts` is durable, or never will be."""
        if self._thread is None:
            self._sync(head_ts)
            return
        self._hand_over(head_ts)
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self.durable_ts >= head_ts)

    def close(self) -> None:
        if self._thread is not None:
            self._asked.put(None)
            self._thread.join()
        os.close(self._descriptor)

    def _run(self) -> None:
        taken = 0
        try:
            while not self._stopped:
                target = self._asked.get()
                taken += 1
                with contextlib.suppress(Empty):
                    while target is not None:
                        target = self._asked.get_nowait()
                        taken += 1
                if target is None:
                    return
                self._sync(target)
                self._done = taken
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
                started = _monotonic()
                sync_data(self._descriptor)
                self._average_s += (_monotonic() - started - self._average_s) / 8
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

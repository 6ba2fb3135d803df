"""Checkpoints beside the loop: the write-ahead log is copied into the file, and starts again.

SQLite's own automatic checkpoint runs inside COMMIT and stalls it by tens of milliseconds. A
PASSIVE one in a thread stalls nobody, but a busy writer is always some frames ahead of it, so
that the log never starts again; and SQLite syncs the file only once everything is copied, all at
the end. So one round is:

    repeat   PASSIVE, then `fdatasync` of the file    until few frames are left
    then     hold commits, PASSIVE once more          so that the next commit starts anew

A reader whose snapshot lies in the log also keeps it from starting again, and readers that
overlap do so for ever. Past `checkpoint_hold_bytes` new snapshots therefore wait, until the old
ones have ended and a TRUNCATE has emptied the log. Those of calls end in time; one that does not is
that of an export or of another program. Then waiting helps nobody, and the log grows until it ends.
"""

import logging
import threading
import time
from collections.abc import Callable

import apsw

from cupola.errors import PersistenceError
from cupola.limits import Limits
from cupola.persistence.sqlite.failures import explain, is_lost_sync
from cupola.persistence.sqlite.file import connect, sync_data

FRAME_HEADER_BYTES = 24
FEW_FRAMES = 1500
PASSES_MAX = 20
RETRY_S = 0.05
HOLD_FACTOR = 1.5  # of what a call's snapshot may last

_LOG = logging.getLogger("cupola")
_monotonic = time.monotonic  # the guard replaces the module's


class Checkpointer:
    """One round at a time, on a connection of its own.

    `gate` is held by whoever has a group open, and during the last pass by the round.
    """

    def __init__(
        self,
        path: str,
        descriptor: int,
        page_size_bytes: int,
        limits: Limits,
        gate: threading.Lock,
        notify: Callable[[], None],
        fail: Callable[[PersistenceError], None],
    ) -> None:
        self.holding_commits = False
        self.holding_snapshots = False
        self.log_frames = 0
        self.frames_written = 0
        self.rounds = 0
        self.blocked_rounds = 0
        self.truncations = 0
        self.errors = 0
        self._path = path
        self._descriptor = descriptor
        self.frame_bytes = page_size_bytes + FRAME_HEADER_BYTES
        self._start_frames = limits.checkpoint_start_bytes // self.frame_bytes
        self._hold_frames = limits.checkpoint_hold_bytes // self.frame_bytes
        self._due_frames = self._start_frames
        self._hold_from_frames = self._hold_frames
        self._hold_s = HOLD_FACTOR * limits.transaction_age_s
        self._held_since = 0.0
        self._gate = gate
        self._notify = notify
        self._fail = fail
        self._connection = connect(path)
        self._connection.execute("SELECT count(*) FROM meta").fetchall()  # else it does nothing
        self._wake = threading.Event()
        self._stopped = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="cupola-checkpoint", daemon=True)
        self._thread.start()

    def committed(self, log_frames: int) -> None:
        """The writer says, at each commit, how many frames the log has. Must be quick."""
        if log_frames > self.log_frames:
            self.frames_written += log_frames - self.log_frames
        else:
            self.frames_written += log_frames
            self._due_frames = self._start_frames
            self._hold_from_frames = self._hold_frames
        self.log_frames = log_frames
        if self.is_due and not self._wake.is_set():
            self._wake.set()

    @property
    def is_due(self) -> bool:
        return self.log_frames >= self._due_frames

    def close(self) -> None:
        self._stopped = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self._connection.close(True)

    def _run(self) -> None:
        try:
            while True:
                self._wake.wait(RETRY_S if self.holding_snapshots else None)
                self._wake.clear()
                if self._stopped:
                    return
                self.run_round()
        except BaseException as error:  # a bug; without this thread the log would grow for ever
            self._stop(PersistenceError(f"The checkpoint thread ended: {error!r}"))
            raise

    def run_round(self) -> None:
        """One round, in whichever thread. A full disk ends it; a lost sync ends everything."""
        try:
            self._round()
        except apsw.Error as error:
            self.errors += 1
            self._due_frames = self._next_due_frames()
            self.holding_snapshots = False  # waiting for readers does not help here
            if is_lost_sync(error):
                self._stop(explain(error, self._path))
            self._notify()

    def _round(self) -> None:
        self.rounds += 1
        readers_block = not self._copy_most()
        if self.log_frames >= self._hold_from_frames and not self.holding_snapshots:
            self.holding_snapshots, self._held_since = True, _monotonic()
            self._notify()
        if readers_block:
            self.blocked_rounds += 1
            self._due_frames = self._next_due_frames()
        else:
            self._copy_rest()
        if self.holding_snapshots and _monotonic() - self._held_since > self._hold_s:
            self._hold_no_longer()

    def _hold_no_longer(self) -> None:
        """Whoever still reads may do so for hours; calls do not wait for it."""
        _LOG.warning(
            "%s has been read for more than %g s without a pause, by an export or another program; "
            "its write-ahead log grows until that ends.",
            self._path,
            self._hold_s,
        )
        self._hold_from_frames = 2 * self.log_frames
        self.holding_snapshots = False
        self._notify()

    def _next_due_frames(self) -> int:
        """If the next commit cannot start the log again, the next round waits for more of it."""
        return max(self._start_frames, self.log_frames + self._start_frames // 4)

    def _copy_most(self) -> bool:
        """Copy while the writer goes on.

        Returns: False if a reader's snapshot stands in the way.
        """
        for _ in range(PASSES_MAX):
            in_log, copied = self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            self._sync_file()
            if copied < in_log or self._stopped:
                return False
            if self.log_frames - copied < FEW_FRAMES:
                break
        return True

    def _sync_file(self) -> None:
        """Early, so that SQLite's own sync, at the end of the last pass, finds little to do."""
        try:
            sync_data(self._descriptor)
        except OSError as error:
            self._stop(explain(error, self._path))
            self._notify()

    def _stop(self, failure: PersistenceError) -> None:
        self._stopped = True
        self._fail(failure)

    def _copy_rest(self) -> None:
        """Copy what is left while no commit adds to it."""
        self.holding_commits = True
        self._notify()
        try:
            with self._gate:
                if not self.holding_snapshots:
                    self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
                elif self._truncate():
                    self.log_frames = 0
                    self._hold_from_frames = self._hold_frames
                    self.holding_snapshots = False
                self._due_frames = self._next_due_frames()
        finally:
            self.holding_commits = False
            self._notify()

    def _truncate(self) -> bool:
        """Empty the log, unless a reader still stands on it."""
        try:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.BusyError:
            return False
        self.truncations += 1
        return True

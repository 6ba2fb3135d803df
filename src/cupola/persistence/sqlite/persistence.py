"""`Persistence` in one SQLite file.

What runs where:

    owner thread         begin, apply, COMMIT, reads at the head, snapshots
    sync thread          fdatasync of the log                   (durability.py)
    checkpoint thread    copies the log into the file           (checkpoints.py)

The writing connection is never touched by another thread, nor kept busy by a sync. Dropped:
syncing inside COMMIT (the connection is unusable meanwhile), a second writing connection (its
BEGIN meets the first one's lock), savepoints for nested calls (they cost half of a mutation; the
overlay above does it).
"""

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import apsw

from cupola.errors import PersistenceError
from cupola.limits import DEFAULT_LIMITS, Limits
from cupola.persistence.protocol import Commit, Timestamp
from cupola.persistence.sqlite.checkpoints import Checkpointer
from cupola.persistence.sqlite.durability import LogSync
from cupola.persistence.sqlite.failures import explain, is_lost_sync
from cupola.persistence.sqlite.file import OwnedFile
from cupola.persistence.sqlite.past import SqlitePast
from cupola.persistence.sqlite.reader import SqliteReader, SqliteSnapshot, SqliteSnapshots
from cupola.persistence.sqlite.requests import RequestIndex
from cupola.persistence.sqlite.writer import CommitWriter

CACHE_KIB = 32 * 1024
FRAME_HEADER_BYTES = 24  # of the write-ahead log


class HeadReader(SqliteReader):
    """Reads on the writing connection; knows the requests that have no index row yet."""

    def __init__(self, connection: apsw.Connection, path: str, requests: RequestIndex) -> None:
        super().__init__(connection, path)
        self._requests = requests

    def _request_ts(self, session: bytes, request: int) -> Timestamp | None:
        return self._requests.find(session, request)


class SqlitePersistence:
    """See `Persistence`. After opening, which recovers from a crash, what is visible is durable."""

    def __init__(self, path: str, limits: Limits = DEFAULT_LIMITS) -> None:
        """Open the file at `path`, or create it.

        Raises: ConfigurationError, PersistenceError: See `OwnedFile`.
        """
        self._path = path
        self._failure: PersistenceError | None = None
        self._callback: Callable[[], None] = lambda: None
        self._request_retention_ns = int(limits.request_retention_s * 1e9)
        self._gate = threading.Lock()
        self._in_group = False
        self._commits_unsynced = 0
        self._is_closed = False
        self._file = OwnedFile(path, cache_kib=CACHE_KIB)
        with contextlib.ExitStack() as undo:
            undo.callback(self._file.close, checkpoint=False)
            try:
                self._read_state(limits)
            except (apsw.Error, OSError) as error:
                raise explain(error, path) from error
            undo.pop_all()

    def _read_state(self, limits: Limits) -> None:
        connection = self._connection = self._file.connection
        self._cursor = connection.cursor()
        self._requests = RequestIndex(connection)
        self._writer = CommitWriter(connection)
        self._reader = HeadReader(connection, self._path, self._requests)
        self._past = SqlitePast(connection, self._path)
        self._snapshots = SqliteSnapshots(self._path)
        self._head_ts = self._group_ts = self._reader.newest_ts()
        self.checkpointer = Checkpointer(
            self._path,
            self._file.descriptor,
            self._file.page_size_bytes,
            limits,
            self._gate,
            self._notify,
            self._fail,
        )
        connection.set_wal_hook(self._committed)
        self._data_version = self._read_data_version()
        self._truncations_seen = 0
        self._log_sync = LogSync(self._file.wal_path, self._head_ts, self._notify, self._fail)
        self._log_sync.make_room(0)

    @property
    def reader(self) -> HeadReader:
        return self._reader

    @property
    def past(self) -> SqlitePast:
        return self._past

    @property
    def head_ts(self) -> Timestamp:
        return self._head_ts

    @property
    def durable_ts(self) -> Timestamp:
        return self._log_sync.durable_ts

    @property
    def failure(self) -> PersistenceError | None:
        return self._failure

    # ---------------------------------------------------------------------------------- groups

    def begin(self) -> None:
        assert not self._in_group, "a group is already open"
        if self._failure is not None:
            raise self._failure
        self._gate.acquire()
        self._in_group = True
        self._group_ts = self._head_ts
        self._writer.begun()
        try:
            self._cursor.execute("BEGIN IMMEDIATE")
            self._refuse_foreign_writes()
        except apsw.Error as error:
            raise self._rolled_back(error) from error
        except BaseException:
            self.rollback()
            raise

    def apply(self, commit: Commit) -> list[int]:
        assert self._in_group, "no group is open"
        ts, record = commit.ts, commit.record
        try:
            assert ts > self._group_ts, "timestamps only grow"
            numbers = self._writer.write(commit)
            self._commits_unsynced += 1
            if record.session is not None and record.request is not None:
                assert record.result is not None
                self._requests.add(record.session, record.request, ts)
        except apsw.Error as error:
            raise self._rolled_back(error) from error
        except BaseException:
            self.rollback()
            raise
        self._group_ts = ts
        return numbers

    def append(self) -> None:
        assert self._in_group, "no group is open"
        try:
            self._cursor.execute("COMMIT")
        except apsw.Error as error:
            raise self._rolled_back(error) from error
        self._head_ts = self._group_ts
        self._requests.appended()
        self._in_group = False
        self._gate.release()

    def rollback(self) -> None:
        if not self._in_group:
            return
        try:
            if self._connection.in_transaction:  # SQLite rolls back by itself on some errors
                self._cursor.execute("ROLLBACK")
        except apsw.Error as error:
            self._fail(explain(error, self._path))
        self._requests.rolled_back()
        self._writer.rolled_back()
        self._in_group = False
        self._gate.release()

    def _rolled_back(self, error: apsw.Error) -> PersistenceError:
        """What to raise for `error`, after the group is gone."""
        self.rollback()
        explained = explain(error, self._path)
        if is_lost_sync(error):
            self._fail(explained)
            self._notify()
        return explained

    def _refuse_foreign_writes(self) -> None:
        """Another program's write would go past the log, the caches and every check."""
        data_version = self._read_data_version()
        truncations = self.checkpointer.truncations
        if data_version != self._data_version and truncations == self._truncations_seen:
            self._fail(
                PersistenceError(
                    f"Another program has written to {self._path}. What this server holds in "
                    "memory is no longer true: restart it, and let others only read the file."
                )
            )
            self._notify()
            assert self._failure is not None
            raise self._failure
        self._data_version = data_version
        self._truncations_seen = truncations

    def _read_data_version(self) -> int:
        rows: Any = self._cursor.execute("PRAGMA data_version").fetchall()
        return int(rows[0][0])

    def _committed(self, _connection: apsw.Connection, _database: str, log_frames: int) -> int:
        self.checkpointer.committed(log_frames)
        self._log_sync.make_room(log_frames * (self._file.page_size_bytes + FRAME_HEADER_BYTES))
        return apsw.SQLITE_OK

    # ------------------------------------------------------------------------------ background

    def start(self, notify: Callable[[], None]) -> None:
        self._callback = notify
        self._log_sync.start()
        self.checkpointer.start()

    def sync(self) -> None:
        commits, self._commits_unsynced = self._commits_unsynced, 0
        self._log_sync.request(self._head_ts, commits)

    def wait_durable(self) -> None:
        if self._failure is None:
            self._log_sync.wait(self._head_ts)
        if self._failure is not None:
            raise self._failure

    def holding_commits(self) -> bool:
        return self.checkpointer.holding_commits

    def holding_snapshots(self) -> bool:
        return self.checkpointer.holding_snapshots

    def _notify(self) -> None:
        self._callback()

    def _fail(self, error: PersistenceError) -> None:
        if self._failure is None:
            self._failure = error

    # ---------------------------------------------------------------------------------- upkeep

    def open_snapshot(self) -> SqliteSnapshot:
        return self._snapshots.open()

    def maintain(self) -> bool:
        assert not self._in_group, "upkeep runs between groups"
        if self.checkpointer.holding_commits:
            return True
        waiting = len(self._requests)
        more = self._index_requests()
        taken = waiting - len(self._requests)
        return self._drop_old_requests(2 * taken) or more  # so that it keeps up with them

    def _index_requests(self) -> bool:
        if not self._requests.is_behind(self._head_ts):
            return False
        self.begin()
        try:
            through, count = self._requests.write_slice(self._head_ts)
        except apsw.Error as error:
            raise self._rolled_back(error) from error
        self.append()
        self._requests.slice_appended(through, count)
        return len(self._requests) > 0

    def _drop_old_requests(self, commits: int) -> bool:
        old = self._requests.old(self._head_ts - self._request_retention_ns, commits)
        if not old:
            return False
        self.begin()
        try:
            self._requests.drop_slice(old)
        except apsw.Error as error:
            raise self._rolled_back(error) from error
        self.append()
        self._requests.drop_appended(old[-1][2])
        return True

    def statistics(self) -> dict[str, float]:
        checkpointer = self.checkpointer
        return {
            "file_bytes": self._file.size_bytes(),
            "wal_bytes": checkpointer.log_frames * checkpointer.frame_bytes,
            "wal_file_bytes": self._file.wal_size_bytes(),
            "wal_written_bytes": checkpointer.frames_written * checkpointer.frame_bytes,
            "syncs": self._log_sync.syncs,
            "checkpoints": checkpointer.rounds,
            "checkpoints_blocked": checkpointer.blocked_rounds,
            "checkpoint_errors": checkpointer.errors,
            "requests_not_indexed": len(self._requests),
        }

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self.rollback()
        self.checkpointer.close()
        with contextlib.suppress(PersistenceError):  # what stays undone, the next start recovers
            self.wait_durable()
            while not self.checkpointer.holding_commits and self._index_requests():
                pass
        self._log_sync.close()
        self._snapshots.close()
        self._file.close(checkpoint=self._failure is None)

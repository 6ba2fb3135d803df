"""Reading: short statements over `current` joined with `versions`, each fetched to its end at once.

A statement that stays open pins the write-ahead log, so none does; a scan goes on from its last
key. The log has no index by timestamp, and needs none: numbers of versions grow with it, so the
newest one of a moment is found by halving.
"""

from collections.abc import Callable, Collection
from typing import Any

import apsw
import orjson

from cupola.persistence.protocol import LoggedVersion, RecordedRequest, Row, Timestamp
from cupola.persistence.sqlite.aggregates import RangeSummary
from cupola.persistence.sqlite.failures import explain
from cupola.persistence.sqlite.file import connect
from cupola.persistence.summaries import Summary

_ROWS = "SELECT c.key, c.version, v.body FROM current c CROSS JOIN versions v USING(version) "
GET = _ROWS + "WHERE c.idx=? AND c.key=?"
SCAN = _ROWS + "WHERE c.idx=? AND c.key>=? AND c.key<? ORDER BY c.key LIMIT ?"
SCAN_BACK = _ROWS + "WHERE c.idx=? AND c.key>=? AND c.key<? ORDER BY c.key DESC LIMIT ?"
SCAN_OPEN = _ROWS + "WHERE c.idx=? AND c.key>=? ORDER BY c.key LIMIT ?"
SCAN_OPEN_BACK = _ROWS + "WHERE c.idx=? AND c.key>=? ORDER BY c.key DESC LIMIT ?"
COUNT = "SELECT count(*) FROM (SELECT 1 FROM current WHERE idx=? AND key>=? AND key<? LIMIT ?)"
COUNT_OPEN = "SELECT count(*) FROM (SELECT 1 FROM current WHERE idx=? AND key>=? LIMIT ?)"
NEWEST_TS = "SELECT ifnull(max(ts), 0) FROM commits"
REQUEST_TS = "SELECT ts FROM requests WHERE session=? AND request=?"
UNINDEXED_REQUEST_TS = (
    "SELECT ts FROM commits WHERE session=? AND request=? "
    "AND ts>(SELECT value FROM meta WHERE key='indexed_through')"
)
NEWEST_VERSION = "SELECT ifnull(max(version), 0) FROM versions"
VERSION_TS = "SELECT ts FROM versions WHERE version=?"
NEWEST_TO = "SELECT version, ts FROM versions WHERE version<=? ORDER BY version DESC LIMIT 1"
_CHANGES = "SELECT version, ts, tbl, id, body FROM versions WHERE version>? AND version<=? "
CHANGES = _CHANGES + "ORDER BY version LIMIT ?"
CHANGES_OF = _CHANGES + "AND tbl IN (SELECT value FROM json_each(?)) ORDER BY version LIMIT ?"
ANSWER = "SELECT ts, result, log_lines FROM commits WHERE ts=?"


class SqliteReader:
    """A `Reader` over one connection."""

    def __init__(self, connection: apsw.Connection, path: str) -> None:
        self._path = path
        self._execute: Callable[..., Any] = connection.cursor().execute

    def newest_ts(self) -> Timestamp:
        try:
            return Timestamp(self._execute(NEWEST_TS).fetchall()[0][0])
        except apsw.Error as error:
            raise explain(error, self._path) from error

    def get(self, index: int, key: bytes) -> Row | None:
        try:
            rows: list[Row] = self._execute(GET, (index, key)).fetchall()
        except apsw.Error as error:
            raise explain(error, self._path) from error
        return rows[0] if rows else None

    def scan(
        self, index: int, start: bytes, end: bytes | None, *, descending: bool, limit: int
    ) -> list[Row]:
        try:
            if end is None:
                sql = SCAN_OPEN_BACK if descending else SCAN_OPEN
                rows: list[Row] = self._execute(sql, (index, start, limit)).fetchall()
            else:
                sql = SCAN_BACK if descending else SCAN
                rows = self._execute(sql, (index, start, end, limit)).fetchall()
        except apsw.Error as error:
            raise explain(error, self._path) from error
        return rows

    def count(self, index: int, start: bytes, end: bytes | None, *, limit: int) -> int:
        try:
            if end is None:
                rows = self._execute(COUNT_OPEN, (index, start, limit)).fetchall()
            else:
                rows = self._execute(COUNT, (index, start, end, limit)).fetchall()
        except apsw.Error as error:
            raise explain(error, self._path) from error
        return int(rows[0][0])

    def summarize(self, index: int, start: bytes, end: bytes | None, *, fields: int) -> Summary:
        try:
            return RangeSummary(self._execute, index, fields).summarize(start, end)
        except apsw.Error as error:
            raise explain(error, self._path) from error

    def nth(self, index: int, start: bytes, end: bytes | None, position: int) -> bytes | None:
        try:
            return RangeSummary(self._execute, index, 0).nth(start, end, position)
        except apsw.Error as error:
            raise explain(error, self._path) from error

    def recorded_request(self, session: bytes, request: int) -> RecordedRequest | None:
        try:
            ts = self._request_ts(session, request)
            if ts is None:
                return None
            return RecordedRequest(*self._execute(ANSWER, (ts,)).fetchall()[0])
        except apsw.Error as error:
            raise explain(error, self._path) from error

    def newest_version(self) -> int:
        try:
            return int(self._execute(NEWEST_VERSION).fetchall()[0][0])
        except apsw.Error as error:
            raise explain(error, self._path) from error

    def version_at(self, ts: int) -> int:
        try:
            found, low, high = 0, 0, self.newest_version()
            middle = high  # mostly, the newest is meant
            while low < high:
                rows = self._execute(NEWEST_TO, (middle,)).fetchall()
                if rows and rows[0][1] > ts:
                    high = rows[0][0] - 1
                else:
                    found, low = rows[0][0] if rows else 0, middle
                middle = (low + high + 1) // 2
            return int(found)
        except apsw.Error as error:
            raise explain(error, self._path) from error

    def version_ts(self, version: int) -> Timestamp | None:
        try:
            rows = self._execute(VERSION_TS, (version,)).fetchall()
        except apsw.Error as error:
            raise explain(error, self._path) from error
        return Timestamp(rows[0][0]) if rows else None

    def changes(
        self, tables: Collection[int] | None, after: int, through: int, *, limit: int
    ) -> list[LoggedVersion]:
        try:
            if tables is None:
                rows = self._execute(CHANGES, (after, through, limit)).fetchall()
            else:
                wanted = orjson.dumps(list(tables)).decode()
                rows = self._execute(CHANGES_OF, (after, through, wanted, limit)).fetchall()
        except apsw.Error as error:
            raise explain(error, self._path) from error
        return [LoggedVersion(*row) for row in rows]

    def _request_ts(self, session: bytes, request: int) -> Timestamp | None:
        """The index, and behind it the commits of the last second or so."""
        key = (session, request)
        rows = self._execute(REQUEST_TS, key).fetchall()
        rows = rows or self._execute(UNINDEXED_REQUEST_TS, key).fetchall()
        return Timestamp(rows[0][0]) if rows else None


class SqliteSnapshot(SqliteReader):
    """A read transaction of its own connection; `newest_ts` is read in it, so it is exact."""

    def __init__(self, connection: apsw.Connection, owner: "SqliteSnapshots", path: str) -> None:
        super().__init__(connection, path)
        self._connection: apsw.Connection | None = connection
        self._owner = owner
        self._execute("BEGIN")
        self._ts = super().newest_ts()  # the first read is what pins the snapshot

    def newest_ts(self) -> Timestamp:
        return self._ts

    def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            self._owner._take_back(connection)


class SqliteSnapshots:
    """Opens snapshots of a file that this or another process writes. For one thread.

    Connections are kept for the next snapshot, with their prepared statements and pages.
    """

    IDLE_MAX = 4
    CACHE_KIB = 8 * 1024

    def __init__(self, path: str) -> None:
        self._path = path
        self._idle: list[apsw.Connection] = []
        self._open: set[apsw.Connection] = set()

    def open(self) -> SqliteSnapshot:
        """Pin the newest commit.

        Raises: PersistenceError: The file is not there or cannot be read.
        """
        try:
            if self._idle:
                connection = self._idle.pop()
            else:
                connection = connect(self._path, read_only=True, cache_kib=self.CACHE_KIB)
            snapshot = SqliteSnapshot(connection, self, self._path)
        except apsw.Error as error:
            raise explain(error, self._path) from error
        self._open.add(connection)
        return snapshot

    def _take_back(self, connection: apsw.Connection) -> None:
        if connection not in self._open:
            return  # closed with all the others
        self._open.remove(connection)
        connection.execute("COMMIT").fetchall()
        if len(self._idle) < self.IDLE_MAX:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close every connection; snapshots still open become useless."""
        for connection in [*self._idle, *self._open]:
            connection.close(True)
        self._idle.clear()
        self._open.clear()

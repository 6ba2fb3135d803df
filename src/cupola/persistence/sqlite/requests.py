"""Which client requests have committed: an index that is filled late.

The commit row itself holds session, request and answer. An index row beside each commit would
double the time and the log of a mutation, because session ids are random and every row lands on
another page. So new requests stay in a dict and move into the `requests` table in sorted slices,
about once a second; what a crash leaves behind is found again by reading the commits after
`indexed_through`.

Requests too old to be sent again leave the table in slices as well. The commits tell which, in the
order of time; their own rows stay.
"""

from itertools import islice
from typing import Any

import apsw

from cupola.persistence.protocol import Timestamp
from cupola.persistence.sqlite.reader import REQUEST_TS

SLICE_REQUESTS = 1000

UNINDEXED = (
    "SELECT session, request, ts FROM commits WHERE session IS NOT NULL "
    "AND ts>(SELECT value FROM meta WHERE key='indexed_through') ORDER BY ts"
)
INDEXED_THROUGH = "SELECT value FROM meta WHERE key='indexed_through'"
INSERT = "INSERT OR REPLACE INTO requests VALUES(?,?,?)"
ADVANCE = "UPDATE meta SET value=? WHERE key='indexed_through'"

DROPPED_THROUGH = "SELECT value FROM meta WHERE key='requests_dropped_through'"
OLD = "SELECT session, request, ts FROM commits WHERE ts>? AND ts<? ORDER BY ts LIMIT ?"
DROP = "DELETE FROM requests WHERE session=? AND request=? AND ts=?"
ADVANCE_DROPPED = "INSERT OR REPLACE INTO meta VALUES('requests_dropped_through', ?)"


class RequestIndex:
    """The requests of the log, those of the open group included."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._cursor: Any = connection.cursor()
        self._indexed_through = Timestamp(connection.execute(INDEXED_THROUGH).get)
        # (session, request) -> ts, in the order of ts: those not in the table yet.
        self._recent: dict[tuple[bytes, int], Timestamp] = {
            (session, request): ts for session, request, ts in self._cursor.execute(UNINDEXED)
        }
        self._group: list[tuple[bytes, int]] = []
        dropped = connection.execute(DROPPED_THROUGH).get
        self._dropped_through = Timestamp(dropped or 0)

    def __len__(self) -> int:
        """How many requests wait for their index row."""
        return len(self._recent)

    def find(self, session: bytes, request: int) -> Timestamp | None:
        key = (session, request)
        if (ts := self._recent.get(key)) is not None:
            return ts
        rows = self._cursor.execute(REQUEST_TS, key).fetchall()
        return Timestamp(rows[0][0]) if rows else None

    def add(self, session: bytes, request: int, ts: Timestamp) -> None:
        """Remember a request of the open group."""
        key = (session, request)
        assert key not in self._recent, "a request commits once"
        self._recent[key] = ts
        self._group.append(key)

    def appended(self) -> None:
        self._group.clear()

    def rolled_back(self) -> None:
        for key in self._group:
            del self._recent[key]
        self._group.clear()

    def is_behind(self, head_ts: Timestamp) -> bool:
        return self._indexed_through < head_ts

    def write_slice(self, head_ts: Timestamp) -> tuple[Timestamp, int]:
        """Write the oldest of the recent requests into the open group; nothing is forgotten yet.

        A slice is at least an eighth of what waits, so the dict stays bounded at any load.

        Returns: how far the index then reaches, and how many of the recent requests it took.
        """
        size = max(SLICE_REQUESTS, len(self._recent) // 8)
        taken = list(islice(self._recent.items(), size))
        through = head_ts if len(taken) == len(self._recent) else taken[-1][1]
        rows = sorted((session, request, ts) for (session, request), ts in taken)
        self._cursor.executemany(INSERT, rows)
        self._cursor.execute(ADVANCE, (through,))
        return through, len(taken)

    def slice_appended(self, through: Timestamp, count: int) -> None:
        """The slice is in the table now."""
        self._indexed_through = through
        for key in list(islice(self._recent, count)):
            del self._recent[key]

    def old(self, before: int, commits: int) -> list[tuple[bytes | None, int | None, Timestamp]]:
        """A slice of the commits before a moment that were not looked at yet: (session, request,
        ts). `commits`: how large it is, if that is more than usual.
        """
        before = min(before, self._indexed_through)
        if before <= self._dropped_through:
            return []
        bounds = (self._dropped_through, before, max(SLICE_REQUESTS, commits))
        found: list[tuple[bytes | None, int | None, Timestamp]]
        found = self._cursor.execute(OLD, bounds).fetchall()
        return found

    def drop_slice(self, old: list[tuple[bytes | None, int | None, Timestamp]]) -> None:
        """Drop the requests of these commits in the open group."""
        self._cursor.executemany(DROP, sorted(row for row in old if row[0] is not None))
        self._cursor.execute(ADVANCE_DROPPED, (old[-1][2],))

    def drop_appended(self, through: Timestamp) -> None:
        self._dropped_through = through

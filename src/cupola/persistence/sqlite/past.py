"""Reading what a primary index held at a timestamp.

What was at T is what is current and began by T, and what was retired after T and began by T;
retired entries are clustered by the hour they left, so only hours in which the index lost something
are looked at.
"""

from collections.abc import Callable
from typing import Any, Final

import apsw

from cupola.persistence.protocol import HOUR_NS, PastPage, PastRow
from cupola.persistence.sqlite.failures import explain

_CURRENT: Final = (
    "SELECT key, from_ts, version FROM current WHERE idx=? AND key>=? ORDER BY key LIMIT ?"
)
_HOUR: Final = "SELECT min(hour) FROM retired WHERE idx=? AND hour>=?"
_RETIRED: Final = (
    "SELECT key, from_ts, version FROM retired WHERE idx=?1 AND hour=?2 AND key>=?3 "
    "AND (?4 IS NULL OR key<=?4) AND to_ts>?5 AND from_ts<=?5 ORDER BY key LIMIT ?6"
)
_BODY: Final = "SELECT body FROM versions WHERE version=?"


class SqlitePast:
    """A `PastReader` over one connection."""

    def __init__(self, connection: apsw.Connection, path: str) -> None:
        self._path = path
        self._execute: Callable[..., Any] = connection.cursor().execute

    def scan_at(self, ts: int, index: int, start: bytes, *, limit: int) -> PastPage:
        try:
            return self._scan_at(ts, index, start, limit)
        except apsw.Error as error:
            raise explain(error, self._path) from error

    def _scan_at(self, ts: int, index: int, start: bytes, limit: int) -> PastPage:
        current = self._execute(_CURRENT, (index, start, limit)).fetchall()
        bound: bytes | None = current[-1][0] if len(current) == limit else None
        entries = [entry for entry in current if entry[1] <= ts]
        hour = self._execute(_HOUR, (index, ts // HOUR_NS)).get
        while hour is not None:
            place = (index, hour, start, bound, ts, limit)
            found = self._execute(_RETIRED, place).fetchall()
            if len(found) == limit and (bound is None or found[-1][0] < bound):
                bound = found[-1][0]
            entries += found
            hour = self._execute(_HOUR, (index, hour + 1)).get
        entries.sort()
        rows = [
            PastRow(key, since, self._execute(_BODY, (version,)).get)
            for key, since, version in entries[:limit]
            if bound is None or key <= bound
        ]
        if len(entries) > limit and len(rows) == limit:
            bound = rows[-1].key
        return PastPage(rows, None if bound is None else bound + b"\0")

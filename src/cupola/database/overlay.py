"""A transaction's own writes, seen through an index.

Writes are not in the snapshot until they commit, so each scan merges the snapshot's rows with an
overlay: which keys the transaction hid and which it added. A document that moved leaves one entry
for its old key (hidden) and one for the new.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

from cupola.database.catalog import Index
from cupola.database.documents import StoredDocument
from cupola.persistence import Row


class IndexOverlay:
    """One index as changed by one transaction."""

    __slots__ = ("changes", "keys", "rows")

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.rows: dict[bytes, StoredDocument | None] = {}
        self.changes: list[bytes] = []  # every key touched, in order: scans look at what is new

    def put(self, key: bytes, document: StoredDocument | None) -> None:
        """The key now holds `document`; None hides what the snapshot has there."""
        if key not in self.rows:
            bisect.insort(self.keys, key)
        self.rows[key] = document
        self.changes.append(key)

    def write(self, index: Index, old: StoredDocument | None, new: StoredDocument | None) -> None:
        """A document of the index's table was written."""
        for document, shown in ((old, None), (new, new)):
            if document is not None:
                self.put(b"".join(index.parts_of(document)), shown)

    def clear(self) -> None:
        """All writes are taken back: each key counts as changed, for the scans under way."""
        self.changes.extend(self.keys)
        self.keys.clear()
        self.rows.clear()

    def between(self, start: bytes, end: bytes | None) -> list[bytes]:
        low = bisect.bisect_left(self.keys, start)
        high = len(self.keys) if end is None else bisect.bisect_left(self.keys, end)
        return self.keys[low:high]

    def merged(
        self, rows: Sequence[Row], start: bytes, end: bytes | None, descending: bool
    ) -> list[tuple[bytes, StoredDocument]]:
        """Those of the snapshot between `start` and `end`, with what was written there."""
        mine = self.between(start, end)
        if not mine:
            return [(k, StoredDocument(v, b)) for k, v, b in rows]
        merged = [(k, StoredDocument(v, b)) for k, v, b in rows if k not in self.rows]
        for key in mine:
            document = self.rows[key]
            if document is not None:
                merged.append((key, document))
        merged.sort(key=_row_key, reverse=descending)
        return merged


def _row_key(row: tuple[bytes, StoredDocument]) -> bytes:
    return row[0]

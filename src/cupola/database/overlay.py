"""A transaction's own writes, seen through an index.

Writes are not in the snapshot until they commit, so each scan merges the snapshot's rows with an
overlay: which keys the transaction hid and which it added. A document that moved leaves one entry
for its old key (hidden) and one for the new.
"""

from __future__ import annotations

import bisect

from cupola.database.documents import StoredDocument


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

    def clear(self) -> None:
        """All writes are taken back: each key counts as changed, for the scans under way."""
        self.changes.extend(self.keys)
        self.keys.clear()
        self.rows.clear()

    def between(self, start: bytes, end: bytes | None) -> list[bytes]:
        low = bisect.bisect_left(self.keys, start)
        high = len(self.keys) if end is None else bisect.bisect_left(self.keys, end)
        return self.keys[low:high]

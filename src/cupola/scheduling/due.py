"""What is due, in order of time, read from an index that begins with it.

Nothing polls: the time of the next row is known, and a commit says which keys it wrote. A row that
was taken is passed over until it is released, since it stays in the index until whoever took it has
committed.
"""

from __future__ import annotations

from cupola.database.catalog import Document
from cupola.persistence import Reader
from cupola.values import decode_canonical
from cupola.values.keys import after

_PAGE = 64


class DueRows:
    """Rows of one index below a prefix; `field` is the one after it: when the row is due, ms."""

    def __init__(self, index: int, prefix: bytes, field: str) -> None:
        self.index = index
        self._prefix = prefix
        self._end = after(prefix) if prefix else None
        self._field = field
        self._position = prefix
        self._taken: set[bytes] = set()
        self._is_stale = True
        self._next: tuple[float, bytes] | None = None

    @property
    def next_ms(self) -> float | None:
        """When the next row is due that nobody has taken; None if there is none."""
        return self._next[0] if self._next is not None else None

    def wrote(self, key: bytes) -> None:
        """Look again where a commit has written."""
        if not key.startswith(self._prefix) or key in self._taken:
            return
        if key < self._position:
            self._position = key
        if self._next is None or key <= self._next[1]:
            self._is_stale = True

    def take(self, reader: Reader, now_ms: float, most: int) -> list[tuple[bytes, Document]]:
        """Up to `most` rows that are due, in order: (key, document). They are the caller's until it
        releases their keys.
        """
        is_due = self._next is not None and self._next[0] <= now_ms
        taken: list[tuple[bytes, Document]] = []
        while (self._is_stale or is_due) and len(taken) < most:
            wanted = min(_PAGE, most - len(taken))
            rows = reader.scan(
                self.index, self._position, self._end, descending=False, limit=wanted
            )
            for key, _, body in rows:
                if key not in self._taken:
                    document = decode_canonical(body)
                    assert isinstance(document, dict)
                    due_ms = document[self._field]
                    assert isinstance(due_ms, float)
                    if due_ms > now_ms:
                        self._is_stale, self._next = False, (due_ms, key)
                        return taken
                    self._taken.add(key)
                    taken.append((key, document))
                self._position = key + b"\0"
            if len(rows) < wanted:
                self._is_stale, self._next = False, None
                return taken
        return taken

    def release(self, key: bytes) -> None:
        """Whoever took the row is done with it: it has changed its key. One that has not is taken
        again when `wrote` tells of it.
        """
        self._taken.discard(key)

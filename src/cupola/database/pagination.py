"""Gapless reactive pages (spec: values, section 7).

A page covers (cursor, end]. The first run finds its end by counting; the end then goes into the
query's journal, and re-runs cover the same keys however many documents they hold by now, so
adjacent pages neither overlap nor gap.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from cupola.database.catalog import Index
from cupola.database.cursors import END, CursorSealer
from cupola.database.documents import StoredDocument
from cupola.database.ranges import KeyRange
from cupola.database.transaction import Transaction
from cupola.errors import DatabaseUseError, LimitError

_PAGE_LENGTH_SPLIT = 6144


@dataclasses.dataclass(frozen=True, slots=True)
class PageRequest:
    """What a client asks for; see `PaginationOptions`."""

    items: int
    cursor: str | None
    end_cursor: str | None = None
    rows_read_max: int | None = None
    bytes_read_max: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class PageResult:
    """One page. `journal` pins its end for re-runs."""

    documents: list[StoredDocument]
    is_done: bool
    continue_cursor: str
    split_cursor: str | None
    status: str | None
    journal: str


def read_page(
    transaction: Transaction,
    index: Index,
    keys: KeyRange,
    *,
    descending: bool,
    keep: Callable[[StoredDocument], bool] | None,
    request: PageRequest,
    journal: str | None,
    plan: bytes,
    sealer: CursorSealer,
) -> PageResult:
    """Read one page.

    Raises:
        InvalidCursorError: A cursor or the journal is not of this query.
        DatabaseUseError: A page size below 1.
        LimitError: Not one more document may be read.
    """
    if request.items < 1:
        raise DatabaseUseError(
            "NoDocumentsForPagination: numItems must be at least 1.",
            code="NoDocumentsForPagination",
        )
    pinned = request.end_cursor if request.end_cursor is not None else journal
    stop = sealer.open(pinned, plan) if pinned is not None else None
    if request.cursor is not None:
        position = sealer.open(request.cursor, plan)
        if position == END:
            end = sealer.seal(END, plan)
            return PageResult([], True, end, None, None, end)
        keys = _behind(keys, position, descending)
    if stop:
        keys = _through(keys, stop, descending)
    walk = _walk(transaction, request, pinned=stop is not None)
    rows = transaction.scan(index, keys, descending=descending, expect=min(request.items + 1, 256))
    while not walk.full:
        try:
            row = next(rows, None)
        except LimitError:  # the next document is more than may be read
            if walk.is_empty:
                raise
            break
        if row is None:
            walk.complete = True
            break
        walk.see(*row, keep is None or keep(row[1]))
    return walk.result(stop, plan, sealer)


def _walk(transaction: Transaction, request: PageRequest, *, pinned: bool) -> _Walk:
    """A page with an end is read to it, whatever the caller's bounds are: only the transaction's
    own may cut it.
    """
    usage = transaction.usage
    rows_max, bytes_max = max(usage.documents_left, 1), max(usage.bytes_left, 1)
    if pinned:
        return _Walk(rows_max, bytes_max, None)
    rows_max = min(rows_max, request.rows_read_max or rows_max)
    return _Walk(rows_max, min(bytes_max, request.bytes_read_max or bytes_max), request.items)


class _Walk:
    """The rows of one page as they are read."""

    def __init__(self, rows_max: int, bytes_max: int, items: int | None) -> None:
        self._rows_max = rows_max
        self._bytes_max = bytes_max
        self._items = items
        self._keys: list[bytes] = []
        self._bytes = 0
        self.documents: list[StoredDocument] = []
        self.complete = False

    def see(self, key: bytes, document: StoredDocument, kept: bool) -> None:
        self._keys.append(key)
        self._bytes += len(document.body)
        if kept:
            self.documents.append(document)

    @property
    def is_empty(self) -> bool:
        return not self._keys

    @property
    def over_limit(self) -> bool:
        return len(self._keys) >= self._rows_max or self._bytes >= self._bytes_max

    @property
    def full(self) -> bool:
        return self.over_limit or (self._items is not None and len(self.documents) >= self._items)

    def result(self, stop: bytes | None, plan: bytes, sealer: CursorSealer) -> PageResult:
        if self.complete:
            position = stop if stop else END
        else:
            position = self._keys[-1]
        middle = self._keys[(len(self._keys) - 1) // 2] if len(self._keys) >= 2 else None
        cursor = sealer.seal(position, plan)
        return PageResult(
            documents=self.documents,
            is_done=position == END,
            continue_cursor=cursor,
            split_cursor=sealer.seal(middle, plan) if middle is not None else None,
            status=self._status(can_split=middle is not None),
            journal=cursor if stop is None else sealer.seal(stop, plan),
        )

    def _status(self, *, can_split: bool) -> str | None:
        """`SplitRequired`: a bound ended the page before it had what was asked for. The published
        hooks show such a page only in halves, so one that has none is not called that.
        """
        is_short = self._items is None or len(self.documents) < self._items
        if not self.complete and is_short and can_split:
            return "SplitRequired"
        crowded = (
            len(self._keys) > 0.75 * self._rows_max
            or self._bytes > 0.75 * self._bytes_max
            or len(self.documents) > _PAGE_LENGTH_SPLIT
        )
        return "SplitRecommended" if crowded else None


def _behind(keys: KeyRange, position: bytes, descending: bool) -> KeyRange:
    if descending:
        end = position if keys.end is None else min(position, keys.end)
        return keys._replace(end=max(end, keys.start))
    return keys._replace(start=max(position + b"\0", keys.start))


def _through(keys: KeyRange, position: bytes, descending: bool) -> KeyRange:
    if descending:
        return keys._replace(start=max(position, keys.start))
    end = position + b"\0"
    return keys._replace(end=end if keys.end is None else min(end, keys.end))

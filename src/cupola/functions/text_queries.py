"""Text searches as functions of both languages make them, and pages of what they find.

A page's cursor is a position in the order of relevance: how many documents come before it. Re-runs
cover the same positions (spec: function runtime, 7.5 and 8).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cupola.database.cursors import END
from cupola.database.documents import StoredDocument
from cupola.database.pagination import PageRequest, PageResult
from cupola.errors import InvalidCursorError
from cupola.functions.call import Call
from cupola.search.text_query import text_query
from cupola.search.text_search import TextScan

_TAG = b"text"
_NUMBER_BYTES = 4


@dataclasses.dataclass(frozen=True, slots=True)
class TextSearch:
    """What is searched for: fields with the text looked for, and filter fields with values."""

    table: str
    index: str
    searches: Sequence[tuple[str, Any]]
    equalities: Sequence[tuple[str, Any]]

    @classmethod
    def by_fields(cls, call: Call, table: str, index: str, fields: dict[str, Any]) -> TextSearch:
        """From fields by name: the one that the index searches has the text, others are filters."""
        info = call.transaction.table(table)
        searched = info.text_index(index).definition.field if info is not None else None
        searches = [(name, value) for name, value in fields.items() if name == searched]
        equalities = [(name, value) for name, value in fields.items() if name != searched]
        return cls(table, index, searches, equalities)

    def scan(self, call: Call, expect: int | None) -> TextScan | None:
        """The documents, best first; None while the table does not exist. `expect`: how many will
        likely be asked for; None: all.

        Raises:
            DatabaseUseError, LimitError: The search makes no sense.
        """
        table = call.transaction.table(self.table)
        if table is None or not table.is_readable:
            return None
        index = table.text_index(self.index)
        query = text_query(self.table, index, self.searches, self.equalities, call.limits)
        assert call.text_indexes is not None, "whoever runs functions says where the indexes are"
        return TextScan(
            call.text_indexes(), call.transaction, table, index, query, call.limits, expect
        )


def text_page(
    call: Call,
    search: TextSearch,
    request: PageRequest,
    plan: bytes,
    keep: Callable[[StoredDocument], bool] | None,
) -> PageResult:
    """One page of a search.

    Raises:
        InvalidCursorError: A cursor or the journal is not of this query.
        DatabaseUseError, LimitError: The search makes no sense.
    """
    pinned = request.end_cursor if request.end_cursor is not None else call.journal
    stop = _opened(call, pinned, plan) if pinned is not None else None
    start = _opened(call, request.cursor, plan) if request.cursor is not None else 0
    if start is _END:
        return _page(call, plan, [], END, None)
    assert isinstance(start, int)
    expect = stop if isinstance(stop, int) else start + request.items
    rows = search.scan(call, None if stop is _END else expect)
    if rows is None or rows.skip(start) < start:
        return _page(call, plan, [], END, stop)
    documents: list[StoredDocument] = []
    position = start
    for document in _up_to(rows, stop, start):
        position += 1
        if keep is None or keep(document):
            documents.append(document)
        if stop is None and len(documents) >= request.items:
            return _page(call, plan, documents, _position(position), stop)
    end = _position(stop) if isinstance(stop, int) else END
    return _page(call, plan, documents, end, stop)


_END = object()
_Stop = int | object | None


def _up_to(rows: TextScan, stop: _Stop, position: int) -> Iterator[StoredDocument]:
    """The rows before `stop`, and no look at the one behind them."""
    while not isinstance(stop, int) or position < stop:
        row = next(rows, None)
        if row is None:
            return
        yield row
        position += 1


def _page(
    call: Call, plan: bytes, documents: list[StoredDocument], position: bytes, stop: _Stop
) -> PageResult:
    cursor = call.sealer.seal(position, plan)
    journal = cursor
    if stop is not None:
        journal = call.sealer.seal(_position(stop) if isinstance(stop, int) else END, plan)
    return PageResult(documents, position == END, cursor, None, None, journal)


def _position(number: int) -> bytes:
    return _TAG + number.to_bytes(_NUMBER_BYTES, "big")


def _opened(call: Call, cursor: str, plan: bytes) -> _Stop:
    position = call.sealer.open(cursor, plan)
    if position == END:
        return _END
    if not position.startswith(_TAG):
        raise InvalidCursorError("InvalidCursor: the cursor is of another query.")
    return int.from_bytes(position.removeprefix(_TAG), "big")

"""Aggregated indexes in a transaction: the snapshot's summaries with its own writes on top.

The snapshot answers for a range in logarithmic time; each own write in the range is then taken out
or added. An extreme that was taken out is found again by asking for the ranges between the own
writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cupola.database.catalog import Index
from cupola.database.documents import StoredDocument, id_in
from cupola.database.overlay import IndexOverlay
from cupola.errors import DatabaseUseError
from cupola.persistence import EntryNumbers, Reader, Summary, SummaryChange
from cupola.values import Value

if TYPE_CHECKING:
    from cupola.database.writes import Write


def require_aggregated(
    table: str, index: Index, figure: str, field: str | None, *, has_filter: bool
) -> None:
    """Refuse a figure that an index does not keep. `field`: of which field, if of one.

    Raises:
        DatabaseUseError: With what to declare.
    """
    if has_filter:
        raise DatabaseUseError(
            f"{figure}() is answered by the index and cannot look at a filter. Let the index begin "
            "with the filtered field, or go through the documents.",
            code="NotAggregated",
        )
    where = f"Index `{table}.{index.name}`"
    if index.aggregate is None:
        raise DatabaseUseError(
            f"{where} is not aggregated, so it cannot answer {figure}(): declare it as "
            f'"{index.name}": Aggregate(...).',
            code="NotAggregated",
        )
    if field is not None and field not in index.aggregate_names:
        has = ", ".join(f"`{known}`" for known in index.aggregate_names) or "only counts"
        raise DatabaseUseError(
            f"{where} does not aggregate `{field}`: it has {has}. Declare it as "
            f'"{index.name}": Aggregate(..., of=[..., "{field}"]).',
            code="NotAggregated",
        )


def entry_change(index: Index, key: bytes, document: Mapping[str, Value]) -> SummaryChange:
    """The entry of a document that is there now."""
    return SummaryChange(index.number, len(index.aggregate or ()), key, index.numbers(document))


def summary_changes(
    index: Index, old: StoredDocument | None, new: StoredDocument | None
) -> list[SummaryChange]:
    """What the write of one document changes in one aggregated index."""
    old_key = b"".join(index.parts_of(old)) if old is not None else None
    new_key = b"".join(index.parts_of(new)) if new is not None else None
    changes = []
    if old_key is not None and old_key != new_key:
        changes.append(SummaryChange(index.number, len(index.aggregate or ()), old_key, None))
    if new is not None and new_key is not None:
        is_same = (
            old is not None
            and old_key == new_key
            and index.state != "backfilling"
            and index.numbers(old.value) == index.numbers(new.value)
        )
        if not is_same:
            changes.append(entry_change(index, new_key, new.value))
    return changes


class MergedSummaries:
    """One aggregated index as a transaction sees it."""

    def __init__(
        self,
        reader: Reader,
        index: Index,
        overlay: IndexOverlay | None,
        writes: Mapping[str, Write],
        place: str,
        *,
        counts_only: bool,
    ) -> None:
        """`overlay` None: the transaction has not written to the table. `writes`: by id, behind
        `place`. `counts_only`: nobody asks for the numbers.
        """
        self._reader = reader
        self._index = index
        self._overlay = overlay
        self._writes = writes
        self._place = place
        self._fields = 0 if counts_only else len(index.aggregate or ())

    def summarize(self, start: bytes, end: bytes | None) -> Summary:
        """The summary of the range."""
        total = self._stored(start, end)
        mine = self._own(start, end)
        extremes_known = True
        for key in mine:
            before = self._stored_document(key)
            if before is not None:
                extremes_known = total.subtract_entry(self._entry(before)) and extremes_known
        if not extremes_known:
            total = self._between(mine, start, end)
        for key in mine:
            document = self._visible(key)
            if document is not None:
                total.add_entry(self._entry(document))
        return total

    def nth(
        self, start: bytes, end: bytes | None, position: int
    ) -> tuple[bytes, StoredDocument] | None:
        """The entry that has `position` others before it in the range."""
        mine = self._own(start, end)
        low, high = 0, len(mine)  # own keys before `low` have at most `position` entries before
        while low < high:
            middle = (low + high) // 2
            if self.summarize(start, mine[middle]).count <= position:
                low = middle + 1
            else:
                high = middle
        if low > 0:
            key = mine[low - 1]
            document = self._visible(key)
            position -= self.summarize(start, key).count
            if document is not None and position == 0:
                return key, document
            position -= document is not None
            start = key + b"\0"
        return self._stored_nth(start, mine[low] if low < len(mine) else end, position)

    def _stored_nth(
        self, start: bytes, end: bytes | None, position: int
    ) -> tuple[bytes, StoredDocument] | None:
        index = self._index.number
        key = self._reader.nth(index, start, end, position)
        if key is None:
            return None
        row = self._reader.get(index, key)
        assert row is not None, "summaries and entries are written together"
        return key, StoredDocument(row[1], row[2])

    def _between(self, mine: list[bytes], start: bytes, end: bytes | None) -> Summary:
        """What the snapshot has in the range, without the keys that this transaction wrote."""
        total = Summary(self._fields)
        for key in mine:
            total.add(self._stored(start, key))
            start = key + b"\0"
        total.add(self._stored(start, end))
        return total

    def _entry(self, document: StoredDocument) -> EntryNumbers:
        return self._index.numbers(document.value) if self._fields else ()

    def _stored(self, start: bytes, end: bytes | None) -> Summary:
        return self._reader.summarize(self._index.number, start, end, fields=self._fields)

    def _own(self, start: bytes, end: bytes | None) -> list[bytes]:
        return self._overlay.between(start, end) if self._overlay is not None else []

    def _visible(self, key: bytes) -> StoredDocument | None:
        assert self._overlay is not None
        return self._overlay.rows[key]

    def _stored_document(self, key: bytes) -> StoredDocument | None:
        """What the snapshot has at a key that this transaction wrote."""
        document_id = id_in(key)
        old = self._writes[f"{self._place}{document_id}"].old
        if old is None or b"".join(self._index.parts_of(old)) != key:
            return None
        return old

"""What a transaction sees: a snapshot that never changes, with its own writes done. What it looks
at is noted.

What a scan yields after the transaction wrote is defined as "continue after the last key in the
present state".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cupola.database.aggregates import MergedSummaries
from cupola.database.catalog import (
    FIRST_COMPONENT_TABLE,
    PRIVATE_TABLES,
    SHARED_TABLES,
    TABLES,
    Catalog,
    Index,
    TableInfo,
    primary_index_id,
)
from cupola.database.documents import StoredDocument, id_in
from cupola.database.overlay import IndexOverlay
from cupola.database.ranges import EVERYTHING, KeyRange
from cupola.database.read_set import RangeRead, ReadSet
from cupola.database.usage import Usage
from cupola.database.writes import Write, place_of
from cupola.errors import InvalidIdError
from cupola.limits import Limits
from cupola.persistence import Reader
from cupola.values import after, encode_key, qualified_table, table_number_of

_SEEN_MAX = 64
_PAGE_ROWS_MAX = 256
"""Rows come so many at a time, whatever is asked for: their bytes are counted once they are here,
and documents may be large.
"""
_PRIVATE_NUMBERS = frozenset(PRIVATE_TABLES.values())


class TransactionView:
    """Reads at one snapshot, over the writes of whoever inherits this."""

    rows_read: dict[int, int] | None = None
    """By table, where somebody counts them: see `CountedTransaction`."""

    def __init__(
        self, reader: Reader, catalog: Catalog, snapshot_ts: int, limits: Limits, *, writes: bool
    ) -> None:
        """`writes`: whether there may be any."""
        self.snapshot_ts = snapshot_ts
        self.catalog = catalog
        self.read_set = ReadSet()
        self.usage = Usage(limits)
        self.component = ""
        """Whose tables are meant by names and ids now; "": the app's own. See `within`."""
        self._reader = reader
        self._may_write = writes
        self._writes: dict[str, Write] = {}
        self._overlays: dict[int, IndexOverlay] = {}
        self._tables_used: set[int] = set()
        self._tables_written: set[int] = set()
        self._seen: dict[str, StoredDocument] = {}  # of the snapshot, which never changes

    @property
    def reader(self) -> Reader:
        """The snapshot, for searches. Whoever uses it notes what they read."""
        return self._reader

    def written_to(self, table: int) -> dict[str, StoredDocument | None]:
        """What was written here to a table, by id; None: the document was deleted."""
        if table not in self._tables_written:
            return {}
        return {w.id: w.new for w in self._writes.values() if w.table.number == table}

    def table(self, name: str) -> TableInfo | None:
        """The table of this name; None while nothing was ever inserted into it. Either answer is a
        read. Private tables do not exist here; see `system_table`.
        """
        table = self.catalog.by_name.get(qualified_table(self.component, name))
        if table is None or not self._may_see(table):
            self._read_all_of(TABLES)
            return None
        if table.number not in self._tables_used:
            self._tables_used.add(table.number)
            if table.document_id is not None:
                self.read_set.add_point(primary_index_id(TABLES), encode_key(table.document_id))
        return table

    def table_of(self, document_id: str) -> TableInfo:
        """The table that an id belongs to.

        Raises:
            InvalidIdError: It is no document id, or of no table here.
        """
        table = self._visible_table_of(document_id)
        if table is None:
            self._read_all_of(TABLES)
            raise InvalidIdError(f'ID "{document_id}" belongs to no table of this deployment.')
        return table

    def _visible_table_of(self, document_id: str) -> TableInfo | None:
        """Raises: InvalidIdError: It is no document id."""
        number = table_number_of(document_id)
        if self.component:
            table = self.catalog.table_of(self.component, number)
        else:
            table = self.catalog.by_number.get(number)
        return table if table is not None and self._may_see(table) else None

    def _may_see(self, table: TableInfo) -> bool:
        """Whether the function that runs may: each component sees its own tables only."""
        if table.document_id is not None:
            return table.component == self.component
        if self.component:
            return table.number in SHARED_TABLES
        return table.number not in _PRIVATE_NUMBERS

    @contextmanager
    def within(self, component: str) -> Iterator[None]:
        """Let names and ids mean the tables of a component, while its function runs."""
        outer, self.component = self.component, component
        try:
            yield
        finally:
            self.component = outer

    def get(self, document_id: str) -> StoredDocument | None:
        """The document as this transaction sees it."""
        table = self.table_of(document_id)
        found = self._get_in(table, document_id)
        if table.document_id is None and found is not None and not self.is_own(found):
            return None
        return found

    def foresee(self, document_id: str) -> tuple[TableInfo, StoredDocument] | None:
        """A document of the snapshot that may be read next, with its table; nothing of this is
        noted before `get` asks for it, which then finds it at hand. None: there is no such
        document, it belongs to the system, or something was written here that may concern it.

        Raises:
            InvalidIdError: It is no document id.
        """
        table = self._visible_table_of(document_id)
        if table is None or table.document_id is None:
            return None
        if not self.sees_plainly(table.number):
            return None
        place = place_of(table, document_id) if table.component else document_id
        found = self._seen.get(place)
        if found is None:
            row = self._reader.get(table.primary.number, encode_key(document_id))
            if row is None:
                return None
            found = self._seen[place] = StoredDocument(row[1], row[2])
        return table, found

    def is_own(self, document: StoredDocument) -> bool:
        """Whether a document of a system table that all components share is this one's."""
        return document.value.get("component", "") == self.component

    def system_table(self, number: int) -> TableInfo:
        """A table of the system, private ones included: for the system's own functions."""
        return self.catalog.by_number[number]

    def get_system(self, table: int, document_id: str) -> StoredDocument | None:
        """A document of a system table, private ones included; None also if the id is of another
        table.
        """
        if table_number_of(document_id) != table:
            return None
        return self._get_in(self.catalog.by_number[table], document_id)

    def _get_in(self, table: TableInfo, document_id: str) -> StoredDocument | None:
        primary = table.primary.number
        key = encode_key(document_id)
        self.read_set.add_point(primary, key)
        place = place_of(table, document_id) if table.component else document_id
        write = self._writes.get(place)
        if write is not None:
            found = write.new
        else:
            found = self._seen.get(place)
            if found is None:
                row = self._reader.get(primary, key)
                found = StoredDocument(row[1], row[2]) if row is not None else None
        self.usage.read(len(found.body) if found is not None else 0)
        return found

    def scan(
        self, index: Index, keys: KeyRange, *, descending: bool = False, expect: int = 16
    ) -> Iterator[tuple[bytes, StoredDocument]]:
        """Yield (key, document) in key order; `expect` is how many rows the caller will likely
        want.

        Rows come in pages, and no statement stays open while the caller's code runs. The read set
        grows to the last row fetched for the caller, or to the whole range once it is exhausted.
        """
        self.usage.range()
        read = RangeRead(index.number, *keys, descending)
        self.read_set.add_range(read)
        start, end = keys.start, keys.end
        overlay = self.overlay(index) if self._may_write else None
        size = min(expect, _PAGE_ROWS_MAX)
        while True:
            rows, more = self._page(index.number, overlay, start, end, descending, size)
            seen = len(overlay.changes) if overlay is not None else 0
            for key, document in rows:
                read.saw(key)  # first: if it is more than may be read, the outcome depends on it
                self.usage.read(len(document.body))
                yield key, document
                start, end = _after(key, start, end, descending)
                if overlay is not None and len(overlay.changes) > seen:
                    if any(_inside(k, start, end) for k in overlay.changes[seen:]):
                        more = True  # the rest of the page is out of date: fetch it anew
                        break
                    seen = len(overlay.changes)
            else:
                if not more:
                    read.exhausted()
                    return
            size = min(size * 2, _PAGE_ROWS_MAX)

    @property
    def has_written(self) -> bool:
        """Whether anything was written here, even if it was taken back."""
        return bool(self._tables_written)

    def sees_plainly(self, table: int) -> bool:
        """Whether a table reads as in the snapshot: nothing in it was written here."""
        return table not in self._tables_written

    def bodies(
        self, index: Index, keys: KeyRange, *, descending: bool, limit: int | None
    ) -> list[bytes]:
        """The first documents of a range, encoded, in one go: `scan` where nothing is to be merged
        and nobody runs in between.
        """
        assert self.sees_plainly(index.table)
        self.usage.range()
        read = RangeRead(index.number, *keys, descending)
        self.read_set.add_range(read)
        left = self.usage.documents_left + 1
        left = left if limit is None else min(limit, left)
        start, end = keys.start, keys.end
        found: list[bytes] = []
        while True:
            wanted = min(left, _PAGE_ROWS_MAX)
            rows = self._reader.scan(index.number, start, end, descending=descending, limit=wanted)
            if len(rows) < wanted:
                read.exhausted()
            elif rows:
                read.saw(rows[-1][0])
            page = [row[2] for row in rows]
            self.usage.read_many(len(page), sum(map(len, page)))
            found += page
            left -= len(rows)
            if not left or len(rows) < wanted:
                break
            start, end = _after(rows[-1][0], start, end, descending)
        is_apps = index.table < FIRST_COMPONENT_TABLE  # `place_of` is the id
        if self._may_write and is_apps and len(found) <= _SEEN_MAX:  # often written next
            for key, version, body in rows:
                self._seen[id_in(key)] = StoredDocument(version, body)
        return found

    def summaries(self, index: Index, *, counts_only: bool) -> MergedSummaries:
        """What is known of ranges of an aggregated index, own writes included. Whoever asks notes
        what they read.
        """
        overlay = None if self.sees_plainly(index.table) else self.overlay(index)
        place = place_of(self.catalog.by_number[index.table], "")
        return MergedSummaries(
            self._reader, index, overlay, self._writes, place, counts_only=counts_only
        )

    def under(
        self, index: Index, prefix: bytes, fields: int, *, limit: int | None = None
    ) -> list[StoredDocument]:
        """The documents whose keys begin with `prefix`, of so many fields: for the engine's own
        checks. Without a `limit` each counts as read; the range itself counts against no bound.
        """
        keys = KeyRange(fields, prefix, prefix, after(prefix))
        read = RangeRead(index.number, *keys, False)
        read.exhausted()
        self.read_set.add_range(read)
        left = self.usage.documents_left + 1 if limit is None else limit
        overlay = self.overlay(index)
        start, more = keys.start, True
        found: list[StoredDocument] = []
        while more and left:
            wanted = min(left, _PAGE_ROWS_MAX)
            rows, more = self._page(index.number, overlay, start, keys.end, False, wanted)
            page = [document for _, document in rows[:left]]
            if limit is None:
                self.usage.read_many(len(page), sum(len(document.body) for document in page))
            found += page
            left -= len(page)
            if more:
                start = rows[-1][0] + b"\0"
        return found

    def size_of(self, index: Index, limit: int) -> int:
        """How many entries an index has in the snapshot, up to `limit`. Not noted as a read."""
        return self._reader.count(index.number, b"", None, limit=limit)

    def _page(
        self,
        index: int,
        overlay: IndexOverlay | None,
        start: bytes,
        end: bytes | None,
        descending: bool,
        limit: int,
    ) -> tuple[list[tuple[bytes, StoredDocument]], bool]:
        """The merged view as far as the next `limit` rows of the snapshot, or as the first of it
        that the overlay does not hide; and whether there may be more behind.
        """
        while True:
            rows = self._reader.scan(index, start, end, descending=descending, limit=limit)
            more = len(rows) == limit
            if overlay is None:
                break
            behind = _after(rows[-1][0], start, end, descending) if more else None
            merged = overlay.merged(rows, *_before(behind, start, end, descending), descending)
            if merged or behind is None:
                return merged, more
            start, end = behind
        return [(key, StoredDocument(version, body)) for key, version, body in rows], more

    def overlay(self, index: Index) -> IndexOverlay:
        """What was written here, as an index shows it."""
        overlay = self._overlays.get(index.number)
        if overlay is None:
            overlay = self._overlays[index.number] = IndexOverlay()
            for write in self._writes.values():
                if write.table.number == index.table:
                    overlay.write(index, write.old, write.new)
        return overlay

    def _read_all_of(self, system_table: int) -> None:
        read = RangeRead(primary_index_id(system_table), *EVERYTHING, False)
        read.exhausted()
        self.read_set.add_range(read)


def _after(
    key: bytes, start: bytes, end: bytes | None, descending: bool
) -> tuple[bytes, bytes | None]:
    """The part of [start, end) that lies behind `key` in scan order."""
    return (start, key) if descending else (key + b"\0", end)


def _before(
    behind: tuple[bytes, bytes | None] | None, start: bytes, end: bytes | None, descending: bool
) -> tuple[bytes, bytes | None]:
    """The part of [start, end) that `behind`, the rest of it, leaves."""
    if behind is None:
        return start, end
    return (behind[1] or b"", end) if descending else (start, behind[0])


def _inside(key: bytes, start: bytes, end: bytes | None) -> bool:
    return start <= key and (end is None or key < end)

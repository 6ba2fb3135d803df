"""One transaction: a snapshot reader, a write set that overlays it, and a record of all it read.

The snapshot never changes; writes stay in memory until the committer applies them. So a transaction
can be thrown away at any moment, run in a worker that has no connection for writing, and be nested:
a sub-transaction is a mark in the undo list, and rolling it back plays the list back to the mark.
Reads, usage counters and log lines of a sub-transaction stay, since they happened.

What a scan yields after the transaction wrote is defined as "continue after the last key in the
present state".
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from cupola.database.aggregates import MergedSummaries
from cupola.database.catalog import (
    FIRST_COMPONENT_TABLE,
    INDEXES,
    PRIVATE_TABLES,
    SCHEMAS,
    SHARED_TABLES,
    TABLES,
    Catalog,
    Document,
    Index,
    TableInfo,
    primary_index_id,
)
from cupola.database.constraints import check_unique, check_write, delete_with_references
from cupola.database.documents import StoredDocument, id_in
from cupola.database.overlay import IndexOverlay
from cupola.database.ranges import EVERYTHING, KeyRange
from cupola.database.read_set import Interval, RangeRead, ReadSet
from cupola.database.usage import Usage
from cupola.errors import DatabaseUseError, DeveloperError, InvalidIdError
from cupola.limits import DEFAULT_LIMITS, Limits
from cupola.persistence import Reader
from cupola.values import (
    COMMIT_TIMESTAMP,
    UNSET,
    Int64,
    Value,
    after,
    check_document,
    check_identifier,
    encode,
    encode_id,
    encode_key,
    is_unresolved,
    new_internal_id,
    qualified,
    qualified_table,
    table_number_of,
)

_PLAIN = frozenset({str, float, bool, Int64, bytes, type(None)})
_SEEN_MAX = 64
_BEGINNING_BYTES = 4
_UNDERSCORE = ord("_")
_CATALOG_TABLES = frozenset({TABLES, INDEXES, SCHEMAS})
_PRIVATE_NUMBERS = frozenset(PRIVATE_TABLES.values())


class Write(NamedTuple):
    """What a transaction does to one document, all its steps folded into one."""

    table: TableInfo
    id: str
    old: StoredDocument | None
    new: StoredDocument | None


def place_of(table: TableInfo, document_id: str) -> str:
    """What tells a document from all others: its id, and the component if it is of one, since ids
    of an export may come into several.
    """
    return f"{table.component} {document_id}" if table.component else document_id


class IdSource:
    """Fresh document ids that follow from the seed of a call, so that replaying it makes the same
    ones.

    Those of one call begin alike, so that they lie together in the index: a call that inserts many
    documents then writes a few pages, not one for each. 80 random bits of each are its own.
    """

    __slots__ = ("_beginning", "_count", "_now_ns", "_seed")

    def __init__(self, seed: bytes, now_ns: int) -> None:
        self._seed = seed
        self._now_ns = now_ns
        self._count = 0
        self._beginning = b""

    def next(self, table: int) -> str:
        self._count += 1
        digest = hashlib.blake2b(
            self._count.to_bytes(8, "big"), key=self._seed, digest_size=14
        ).digest()
        if not self._beginning:
            self._beginning = digest[:_BEGINNING_BYTES]
        own = digest[_BEGINNING_BYTES:]
        return encode_id(table, new_internal_id(self._beginning + own, self._now_ns))


class Transaction:
    """Reads at one snapshot, buffered writes, and what both amount to."""

    def __init__(
        self,
        reader: Reader,
        catalog: Catalog,
        snapshot_ts: int,
        *,
        ids: IdSource | None = None,
        creation_time: float = 0.0,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """`ids` None makes the transaction read-only. `creation_time`: ms, given to the first
        insert.
        """
        self.snapshot_ts = snapshot_ts
        self.catalog = catalog
        self.read_set = ReadSet()
        self.usage = Usage(limits)
        self.creation_time = creation_time
        self.component = ""
        """Whose tables are meant by names and ids now; "": the app's own. See `within`."""
        self.awaits_commit = False
        """Whether writes or the result may hold COMMIT_TIMESTAMP."""
        self._reader = reader
        self._first_catalog = catalog
        self._limits = limits
        self._ids = ids
        self._writes: dict[str, Write] = {}
        self._undo: list[tuple[str, Write | None, Catalog]] = []
        self._overlays: dict[int, IndexOverlay] = {}
        self._tables_used: set[int] = set()
        self._tables_written: set[int] = set()
        self._seen: dict[str, StoredDocument] = {}  # of the snapshot, which never changes
        self.write_count = 0
        """Goes up with each write, and with each that is taken back."""

    # ---------------------------------------------------------------- reading

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
        number = table_number_of(document_id)
        if self.component:
            table = self.catalog.table_of(self.component, number)
        else:
            table = self.catalog.by_number.get(number)
        if table is None or not self._may_see(table):
            self._read_all_of(TABLES)
            raise InvalidIdError(f'ID "{document_id}" belongs to no table of this deployment.')
        return table

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
        number = table_number_of(document_id)
        if self.component:
            table = self.catalog.table_of(self.component, number)
        else:
            table = self.catalog.by_number.get(number)
        if table is None or table.document_id is None or not self._may_see(table):
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
        grows to the last row yielded, or to the whole range once it is exhausted.
        """
        self.usage.range()
        read = RangeRead(index.number, *keys, descending)
        self.read_set.add_range(read)
        start, end = keys.start, keys.end
        overlay = self.overlay(index) if self._ids is not None else None
        size = expect
        while True:
            rows, more = self._page(index.number, overlay, start, end, descending, size)
            seen = len(overlay.changes) if overlay is not None else 0
            for key, document in rows:
                self.usage.read(len(document.body))
                read.saw(key)
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
            size = min(size * 2, 1024)

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
        most = self.usage.documents_left + 1
        wanted = most if limit is None else min(limit, most)
        rows = self._reader.scan(
            index.number, keys.start, keys.end, descending=descending, limit=wanted
        )
        if len(rows) < wanted:
            read.exhausted()
        elif rows:
            read.saw(rows[-1][0])
        found = [row[2] for row in rows]
        self.usage.read_many(len(found), sum(map(len, found)))
        is_apps = index.table < FIRST_COMPONENT_TABLE  # `place_of` is the id
        if self._ids is not None and is_apps and len(rows) <= _SEEN_MAX:  # often written next
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
        wanted = self.usage.documents_left + 1 if limit is None else limit
        overlay = self.overlay(index)
        rows, _ = self._page(index.number, overlay, keys.start, keys.end, False, wanted)
        found = [document for _, document in rows]
        if limit is None:
            self.usage.read_many(len(found), sum(len(document.body) for document in found))
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
        """Up to `limit` rows of the merged view, and whether there may be more after them."""
        mine = overlay.between(start, end) if overlay is not None else []
        wanted = limit + len(mine)  # as many as the overlay could hide
        rows = self._reader.scan(index, start, end, descending=descending, limit=wanted)
        more = len(rows) == wanted
        if overlay is None or not mine:
            return [(key, StoredDocument(version, body)) for key, version, body in rows], more
        merged = overlay.merged(mine, rows, descending, more)
        return merged[:limit], more or len(merged) > limit

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

    # ---------------------------------------------------------------- writing

    def note_unresolved(self, data: bytes) -> None:
        """Look for COMMIT_TIMESTAMP in encoded JSON from outside the engine, which it may hold."""
        if self._ids is not None and is_unresolved(data):
            self.awaits_commit = True

    def commit_timestamp(self) -> Int64:
        """What stands for the timestamp of this transaction's commit until that is known."""
        self._require_writable()
        self.awaits_commit = True
        return COMMIT_TIMESTAMP

    def insert(self, table_name: str, fields: Mapping[str, Value]) -> str:
        """Insert a document and return its id. An unknown table comes into being.

        Raises:
            SchemaError, InvalidValueError, LimitError: The document was refused; nothing was
            written.
        """
        table, document = self._new_document(table_name, fields)
        return self._insert(table, document, self._encoded(table, document))

    def insert_encoded(self, table_name: str, fields: Document, encoded: bytes) -> str:
        """`insert` of fields that were checked before against values and limits, though not against
        the schema; `encoded` is what `encode` has made of them.
        """
        if not fields or encoded[2] < _UNDERSCORE:  # in canonical order, system fields come later
            return self.insert(table_name, fields)
        table, document = self._new_document(table_name, fields)
        body = b'{"_creationTime":%b,"_id":"%b",%b' % (
            encode(self.creation_time),
            str(document["_id"]).encode(),
            encoded[1:],
        )
        return self._insert(table, document, self._encoded(table, document, body))

    def _new_document(
        self, table_name: str, fields: Mapping[str, Value]
    ) -> tuple[TableInfo, Document]:
        ids = self._require_writable()
        table = self.table(table_name) or self.create_table(table_name)
        _refuse_system_fields(fields)
        document_id = ids.next(table.id_number)
        return table, {**fields, "_id": document_id, "_creationTime": self.creation_time}

    def _insert(self, table: TableInfo, document: Document, stored: StoredDocument) -> str:
        document_id = str(document["_id"])
        rules = self.catalog.rules(table)
        if rules is not None:
            check_write(self, rules, table, None, stored)
        self._put(Write(table, document_id, None, stored))
        self.creation_time = math.nextafter(self.creation_time, math.inf)
        return document_id

    def patch(self, document_id: str, fields: Mapping[str, Value | object]) -> None:
        """Set the given top-level fields; UNSET removes one. `_id` and `_creationTime` may only
        stay as they are.
        """
        table, old = self._existing(document_id, "patch")
        document = dict(old.value)
        for name, value in fields.items():
            if value is UNSET:
                document.pop(name, None)
            else:
                document[name] = value  # type: ignore[assignment]  # `_encoded` refuses what is no Value
        self._replace_with(table, old, document)

    def replace(self, document_id: str, fields: Mapping[str, Value]) -> None:
        """Replace all fields; the id and creation time stay."""
        table, old = self._existing(document_id, "replace")
        kept = {"_id": old.value["_id"], "_creationTime": old.value["_creationTime"]}
        self._replace_with(table, old, {**kept, **fields})

    def delete(self, document_id: str) -> None:
        """Delete a document, and what the references to it say.

        Raises:
            ReferenceViolationError, LimitError: Nothing was written.
        """
        table, old = self._existing(document_id, "delete")
        rules = self.catalog.rules(table)
        if rules is not None and rules.incoming:
            delete_with_references(self, document_id)
        else:
            self.remove(table, document_id, old)

    def remove(self, table: TableInfo, document_id: str, old: StoredDocument) -> None:
        """Delete one document, whatever refers to it."""
        self.usage.wrote(0)
        self._put(Write(table, document_id, old, None))

    def put_system(self, table: int, document_id: str | None, fields: Document | None) -> str:
        """Write to a system table: insert (id None), replace, or delete (fields None)."""
        ids = self._require_writable()
        info = self.catalog.by_number[table]
        if document_id is None:
            assert fields is not None
            document_id = ids.next(table)
            document = {**fields, "_id": document_id, "_creationTime": self.creation_time}
            self.creation_time = math.nextafter(self.creation_time, math.inf)
            self._put(
                Write(info, document_id, None, StoredDocument(None, encode(document), document))
            )
            return document_id
        old = self._get_in(info, document_id)
        assert old is not None, document_id
        new = None
        if fields is not None:
            kept = {"_id": old.value["_id"], "_creationTime": old.value["_creationTime"]}
            document = {**kept, **fields}
            new = StoredDocument(None, encode(document), document)
        self._put(Write(info, document_id, old, new))
        return document_id

    def add_system(self, table: int, document_id: str, fields: Document) -> None:
        """Insert into a system table under an id that was made before; `fields` may bring a
        `_creationTime`.
        """
        self._require_writable()
        info = self.catalog.by_number[table]
        assert self._get_in(info, document_id) is None, document_id
        document = {"_creationTime": self.creation_time, **fields, "_id": document_id}
        self.creation_time = math.nextafter(self.creation_time, math.inf)
        self._put(Write(info, document_id, None, StoredDocument(None, encode(document), document)))

    def restore(self, table_name: str, document: Document, encoded: bytes | None = None) -> None:
        """Insert a document that brings its own `_id` and `_creationTime`, from an export.
        `encoded`: as in `insert_encoded`.

        Its references are not looked at: what they lead to may be restored later. See
        `constraints.refuse_dangling`.

        Raises:
            SchemaError, InvalidValueError, LimitError, UniqueViolationError: As `insert`.
            DatabaseUseError: The id is of another table, or taken.
        """
        document_id = str(document["_id"])
        table = self.table(table_name) or self.create_table(table_name)
        if table_number_of(document_id) != table.id_number or self._get_in(table, document_id):
            raise DatabaseUseError(
                f'"{document_id}" cannot come into `{table_name}`: the id is taken, or of another '
                "table.",
                code="DocumentIdTaken",
            )
        stored = self._encoded(table, document, encoded)
        rules = self.catalog.rules(table)
        if rules is not None:
            check_unique(self, rules, table, None, stored)
        self._put(Write(table, document_id, None, stored))

    def renumber(self, numbers: Mapping[str, int]) -> None:
        """Give empty tables other numbers, which ids carry. They must exist, and stay distinct."""
        for name, number in numbers.items():
            table = self.catalog.by_name[name]
            document_id = table.document_id
            assert document_id is not None
            if table.component:
                fields: Document = {"name": name, "number": float(table.number)}
                self.put_system(TABLES, document_id, {**fields, "idNumber": float(number)})
                continue
            self.put_system(TABLES, document_id, {"name": name, "number": float(number)})

    def create_table(self, name: str, number: int | None = None) -> TableInfo:
        """A table that does not exist yet, without documents. `number`: a free one, if it matters.
        Raises: as `insert`.
        """
        check_identifier(name, "table")
        if name.startswith("_"):
            raise DatabaseUseError(
                f"`{name}` cannot be a table: names that start with `_` belong to the system.",
                code="InvalidTableName",
            )
        if len(self.catalog.by_name) >= self._limits.tables_max:
            raise DeveloperError(
                f"This deployment has {self._limits.tables_max} tables, which is the limit.",
                code="TooManyTables",
            )
        name = qualified(self.component, name)
        self.put_system(TABLES, None, self.catalog.new_table(name, number))
        return self.catalog.by_name[name]

    def _replace_with(self, table: TableInfo, old: StoredDocument, document: Document) -> None:
        for name in ("_id", "_creationTime"):
            if document.get(name) != old.value[name]:
                raise DatabaseUseError(
                    f"`{name}` cannot be changed; leave it out or pass the value it has.",
                    code="SystemFieldChanged",
                )
        new = self._encoded(table, document)
        rules = self.catalog.rules(table)
        if rules is not None:
            check_write(self, rules, table, old, new)
        self._put(Write(table, str(old.value["_id"]), old, new))

    def _existing(self, document_id: str, verb: str) -> tuple[TableInfo, StoredDocument]:
        self._require_writable()
        table = self.table_of(document_id)
        if table.document_id is None:
            raise _system_table(table)
        old = self._get_in(table, document_id)
        if old is None:
            raise DatabaseUseError(
                f'Cannot {verb} document "{document_id}" of `{table.name}`: it does not exist '
                "(it may have been deleted).",
                code="NonexistentDocument",
            )
        return table, old

    def _encoded(
        self, table: TableInfo, document: Document, body: bytes | None = None
    ) -> StoredDocument:
        """Check a document against values, limits and schema, and encode it. `body`: what has come
        of that, if it was checked against values and limits before.
        """
        if table.document_id is None:
            raise _system_table(table)
        if body is None:
            body = encode(document)
            check_document(document, self._limits, body)
        check = self.catalog.check(table)
        if check is not None:
            check(document)
        self.usage.wrote(len(body))
        if _PLAIN.issuperset(map(type, document.values())):
            return StoredDocument(None, body, document)
        return StoredDocument(None, body)  # a list or dict may still be changed by who made it

    def _require_writable(self) -> IdSource:
        if self._ids is None:
            raise DatabaseUseError(
                "A query cannot write; do this in a mutation.", code="WriteInQuery"
            )
        return self._ids

    def _put(self, write: Write) -> None:
        place = place_of(write.table, write.id) if write.table.component else write.id
        previous = self._writes.get(place)
        self.write_count += 1
        self._undo.append((place, previous, self.catalog))
        self._tables_written.add(write.table.number)
        if previous is not None:  # keep what the snapshot has as the old side
            self._writes[place] = Write(write.table, write.id, previous.old, write.new)
        else:
            self._writes[place] = write
        for index in write.table.indexes.values():
            overlay = self._overlays.get(index.number)
            if overlay is not None:
                overlay.write(index, write.old, write.new)
        if write.table.number in _CATALOG_TABLES:
            value = write.new.value if write.new is not None else None
            self.catalog = self.catalog.with_document(write.table.number, write.id, value)

    # ---------------------------------------------------------------- nesting and finishing

    def unobserved(self) -> Transaction:
        """The snapshot as it was at the start: without what was written here, which it cannot add
        to, and read without a trace in this read set.
        """
        earlier = Transaction(
            self._reader, self._first_catalog, self.snapshot_ts, limits=self._limits
        )
        earlier.component = self.component
        return earlier

    def mark(self) -> int:
        """Where a sub-transaction begins."""
        return len(self._undo)

    def rollback(self, mark: int) -> None:
        """Take back every write since `mark`."""
        if len(self._undo) == mark:
            return
        self.write_count += 1
        while len(self._undo) > mark:
            place, previous, self.catalog = self._undo.pop()
            if previous is None:
                del self._writes[place]
            else:
                self._writes[place] = previous
        for number, overlay in self._overlays.items():  # kept: scans under way look at them
            overlay.clear()
            if number not in self.catalog.index_tables:  # its table is among what was undone
                continue
            _, index = self.catalog.index_tables[number]
            for write in self._writes.values():
                if write.table.number == index.table:
                    overlay.write(index, write.old, write.new)

    def writes(self) -> list[Write]:
        """The write set, in the order documents were first touched."""
        return [w for w in self._writes.values() if w.old is not None or w.new is not None]

    def intervals(self) -> tuple[Interval, ...]:
        """The finished read set, the schema it was checked against included."""
        if self._writes:
            self._read_all_of(SCHEMAS)
        return self.read_set.intervals()


def _after(
    key: bytes, start: bytes, end: bytes | None, descending: bool
) -> tuple[bytes, bytes | None]:
    """The part of [start, end) that lies behind `key` in scan order."""
    return (start, key) if descending else (key + b"\0", end)


def _inside(key: bytes, start: bytes, end: bytes | None) -> bool:
    return start <= key and (end is None or key < end)


def _refuse_system_fields(fields: Mapping[str, Value]) -> None:
    for name in ("_id", "_creationTime"):
        if name in fields:
            raise DatabaseUseError(
                f"A new document cannot bring its own `{name}`; leave the field out.",
                code="SystemFieldGiven",
            )


def _system_table(table: TableInfo) -> DatabaseUseError:
    return DatabaseUseError(
        f"`{table.name}` is a system table; functions can read it but not write it.",
        code="SystemTableWrite",
    )

"""One transaction: a snapshot reader, a write set that overlays it, and a record of all it read.

The snapshot never changes; writes stay in memory until the committer applies them. So a transaction
can be thrown away at any moment, run in a worker that has no connection for writing, and be nested:
a sub-transaction is a mark in the undo list, and rolling it back plays the list back to the mark.
Reads, usage counters and log lines of a sub-transaction stay, since they happened.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from cupola.database.catalog import (
    INDEXES,
    SCHEMAS,
    TABLES,
    Catalog,
    Document,
    TableInfo,
)
from cupola.database.constraints import check_unique, check_write, delete_with_references
from cupola.database.documents import StoredDocument
from cupola.database.read_set import Interval
from cupola.database.view import TransactionView
from cupola.database.writes import IdSource, Write, place_of
from cupola.errors import DatabaseUseError, DeveloperError
from cupola.limits import DEFAULT_LIMITS, Limits
from cupola.persistence import Reader
from cupola.values import (
    COMMIT_TIMESTAMP,
    UNSET,
    Int64,
    Value,
    check_document,
    check_identifier,
    encode,
    is_unresolved,
    qualified,
    table_number_of,
)

_PLAIN = frozenset({str, float, bool, Int64, bytes, type(None)})
_UNDERSCORE = ord("_")
_CATALOG_TABLES = frozenset({TABLES, INDEXES, SCHEMAS})


class Transaction(TransactionView):
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
        super().__init__(reader, catalog, snapshot_ts, limits, writes=ids is not None)
        self.creation_time = creation_time
        self.awaits_commit = False
        """Whether writes or the result may hold COMMIT_TIMESTAMP."""
        self._first_catalog = catalog
        self._limits = limits
        self._ids = ids
        self._undo: list[tuple[str, Write | None, Catalog]] = []
        self.write_count = 0
        """Goes up with each write, and with each that is taken back."""

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

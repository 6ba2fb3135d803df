"""Tables and indexes: documents like others, and what the engine derives from them.

Three system tables describe a database; their documents are read and written by ordinary
transactions, so a change of definitions meets running work as an ordinary conflict. A `Catalog` is
what they say at one timestamp:
immutable, shared by all transactions of that moment, replaced as a whole when one of the documents
changes.

| table      | document                                                                     |
|------------|------------------------------------------------------------------------------|
| `_tables`  | `{name, number}`                                                             |
| `_indexes` | `{table, name, fields, number, state}` |
| `_schemas` | `{state, schema}`; state "active" or "pending", schema as JSON text          |

An index is "backfilling", then "ready" or "staged", and in the end "dropping" until its rows are
deleted. Every table has two indexes without a document: `by_id` and `by_creation_time`. An index
key is the indexed fields in order, then `_creationTime` (user indexes), then the id (spec: values,
section 5.1).

Documents of `_storage` say what is known of a stored file: `{sha256, size, contentType?}`, the
digest in base64. Functions read them like others; `ctx.storage` writes them.

More system tables are *private*: what a deployment keeps for itself. Only the system's own
functions read them, and a catalog says nothing of what they hold.

| table                    | document                                                      |
|--------------------------|---------------------------------------------------------------|
| `_modules`               | one pushed JavaScript module; see `deploy.storage`            |
| `_environment_variables` | `{name, value}`                                               |
| `_deployment`            | `{name, value}`: other facts of the newest push, as JSON text |
| `_exports`               | a snapshot export and how far it is; see `deploy.exports`     |
| `_snapshot_imports`      | an import and how far it is; see `deploy.imports`             |
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from cupola.database.documents import StoredDocument
from cupola.errors import DatabaseUseError
from cupola.schema import SchemaDefinition
from cupola.values import UNSET, Value, encode_key

TABLES: Final = 513
INDEXES: Final = 514
SCHEMAS: Final = 515
MODULES: Final = 516
ENVIRONMENT: Final = 517
DEPLOYMENT: Final = 518
EXPORTS: Final = 519
IMPORTS: Final = 520
STORAGE: Final = 530
CATALOG_TABLES: Final = {"_tables": TABLES, "_indexes": INDEXES, "_schemas": SCHEMAS}
PRIVATE_TABLES: Final = {
    "_modules": MODULES,
    "_environment_variables": ENVIRONMENT,
    "_deployment": DEPLOYMENT,
    "_exports": EXPORTS,
    "_snapshot_imports": IMPORTS,
}
SYSTEM_TABLES: Final = {**CATALOG_TABLES, **PRIVATE_TABLES, "_storage": STORAGE}
READABLE_TABLES: Final = frozenset({STORAGE})
"""System tables that functions of both languages read."""
FIRST_USER_TABLE: Final = 10_001
FIRST_USER_INDEX: Final = 1 << 32

Document = dict[str, Value]


def primary_index_id(table: int) -> int:
    return table * 2


def creation_index_id(table: int) -> int:
    return table * 2 + 1


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Index:
    """One index. `paths` are the field paths of the key without the id that ends every key."""

    number: int
    table: int
    name: str
    paths: tuple[tuple[str, ...], ...]
    state: str = "ready"

    def parts(self, document: Mapping[str, Value]) -> tuple[bytes, ...]:
        """The encoded key of a document, field by field, the id last. Joined, they are the key."""
        encoded = []
        for path in self.paths:
            value: Any = document
            for name in path:
                value = value.get(name, UNSET) if isinstance(value, dict) else UNSET
            encoded.append(encode_key(value))
        encoded.append(encode_key(document["_id"]))
        return tuple(encoded)

    def parts_of(self, document: StoredDocument) -> tuple[bytes, ...]:
        """The same, computed once per document."""
        parts = document.parts.get(self.number)
        if parts is None:
            parts = document.parts[self.number] = self.parts(document.value)
        return parts

    def is_same_key(self, old: Mapping[str, Value], new: Mapping[str, Value]) -> bool:
        """Whether a patch has left all fields of this index alone. False may mean: look closer."""
        return all(old.get(path[0], UNSET) is new.get(path[0], UNSET) for path in self.paths)

    @property
    def field_names(self) -> list[str]:
        return [".".join(path) for path in self.paths]


def _paths(fields: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(field.split(".")) for field in fields)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class TableInfo:
    """One table with its indexes, built-in ones included."""

    number: int
    name: str
    indexes: Mapping[str, Index]
    document_id: str | None = None  # of its `_tables` document; None for system tables

    @property
    def is_readable(self) -> bool:
        """Whether functions may read it: the app's own tables, and some of the system."""
        return self.document_id is not None or self.number in READABLE_TABLES

    @property
    def primary(self) -> Index:
        return self.indexes["by_id"]

    def index(self, name: str) -> Index:
        """Look up an index that queries may use.

        Raises:
            DatabaseUseError: There is none of this name, or it is not ready.
        """
        index = self.indexes.get(name) or self.indexes.get(building(name))
        if index is None:
            has = ", ".join(f"`{n}`" for n in self.indexes)
            raise DatabaseUseError(
                f"`{self.name}` has no index `{name}`; it has {has}.", code="IndexNotFound"
            )
        if index.state != "ready":
            why = "is still being built" if index.state == "backfilling" else "is staged"
            raise DatabaseUseError(
                f"Index `{self.name}.{name}` {why} and cannot be queried yet.", code="IndexNotReady"
            )
        return index


def table_to_come(name: str) -> TableInfo:
    """What a table that does not exist yet will look like, but for its numbers."""
    return _table(0, name, None)


def building(name: str) -> str:
    """The name of an index until it is ready: the old one of its name still serves."""
    return f"{name} (building)"


def _table(
    number: int, name: str, document_id: str | None, more: Iterable[Index] = ()
) -> TableInfo:
    built_in = (
        Index(primary_index_id(number), number, "by_id", ()),
        Index(creation_index_id(number), number, "by_creation_time", (("_creationTime",),)),
    )
    indexes = {
        building(i.name) if i.state == "backfilling" else i.name: i for i in (*built_in, *more)
    }
    return TableInfo(number, name, indexes, document_id)


DocumentCheck = Callable[[Mapping[str, Any]], None]


class Catalog:
    """What tables, indexes and schema exist at one timestamp."""

    def __init__(self, documents: Mapping[int, Mapping[str, Document]]) -> None:
        """`documents`: per system table, its documents by id."""
        self._documents = documents
        self.by_name: dict[str, TableInfo] = {
            name: _table(number, name, None) for name, number in SYSTEM_TABLES.items()
        }
        per_table: dict[str, list[Document]] = {}
        for document in documents.get(INDEXES, {}).values():
            if document["state"] == "dropping":  # it holds its number until its rows are deleted
                continue
            per_table.setdefault(str(document["table"]), []).append(document)
        for document in documents.get(TABLES, {}).values():
            name, number = str(document["name"]), _integer(document["number"])
            more = [_user_index(number, d) for d in per_table.get(name, [])]
            more.sort(key=lambda index: index.number)
            self.by_name[name] = _table(number, name, str(document["_id"]), more)
        self.by_number = {table.number: table for table in self.by_name.values()}
        self.numbers = {table.name: table.number for table in self.by_name.values()}
        self.index_tables = {
            index.number: (table, index)
            for table in self.by_name.values()
            for index in table.indexes.values()
        }
        self.schema: SchemaDefinition | None = None
        self.pending: SchemaDefinition | None = None
        for document in documents.get(SCHEMAS, {}).values():
            definition = SchemaDefinition.from_json(str(document["schema"]))
            if document["state"] == "active":
                self.schema = definition
            else:
                self.pending = definition
        self._checks: dict[int, DocumentCheck | None] = {}
        self._pending_checks: dict[int, DocumentCheck | None] = {}

    @classmethod
    def empty(cls) -> Catalog:
        return cls({})

    def with_document(self, table: int, document_id: str, document: Document | None) -> Catalog:
        """The catalog after one of its documents was written or deleted (None)."""
        documents = dict(self._documents)
        changed = dict(documents.get(table, {}))
        if document is None:
            changed.pop(document_id, None)
        else:
            changed[document_id] = document
        documents[table] = changed
        return Catalog(documents)

    def documents(self, table: int) -> Mapping[str, Document]:
        return self._documents.get(table, {})

    def next_table_number(self) -> int:
        return max([FIRST_USER_TABLE - 1, *self.by_number]) + 1

    def next_index_number(self) -> int:
        taken = [_integer(document["number"]) for document in self.documents(INDEXES).values()]
        return max([FIRST_USER_INDEX - 1, *taken]) + 1

    def check(self, table: TableInfo) -> DocumentCheck | None:
        """The active schema's check of a table's documents; None where anything goes."""
        if table.number not in self._checks:
            self._checks[table.number] = _check_of(self.schema, table.name, self.numbers)
        return self._checks[table.number]

    def pending_check(self, table: TableInfo) -> DocumentCheck | None:
        """The check of a schema that is being pushed."""
        if self.pending is None:
            return None
        if table.number not in self._pending_checks:
            self._pending_checks[table.number] = _check_of(self.pending, table.name, self.numbers)
        return self._pending_checks[table.number]


def _check_of(
    schema: SchemaDefinition | None, name: str, numbers: Mapping[str, int]
) -> DocumentCheck | None:
    if schema is None or not schema.validate or name not in schema.tables:
        return None
    return schema.tables[name].document_checker(numbers)


def _integer(value: Value) -> int:
    assert isinstance(value, float) and value.is_integer(), value
    return int(value)


def _user_index(table: int, document: Document) -> Index:
    fields = document["fields"]
    assert isinstance(fields, list)
    paths = (*_paths(str(field) for field in fields), ("_creationTime",))
    return Index(
        _integer(document["number"]), table, str(document["name"]), paths, str(document["state"])
    )

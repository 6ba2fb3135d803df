"""Tables and indexes: documents like others, and what the engine derives from them.

Three system tables describe a database; their documents are read and written by ordinary
transactions, so a change of definitions meets running work as an ordinary conflict. A `Catalog` is
what they say at one timestamp:
immutable, shared by all transactions of that moment, replaced as a whole when one of the documents
changes.

A component's tables stand beside the app's under qualified names (`limiter//buckets`, see
`values.paths`). What ids carry is a number that is unique in one component, so that exports come in
again with the ids that they have; for the app's tables it is `number`, for the others `idNumber`.

| table      | document                                                                     |
|------------|------------------------------------------------------------------------------|
| `_tables`  | `{name, number}`; `idNumber`, of components                                  |
| `_indexes` | `{table, name, fields, number, state}`; `unique` and `aggregate`, where declared; |
|            | for text `{…, searchField, filterFields}` instead of `fields`, |
|            | for vectors `{…, vectorField, dimensions, filterFields}` |
| `_schemas` | `{state, schema}`; state "active" or "pending", schema as JSON text          |

An index is "backfilling", then "ready" or "staged", and in the end "dropping" until its rows are
deleted. Those for text and vectors are kept elsewhere, built from the log; the catalog says what
they are, and a push waits until they are built. Every table has two indexes without a document:
`by_id` and `by_creation_time`. An index key is the indexed fields in order, then `_creationTime`
(user indexes), then the id (spec: values, section 5.1).

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
| `_cron_jobs`             | a cron job and when it is due; see `functions.crons`          |
| `_cron_runs`             | one run of a cron job, in the form of a scheduled function    |
| `_deployment_events`     | what an administrator has changed; see `system.events`        |

What components store and schedule has a `component` in its document, which functions do not see.
Their files are in `_storage` too; their jobs are in a table of their own, so that those of the app
are found without them: `_component_scheduled_functions`.

Functions read one system table through `ctx.db.system`: `_scheduled_functions`, see
`functions.jobs`. Like the cron jobs' it has indexes of its own, for whoever looks for what is due.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from cupola.database.documents import StoredDocument
from cupola.database.rules import Reference, TableRules, references_of, rules_of
from cupola.database.search_indexes import SearchIndex, search_index
from cupola.errors import DatabaseUseError
from cupola.persistence import EntryNumbers
from cupola.schema import (
    IndexDefinition,
    SchemaDefinition,
    SearchIndexDefinition,
    TextIndexDefinition,
    VectorIndexDefinition,
)
from cupola.values import UNSET, Int64, Value, encode_key, split_qualified

TABLES: Final = 513
INDEXES: Final = 514
SCHEMAS: Final = 515
MODULES: Final = 516
ENVIRONMENT: Final = 517
DEPLOYMENT: Final = 518
EXPORTS: Final = 519
IMPORTS: Final = 520
# The next two are the reference's: its exports bring ids of files, and documents that hold them.
SCHEDULED_FUNCTIONS: Final = 539
STORAGE: Final = 540
CRON_JOBS: Final = 541
CRON_RUNS: Final = 542
COMPONENT_JOBS: Final = 543
EVENTS: Final = 544
BUILT_IN_INDEXES: Final = ("by_id", "by_creation_time")
CATALOG_TABLES: Final = {"_tables": TABLES, "_indexes": INDEXES, "_schemas": SCHEMAS}
PRIVATE_TABLES: Final = {
    "_modules": MODULES,
    "_environment_variables": ENVIRONMENT,
    "_deployment": DEPLOYMENT,
    "_exports": EXPORTS,
    "_snapshot_imports": IMPORTS,
    "_cron_jobs": CRON_JOBS,
    "_cron_runs": CRON_RUNS,
    "_component_scheduled_functions": COMPONENT_JOBS,
    "_deployment_events": EVENTS,
}
SYSTEM_TABLES: Final = {
    **CATALOG_TABLES,
    **PRIVATE_TABLES,
    "_storage": STORAGE,
    "_scheduled_functions": SCHEDULED_FUNCTIONS,
}
SHARED_TABLES: Final = frozenset({STORAGE, COMPONENT_JOBS})
"""System tables with documents of several components, each of which sees its own."""
READABLE_TABLES: Final = frozenset({STORAGE, SCHEDULED_FUNCTIONS})
"""System tables that functions of both languages read."""
_READ_BY_FUNCTIONS: Final = READABLE_TABLES | SHARED_TABLES
FIRST_USER_TABLE: Final = 10_001
FIRST_COMPONENT_TABLE: Final = 1_000_001  # out of the way of numbers that imported ids carry
FIRST_SYSTEM_INDEX: Final = 1 << 31  # those that only some system tables have
FIRST_USER_INDEX: Final = 1 << 32

Document = dict[str, Value]


def primary_index_id(table: int) -> int:
    return table * 2


def creation_index_id(table: int) -> int:
    return table * 2 + 1


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Index:
    """One index. `paths` are the field paths of the key without the id that ends every key.

    `aggregate` are the paths of the numbers whose sums and extremes are kept beside the counts of
    ranges; None: nothing is kept.
    """

    number: int
    table: int
    name: str
    paths: tuple[tuple[str, ...], ...]
    state: str = "ready"
    unique: bool = False
    aggregate: tuple[tuple[str, ...], ...] | None = None

    def parts(self, document: Mapping[str, Value]) -> tuple[bytes, ...]:
        """The encoded key of a document, field by field, the id last. Joined, they are the key."""
        return self._parts(document, encode_key(document["_id"]))

    def _parts(self, document: Mapping[str, Value], id_part: bytes) -> tuple[bytes, ...]:
        encoded = []
        for path in self.paths:
            if len(path) == 1:  # nearly always
                value: Any = document.get(path[0], UNSET)
            else:
                value = document
                for name in path:
                    value = value.get(name, UNSET) if isinstance(value, dict) else UNSET
            encoded.append(encode_key(value))
        encoded.append(id_part)
        return tuple(encoded)

    def numbers(self, document: Mapping[str, Value]) -> EntryNumbers:
        """The numbers of a document that the index aggregates; None for what is no number."""
        found: list[bytes | None] = []
        for path in self.aggregate or ():
            value: Any = document
            for name in path:
                value = value.get(name, UNSET) if isinstance(value, dict) else UNSET
            found.append(encode_key(value) if type(value) in (float, Int64) else None)
        return tuple(found)

    def parts_of(self, document: StoredDocument, id_part: bytes | None = None) -> tuple[bytes, ...]:
        """`parts`, computed once per document; `id_part`: the last one, where it is known."""
        parts = document.parts.get(self.number)
        if parts is None:
            value = document.value
            id_part = encode_key(value["_id"]) if id_part is None else id_part
            parts = document.parts[self.number] = self._parts(value, id_part)
        return parts

    def is_same_key(self, old: Mapping[str, Value], new: Mapping[str, Value]) -> bool:
        """Whether a patch has left all fields of this index alone. False may mean: look closer."""
        for path in self.paths:  # noqa: SIM110  # a generator costs more than the look
            if old.get(path[0], UNSET) is not new.get(path[0], UNSET):
                return False
        return True

    @property
    def field_names(self) -> list[str]:
        return [".".join(path) for path in self.paths]

    @property
    def aggregate_names(self) -> tuple[str, ...]:
        return tuple(".".join(path) for path in self.aggregate or ())

    @property
    def definition(self) -> IndexDefinition:
        """How it was declared."""
        return IndexDefinition(
            self.name,
            tuple(self.field_names[:-1]),
            self.state == "staged",
            self.unique,
            self.aggregate_names if self.aggregate is not None else None,
        )


def _paths(fields: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(field.split(".")) for field in fields)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class TableInfo:
    """One table with its indexes, built-in ones included."""

    number: int
    name: str
    indexes: Mapping[str, Index]
    document_id: str | None = None  # of its `_tables` document; None for system tables
    aggregated: tuple[Index, ...] = ()
    """Those of its indexes whose ranges are summarized."""
    component: str = ""
    """Whose it is; "": the app's own, or the system's."""
    own_name: str = ""
    """What it is called where it belongs."""
    id_number: int = 0
    """What the ids of its documents carry; no other table of its component has the same."""
    searches: Mapping[str, SearchIndex] = dataclasses.field(default_factory=dict)
    """Its indexes for text and vectors."""

    @property
    def is_readable(self) -> bool:
        """Whether functions may read it: the app's own tables, and some of the system."""
        return self.document_id is not None or self.number in _READ_BY_FUNCTIONS

    @property
    def primary(self) -> Index:
        return self.indexes["by_id"]

    @property
    def declared(self) -> list[Index | SearchIndex]:
        """All indexes that some schema has declared."""
        own = [i for name, i in self.indexes.items() if name not in BUILT_IN_INDEXES]
        return [*own, *self.searches.values()]

    def index(self, name: str) -> Index:
        """Look up an index that queries may use.

        Raises:
            DatabaseUseError: There is none of this name, or it is not ready.
        """
        index = self.indexes.get(name) or self.indexes.get(building(name))
        if index is None:
            if name in self.searches:
                how = "with_search_index" if self.searches[name].is_text else "ctx.vector_search"
                raise DatabaseUseError(
                    f"`{self.name}.{name}` is an index for searches; use {how}.",
                    code="IndexNotFound",
                )
            has = ", ".join(f"`{n}`" for n in self.indexes)
            raise DatabaseUseError(
                f"`{self.name}` has no index `{name}`; it has {has}.", code="IndexNotFound"
            )
        self._require_ready(name, index.state)
        return index

    def text_index(self, name: str) -> SearchIndex:
        """Look up an index for text searches. Raises: as `index`."""
        return self._search_index(name, TextIndexDefinition)

    def vector_index(self, name: str) -> SearchIndex:
        """Look up an index for vector searches. Raises: as `index`."""
        return self._search_index(name, VectorIndexDefinition)

    def _search_index(self, name: str, kind: type[SearchIndexDefinition]) -> SearchIndex:
        index = self.searches.get(name) or self.searches.get(building(name))
        if index is None or not isinstance(index.definition, kind):
            what = "search" if kind is TextIndexDefinition else "vector"
            found = [n for n, i in self.searches.items() if isinstance(i.definition, kind)]
            has = f"it has {', '.join(f'`{n}`' for n in found)}" if found else "it has none"
            raise DatabaseUseError(
                f"`{self.name}` has no {what} index `{name}`; {has}.", code="IndexNotFound"
            )
        self._require_ready(name, index.state)
        return index

    def _require_ready(self, name: str, state: str) -> None:
        if state != "ready":
            why = "is still being built" if state == "backfilling" else "is staged"
            raise DatabaseUseError(
                f"Index `{self.name}.{name}` {why} and cannot be queried yet.", code="IndexNotReady"
            )


def table_to_come(name: str) -> TableInfo:
    """What a table that does not exist yet will look like, but for its numbers."""
    return _table(0, name, None)


def building(name: str) -> str:
    """The name of an index until it is ready: the old one of its name still serves."""
    return f"{name} (building)"


def _table(
    number: int,
    name: str,
    document_id: str | None,
    more: Iterable[Index] = (),
    searches: Iterable[SearchIndex] = (),
    id_number: int | None = None,
) -> TableInfo:
    built_in = (
        Index(primary_index_id(number), number, "by_id", ()),
        Index(creation_index_id(number), number, "by_creation_time", (("_creationTime",),)),
    )
    indexes = {_name_of(index): index for index in (*built_in, *more)}
    aggregated = tuple(index for index in indexes.values() if index.aggregate is not None)
    component, own_name = split_qualified(name)
    if number == COMPONENT_JOBS:
        own_name = "_scheduled_functions"
    return TableInfo(
        number,
        name,
        indexes,
        document_id,
        aggregated,
        component,
        own_name,
        number if id_number is None else id_number,
        {_name_of(search): search for search in searches},
    )


def _name_of(index: Index | SearchIndex) -> str:
    return building(index.name) if index.state == "backfilling" else index.name


def system_index(table: int, name: str) -> Index:
    """An index of a system table, which never changes."""
    return _SYSTEM_TABLES[table].indexes[name]


def _system_index(table: int, position: int, name: str, *fields: str) -> Index:
    number = FIRST_SYSTEM_INDEX + table * 16 + position
    return Index(number, table, name, (*_paths(fields), ("_creationTime",)))


_SYSTEM_INDEXES: Final = {
    SCHEDULED_FUNCTIONS: (
        _system_index(SCHEDULED_FUNCTIONS, 0, "by_due", "state.kind", "scheduledTime"),
        _system_index(SCHEDULED_FUNCTIONS, 1, "by_completion", "completedTime"),
    ),
    CRON_JOBS: (_system_index(CRON_JOBS, 0, "by_due", "nextTime"),),
    CRON_RUNS: (
        _system_index(CRON_RUNS, 0, "by_due", "state.kind", "scheduledTime"),
        _system_index(CRON_RUNS, 1, "by_cron", "cron"),
    ),
    COMPONENT_JOBS: (
        _system_index(COMPONENT_JOBS, 0, "by_due", "state.kind", "scheduledTime"),
        _system_index(COMPONENT_JOBS, 1, "by_completion", "completedTime"),
    ),
    EVENTS: (_system_index(EVENTS, 0, "by_action", "action"),),
}
_SYSTEM_TABLES: Final = {
    number: _table(number, name, None, _SYSTEM_INDEXES.get(number, ()))
    for name, number in SYSTEM_TABLES.items()
}

DocumentCheck = Callable[[Mapping[str, Any]], None]


class Catalog:
    """What tables, indexes and schema exist at one timestamp."""

    def __init__(self, documents: Mapping[int, Mapping[str, Document]]) -> None:
        """`documents`: per system table, its documents by id."""
        self._documents = documents
        self.by_name: dict[str, TableInfo] = {
            table.name: table for table in _SYSTEM_TABLES.values()
        }
        per_table: dict[str, list[Document]] = {}
        for document in documents.get(INDEXES, {}).values():
            if document["state"] == "dropping":  # it holds its number until its rows are deleted
                continue
            per_table.setdefault(str(document["table"]), []).append(document)
        for document in documents.get(TABLES, {}).values():
            name, number = str(document["name"]), _integer(document["number"])
            mine = sorted(per_table.get(name, []), key=lambda d: _integer(d["number"]))
            more = [_user_index(number, d) for d in mine if "fields" in d]
            id_number = _integer(document.get("idNumber", document["number"]))
            searches = [search_index(number, d, id_number) for d in mine if "fields" not in d]
            self.by_name[name] = _table(
                number, name, str(document["_id"]), more, searches, id_number
            )
        self.by_number = {table.number: table for table in self.by_name.values()}
        self.numbers = {table.name: table.id_number for table in self.by_name.values()}
        """What ids carry, by table."""
        self._by_id_number = {
            (table.component, table.id_number): table
            for table in self.by_name.values()
            if table.component
        }
        self.index_tables = {
            index.number: (table, index)
            for table in self.by_name.values()
            for index in table.indexes.values()
        }
        self.searches: dict[int, tuple[TableInfo, SearchIndex]] = {
            index.number: (table, index)
            for table in self.by_name.values()
            for index in table.searches.values()
        }
        self.text_tables: dict[int, list[SearchIndex]] = {}
        """The indexes for text, by the number of their table."""
        for table, search in self.searches.values():
            if search.is_text:
                self.text_tables.setdefault(table.number, []).append(search)
        self.schema: SchemaDefinition | None = None
        self.pending: SchemaDefinition | None = None
        for document in documents.get(SCHEMAS, {}).values():
            definition = _schema_of(str(document["schema"]))
            if document["state"] == "active":
                self.schema = definition
            else:
                self.pending = definition
        self._checks: dict[int, DocumentCheck | None] = {}
        self._pending_checks: dict[int, DocumentCheck | None] = {}
        self._rules: dict[int, TableRules | None] = {}
        self._pending_rules: dict[int, TableRules | None] = {}
        self._references: list[Reference] | None = None

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

    def index_label(self, number: int) -> str:
        """The name of an index, for messages."""
        table, index = self.index_tables.get(number) or self.searches.get(number) or (None, None)
        return f"`{table.name}.{index.name}`" if table and index else "a dropped index"

    def documents(self, table: int) -> Mapping[str, Document]:
        return self._documents.get(table, {})

    def table_of(self, component: str, id_number: int) -> TableInfo | None:
        """The table that ids with this number are of, inside a component; the system's are the same
        everywhere.
        """
        if component and id_number >= FIRST_USER_TABLE:
            return self._by_id_number.get((component, id_number))
        return self.by_number.get(id_number)

    def new_table(self, name: str, id_number: int | None = None) -> Document:
        """The document of a table that is about to be. `id_number`: a free one, if it matters."""
        component, _ = split_qualified(name)
        if id_number is None:
            in_use = (t.id_number for t in self.by_name.values() if t.component == component)
            id_number = max([FIRST_USER_TABLE - 1, *in_use]) + 1
        assert self.table_of(component, id_number) is None, id_number
        if not component:
            return {"name": name, "number": float(id_number)}
        number = max([FIRST_COMPONENT_TABLE - 1, *self.by_number]) + 1
        return {"name": name, "number": float(number), "idNumber": float(id_number)}

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

    def rules(self, table: TableInfo) -> TableRules | None:
        """What else a write to the table must keep; None where there is nothing."""
        try:
            return self._rules[table.number]
        except KeyError:
            pass
        if self._references is None:
            self._references = references_of(self.schema, self.by_name, _serving_index)
        table = self.by_number.get(table.number, table)
        unique = tuple(i for i in table.indexes.values() if i.unique and i.state != "backfilling")
        found = self._rules[table.number] = rules_of(table, unique, self._references)
        return found

    def pending_rules(self, table: TableInfo) -> TableRules | None:
        """The rules that a schema which is being pushed adds to those in force."""
        if self.pending is None:
            return None
        if table.number not in self._pending_rules:
            in_force = {
                (t.name, reference)
                for t in (self.schema.tables.values() if self.schema is not None else ())
                for reference in t.references
            }
            added = [
                reference
                for reference in references_of(self.pending, self.by_name, _coming_index)
                if not any(
                    (reference.source.name, old) in in_force
                    for old in self.pending.tables[reference.source.name].references
                    if old.field == reference.field
                )
            ]
            table = self.by_number.get(table.number, table)
            unique = tuple(
                i for i in table.indexes.values() if i.unique and i.state == "backfilling"
            )
            self._pending_rules[table.number] = rules_of(table, unique, added)
        return self._pending_rules[table.number]


@functools.lru_cache(4)
def _schema_of(text: str) -> SchemaDefinition:
    """Remembered, since a push makes a catalog for each table and index that it declares."""
    return SchemaDefinition.from_json(text)


def _serving_index(table: TableInfo, name: str) -> Index | None:
    index = table.indexes.get(name)
    return index if index is not None and index.state == "ready" else None


def _coming_index(table: TableInfo, name: str) -> Index | None:
    return table.indexes.get(building(name)) or table.indexes.get(name)


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
    aggregate = document.get("aggregate")
    assert aggregate is None or isinstance(aggregate, list)
    return Index(
        _integer(document["number"]),
        table,
        str(document["name"]),
        paths,
        str(document["state"]),
        document.get("unique") is True,
        _paths(str(field) for field in aggregate) if aggregate is not None else None,
    )

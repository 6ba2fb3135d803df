"""Which columns a table of documents has.

Documents have no fixed shape, so all of a table are looked at first. A field whose values are all
of one kind becomes a column of that kind, null where it is missing or null. Everything else
(objects, arrays, and fields of several kinds) becomes a column of JSON text, in the encoding of
exports: whole numbers without a point are int64, others float64. Past `COLUMNS_MAX` the remaining
fields share one more column, an object. So nothing is lost but the difference between missing and
null.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple

from cupola.database.catalog import Catalog, TableInfo
from cupola.deploy.zip_export import Told, bodies_of, user_tables
from cupola.persistence import Reader
from cupola.schema import SchemaDefinition
from cupola.schema.validators import ObjectValidator
from cupola.values import Int64, decode_canonical, encode_export, split_qualified

COLUMNS_MAX: Final = 1000  # PostgreSQL has 1600, SQLite 2000
REST: Final = "_rest"
_SYSTEM: Final = ("_id", "_creationTime")
_TELL_EVERY: Final = 500


class Kind(StrEnum):
    NULL = "null"
    BOOLEAN = "boolean"
    INT64 = "int64"
    FLOAT64 = "float64"
    TEXT = "text"
    BYTES = "bytes"
    JSON = "json"


_KINDS: Final[Mapping[type, Kind]] = {
    type(None): Kind.NULL,
    bool: Kind.BOOLEAN,
    Int64: Kind.INT64,
    float: Kind.FLOAT64,
    str: Kind.TEXT,
    bytes: Kind.BYTES,
    list: Kind.JSON,
    dict: Kind.JSON,
}
_DECLARED: Final[Mapping[str, Kind]] = {
    "null": Kind.NULL,
    "boolean": Kind.BOOLEAN,
    "bigint": Kind.INT64,
    "commitTs": Kind.INT64,
    "number": Kind.FLOAT64,
    "string": Kind.TEXT,
    "id": Kind.TEXT,
    "bytes": Kind.BYTES,
}


class Column(NamedTuple):
    """`field`: of the documents; None for those that have no column of their own."""

    name: str
    field: str | None
    kind: Kind


class Table(NamedTuple):
    """A table as others will see it. `indexes`: columns by the name of the index."""

    name: str
    source: TableInfo
    columns: list[Column]
    indexes: dict[str, list[str]]
    rows: int


def tables_of(reader: Reader, catalog: Catalog, told: Told) -> Iterator[Table]:
    """The app's tables, by name, each looked at when it is asked for."""
    names = _Names()
    for source in sorted(user_tables(catalog), key=lambda table: table.name):
        kinds, rows = _kinds_in(reader, source, told)
        columns = _columns(kinds, _declared(catalog.schema, source.name))
        name = "__".join(part for part in split_qualified(source.name) if part)
        yield Table(
            names.new(name.replace("/", "__")), source, columns, _indexes(source, columns), rows
        )


def rows_of(reader: Reader, table: Table, told: Told) -> Iterator[list[Any]]:
    """The values of each document, column by column."""
    converters = [_converter(column, table.columns) for column in table.columns]
    for number, body in enumerate(bodies_of(reader, table.source.primary.number)):
        if number % _TELL_EVERY == 0:
            told(table.source.name, number)
        document: Any = decode_canonical(body)
        yield [convert(document) for convert in converters]
    told(table.source.name, table.rows)


# ------------------------------------------------------------------------------------- looking


def _kinds_in(reader: Reader, source: TableInfo, told: Told) -> tuple[dict[str, Kind], int]:
    kinds: dict[str, Kind] = {}
    rows = 0
    for body in bodies_of(reader, source.primary.number):
        rows += 1
        document: Any = decode_canonical(body)
        for name, value in document.items():
            kind = _KINDS[type(value)]
            known = kinds.get(name)
            if known is not kind:
                _add(kinds, name, known, kind)
    return kinds, rows


def _add(kinds: dict[str, Kind], name: str, known: Kind | None, kind: Kind) -> None:
    if known is None:
        if len(kinds) < COLUMNS_MAX:
            kinds[name] = kind
    elif known is Kind.NULL:
        kinds[name] = kind
    elif kind is not Kind.NULL:
        kinds[name] = Kind.JSON


def _declared(schema: SchemaDefinition | None, table: str) -> dict[str, Kind]:
    """Fields that the schema names, in its order."""
    definition = schema.tables.get(table) if schema is not None else None
    if definition is None or not isinstance(definition.document, ObjectValidator):
        return {}
    fields = definition.document.fields
    return {name: _declared_kind(field.validator.to_json()) for name, field in fields.items()}


def _declared_kind(validator: Any) -> Kind:
    if validator["type"] == "union":
        kinds = {_declared_kind(member) for member in validator["value"]} - {Kind.NULL}
        return kinds.pop() if len(kinds) == 1 else Kind.JSON
    if validator["type"] == "literal":
        return _KINDS.get(type(validator["value"]), Kind.JSON)
    return _DECLARED.get(validator["type"], Kind.JSON)


# ------------------------------------------------------------------------------------- columns


def _columns(kinds: Mapping[str, Kind], declared: Mapping[str, Kind]) -> list[Column]:
    system = {"_id": Kind.TEXT, "_creationTime": Kind.FLOAT64}
    # What only nulls say nothing of, the schema may.
    known = {name: declared.get(name, kind) for name, kind in kinds.items() if kind is Kind.NULL}
    fields = {**system, **declared, **{name: kinds[name] for name in sorted(kinds)}, **known}
    names = _Names()
    columns = [
        Column(names.new(name), name, Kind.TEXT if kind is Kind.NULL else kind)
        for name, kind in list(fields.items())[:COLUMNS_MAX]
    ]
    if max(len(fields), len(kinds)) >= COLUMNS_MAX:
        columns.append(Column(names.new(REST), None, Kind.JSON))
    return columns


def _indexes(source: TableInfo, columns: list[Column]) -> dict[str, list[str]]:
    """The app's indexes, as far as they are of plain columns."""
    plain = {c.field: c.name for c in columns if c.kind is not Kind.JSON}
    found = {}
    for index in source.indexes.values():
        is_own = index.name not in ("by_id", "by_creation_time") and index.state == "ready"
        if is_own and all(field in plain for field in index.field_names):
            found[index.name] = [plain[field] for field in index.field_names]
    return found


class _Names:
    """Names that differ in more than upper and lower case, which many programs take for one."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def new(self, name: str) -> str:
        candidate, number = name, 1
        while candidate.lower() in self._taken:
            number += 1
            candidate = f"{name}_{number}"
        self._taken.add(candidate.lower())
        return candidate


def _converter(column: Column, columns: list[Column]) -> Callable[[dict[str, Any]], Any]:
    field = column.field
    if field is None:
        others = {each.field for each in columns}

        def rest(document: dict[str, Any]) -> Any:
            left = {name: value for name, value in document.items() if name not in others}
            return encode_export(left).decode() if left else None

        return rest
    if column.kind is not Kind.JSON:
        return lambda document: document.get(field)

    def json_text(document: dict[str, Any]) -> Any:
        value = document.get(field)
        return None if value is None else encode_export(value).decode()

    return json_text

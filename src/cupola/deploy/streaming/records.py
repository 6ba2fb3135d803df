"""Records of other systems, as Airbyte's destination for Convex sends them (spec: deploy API, 17).

A stream without a primary key is appended to. One with a primary key is kept without duplicates: a
document's id follows from its table and key, so the newest record of a key replaces the one before,
and a record that says it was deleted takes it away. Neither needs an index or a declared table.

Records come in over several transactions; a request that fails may be sent again, which changes
nothing for streams with a key.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import msgspec

from cupola.database.catalog import Document
from cupola.database.system_commits import Work
from cupola.database.transaction import Transaction
from cupola.errors import BadRequestError
from cupola.values import check_identifier, decode_tree, encode_id

_BATCH: Final = 100
_DELETED: Final = "_ab_cdc_deleted_at"
_CHANGE_FIELDS: Final = "_ab_cdc"
_FORBIDDEN: Final = re.compile(r"^[_$]+|[^ -~]")
_MARKERS: Final = frozenset({"$integer", "$float", "$bytes"})  # values of encoded JSON
_PREFIX: Final = "source_"

Path = list[str]


class Stream(msgspec.Struct, frozen=True, rename="camel"):
    """How records of a table come; `primary_key`: paths of its fields."""

    primary_key: list[Path] | None = None


class Record(msgspec.Struct, frozen=True, rename="camel"):
    table_name: str
    data: msgspec.Raw


class Records(msgspec.Struct, frozen=True):
    """The body of a request."""

    tables: dict[str, Stream]
    messages: list[Record]


class _Change(msgspec.Struct, frozen=True):
    """`key`: what the id follows from; None: a new document."""

    table: str
    fields: dict[str, Any]
    key: bytes | None
    is_deleted: bool


def works_of(records: Records) -> Iterator[Work]:
    """The transactions that store records. All of them are checked first.

    Raises:
        BadRequestError: A record is none, or lacks its key.
        CupolaError: A table cannot have this name.
    """
    changes = [_change(records, record) for record in records.messages]
    return _works(iter(changes))


def _works(changes: Iterator[_Change]) -> Iterator[Work]:
    while batch := list(islice(changes, _BATCH)):
        yield _work(batch)


def _work(batch: list[_Change]) -> Work:
    def work(transaction: Transaction) -> None:
        for change in batch:
            if change.key is None:
                transaction.insert(change.table, change.fields)
            else:
                _keep_one(transaction, change, change.key)

    return work


def _keep_one(transaction: Transaction, change: _Change, key: bytes) -> None:
    table = transaction.table(change.table) or transaction.create_table(change.table)
    document_id = encode_id(table.id_number, hashlib.sha256(key).digest()[:16])
    is_there = transaction.get(document_id) is not None
    if change.is_deleted:
        if is_there:
            transaction.delete(document_id)
    elif is_there:
        transaction.replace(document_id, change.fields)
    else:
        created: Document = {"_id": document_id, "_creationTime": transaction.creation_time}
        transaction.restore(change.table, {**change.fields, **created})


# ---------------------------------------------------------------------------------------- checking


def _change(records: Records, record: Record) -> _Change:
    stream = records.tables.get(record.table_name)
    if stream is None:
        raise BadRequestError(
            f"There is a record of {record.table_name!r}, which is not among `tables`.",
            code="BadRecord",
        )
    check_identifier(record.table_name, "table")
    data: Any = msgspec.json.decode(record.data)
    if not isinstance(data, dict):
        raise BadRequestError(f"A record of {record.table_name!r} is no object.", code="BadRecord")
    kept = {name: value for name, value in data.items() if not name.startswith(_CHANGE_FIELDS)}
    fields: Any = decode_tree(_renamed(kept))
    if not isinstance(fields, dict):
        raise BadRequestError(
            f"A record of {record.table_name!r} is a single value: give it a name of its own.",
            code="BadRecord",
        )
    key = None
    if stream.primary_key is not None:
        values = [_value_at(record.table_name, data, path) for path in _paths(stream.primary_key)]
        key = msgspec.json.encode([record.table_name, values], order="deterministic")
    return _Change(record.table_name, fields, key, data.get(_DELETED) is not None)


def _paths(primary_key: list[Path]) -> list[Path]:
    if not primary_key or not all(primary_key):
        raise BadRequestError("A primary key needs fields.", code="EmptyPrimaryKey")
    return primary_key


def _value_at(table: str, data: Any, path: Path) -> Any:
    value = data
    for name in path:
        if not isinstance(value, dict) or name not in value:
            raise BadRequestError(
                f"A record of {table!r} lacks {'.'.join(path)}, of its primary key.",
                code="BadRecord",
            )
        value = value[name]
    return value


def _renamed(value: Any) -> Any:
    """With names that fields can have: `_airbyte_id` becomes `source_airbyte_id`.

    Raises:
        BadRequestError: Two names become the same.
    """
    if isinstance(value, list):
        return [_renamed(item) for item in value]
    if not isinstance(value, dict) or (len(value) == 1 and value.keys() <= _MARKERS):
        return value
    found: dict[str, Any] = {}
    for name, item in value.items():
        new = name
        if _FORBIDDEN.search(name):
            start = _PREFIX if name[0] in "_$" else ""
            new = start + re.sub(r"[^ -~]", "_", name.lstrip("_$"))
        if new in found or (new != name and new in value):
            raise BadRequestError(
                f"The fields {name!r} and {new!r} cannot both be stored.", code="BadRecord"
            )
        found[new] = _renamed(item)
    return found

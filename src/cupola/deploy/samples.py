"""Looks at stored documents: how many a table has, how large they are, and what they look like.

Each look is short, and the loop turns between tables. What is written meanwhile may be seen or not:
these are advice and pictures, not results.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from cupola.backend import Backend
from cupola.database.catalog import FIRST_USER_TABLE, TableInfo
from cupola.database.documents import StoredDocument
from cupola.database.ranges import EVERYTHING
from cupola.database.transaction import Transaction
from cupola.system.shapes import UNKNOWN, Shape, shape_of

SAMPLE_MAX = 128
"""Documents of a table that are looked at: the oldest, and as many of the newest."""
_SAMPLE_BYTES_MAX = 2**20
_COUNT_MAX = 200_000
TABLES_MAX = 1000


class Size(NamedTuple):
    """`documents`: exact up to 200,000, and no more than that. `size_bytes`: by a sample."""

    documents: int
    size_bytes: int


async def shapes_of_tables(backend: Backend, component: str = "") -> dict[str, Shape]:
    """The inferred shape of each table of the app or of a component, by the name it has there; of
    those past a bound nothing is known.
    """
    tables = {
        table.own_name or name: table
        for name, table in backend.node.committer.catalog.by_name.items()
        if table.number >= FIRST_USER_TABLE and table.component == component
    }
    numbers = {table.id_number or table.number: name for name, table in tables.items()}
    shapes: dict[str, Shape] = {}
    for name in sorted(tables):
        await asyncio.sleep(0)
        transaction = _snapshot(backend)
        table = transaction.catalog.by_name.get(tables[name].name)
        if table is not None and len(shapes) < TABLES_MAX:
            documents = _sample(transaction, table)
            shapes[name] = shape_of((document.value for document in documents), numbers)
        else:
            shapes[name] = UNKNOWN
    return shapes


async def size_of_table(backend: Backend, name: str) -> Size:
    await asyncio.sleep(0)
    transaction = _snapshot(backend)
    table = transaction.catalog.by_name.get(name)
    if table is None:
        return Size(0, 0)
    count = transaction.size_of(table.primary, _COUNT_MAX)
    sizes = [len(document.body) for document in _sample(transaction, table)]
    return Size(count, count * sum(sizes) // len(sizes) if sizes else 0)


def _snapshot(backend: Backend) -> Transaction:
    node = backend.node
    committer = node.committer
    return Transaction(
        node.persistence.reader, committer.catalog, committer.head_ts, limits=node.limits
    )


def _sample(transaction: Transaction, table: TableInfo) -> list[StoredDocument]:
    found: dict[bytes, StoredDocument] = {}
    size = 0
    index = table.index("by_creation_time")
    for descending in (False, True):
        documents_max = len(found) + SAMPLE_MAX // 2
        bytes_max = size + _SAMPLE_BYTES_MAX // 2
        rows = transaction.scan(index, EVERYTHING, descending=descending, expect=SAMPLE_MAX // 2)
        for key, document in rows:
            if len(found) >= documents_max or size >= bytes_max or key in found:
                break
            found[key] = document
            size += len(document.body)
    return list(found.values())

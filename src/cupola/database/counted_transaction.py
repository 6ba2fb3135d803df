"""A transaction that also counts, table by table, which rows it reads: for those who watch a
deployment. Nobody else pays for it.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator
from typing import Any

from cupola.database.catalog import Index, TableInfo
from cupola.database.documents import StoredDocument
from cupola.database.ranges import KeyRange
from cupola.database.transaction import Transaction


class CountedTransaction(Transaction):
    """Documents got by their id count whether or not they are there, as they do against limits.
    Those that a text search finds, and rows that `count` looks at, are not counted.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._rows: collections.Counter[int] = collections.Counter()
        self.rows_read = self._rows

    def _get_in(self, table: TableInfo, document_id: str) -> StoredDocument | None:
        found = super()._get_in(table, document_id)
        self._rows[table.number] += 1
        return found

    def scan(
        self, index: Index, keys: KeyRange, *, descending: bool = False, expect: int = 16
    ) -> Iterator[tuple[bytes, StoredDocument]]:
        for row in super().scan(index, keys, descending=descending, expect=expect):
            self._rows[index.table] += 1
            yield row

    def bodies(
        self, index: Index, keys: KeyRange, *, descending: bool, limit: int | None
    ) -> list[bytes]:
        found = super().bodies(index, keys, descending=descending, limit=limit)
        self._rows[index.table] += len(found)
        return found

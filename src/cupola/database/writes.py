"""What a transaction writes, document by document, and the ids of the new ones."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from cupola.database.catalog import TableInfo
from cupola.database.documents import StoredDocument
from cupola.values import encode_id, new_internal_id

_BEGINNING_BYTES = 4


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

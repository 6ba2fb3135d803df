"""Reading the definitions of tables and indexes from a snapshot."""

from __future__ import annotations

from collections.abc import Iterator

from cupola.database.catalog import CATALOG_TABLES, Catalog, Document, primary_index_id
from cupola.persistence import Reader
from cupola.values import decode_canonical

_PAGE = 100


def load_catalog(reader: Reader) -> Catalog:
    """What tables, indexes and schema exist in this snapshot."""
    return Catalog({number: load_documents(reader, number) for number in CATALOG_TABLES.values()})


class CatalogLoader:
    """Loads the catalog of one snapshot after the other; builds it anew only when a definition has
    changed, since it holds compiled checks.
    """

    def __init__(self) -> None:
        self._ts = -1
        self._versions: list[tuple[bytes, int]] = []
        self._catalog = Catalog.empty()

    def load(self, reader: Reader, ts: int) -> Catalog:
        """What tables, indexes and schema exist in this snapshot, whose timestamp is `ts`."""
        if ts == self._ts:
            return self._catalog
        versions = [
            (key, version)
            for number in CATALOG_TABLES.values()
            for key, version, _ in _rows(reader, number)
        ]
        if versions != self._versions:
            self._catalog, self._versions = load_catalog(reader), versions
        self._ts = ts
        return self._catalog


def _rows(reader: Reader, table: int) -> Iterator[tuple[bytes, int, bytes]]:
    start = b""
    while rows := reader.scan(primary_index_id(table), start, None, descending=False, limit=_PAGE):
        yield from rows
        if len(rows) < _PAGE:
            return
        start = rows[-1][0] + b"\0"


def load_documents(reader: Reader, table: int) -> dict[str, Document]:
    """All documents of a system table, by id."""
    found: dict[str, Document] = {}
    for _, _, body in _rows(reader, table):
        document = decode_canonical(body)
        assert isinstance(document, dict)
        found[str(document["_id"])] = document
    return found

"""Reading the definitions of tables and indexes from a snapshot."""

from __future__ import annotations

from cupola.database.catalog import CATALOG_TABLES, Catalog, Document, primary_index_id
from cupola.persistence import Reader
from cupola.values import decode_canonical

_PAGE = 100


def load_catalog(reader: Reader) -> Catalog:
    """What tables, indexes and schema exist in this snapshot."""
    return Catalog({number: load_documents(reader, number) for number in CATALOG_TABLES.values()})


def load_documents(reader: Reader, table: int) -> dict[str, Document]:
    """All documents of a system table, by id."""
    found: dict[str, Document] = {}
    start = b""
    while rows := reader.scan(primary_index_id(table), start, None, descending=False, limit=_PAGE):
        for _, _, body in rows:
            document = decode_canonical(body)
            assert isinstance(document, dict)
            found[str(document["_id"])] = document
        start = rows[-1][0] + b"\0"
    return found

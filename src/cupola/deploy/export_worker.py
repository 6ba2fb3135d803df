"""Writes one snapshot of a database file as a ZIP, in a process of its own.

    python -m cupola.deploy.export_worker DATABASE ZIP

It prints the snapshot's timestamp when the file is whole. The layout is that of the reference
(spec: deploy API, section 13), so that its tools and ours read each other's exports.
"""

from __future__ import annotations

import datetime
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import orjson

from cupola.database.catalog import FIRST_USER_TABLE, TableInfo
from cupola.database.load import load_catalog
from cupola.deploy.component_folders import folder_of, folder_of_table
from cupola.persistence import Reader
from cupola.persistence.sqlite.reader import SqliteSnapshots
from cupola.values import decode_canonical, encode_export

_PAGE = 500
_COUNT_MAX = 1 << 40
_README = """# A snapshot of a Cupola deployment

`_tables/documents.jsonl` lists the tables with their numbers. Each table has a folder with its
documents, one per line: whole numbers without a point are int64, all others are float64.
Those of components are in `_components/NAME`, in the same way.
"""


def main() -> None:
    data_path, zip_path = sys.argv[1:]
    snapshots = SqliteSnapshots(data_path)
    snapshot = snapshots.open()
    try:
        ts = snapshot.newest_ts()
        write_zip(snapshot, ts, Path(zip_path))
    finally:
        snapshot.close()
        snapshots.close()
    print(ts, flush=True)


def write_zip(reader: Reader, ts: int, path: Path) -> None:
    """Write everything a snapshot holds; `path` exists only when the file is whole."""
    temporary = path.with_suffix(".new")
    moment = datetime.datetime.fromtimestamp(ts // 10**9, datetime.UTC).timetuple()[:6]
    date = max(moment, (1980, 1, 1, 0, 0, 0))  # older ones do not fit into a ZIP
    tables = [
        table for table in load_catalog(reader).by_name.values() if table.number >= FIRST_USER_TABLE
    ]
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:

        def add(name: str, lines: Iterator[bytes]) -> None:
            entry = zipfile.ZipInfo(name, date)
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as file:
                for line in lines:
                    file.write(line + b"\n")

        add("README.md", iter([_README.strip().encode()]))
        for component in sorted({"", *(table.component for table in tables)}):
            own = [table for table in tables if table.component == component]
            add(f"{folder_of(component)}_tables/documents.jsonl", _table_lines(own))
        for table in sorted(tables, key=lambda table: _size(reader, table)):
            folder = folder_of_table(table.name)
            add(f"{folder}/documents.jsonl", _documents(reader, table))
            add(f"{folder}/generated_schema.jsonl", iter([b'"uniform"']))
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def _table_lines(tables: list[TableInfo]) -> Iterator[bytes]:
    for table in sorted(tables, key=lambda table: table.id_number):
        yield orjson.dumps({"name": table.own_name, "id": table.id_number})


def _documents(reader: Reader, table: TableInfo) -> Iterator[bytes]:
    start = b""
    while rows := reader.scan(table.primary.number, start, None, descending=False, limit=_PAGE):
        for _, _, body in rows:
            yield encode_export(decode_canonical(body))
        start = rows[-1][0] + b"\0"


def _size(reader: Reader, table: TableInfo) -> int:
    return reader.count(table.primary.number, b"", None, limit=_COUNT_MAX)


if __name__ == "__main__":
    main()

"""A snapshot as a ZIP, in the layout of the reference (spec: deploy API, section 13), so that its
tools and ours read each other's exports. Nothing is ever whole in memory but a page of documents.
"""

from __future__ import annotations

import datetime
import mimetypes
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from cupola.database.catalog import (
    FIRST_USER_TABLE,
    STORAGE,
    Catalog,
    TableInfo,
    primary_index_id,
)
from cupola.database.load import load_catalog
from cupola.deploy.component_folders import folder_of, folder_of_table
from cupola.files import FileStore
from cupola.persistence import Reader
from cupola.values import decode_canonical, encode_export

Told = Callable[[str, int], None]
"""Hears from time to time of which table how many documents are written; of `_storage`, bytes."""

FILES: Final = "_storage"
_PAGE: Final = 500
_COUNT_MAX: Final = 1 << 40
_OLDEST: Final = (1980, 1, 1, 0, 0, 0)  # older ones do not fit into a ZIP
_TYPES: Final = mimetypes.MimeTypes(filenames=())  # the same on each machine
_DEFLATED: Final = re.compile(r"text/|[^;]*(json|xml|javascript|csv|wasm)")
_README = """# A snapshot of a Cupola deployment

`_tables/documents.jsonl` lists the tables with their numbers. Each table has a folder with its
documents, one per line: whole numbers without a point are int64, all others are float64.
Those of components are in `_components/NAME`, in the same way.
`_storage` has stored files, each under its id; its `documents.jsonl` says what is known of them.
"""


async def write_zip(
    reader: Reader, ts: int, path: Path, files: FileStore | None, told: Told
) -> None:
    """Write everything that a snapshot holds; `path` exists only when the file is whole. `files`:
    where stored files are, if they come along.

    Raises:
        FileStoreError: The bytes of a file cannot be read.
    """
    temporary = unfinished(path)
    tables = user_tables(load_catalog(reader))
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        writer = _ZipWriter(archive, ts)
        writer.add("README.md", [_README.strip().encode()])
        for component in sorted({"", *(table.component for table in tables)}):
            own = [table for table in tables if table.component == component]
            writer.add(f"{folder_of(component)}_tables/documents.jsonl", _table_lines(own))
        for table in sorted(tables, key=lambda table: size_of(reader, table)):
            folder = folder_of_table(table.name)
            writer.add(f"{folder}/documents.jsonl", _documents(reader, table, told))
            writer.add(f"{folder}/generated_schema.jsonl", [b'"uniform"'])
        if files is not None:
            for component in sorted({"", *(_owner_of(file) for file in _file_documents(reader))}):
                lines = _file_lines(reader, component)
                writer.add(f"{folder_of(component)}{FILES}/documents.jsonl", lines)
            await _add_files(reader, writer, files, told)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def unfinished(path: Path) -> Path:
    """Where a file is until it is whole."""
    return path.with_suffix(".new")


def user_tables(catalog: Catalog) -> list[TableInfo]:
    """The app's tables, by number."""
    found = [table for table in catalog.by_name.values() if table.number >= FIRST_USER_TABLE]
    return sorted(found, key=lambda table: table.number)


def bodies_of(reader: Reader, index: int) -> Iterator[bytes]:
    """Every document of a primary index, in canonical encoded JSON."""
    start = b""
    while rows := reader.scan(index, start, None, descending=False, limit=_PAGE):
        for _, _, body in rows:
            yield body
        start = rows[-1][0] + b"\0"


def size_of(reader: Reader, table: TableInfo) -> int:
    return reader.count(table.primary.number, b"", None, limit=_COUNT_MAX)


class _ZipWriter:
    """Entries of one moment."""

    def __init__(self, archive: zipfile.ZipFile, ts: int) -> None:
        self._archive = archive
        moment = datetime.datetime.fromtimestamp(ts // 10**9, datetime.UTC).timetuple()[:6]
        self._date = max(moment, _OLDEST)

    def open(self, name: str, *, deflated: bool = True) -> Any:
        """A file to write the entry's bytes to."""
        entry = zipfile.ZipInfo(name, self._date)
        entry.external_attr = 0o644 << 16  # once unpacked; the reference's are so too
        entry.compress_type = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
        return self._archive.open(entry, "w", force_zip64=True)

    def add(self, name: str, lines: Iterable[bytes]) -> None:
        with self.open(name) as file:
            for line in lines:
                file.write(line + b"\n")


def _table_lines(tables: list[TableInfo]) -> Iterator[bytes]:
    for table in sorted(tables, key=lambda table: table.id_number):
        yield orjson.dumps({"name": table.own_name, "id": table.id_number})


def _documents(reader: Reader, table: TableInfo, told: Told) -> Iterator[bytes]:
    for number, body in enumerate(bodies_of(reader, table.primary.number)):
        if number % _PAGE == 0:
            told(table.name, number)
        yield encode_export(decode_canonical(body))


# -------------------------------------------------------------------------------------------- files


def _file_documents(reader: Reader) -> Iterator[dict[str, Any]]:
    for body in bodies_of(reader, primary_index_id(STORAGE)):
        document = decode_canonical(body)
        assert isinstance(document, dict)
        yield document


def _owner_of(file: dict[str, Any]) -> str:
    """The component whose file it is; "" if it is the app's."""
    return str(file.get("component", ""))


def _file_lines(reader: Reader, component: str) -> Iterator[bytes]:
    for document in _file_documents(reader):
        if _owner_of(document) == component:
            document.pop("component", None)
            document["size"] = int(document["size"])  # as the reference reads it
            yield orjson.dumps(document)


async def _add_files(reader: Reader, writer: _ZipWriter, files: FileStore, told: Told) -> None:
    done_bytes = 0
    for document in _file_documents(reader):
        storage_id, kind = str(document["_id"]), str(document.get("contentType", ""))
        folder = f"{folder_of(_owner_of(document))}{FILES}"
        name = f"{folder}/{storage_id}{_extension(kind)}"
        with writer.open(name, deflated=bool(_DEFLATED.match(kind))) as file:
            async for piece in files.read(storage_id, 0, int(document["size"])):
                file.write(piece)
                done_bytes += len(piece)
                told(FILES, done_bytes)


def _extension(content_type: str) -> str:
    media_type = content_type.partition(";")[0].strip().lower()
    return _TYPES.guess_extension(media_type, strict=False) or ""

"""Rows of files that are imported: CSV, JSON lines, a JSON array, and the ZIP of an export.

In all but tables of an export that say so, every number is a float64 and nothing is decoded: an
object with a `$` in a field's name is an error of its row (spec: deploy API, section 14).
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import mimetypes
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec
import orjson

from cupola.deploy.component_folders import component_of, inside, table_inside
from cupola.deploy.import_plans import StoredFile
from cupola.errors import CupolaError, DeveloperError
from cupola.values import decode_export, qualified

Row = dict[str, Any]


class _Described(msgspec.Struct, rename="camel"):
    """A line of `_storage/documents.jsonl`."""

    id: str
    creation_time: float | None = msgspec.field(name="_creationTime", default=None)
    sha256: str | None = None
    size: float | None = None
    content_type: str | None = None


_TABLE = re.compile(r"(?:^|/)([A-Za-z][A-Za-z0-9_]*)/documents\.jsonl$")
_NUMBERS = re.compile(r"(?:^|/)_tables/documents\.jsonl$")
_STORED_FILE = re.compile(r"(?:^|/)_storage/([^/.]+)(?:\.[^/]*)?$")
_KNOWN_FILES = re.compile(r"(?:^|/)_storage/documents\.jsonl$")
_HIDDEN_TYPES = re.compile(rb'(?<![\w"])(int64|float64|bytes)\b|\n')  # in a shape; or exceptions
_ARRAY_BYTES_MAX = 16 * 2**20
_PARSER = json.JSONDecoder(parse_int=float)  # `json.loads` would make one for each row
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_TYPES = mimetypes.MimeTypes(filenames=())  # the same on each machine


class ImportRefused(DeveloperError):
    """The file cannot be imported; nothing was changed."""

    code = "ImportRefused"


class Source:
    """A file's tables: their rows, and the numbers that their ids carry, where it says so."""

    def __init__(self, path: Path, form: str, table: str | None, component: str = "") -> None:
        """`table`: of the forms that have one. `component`: whose tables the file has; those of
        components in it are then of components in that one. Tables get qualified names.

        Raises:
            ImportRefused: It is none, or has what does not exist here.
        """
        self.numbers: dict[str, int] = {}
        self._files: dict[str, dict[str, str]] = {}  # where their bytes are, by component and id
        self._known_files: dict[str, str] = {}  # where they are described, by component
        self.tables: list[str] = [] if table is None else [table_inside(component, table)]
        self._path = path
        self._component = component
        self._form = form
        self._entries: dict[str, str] = {}
        self._uniform: set[str] = set()
        if form == "zip":
            self._look_into()

    def rows(self, table: str) -> Iterator[Row]:
        """The rows of a table. Raises: ImportRefused, with the line."""
        if self._form == "zip":
            name = self._entries[table]
            with zipfile.ZipFile(self._path) as archive, open_entry(archive, name) as file:
                yield from _json_lines(file, uniform=table in self._uniform)
            return
        with self._path.open("rb") as file:
            if self._form == "csv":
                yield from _csv_rows(file)
            elif self._form == "jsonArray":
                yield from _array_rows(file)
            else:
                yield from _json_lines(file, uniform=False)

    @property
    def components_with_files(self) -> list[str]:
        """Of which components, or of the app (""), the file says anything of stored files, be it
        that there are none.
        """
        return sorted(self._known_files.keys() | self._files.keys())

    def open_zip(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(self._path)

    def stored_files(self, component: str) -> Iterator[StoredFile]:
        """The stored files of a component, with what the ZIP knows of them; first those that are
        described.

        Raises:
            ImportRefused: One is described whose bytes are not there.
        """
        with zipfile.ZipFile(self._path) as archive:
            left = dict(self._files.get(component, {}))
            if (known := self._known_files.get(component)) is not None:
                with open_entry(archive, known) as lines:
                    for row in _json_lines(lines, uniform=False):
                        entry = left.pop(str(row.get("_id")), None)
                        yield _described(row, archive, entry, component)
            for storage_id, entry in left.items():
                kind, _ = _TYPES.guess_type(entry, strict=False)
                size = archive.getinfo(entry).file_size
                yield StoredFile(storage_id, size, entry, content_type=kind, component=component)

    def _look_into(self) -> None:
        try:
            archive = zipfile.ZipFile(self._path)
        except zipfile.BadZipFile as error:
            raise ImportRefused(f"The file is no ZIP: {error}", code="InvalidZip") from None
        with archive:
            names = archive.namelist()
            for name in names:
                component = inside(self._component, component_of(name))
                if _KNOWN_FILES.search(name):
                    self._known_files[component] = name
                elif found := _STORED_FILE.search(name):
                    self._files.setdefault(component, {})[found[1]] = name
                elif found := _TABLE.search(name):
                    table = qualified(component, found[1])
                    self.tables.append(table)
                    self._entries[table] = name
                    schema = name.removesuffix("documents.jsonl") + "generated_schema.jsonl"
                    if schema in names and _is_uniform(schema, archive.read(schema).strip()):
                        self._uniform.add(table)
                elif _NUMBERS.search(name):
                    for line in archive.read(name).splitlines():
                        row = orjson.loads(line)
                        self.numbers[qualified(component, str(row["name"]))] = int(row["id"])
        self.numbers = {name: n for name, n in self.numbers.items() if name in self._entries}


@contextlib.contextmanager
def open_entry(archive: zipfile.ZipFile, name: str) -> Iterator[IO[bytes]]:
    """An entry of a ZIP, to be read inside.

    Raises:
        ImportRefused: It is damaged, encrypted, or packed in a way that is not known here.
    """
    try:
        file = archive.open(name)
    except (
        zipfile.BadZipFile,
        RuntimeError,
    ) as error:  # or unknown, or encrypted
        raise ImportRefused(f"{name}: {error}", code="InvalidZip") from None
    with file:
        try:
            yield file
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise ImportRefused(f"{name}: {error}", code="InvalidZip") from None


def _described(row: Row, archive: zipfile.ZipFile, entry: str | None, component: str) -> StoredFile:
    try:
        file = msgspec.convert({**row, "id": row.get("_id"), "entry": entry}, _Described)
    except msgspec.ValidationError as error:
        raise ImportRefused(f"`_storage/documents.jsonl`: {error}", code="InvalidZip") from None
    if entry is None:
        raise ImportRefused(f"The bytes of file {file.id} are not in the ZIP.", code="InvalidZip")
    size = archive.getinfo(entry).file_size
    if file.size is not None and file.size != size:
        raise ImportRefused(
            f"File {file.id} has {size} bytes in the ZIP, not {file.size:.0f}.", code="InvalidZip"
        )
    return StoredFile(
        file.id, size, entry, file.creation_time, file.sha256, file.content_type, component
    )


def _is_uniform(name: str, description: bytes) -> bool:
    """Whether a `generated_schema.jsonl` says that documents are in the encoding of exports.

    Raises:
        ImportRefused: It is of a time when exports inferred types, and a type is among them that
            plain JSON does not show.
    """
    if description == b'"uniform"':
        return True
    if _HIDDEN_TYPES.search(description):
        raise ImportRefused(
            f"{name} has the type hints of an old version of Convex, without which int64, bytes "
            "and unusual numbers cannot be told from others. Export again with a current version; "
            "or leave that file out of the ZIP, if plain JSON is what you want.",
            code="InvalidZip",
        )
    return False


def _json_lines(file: IO[bytes], *, uniform: bool) -> Iterator[Row]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = decode_export(line.strip()) if uniform else _plain(line)
        except (CupolaError, ValueError, RecursionError) as error:
            raise ImportRefused(f"Line {number}: {error}", code="JsonInvalidRow") from None
        yield _object(row, f"Line {number}")


def _array_rows(file: IO[bytes]) -> Iterator[Row]:
    text = file.read(_ARRAY_BYTES_MAX + 1)
    if len(text) > _ARRAY_BYTES_MAX:
        raise ImportRefused(
            f"A JSON array has at most {_ARRAY_BYTES_MAX:,} bytes; write one object per line "
            "instead, and import it as jsonLines.",
            code="JsonArrayTooLarge",
        )
    try:
        rows = _plain(text)
    except (ValueError, RecursionError) as error:
        raise ImportRefused(f"The file is no JSON: {error}", code="NotJson") from None
    if not isinstance(rows, list):
        raise ImportRefused("The file is no JSON array.", code="NotJsonArray")
    for number, row in enumerate(rows, 1):
        yield _object(row, f"Element {number}")


def _csv_rows(file: IO[bytes]) -> Iterator[Row]:
    reader = csv.reader(io.TextIOWrapper(file, "utf-8-sig", newline=""))
    try:
        names = [name.strip() for name in next(reader, [])]
        if not names:
            raise ImportRefused("The file has no line with names.", code="CsvMissingHeaders")
        for cells in reader:
            if len(cells) != len(names):
                raise ImportRefused(
                    f"Line {reader.line_num} has {len(cells)} cells, not {len(names)}.",
                    code="CsvRowMissingFields",
                )
            yield {name: _cell(cell) for name, cell in zip(names, cells, strict=True)}
    except (csv.Error, UnicodeDecodeError) as error:
        text = f"Line {reader.line_num}: {error}"
        raise ImportRefused(text, code="CsvInvalidRow") from None


def _cell(text: str) -> float | str:
    try:
        return float(text) if re.fullmatch(r"[\s+-]*[\d.][\d.eE+-]*\s*", text) else text
    except ValueError:
        return text


def _plain(text: bytes) -> Any:
    return _PARSER.decode(text.removeprefix(_BYTE_ORDER_MARK).decode())


def _object(row: Any, where: str) -> Row:
    if not isinstance(row, dict):
        raise ImportRefused(f"{where} is no object.", code="NotAnObject")
    return row

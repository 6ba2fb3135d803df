"""Stored files of a ZIP that is imported: checked first, then their bytes, then their documents.

    python -m cupola.deploy.import_files LIMITS ZIP ROWS STORE

As a process it puts the bytes of the files in ROWS (lines of `StoredFile`) into a file store, each
under its id; those that are there already have no entry. It prints how far it is, and last `null`,
or `{"error": ...}`.
"""

from __future__ import annotations

import asyncio
import base64
import collections
import hashlib
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import msgspec

from cupola.database.catalog import STORAGE, primary_index_id
from cupola.deploy.import_plans import StoredFile
from cupola.deploy.import_rows import ImportRefused, Source, open_entry
from cupola.deploy.processes import Progress, worker_arguments
from cupola.deploy.zip_export import bodies_of
from cupola.errors import CupolaError
from cupola.files import FileStore, receive
from cupola.files.opening import open_store
from cupola.persistence import Reader
from cupola.values import decode_canonical, decode_id, encode_key, in_force

_PIECE_BYTES: Final = 1 << 20


# ---------------------------------------------------------------------------------------- checking


def count_files(reader: Reader) -> dict[str, int]:
    """How many files each component has, and the app ("")."""
    counts = collections.Counter("")
    for body in bodies_of(reader, primary_index_id(STORAGE)):
        document = decode_canonical(body)
        assert isinstance(document, dict)
        counts[str(document.get("component", ""))] += 1
    return counts


def check_files(
    reader: Reader,
    source: Source,
    component: str,
    path: Path,
    progress: Progress,
    *,
    replaces: bool,
) -> int:
    """Read every stored file of a component in a ZIP, and write to `path` what is to be stored.
    `replaces`: its files that are there already go first. Returns: how many there are.

    Raises:
        ImportRefused: The bytes of one are others than its digest says, its id is no file's, or is
            that of another file.
    """
    count = 0
    with path.open("wb") as rows, source.open_zip() as archive:
        for file in source.stored_files(component):
            progress.tell(lambda: f"Checking files: {count:,}")  # noqa: B023
            checked = _checked(archive, file)
            known = _known(reader, file.id)
            if known is not None and (not replaces or known != (checked.sha256, component)):
                raise ImportRefused(
                    f"There is a file {file.id} already; import with --replace-all, or delete it.",
                    code="InvalidId",
                )
            if known is not None:
                checked = msgspec.structs.replace(checked, entry=None)
            rows.write(msgspec.json.encode(checked) + b"\n")
            count += 1
    return count


def _checked(archive: zipfile.ZipFile, file: StoredFile) -> StoredFile:
    try:
        number = decode_id(file.id)[0]
    except CupolaError:
        number = 0
    if number != STORAGE:
        raise ImportRefused(f"{file.id!r} is the id of no file.", code="InvalidId")
    digest = hashlib.sha256()
    for piece in _pieces(archive, file):
        digest.update(piece)
    found = base64.b64encode(digest.digest()).decode()
    if file.sha256 not in (None, found):
        raise ImportRefused(
            f"The bytes of file {file.id} are not those that its SHA-256 digest says.",
            code="InvalidZip",
        )
    return msgspec.structs.replace(file, sha256=found)


def _known(reader: Reader, storage_id: str) -> tuple[str, str] | None:
    """The digest and component of a file that is stored; None if there is none of this id."""
    row = reader.get(primary_index_id(STORAGE), encode_key(storage_id))
    if row is None:
        return None
    document = decode_canonical(row[2])
    assert isinstance(document, dict)
    return str(document["sha256"]), str(document.get("component", ""))


def _pieces(archive: zipfile.ZipFile, file: StoredFile) -> Iterator[bytes]:
    assert file.entry is not None
    with open_entry(archive, file.entry) as entry:
        while piece := entry.read(_PIECE_BYTES):
            yield piece


# ------------------------------------------------------------------------------------------- bytes


def main() -> None:
    zip_path, rows, address = worker_arguments()
    size_bytes_max = in_force().file_size_bytes_max
    answer: dict[str, str] | None = None
    try:
        asyncio.run(_store_all(Path(zip_path), Path(rows), open_store(address), size_bytes_max))
    except CupolaError as error:
        answer = {"error": error.message}
    print(msgspec.json.encode(answer).decode(), flush=True)


async def _store_all(zip_path: Path, rows: Path, store: FileStore, size_bytes_max: int) -> None:
    progress, done_bytes = Progress(), 0
    with zipfile.ZipFile(zip_path) as archive, rows.open("rb") as lines:
        for number, line in enumerate(lines):
            file = msgspec.json.decode(line, type=StoredFile)
            progress.tell(lambda: f"Storing files: {number:,}, {done_bytes / 2**20:,.0f} MiB")  # noqa: B023
            if file.entry is None:
                continue
            assert file.sha256 is not None
            await receive(
                store,
                file.id,
                _stream(archive, file),
                size_bytes_max=size_bytes_max,
                sha256=base64.b64decode(file.sha256),
            )
            done_bytes += file.size


async def _stream(archive: zipfile.ZipFile, file: StoredFile) -> AsyncIterator[bytes]:
    for piece in _pieces(archive, file):
        yield piece


if __name__ == "__main__":
    main()

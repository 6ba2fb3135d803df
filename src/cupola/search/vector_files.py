"""Vector indexes on disk: one file for each, so that a start needs not read all documents again.

    magic, length of the head (8 bytes, little endian)
    head        MessagePack: what the index is, up to which version of the log it goes, ids, values
    vectors     float32, little endian, row after row
    CRC-32      of all before it (4 bytes, little endian)

A file is only ever a shortcut: one that is cut short, damaged, of another index, or ahead of the
log (the database was restored from a backup) is left aside, and the index built from the documents.
"""

from __future__ import annotations

import itertools
import mmap
import os
import zlib
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from cupola.errors import PersistenceError
from cupola.search.vector_index import Floats, VectorIndex

_MAGIC: Final = b"cupola vectors 1\n"
_LENGTH_BYTES: Final = 8
_SUFFIX: Final = ".vectors"


class Head(msgspec.Struct, frozen=True):
    """`index`: the id of the index's document. `version`: the newest of the log that is in here,
    committed at `ts`. `values`: per filter field, that of each row.
    """

    index: str
    dimensions: int
    filters: list[str]
    version: int
    ts: int
    ids: list[str]
    values: list[list[bytes]]


def path_of(folder: Path, index: str) -> Path:
    return folder / (index + _SUFFIX)


def save(
    folder: Path, index: VectorIndex, name: str, filters: list[str], at: tuple[int, int]
) -> None:
    """Write an index; what is there under its name is whole at any time. `at`: version and ts.

    Raises:
        PersistenceError: The disk is full or broken; the file of before is still there.
    """
    ids, blocks, columns = index.dump()
    head = msgspec.msgpack.encode(Head(name, index.dimensions, filters, at[0], at[1], ids, columns))
    path = path_of(folder, name)
    temporary = path.with_suffix(".new")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            checksum = 0
            vectors = (block.astype("<f4").tobytes() for block in blocks)
            length = len(head).to_bytes(_LENGTH_BYTES, "little")
            for data in itertools.chain((_MAGIC, length, head), vectors):
                checksum = zlib.crc32(data, checksum)
                file.write(data)
            file.write(checksum.to_bytes(4, "little"))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise PersistenceError(
            f"{path} could not be written: {error.strerror}. Searches go on; the next start reads "
            "the documents instead."
        ) from error


def load(
    folder: Path, name: str, dimensions: int, filters: list[str]
) -> tuple[VectorIndex, Head] | None:
    """Read an index; None if there is no file of it, or none that can be relied on."""
    try:
        with path_of(folder, name).open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):  # it is not there, or empty
        return None
    with data, memoryview(data) as view:
        return _loaded(view, name, dimensions, filters)


def _loaded(
    data: memoryview, name: str, dimensions: int, filters: list[str]
) -> tuple[VectorIndex, Head] | None:
    start = len(_MAGIC) + _LENGTH_BYTES
    if len(data) < start + 4 or bytes(data[: len(_MAGIC)]) != _MAGIC:
        return None
    if zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
        return None
    length = int.from_bytes(data[len(_MAGIC) : start], "little")
    try:
        head = msgspec.msgpack.decode(data[start : start + length], type=Head)
    except msgspec.DecodeError:
        return None
    if (head.index, head.dimensions, head.filters) != (name, dimensions, filters):
        return None
    vectors = np.frombuffer(data[start + length : -4], "<f4").reshape(-1, dimensions)
    index = _filled(vectors.astype(np.float32, copy=False), head)
    del vectors  # the file is let go of with its last view
    return index, head


def _filled(vectors: Floats, head: Head) -> VectorIndex:
    index = VectorIndex(head.dimensions, len(head.filters))
    for row, document_id in enumerate(head.ids):
        index.put(document_id, vectors[row], [column[row] for column in head.values])
    return index


def remove_others(folder: Path, names: set[str]) -> None:
    """Remove the files of indexes that are no more, and what a crash left half written."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.suffix == ".new" or (path.suffix == _SUFFIX and path.stem not in names):
            path.unlink(missing_ok=True)

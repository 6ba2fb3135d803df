"""Files in a folder: the default.

    files/ab/<id>               a whole file, durable; `ab` are the first letters of the id
    files/uploads/<id>          on its way in

An upload is written below `uploads/`, synced, and renamed; then both folders are synced. So a name
either means a whole file or nothing. Whatever blocks runs in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

from cupola.errors import FileStoreError

PIECE_BYTES = 1 << 20
_UPLOADS = "uploads"
_PREFIX = 2


class LocalFiles:
    """The files of one deployment below `root`, which is made when it is first needed."""

    def __init__(self, root: Path | str) -> None:
        self._root = Path(root)

    @property
    def address(self) -> str:
        return self._root.absolute().as_uri()

    async def begin(self, name: str) -> _LocalUpload:
        with _told("stored"):
            return await asyncio.to_thread(_LocalUpload, self._root, self._path_of(name))

    async def read(self, name: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        with _told("read"):
            descriptor = await asyncio.to_thread(os.open, self._path_of(name), os.O_RDONLY)
        try:
            position = start
            while position < end:
                wanted = min(PIECE_BYTES, end - position)
                with _told("read"):
                    piece = await asyncio.to_thread(os.pread, descriptor, wanted, position)
                if not piece:
                    raise FileStoreError(f"File {name} ends at {position}, before {end} bytes.")
                position += len(piece)
                yield piece
        finally:
            os.close(descriptor)

    async def delete(self, name: str) -> None:
        with _told("deleted"), contextlib.suppress(FileNotFoundError):
            await asyncio.to_thread(self._path_of(name).unlink)

    async def clear_uploads(self) -> None:
        with _told("deleted"):
            await asyncio.to_thread(self._clear_uploads)

    def _clear_uploads(self) -> None:
        for file in _entries(self._root / _UPLOADS):
            file.unlink()

    async def names(self) -> AsyncGenerator[list[str], None]:
        with _told("listed"):
            folders = await asyncio.to_thread(_entries, self._root)
        for folder in folders:
            if len(folder.name) == _PREFIX:
                with _told("listed"):
                    yield [file.name for file in await asyncio.to_thread(_entries, folder)]

    def _path_of(self, name: str) -> Path:
        assert name.isalnum(), name  # it is an id; nothing else may become part of a path
        return self._root / name[:_PREFIX] / name


class _LocalUpload:
    """One file that is being written, by one thread at a time."""

    def __init__(self, root: Path, path: Path) -> None:
        self._path = path
        self._temporary = root / _UPLOADS / path.name
        self._temporary.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    async def write(self, piece: bytes) -> None:
        with _told("stored"):
            await asyncio.to_thread(self._write, piece)

    def _write(self, piece: bytes) -> None:
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    async def finish(self) -> None:
        with _told("stored"):
            await asyncio.to_thread(self._finish)

    def _finish(self) -> None:
        os.fsync(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1
        folder = self._path.parent
        if not folder.is_dir():
            folder.mkdir(exist_ok=True)
            _sync_folder(folder.parent)
            _sync_folder(folder.parent.parent)  # which the first upload of all has added to
        self._temporary.rename(self._path)
        _sync_folder(folder)

    async def abort(self) -> None:
        with contextlib.suppress(OSError):
            await asyncio.to_thread(self._abort)

    def _abort(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._temporary.unlink(missing_ok=True)


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """The machine's errors as ours. A missing file stays what it is where that is no error."""
    try:
        yield
    except OSError as error:
        if what == "deleted" and isinstance(error, FileNotFoundError):
            raise
        raise FileStoreError(f"A file could not be {what}: {error.strerror or error}.") from error

"""Files in memory: the specification, and enough for tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from cupola.errors import FileStoreError

_PIECE_BYTES = 256 * 1024


class MemoryFiles:
    """Files that live as long as this object."""

    address = ""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}

    async def begin(self, name: str) -> _MemoryUpload:
        return _MemoryUpload(self._files, name)

    async def read(self, name: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        data = self._files.get(name)
        if data is None or len(data) < end:
            raise FileStoreError(f"The bytes of file {name} are not there.")
        for position in range(start, end, _PIECE_BYTES):
            yield data[position : min(position + _PIECE_BYTES, end)]

    async def delete(self, name: str) -> None:
        self._files.pop(name, None)

    async def clear_uploads(self) -> None:
        pass

    async def names(self) -> AsyncGenerator[list[str], None]:
        yield list(self._files)


class _MemoryUpload:
    def __init__(self, files: dict[str, bytes], name: str) -> None:
        self._files = files
        self._name = name
        self._data = bytearray()

    async def write(self, piece: bytes) -> None:
        self._data += piece

    async def finish(self) -> None:
        assert self._name not in self._files
        self._files[self._name] = bytes(self._data)

    async def abort(self) -> None:
        self._data.clear()

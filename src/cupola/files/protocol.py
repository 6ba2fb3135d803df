"""What a place for files must do."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol


class Upload(Protocol):
    """A file on its way in. Nobody can open it before `finish` has returned."""

    async def write(self, piece: bytes) -> None:
        """Append bytes.

        Raises:
            FileStoreError: There is no room, or the place cannot be reached.
        """
        ...

    async def finish(self) -> None:
        """Make the file durable and give it its name. Raises: as `write`; the file is not there."""
        ...

    async def abort(self) -> None:
        """Forget what was written. Raises nothing."""
        ...


class FileStore(Protocol):
    """Bytes by name. A name is a document id, is written once, and never comes back."""

    @property
    def address(self) -> str:
        """What `open_store` makes the same store of in another process; "" if nothing can."""
        ...

    async def begin(self, name: str) -> Upload: ...

    def read(self, name: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """The bytes from `start` to `end` (exclusive), in pieces.

        Raises:
            FileStoreError: They are not there, fewer, or cannot be read.
        """
        ...

    async def delete(self, name: str) -> None:
        """Remove a file, if it is there.

        Raises:
            FileStoreError: It is, and stays.
        """
        ...

    async def clear_uploads(self) -> None:
        """Forget uploads that a crash has cut off. Called before anything is uploaded."""
        ...

    def names(self) -> AsyncGenerator[list[str], None]:
        """The names of all whole files, some at a time."""
        ...

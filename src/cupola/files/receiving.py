"""From a stream of pieces to a durable file, never whole in memory."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from cupola.errors import BadRequestError, FileTooLargeError
from cupola.files.protocol import FileStore

_PIECE_BYTES = 1 << 20


class ReceivedFile(NamedTuple):
    """What is durable under `name`; `sha256` is the digest itself."""

    name: str
    sha256: bytes
    size: int

    def fields(self, content_type: str | None) -> dict[str, Any]:
        """What its document in `_storage` says of it."""
        return {
            "storageId": self.name,
            "sha256": self.sha256,
            "size": self.size,
            "contentType": content_type,
        }


async def receive(
    store: FileStore,
    name: str,
    parts: AsyncIterator[bytes],
    *,
    size_bytes_max: int,
    sha256: bytes | None = None,
) -> ReceivedFile:
    """Store a stream. `sha256`: what it must amount to.

    Raises:
        FileTooLargeError: It is larger than allowed.
        BadRequestError (DigestMismatch): It is something else than `sha256` says.
        FileStoreError: There is no room, or the place cannot be reached.
        Whatever `parts` raises. In all these cases nothing stays.
    """
    upload = await store.begin(name)
    digest = hashlib.sha256()
    size = 0
    try:
        async for piece in _joined(parts):
            size += len(piece)
            if size > size_bytes_max:
                raise FileTooLargeError(
                    f"A file may have {size_bytes_max:,} bytes (file_size_bytes_max)."
                )
            await asyncio.gather(upload.write(piece), asyncio.to_thread(digest.update, piece))
        if sha256 is not None and digest.digest() != sha256:
            raise BadRequestError(
                "The file is not what its SHA-256 digest says: it was changed on its way.",
                code="DigestMismatch",
            )
        await upload.finish()
    except BaseException:
        await asyncio.shield(upload.abort())
        raise
    return ReceivedFile(name, digest.digest(), size)


async def _joined(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Pieces large enough to be worth a trip to a thread."""
    gathered: list[bytes] = []
    size = 0
    async for part in parts:
        gathered.append(part)
        size += len(part)
        if size >= _PIECE_BYTES:
            yield b"".join(gathered)
            gathered, size = [], 0
    if size:
        yield b"".join(gathered)

"""Files, as actions in a worker reach them: bytes go straight to the store and come straight from
it; the engine names them and commits what is known of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

from cupola.errors import FileStoreError
from cupola.files import FileStore, receive
from cupola.files.opening import open_store
from cupola.limits import Limits

Ask = Callable[[str, dict[str, Any]], Awaitable[Any]]
"""Asks the engine for an operation on files: takes its name and arguments, raises its error."""


class WorkerFiles:
    """The files of one action."""

    def __init__(self, ask: Ask, address: str, limits: Limits) -> None:
        self._ask = ask
        self._address = address
        self._limits = limits

    async def ask(self, operation: str, args: dict[str, Any]) -> Any:
        return await self._ask(operation, args)

    async def store(
        self, parts: AsyncIterator[bytes], content_type: str | None, sha256: bytes | None
    ) -> str:
        beginning = asyncio.ensure_future(self.ask("begin", {}))
        try:
            name = str(await asyncio.shield(beginning))
            limit = self._limits.file_size_bytes_max
            store = self._open()
            received = await receive(store, name, parts, size_bytes_max=limit, sha256=sha256)
            await self.ask("add", received.fields(content_type))
        finally:  # also if nobody waits for the name any more
            await self.ask("end", {"storageId": await beginning})
        return name

    def read(self, storage_id: str, size: int) -> AsyncGenerator[bytes, None]:
        return self._open().read(storage_id, 0, size)

    def read_part(self, storage_id: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        return self._open().read(storage_id, start, end)

    def _open(self) -> FileStore:
        if not self._address:
            raise FileStoreError("This deployment keeps its files in memory, out of reach here.")
        return open_store(self._address)

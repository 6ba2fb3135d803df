"""Files in an object store: S3 and what speaks its protocol, Google Cloud Storage, Azure.

An upload becomes visible with its last request, so a name means a whole file here too. What a crash
leaves of a multipart upload shows nowhere, but is paid for: let a lifecycle rule of the bucket end
those after a day.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cupola.errors import ConfigurationError, FileStoreError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_PART_BYTES = 8 << 20
_PARTS_AT_ONCE = 2
_PIECE_BYTES = 1 << 20
_HTTP_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3")


class ObjectStoreFiles:
    """Files below an address such as `s3://bucket/folder`. Credentials, region and endpoint come
    from the variables that the cloud's own tools read: `AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, ...
    """

    def __init__(self, address: str) -> None:
        """Raises:
        ConfigurationError: The package for it is missing, or the address makes no sense.
        """
        self.address = address
        try:
            import obstore
            from obstore.store import from_url
        except ImportError:
            raise ConfigurationError(
                f"Files at {urlsplit(address).scheme}://… need the package `obstore`: "
                "install `cupola[s3]`.",
                code="BadFileStore",
            ) from None
        self._api = obstore
        endpoints = (os.environ.get(name, "") for name in _HTTP_ENDPOINTS)
        allow_http = any(endpoint.startswith("http:") for endpoint in endpoints)
        try:
            # The time of a request is that of a whole part, or file: only silence is an error.
            options: Any = {"allow_http": allow_http, "timeout": "1h", "read_timeout": "60s"}
            self._store: ObjectStore = from_url(address, client_options=options)
        except Exception as error:  # the library has no family of its own for these
            raise ConfigurationError(
                f"{address!r} cannot be used for files: {error}", code="BadFileStore"
            ) from None

    async def begin(self, name: str) -> _ObjectUpload:
        return _ObjectUpload(self._put, name)

    async def _put(self, name: str, parts: AsyncGenerator[bytes, None]) -> None:
        with _told("stored"):
            await self._api.put_async(
                self._store, name, parts, chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE
            )

    async def read(self, name: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        size = 0
        with _told("read"):
            if start == end:
                await self._api.head_async(self._store, name)
                return
            options: Any = {"range": (start, end)}
            found = await self._api.get_async(self._store, name, options=options)
            async for piece in found.stream(_PIECE_BYTES):
                size += len(piece)
                yield bytes(piece)
        if size != end - start:
            raise FileStoreError(f"File {name} ends at {start + size}, before {end} bytes.")

    async def delete(self, name: str) -> None:
        with _told("deleted"), contextlib.suppress(FileNotFoundError):
            await self._api.delete_async(self._store, name)

    async def clear_uploads(self) -> None:
        pass

    async def names(self) -> AsyncGenerator[list[str], None]:
        with _told("listed"):
            async for entries in self._api.list(self._store):
                yield [entry["path"].rpartition("/")[2] for entry in entries]


class _ObjectUpload:
    """A file on its way: what is written waits until the store has taken what was before."""

    def __init__(self, put: Any, name: str) -> None:
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        self._is_aborted = False
        self._task: asyncio.Task[None] = asyncio.create_task(put(name, self._parts()))

    async def _parts(self) -> AsyncGenerator[bytes, None]:
        while (piece := await self._pieces.get()) is not None:
            yield piece
        if self._is_aborted:
            raise FileStoreError("The upload was given up.")

    async def write(self, piece: bytes | None) -> None:
        putting = asyncio.ensure_future(self._pieces.put(piece))
        await asyncio.wait({putting, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done() and not putting.done():
            putting.cancel()
            await self._task  # raises what it failed with

    async def finish(self) -> None:
        await self.write(None)
        await self._task

    async def abort(self) -> None:
        self._is_aborted = True  # an error in its source makes the library abort the upload
        with contextlib.suppress(Exception):
            await self.finish()


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """The library's errors as ours; a missing object is none where it was to be deleted."""
    try:
        yield
    except (FileStoreError, GeneratorExit, asyncio.CancelledError):
        raise
    except FileNotFoundError as error:
        if what == "deleted":
            raise
        raise FileStoreError(f"A file could not be {what}: it is not there.") from error
    except Exception as error:  # whatever the network and the store say
        text = str(error).partition("\n")[0][:300]
        raise FileStoreError(f"A file could not be {what}: {text}") from error

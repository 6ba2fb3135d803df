"""Files and HTTP bodies of actions in JavaScript. Their bytes cross to the Deno process in pieces,
as base64; so each is asked for, or taken, before the next.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from cupola.errors import BadRequestError, DeveloperError
from cupola.functions.http import HeaderPairs, Request
from cupola.functions.http_run import Outlet
from cupola.functions.log_lines import LogBuffer
from cupola.limits import Limits
from cupola.runtimes.python.worker_files import WorkerFiles
from cupola.runtimes.v8.syscalls import metadata_json

_ASKED = {
    "1.0/storageGetUrl": "getUrl",
    "1.0/storageGenerateUploadUrl": "generateUploadUrl",
    "1.0/storageDelete": "delete",
}
_UPLOADS_MAX = 64


class ActionBlobs:
    """`ctx.storage` of one action."""

    def __init__(self, files: WorkerFiles) -> None:
        self._files = files
        self._uploads: dict[int, _Upload] = {}
        self._count = 0
        self._seen: set[str] = set()  # files that the engine has told about may be read

    async def answer(self, op: str, arguments: dict[str, Any]) -> bytes | None:
        """The JSON of an answer; None if the operation is about something else.

        Raises:
            CupolaError: What it failed with.
        """
        given = {k: arguments[k] for k in ("storageId",) if k in arguments}
        if (operation := _ASKED.get(op)) is not None:
            return msgspec.json.encode(await self._files.ask(operation, given))
        match op:
            case "1.0/storageGetMetadata":
                found = await self._files.ask("getMetadata", given)
                if found is not None:
                    self._seen.add(str(given["storageId"]))
                return metadata_json(
                    None if found is None else {**found, "size": int(found["size"])}
                )
            case "storage/begin":
                return msgspec.json.encode(self._begin(arguments))
            case "storage/write":
                await self._upload(arguments).write(_bytes_of(arguments))
                return b"null"
            case "storage/finish":
                upload = self._upload(arguments)
                del self._uploads[arguments["upload"]]
                return msgspec.json.encode(await upload.finish())
            case "storage/read":
                storage_id = str(arguments["storageId"])
                if storage_id not in self._seen:
                    raise DeveloperError(f"There is no file {storage_id}.", code="NonexistentFile")
                place = storage_id, int(arguments["start"]), int(arguments["end"])
                pieces = [piece async for piece in self._files.read_part(*place)]
                return msgspec.json.encode(base64.b64encode(b"".join(pieces)).decode())
        return None

    def _begin(self, arguments: dict[str, Any]) -> int:
        if len(self._uploads) >= _UPLOADS_MAX:
            raise DeveloperError(
                f"This action stores {_UPLOADS_MAX} files at a time already; await some first.",
                code="TooManyConcurrentUploads",
            )
        kind = arguments.get("contentType")
        digest = _digest_of(arguments.get("sha256"))
        self._count += 1
        self._uploads[self._count] = _Upload(self._files, kind, digest)
        return self._count

    def _upload(self, arguments: dict[str, Any]) -> _Upload:
        upload = self._uploads.get(arguments.get("upload", 0))
        if upload is None:
            raise DeveloperError("This upload has ended.", code="BadArguments")
        return upload

    def close(self) -> None:
        """The action has ended: what it did not finish is no file."""
        for upload in self._uploads.values():
            upload.cancel()


class _Upload:
    def __init__(self, files: WorkerFiles, kind: str | None, sha256: bytes | None) -> None:
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        self._task = asyncio.create_task(files.store(self._parts(), kind, sha256))

    async def _parts(self) -> AsyncGenerator[bytes, None]:
        while (piece := await self._pieces.get()) is not None:
            yield piece

    async def write(self, piece: bytes | None) -> None:
        putting = asyncio.ensure_future(self._pieces.put(piece))
        await asyncio.wait({putting, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            putting.cancel()
            await self._task  # raises what it failed with

    async def finish(self) -> str:
        await self.write(None)
        return await self._task

    def cancel(self) -> None:
        self._task.cancel()


class HttpOperations:
    """The bodies of one HTTP action."""

    def __init__(self, request: Request, outlet: Outlet, logs: LogBuffer, limits: Limits) -> None:
        self._body = aiter(request)
        self._outlet = outlet
        self._logs = logs
        self._left = limits.http_action_body_bytes_max
        self.has_begun = False
        self.gone = asyncio.Event()
        """Set when the client has gone: the request's signal tells the handler, which goes on."""

    async def answer(self, op: str, arguments: dict[str, Any]) -> bytes | None:
        """As `ActionBlobs.answer`."""
        match op:
            case "http/body":
                part = await anext(self._body, None)
                return msgspec.json.encode(part and base64.b64encode(part).decode())
            case "http/head":
                headers: HeaderPairs = [(n.lower(), v) for n, v in arguments["headers"]]
                self.has_begun = True
                await self._outlet.head(arguments["status"], headers)
                return b"null"
            case "http/part":
                await self._part(_bytes_of(arguments))
                return b"null"
        return None

    async def _part(self, data: bytes) -> None:
        if self._left < 0:
            return
        self._left -= len(data)
        if self._left >= 0:
            await self._outlet.part(data)
            return
        self._logs.add(
            "ERROR", "The response was cut off: it is too large (http_action_body_bytes_max)."
        )


def _bytes_of(arguments: dict[str, Any]) -> bytes:
    return base64.b64decode(str(arguments.get("data", "")))


def _digest_of(text: object) -> bytes | None:
    """In hexadecimal or base64.

    Raises:
        BadRequestError (BadHeader): It is neither.
    """
    if text is None:
        return None
    try:
        digest = bytes.fromhex(str(text)) if len(str(text)) == 64 else base64.b64decode(str(text))
    except (ValueError, binascii.Error):
        digest = b""
    if len(digest) != 32:
        raise BadRequestError(
            "`sha256` must be a SHA-256 digest in hexadecimal or base64.", code="BadHeader"
        )
    return digest

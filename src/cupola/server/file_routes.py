"""Uploading and serving stored files (the HTTP API, section 5), streamed both ways."""

import base64
import binascii
import contextlib
import re
from collections.abc import AsyncGenerator, Sequence

import orjson

from cupola.backend import Backend
from cupola.backend.files import ServedFile
from cupola.errors import BadRequestError, CupolaError
from cupola.files.links import FILES_PATH
from cupola.server.errors import NotFoundError, error_body
from cupola.server.messages import Request, Response

_DISCARDED_BYTES_MAX = 64 * 2**20
_CLOSE = (b"connection", b"close")
_CACHE = (b"cache-control", b"private, max-age=2592000")
_RANGE = re.compile(rb"bytes=(\d{0,18})-(\d{0,18})")
# A browser would run scripts of these in the origin of the app's own page.
_ACTIVE_TYPES = re.compile(rb"(text/html|[^;]*xml)\s*(;|$)", re.IGNORECASE)
_CONTENT_TYPE = re.compile(rb"[\x20-\x7e]{1,255}")


class FileRoutes:
    """`POST /api/storage/upload` and `GET /api/storage/<uuid>`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    # ---------------------------------------------------------------- upload

    async def upload(self, request: Request) -> Response:
        """Store the body and answer `{"storageId"}`, once all of it is durable."""
        try:
            return await self._upload(request)
        except CupolaError as error:  # the client hears of it only after it has sent its body
            is_whole = await _discard(request, self._backend.limits.upload_stall_s)
            headers = [] if is_whole else [_CLOSE]
            return Response(error.http_status, error_body(error), headers=headers)

    async def _upload(self, request: Request) -> Response:
        backend = self._backend
        token = request.query().get("token")
        if token is None:
            raise BadRequestError("The URL lacks its `token=`.", code="BadQueryArgs")
        component = backend.node.links.check_upload_token(token, backend.clock.now_ns())
        content_type = request.headers.get(b"content-type")
        if content_type is not None and not _CONTENT_TYPE.fullmatch(content_type):
            raise BadRequestError(
                "Content-Type must be up to 255 printable characters.", code="BadHeader"
            )
        kind = None if content_type is None else content_type.decode()
        digest = _digest_of(request.headers.get(b"digest"))
        parts = request.parts(stall_s=backend.limits.upload_stall_s)
        storage_id = await backend.files.upload(parts, kind, digest, component)
        return Response(200, orjson.dumps({"storageId": storage_id}))

    # ---------------------------------------------------------------- serve

    async def serve(self, request: Request) -> Response:
        """The file, a range of it, or the news that the client has it already."""
        name = request.path.removeprefix(FILES_PATH)
        found = await self._backend.files.find(name)
        if found is None:
            raise _not_found(name)
        etag = b'"' + found.sha256.encode() + b'"'
        headers = [(b"accept-ranges", b"bytes"), _CACHE, (b"etag", etag), *_guards(found)]
        if _holds(request.headers.get(b"if-none-match"), etag):
            return Response(304, b"", b"", headers)
        if_range = request.headers.get(b"if-range")
        wanted = request.headers.get(b"range") if if_range in (None, etag) else None
        try:
            part = None if wanted is None else byte_range(wanted, found.size)
        except ValueError:
            place = b"bytes */%d" % found.size
            return Response(416, b"", b"", [*headers, (b"content-range", place)])
        if part is None:
            digest = base64.b64encode(bytes.fromhex(found.sha256))
            headers.append((b"digest", b"sha-256=" + digest))
            return await self._answer(request, 200, found, range(found.size), headers)
        place = b"bytes %d-%d/%d" % (part.start, part.stop - 1, found.size)
        headers.append((b"content-range", place))
        return await self._answer(request, 206, found, part, headers)

    async def _answer(
        self,
        request: Request,
        status: int,
        file: ServedFile,
        part: range,
        headers: Sequence[tuple[bytes, bytes]],
    ) -> Response:
        """Raises: FileStoreError: The bytes cannot be had; said instead of a head without them."""
        kind = (file.content_type or "").encode()
        stream = self._backend.files.store.read(file.id, part.start, part.stop)
        if request.method != "HEAD":
            stream = _begun(await anext(stream, b""), stream)
        return Response(status, b"", kind, headers, stream=stream, length=len(part))


async def _begun(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """A stream whose first piece is here already."""
    async with contextlib.aclosing(rest):
        if first:
            yield first
        async for piece in rest:
            yield piece


async def _discard(request: Request, stall_s: float) -> bool:
    """Read and drop what has not arrived yet of a body. Returns whether it has ended: not so if it
    is much, late, or waits for our consent; the connection cannot go on then.
    """
    if not request.body_ended and b"expect" in request.headers:
        return False
    size = 0
    try:
        while not request.body_ended:
            async for part in request.parts(stall_s=stall_s):
                size += len(part)
                if size > _DISCARDED_BYTES_MAX:
                    return False
    except CupolaError:
        return False
    return True


def byte_range(header: bytes, size: int) -> range | None:
    """The bytes that a Range header asks for; None where it is to be ignored (RFC 9110, 14.2).

    Raises:
        ValueError: None of them are there, or several ranges are asked for.
    """
    if not header.startswith(b"bytes="):
        return None
    if b"," in header:
        raise ValueError("several ranges")
    match = _RANGE.fullmatch(header.replace(b" ", b""))
    if match is None:
        return None
    first, last = match.groups()
    if not first:
        if not last:
            return None
        suffix = min(int(last), size)
        if suffix == 0:
            raise ValueError("nothing")
        return range(size - suffix, size)
    if last and int(last) < int(first):
        return None
    if int(first) >= size:
        raise ValueError("behind the end")
    return range(int(first), min(int(last) + 1 if last else size, size))


def _holds(if_none_match: bytes | None, etag: bytes) -> bool:
    if if_none_match is None:
        return False
    candidates = [candidate.strip().removeprefix(b"W/") for candidate in if_none_match.split(b",")]
    return etag in candidates or candidates == [b"*"]


def _guards(file: ServedFile) -> list[tuple[bytes, bytes]]:
    """What keeps a file that somebody uploaded from acting in the name of this origin."""
    guards = [(b"x-content-type-options", b"nosniff")]
    if _ACTIVE_TYPES.match((file.content_type or "").encode()):
        guards.append((b"content-security-policy", b"sandbox"))
    return guards


def _digest_of(header: bytes | None) -> bytes | None:
    """The digest that the client expects.

    Raises:
        BadRequestError (BadHeader): It is no `sha-256=<base64>`.
    """
    if header is None:
        return None
    algorithm, _, text = header.partition(b"=")
    try:
        digest = base64.b64decode(text, validate=True)
    except binascii.Error:
        digest = b""
    if algorithm.strip().lower() != b"sha-256" or len(digest) != 32:
        raise BadRequestError("Digest must be `sha-256=<base64 of 32 bytes>`.", code="BadHeader")
    return digest


def _not_found(name: str) -> CupolaError:
    if re.fullmatch(r"[0-9a-z]{31,37}", name):
        return BadRequestError(
            "This is the id of a document; files are served at what `storage.get_url()` returns.",
            code="InvalidStoragePath",
        )
    return NotFoundError("There is no such file (it may have been deleted).")

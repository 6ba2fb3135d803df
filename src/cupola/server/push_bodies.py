"""Bodies of pushes: large, and mostly compressed with Brotli."""

import asyncio

import brotli

from cupola.errors import BadRequestError
from cupola.server.errors import BodyTooLargeError
from cupola.server.messages import Request

_PIECE_BYTES = 1 << 20
_SMALL_BYTES = 64 * 1024


async def push_body(request: Request, size_bytes_max: int) -> bytes:
    """The body, decompressed. `size_bytes_max` bounds it before and after.

    Raises:
        BodyTooLargeError: It is larger.
        BadRequestError (BadContentEncoding): It is not compressed as its header says.
    """
    body = await request.body(size_bytes_max)
    encoding = request.headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding == b"identity":
        return body
    if encoding != b"br":
        raise BadRequestError(
            f"Content-Encoding {encoding.decode('latin-1')!r} is not understood here; use `br`.",
            code="BadContentEncoding",
        )
    if len(body) <= _SMALL_BYTES:
        return decompressed(body, size_bytes_max)
    return await asyncio.to_thread(decompressed, body, size_bytes_max)  # it releases the GIL


def decompressed(body: bytes, size_bytes_max: int) -> bytes:
    """What Brotli made `body` from, never holding more than is allowed. Raises: as `push_body`."""
    decompressor = brotli.Decompressor()
    pieces: list[bytes] = []
    size = 0
    rest = body
    try:
        while not decompressor.is_finished():
            piece = decompressor.process(rest, output_buffer_limit=_PIECE_BYTES)
            rest = b""
            size += len(piece)
            if size > size_bytes_max:
                raise BodyTooLargeError(
                    f"The push is larger than {size_bytes_max:,} bytes (push_size_bytes_max)."
                )
            pieces.append(piece)
            if not piece and decompressor.can_accept_more_data():
                break
    except brotli.error as error:
        raise _damaged() from error
    if not decompressor.is_finished():
        raise _damaged()
    return b"".join(pieces)


def _damaged() -> BadRequestError:
    return BadRequestError("The body is not what Brotli writes.", code="BadContentEncoding")

"""One HTTP request and one HTTP answer, as handlers see them: the thinnest layer over ASGI."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import parse_qsl

from cupola.server.errors import BodyTooLargeError, RequestTimeoutError, bad_json

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

JSON = b"application/json"
TEXT = b"text/plain; charset=utf-8"

BODY_TIME_S = 300.0
"""How long a body may take to arrive, as in the reference."""

_DISCARDED_BYTES_MAX = 64 * 2**20
_SURELY_SMALL_DIGITS = 6


class Disconnected(Exception):
    """The client went away before its request or the answer was whole: nobody is left."""


class Request:
    """What handlers ask of a request. Header names are lower-case; the last of equals counts."""

    __slots__ = ("body_ended", "headers", "method", "path", "query_string", "receive", "scope")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.receive = receive
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query_string: bytes = scope["query_string"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.body_ended = False

    def query(self) -> dict[str, str]:
        """The URL's query; the last of equal names counts."""
        return dict(parse_qsl(self.query_string.decode("latin-1"), keep_blank_values=True))

    def require_json(self) -> None:
        """Refuse a body that does not say that it is JSON: BadRequestError (BadJsonBody)."""
        content_type = self.headers.get(b"content-type", b"")
        if content_type == JSON:
            return
        media_type = content_type.partition(b";")[0].strip().lower()
        if media_type != JSON and not media_type.endswith(b"+json"):
            raise bad_json("it needs the header `Content-Type: application/json`")

    async def body(self, size_bytes_max: int) -> bytes:
        """The whole body.

        Raises:
            BodyTooLargeError: Above the bound. The rest was read and dropped, so the client hears
                the answer, unless it is very much or the client waits for our consent.
            RequestTimeoutError: It took longer than `BODY_TIME_S`.
            Disconnected: The client went away.
        """
        declared = self.headers.get(b"content-length", b"")
        if len(declared) > _SURELY_SMALL_DIGITS and int(declared) > size_bytes_max:
            if b"expect" in self.headers:
                raise _too_large(size_bytes_max, unread=True)
            return await self._long_body(None, size_bytes_max)
        message = await self.receive()
        if not message.get("more_body") and "body" in message:
            body: bytes = message["body"]
            if len(body) > size_bytes_max:
                raise _too_large(size_bytes_max)
            return body
        return await self._long_body(message, size_bytes_max)

    async def _long_body(self, first: dict[str, Any] | None, size_bytes_max: int) -> bytes:
        pieces: list[bytes] = []
        size = 0
        async for piece in self.parts(first):
            size += len(piece)
            if size <= size_bytes_max:
                pieces.append(piece)
            elif size > size_bytes_max + _DISCARDED_BYTES_MAX:
                raise _too_large(size_bytes_max, unread=True)
            else:
                pieces.clear()
        if size > size_bytes_max:
            raise _too_large(size_bytes_max)
        return b"".join(pieces)

    async def parts(
        self, first: dict[str, Any] | None = None, *, stall_s: float | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The body as it arrives, from `first` on if that was received already. `stall_s`: how long
        each part may take, instead of a time for all.

        Raises: RequestTimeoutError and Disconnected, as `body`.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (stall_s or BODY_TIME_S)
        message = first
        while True:
            if message is None:
                message = await self._receive_by(deadline, stall_s or BODY_TIME_S)
                if stall_s is not None:
                    deadline = loop.time() + stall_s
            if message["type"] == "http.disconnect":
                raise Disconnected
            self.body_ended = not message["more_body"]
            yield message["body"]
            if self.body_ended:
                return
            message = None

    async def _receive_by(self, deadline: float, time_s: float) -> dict[str, Any]:
        try:
            async with asyncio.timeout_at(deadline):
                return await self.receive()
        except TimeoutError:
            raise RequestTimeoutError(
                f"No more of the request body arrived within {time_s:.0f} s."
            ) from None


def _too_large(size_bytes_max: int, *, unread: bool = False) -> BodyTooLargeError:
    return BodyTooLargeError(
        f"The request body is larger than {size_bytes_max} bytes (http_body_bytes_max).",
        unread=unread,
    )


@dataclasses.dataclass(slots=True)
class Response:
    """`stream` replaces `body` where that would be too much to hold; `length` is its size. An empty
    `content_type` says nothing about the type.
    """

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: Sequence[tuple[bytes, bytes]] = ()
    stream: AsyncGenerator[bytes, None] | None = None
    length: int | None = None


async def respond(
    send: Send,
    response: Response,
    extra: Sequence[tuple[bytes, bytes]] = (),
    *,
    head_only: bool = False,
) -> None:
    """Send the answer, with `extra` headers behind its own."""
    length = response.length if response.stream is not None else len(response.body)
    headers = [(b"content-type", response.content_type)] if response.content_type else []
    if length is not None and response.status != 304:
        headers.append((b"content-length", b"%d" % length))
    headers += response.headers
    headers += extra
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    if response.stream is None or head_only:
        await send({"type": "http.response.body", "body": response.body})
        return
    async with contextlib.aclosing(response.stream) as stream:  # what it holds open ends with us
        async for part in stream:
            await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})

"""HTTP actions: requests that the app's own router answers (spec: HTTP API, section 6).

They come on the site port, at the root, and on the main port below `/http`. No CORS headers are
added: apps do that themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import orjson

from cupola.auth import ANONYMOUS, Identity, parse_authorization
from cupola.backend import Backend
from cupola.backend.calls import HttpRequest
from cupola.backend.http_actions import HttpExchange, HttpFailure, has_router
from cupola.errors import CupolaError
from cupola.functions.failure import Told
from cupola.runtimes.python.messages import HttpPart
from cupola.server.errors import MethodNotAllowedError
from cupola.server.messages import JSON, TEXT, Disconnected, Request, Response

_BODY_BYTES_MAX = 20 * 2**20
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS"})
_DISABLED = b"This Convex deployment does not have HTTP actions enabled."
_OURS = frozenset({b"transfer-encoding", b"connection"})  # of the connection, not the answer


async def answer(backend: Backend, request: Request, prefix: str = "") -> Response:
    """The answer of the app's router. `prefix` is no part of what it sees.

    Raises:
        MethodNotAllowedError, BodyTooLargeError, OverloadedError, Disconnected
    """
    if not has_router(backend):
        return Response(404, _DISABLED, TEXT)
    if request.method not in _METHODS:
        raise MethodNotAllowedError(f"HTTP actions do not answer {request.method}.")
    body = None
    if request.method not in _WITHOUT_BODY:
        body = await request.body(_BODY_BYTES_MAX)
    identity, refusal = _identity(backend, request)
    path = _path(request, prefix)
    exchange = HttpExchange(
        backend,
        HttpRequest(
            _url(request, path),
            request.method,
            [(name.decode("latin-1"), value.decode("latin-1")) for name, value in _pairs(request)],
            path,
            body,
            identity,
            refusal,
        ),
    )
    watching = asyncio.create_task(_leave_with_client(request, exchange))
    try:
        head = await exchange.head()
    except HttpFailure as failure:
        watching.cancel()
        return Response(500, _failure(failure.told), JSON)
    except BaseException:
        watching.cancel()
        exchange.leave()
        raise
    return _response(head, _body(exchange, watching))


async def _leave_with_client(request: Request, exchange: HttpExchange) -> None:
    """Tell the handler when its client closes the connection."""
    with contextlib.suppress(Disconnected):
        while (await request.receive())["type"] != "http.disconnect":
            pass
    exchange.leave()


async def _body(exchange: HttpExchange, watching: asyncio.Task[None]) -> AsyncIterator[bytes]:
    try:
        async for piece in exchange.body():
            yield piece
    finally:
        watching.cancel()
        exchange.leave()


def _response(head: HttpPart, body: AsyncIterator[bytes]) -> Response:
    content_type = b""
    length = None
    headers: list[tuple[bytes, bytes]] = []
    for name, value in head.headers:
        key, text = name.lower().encode("latin-1"), value.encode("latin-1", "replace")
        if key == b"content-type":
            content_type = text
        elif key == b"content-length" and text.isdigit():
            length = int(text)
        elif key not in _OURS:
            headers.append((key, text))
    return Response(head.status, b"", content_type, headers, stream=body, length=length)


def _identity(backend: Backend, request: Request) -> tuple[Identity, str | None]:
    """Who calls, or why that is not known: webhooks have schemes of their own."""
    authorization = request.headers.get(b"authorization")
    if authorization is None:
        return ANONYMOUS, None
    try:
        credential = authorization.decode("utf-8", "replace")
        return parse_authorization(credential, backend.admin_keys), None
    except CupolaError as error:
        return ANONYMOUS, error.message


def _pairs(request: Request) -> list[tuple[bytes, bytes]]:
    return list(request.scope["headers"])


def _path(request: Request, prefix: str) -> str:
    raw: bytes = request.scope.get("raw_path") or request.path.encode()
    path = raw.partition(b"?")[0].decode("latin-1").removeprefix(prefix)
    return path if path.startswith("/") else f"/{path}"


def _url(request: Request, path: str) -> str:
    scheme = _scheme(request)
    host = request.headers.get(b"host", b"localhost").decode("latin-1")
    query = request.query_string.decode("latin-1")
    return f"{scheme}://{host}{path}{'?' + query if query else ''}"


def _scheme(request: Request) -> str:
    """As proxies say it, by `X-Forwarded-Proto` or `Forwarded`."""
    forwarded = request.headers.get(b"x-forwarded-proto", b"").decode("latin-1").strip().lower()
    for part in request.headers.get(b"forwarded", b"").decode("latin-1").split(";"):
        name, _, value = part.strip().partition("=")
        if name.lower() == "proto":
            forwarded = value.strip('"').lower()
    return forwarded if forwarded in ("http", "https") else "http"


def _failure(told: Told) -> bytes:
    first, _, trace = told.message.partition("\n")
    reason = trace.partition("\n")[0].removeprefix("Uncaught ")
    shown: dict[str, object] = {"code": f"{first}: {reason}", "trace": trace}
    if told.data is not None:
        shown["data"] = orjson.Fragment(told.data)
    return orjson.dumps(shown)

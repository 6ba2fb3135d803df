"""HTTP actions over HTTP: at the root of the site port, and below `/http` of the API's port (the
HTTP API, section 6). No CORS headers are added: that is the app's business.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from cupola.auth import ANONYMOUS, Identity, Origin
from cupola.backend import Backend
from cupola.backend.http_actions import Exchange, HttpFailure, HttpRequest, error_in
from cupola.errors import BadRequestError, CupolaError
from cupola.functions.http import METHODS
from cupola.server.errors import BodyTooLargeError, MethodNotAllowedError
from cupola.server.http_calls import request_id
from cupola.server.messages import JSON, TEXT, Disconnected, Request, Response

PREFIX = "/http"
_NO_HTTP_ACTIONS = b"This Convex deployment does not have HTTP actions enabled."
_NO_ROUTE = b"No matching routes found"
_BODYLESS = ("GET", "HEAD", "OPTIONS")
_CLOSE = (b"connection", b"close")
_SCHEMES = (b"http", b"https")

Identify = Callable[[Request], Awaitable[Identity]]
"""Who calls. Raises CupolaError where the credentials prove nothing, or nobody can tell."""


class HttpActionRoutes:
    """Answers requests by HTTP actions of the app."""

    def __init__(
        self, backend: Backend, identify: Identify, origin_of: Callable[[Request], Origin]
    ) -> None:
        self._backend = backend
        self._identify = identify
        self._origin_of = origin_of

    async def answer(self, request: Request, prefix: str = "") -> Response:
        """`prefix`: what to take from the start of the path.

        Raises:
            CupolaError: The request cannot be served.
            Disconnected: The client has gone.
        """
        actions = self._backend.http_actions
        if not actions.has_routes:
            return Response(404, _NO_HTTP_ACTIONS, TEXT)
        if request.method not in (*METHODS, "HEAD"):
            raise MethodNotAllowedError(f"HTTP actions answer {', '.join(METHODS)}.")
        path = _raw_path(request)[len(prefix) :] or "/"
        action = actions.find(request.method, path)
        if action is None:
            return Response(404, _NO_ROUTE, TEXT)
        size_bytes_max = self._backend.limits.http_action_body_bytes_max
        declared = request.headers.get(b"content-length")
        if declared is not None and int(declared) > size_bytes_max:
            raise _too_large(size_bytes_max)
        body = _Body(request, size_bytes_max)
        exchange = actions.start(action, await self._request(request, path, body))
        body.exchange = exchange
        watcher = asyncio.get_running_loop().create_task(body.watch())
        try:
            status, headers = await exchange.head()
        except HttpFailure as failure:
            watcher.cancel()
            is_unread = _has_body(request) and not request.body_ended
            return Response(500, failure.body, JSON, headers=[_CLOSE] if is_unread else [])
        except asyncio.CancelledError:
            watcher.cancel()
            exchange.abandon()
            raise
        except CupolaError:
            watcher.cancel()
            raise
        return await self._streamed(request, exchange, watcher, status, headers)

    async def _streamed(
        self,
        request: Request,
        exchange: Exchange,
        watcher: asyncio.Task[None],
        status: int,
        headers: list[tuple[str, str]],
    ) -> Response:
        pairs = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in headers if n not in _OURS]
        text = next((v for n, v in headers if n == "content-length"), "")
        length = int(text) if text.isascii() and text.isdigit() else None
        stream = _body_of(exchange, watcher, length)
        if request.method == "HEAD" or status in _WITHOUT_BODY:
            async for _ in stream:
                pass  # the action runs to its end, though nobody sees its body
            if status in _WITHOUT_BODY:
                return Response(status, b"", b"", pairs)
        return Response(status, b"", b"", pairs, stream=stream, length=length)

    async def _request(self, request: Request, path: str, body: "_Body") -> HttpRequest:
        problem = None
        try:
            identity = await self._identify(request)
        except CupolaError as error:
            identity, problem = ANONYMOUS.seen_from(self._origin_of(request)), error.message
        headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in request.scope["headers"]]
        query = request.query_string.decode("latin-1")
        host = request.headers.get(b"host", b"localhost").decode("latin-1")
        url = f"{_scheme(request)}://{host}{path}{'?' if query else ''}{query}"
        number = request_id(request.headers.get(b"convex-request-id"))
        return HttpRequest(
            method="GET" if request.method == "HEAD" else request.method,
            url=url,
            path=path,
            headers=headers,
            body=body.parts(),
            identity=identity,
            identity_problem=problem,
            request_id=number or self._backend.node.new_request_id(),
        )


_WITHOUT_BODY = (204, 304)
_OURS = ("content-length", "transfer-encoding", "connection")


class _Body:
    """A request's body as the action asks for it; then, the client's going away."""

    exchange: Exchange

    def __init__(self, request: Request, size_bytes_max: int) -> None:
        self._request = request
        self._size_bytes_max = size_bytes_max
        self._ended = asyncio.Event()
        self._is_sent = request.method not in _BODYLESS and _has_body(request)

    async def parts(self) -> AsyncGenerator[bytes, None]:
        """Raises BadRequestError: It cannot be read; the client has its answer already."""
        size = 0
        try:
            if self._is_sent and not self._request.body_ended:
                async for part in self._request.parts():
                    size += len(part)
                    if size > self._size_bytes_max:
                        raise _too_large(self._size_bytes_max)
                    if part:
                        yield part
            self._ended.set()
        except Disconnected:
            self.exchange.abandon()
            raise BadRequestError("The client went away.", code="Disconnected") from None
        except CupolaError as error:
            error_in(self.exchange, error)
            raise

    async def watch(self) -> None:
        """Once the body has ended, wait until the client goes away, and end the action then."""
        if not self._is_sent:
            await self._request.receive()  # an empty body
        else:
            await self._ended.wait()
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self.exchange.abandon()


async def _body_of(
    exchange: Exchange, watcher: asyncio.Task[None], length: int | None
) -> AsyncGenerator[bytes, None]:
    """The answer's body, and never more of it than was announced."""
    left = length
    try:
        async for part in exchange.parts():
            if left is not None:
                part = part[:left]
                left -= len(part)
            if part:
                yield part
    finally:
        watcher.cancel()
        exchange.abandon()


def _has_body(request: Request) -> bool:
    return b"content-length" in request.headers or b"transfer-encoding" in request.headers


def _raw_path(request: Request) -> str:
    """The path as it came, percent-encoded."""
    raw: bytes | None = request.scope.get("raw_path")
    return (raw or request.path.encode()).decode("latin-1").partition("?")[0]


def _scheme(request: Request) -> str:
    """What the client used, as a proxy in between says."""
    forwarded = request.headers.get(b"x-forwarded-proto", b"").split(b",")[0].strip().lower()
    for pair in request.headers.get(b"forwarded", b"").split(b",")[0].split(b";"):
        name, _, value = pair.strip().partition(b"=")
        if not forwarded and name.lower() == b"proto":
            forwarded = value.strip(b'"').lower()
    return forwarded.decode() if forwarded in _SCHEMES else "http"


def _too_large(size_bytes_max: int) -> BodyTooLargeError:
    return BodyTooLargeError(
        f"The body is larger than {size_bytes_max:,} bytes (http_action_body_bytes_max).",
        unread=True,
    )

"""HTTP actions in a deployment: which one answers, and how its answer comes back in parts.

An `Exchange` is one request and its answer. The server fills in the request's body as it is asked
for; the runtime offers the answer: its head, parts one at a time, and how it ended.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import orjson

from cupola.auth import Identity
from cupola.backend.queries import report
from cupola.errors import BadRequestError, CupolaError, OperatorError
from cupola.functions.execution import Execution
from cupola.functions.http import JAVASCRIPT_ROUTER, AnyHttpAction, HeaderPairs
from cupola.sync.outcome import redacted_text
from cupola.values import clean_from_encoded

if TYPE_CHECKING:
    from cupola.backend.backend import Backend

_FIRST_LINE = re.compile(r"(\[Request ID: [^\]]*\] Server Error)\n?")


@dataclasses.dataclass(frozen=True, slots=True)
class HttpRequest:
    """What the server got. `body` can be read once. `identity_problem`: what its `Authorization`
    failed to prove, where it failed.
    """

    method: str
    url: str
    path: str
    headers: HeaderPairs
    body: AsyncIterator[bytes]
    identity: Identity
    identity_problem: str | None
    request_id: str


class Exchange:
    """One request on its way through an HTTP action. Used on the loop's thread.

    `cancel` is set by the runtime: it ends the action of a client that has gone.
    """

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        self.cancel: Callable[[], object] = lambda: None
        self._head: asyncio.Future[tuple[int, HeaderPairs]] = (
            asyncio.get_running_loop().create_future()
        )
        self._parts: collections.deque[tuple[bytes, Callable[[], None]]] = collections.deque()
        self._news = asyncio.Event()
        self._is_ended = False
        self.is_cancelled = False

    # ---------------------------------------------------------------- the runtime's side

    def offer_head(self, status: int, headers: HeaderPairs) -> None:
        if not self._head.done():
            self._head.set_result((status, headers))

    def offer_part(self, data: bytes, taken: Callable[[], None]) -> None:
        """`taken` is called when the client can take the next."""
        self._parts.append((data, taken))
        self._news.set()

    def end(self, error: BaseException | None = None) -> None:
        """Nothing more comes. `error`: instead of a head, if there was none."""
        self._is_ended = True
        self._news.set()
        if not self._head.done():
            self._head.set_exception(error or OperatorError("The HTTP action said nothing."))
            self._head.exception()  # whoever waits for it may have gone

    # ---------------------------------------------------------------- the server's side

    async def head(self) -> tuple[int, HeaderPairs]:
        """Status and headers, once the action has them. Raises: what came instead."""
        return await asyncio.shield(self._head)

    async def parts(self) -> AsyncGenerator[bytes, None]:
        """The body. Closing it early ends the action."""
        try:
            while True:
                while self._parts:
                    data, taken = self._parts.popleft()
                    yield data
                    taken()
                if self._is_ended:
                    return
                self._news.clear()
                await self._news.wait()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """The client has gone, or needs no more."""
        if not self._is_ended and not self.is_cancelled:
            self.is_cancelled = True
            self.cancel()


class HttpFailure(Exception):
    """The action failed before its head: `body` is the answer, with status 500."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.body = body


class HttpActions:
    """The HTTP actions of a deployment."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @property
    def has_routes(self) -> bool:
        """Whether the running code answers HTTP requests at all."""
        app = self._backend.app
        code = app.javascript.analysis.get(JAVASCRIPT_ROUTER) if app.javascript else None
        return bool(app.routes) or (code is not None and code.routes is not None)

    def find(self, method: str, path: str) -> Any:
        """What answers this request; None if nothing does."""
        return self._backend.app.routes.find(method, path)

    def start(self, action: AnyHttpAction, request: HttpRequest) -> Exchange:
        """Run an action. Its answer comes through the exchange.

        Raises:
            OverloadedError: Too many actions are running.
            PausedError: No function of the app runs now.
        """
        backend, node = self._backend, self._backend.node
        node.refuse_if_paused(action.name)
        exchange = Exchange(request)
        started = node.clock.monotonic_ns()
        backend.begin_action()

        def finished(execution: Execution) -> None:
            backend.end_action()
            message = None
            if execution.error is None:
                exchange.end()
            else:
                told = execution.failure(request.request_id, node.app.folder)
                message = told.message
                is_ours = isinstance(execution.error, OperatorError | BadRequestError)
                is_shown = request.identity.may_call_internal or not node.redacts_errors
                shown = message if is_shown else redacted_text(message)
                exchange.end(
                    execution.error if is_ours else HttpFailure(_failure(shown, told.data))
                )
            if node.watchers or execution.audits:
                log = (node, "httpAction", action.name, request.request_id, started, execution)
                report(*log, message, node.head_ts, request.identity, "HttpEndpoint")

        try:
            backend.actions.start_http(action, exchange, finished)
        except BaseException:
            backend.end_action()
            raise
        return exchange


def _failure(message: str, data: bytes | None) -> bytes:
    """The body of a failed action (the HTTP API, section 6)."""
    match = _FIRST_LINE.match(message)
    first, rest = (match[1], message[match.end() :]) if match else (message, "")
    what, _, frames = rest.partition("\n")
    body: dict[str, Any] = {"code": first}
    if what:
        body = {"code": f"{first}: {what.removeprefix('Uncaught ')}", "trace": frames}
    if data is not None:
        body["data"] = orjson.Fragment(clean_from_encoded(data))
    return orjson.dumps(body)


def error_in(exchange: Exchange, error: CupolaError) -> None:
    """The request itself cannot be read: answer that, if nothing was answered, and end."""
    exchange.abandon()
    exchange.end(error)

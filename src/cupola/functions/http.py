"""HTTP actions: what answers plain HTTP requests, on the site port.

    @http_action("POST", "/webhook")
    async def webhook(ctx: HttpCtx, request: Request) -> Response: ...

    @http_action("GET", "/files/*")                      # every path below /files/
    async def files(ctx: HttpCtx, request: Request) -> Response: ...

They are actions: they run in action workers and reach the data through queries and mutations.
Bodies are streams both ways. An exact path is found before prefixes, and the longest prefix before
shorter ones; GET also answers HEAD.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlsplit

from cupola.errors import DeveloperError, SchemaError, UnauthenticatedError
from cupola.functions.context import ActionAuth, ActionCaller, ActionCtx
from cupola.values import Value, qualified

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
JAVASCRIPT_ROUTER = "http.js"
HeaderPairs = list[tuple[str, str]]
ActionT = TypeVar("ActionT")

_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class Headers(Mapping[str, str]):
    """Headers by name, whatever its case; several of one name are joined by `, `."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self.pairs: HeaderPairs = list(pairs)
        """All of them, in order."""
        self._values: dict[str, str] = {}
        for name, value in self.pairs:
            known = self._values.get(name.lower())
            self._values[name.lower()] = value if known is None else f"{known}, {value}"

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class Request:
    """What an HTTP action answers. `url` is the whole one, as the client wrote it."""

    def __init__(
        self, method: str, url: str, headers: HeaderPairs, body: AsyncIterator[bytes]
    ) -> None:
        self.method = method
        self.url = url
        self.headers = Headers(headers)
        self._body = body

    @property
    def path(self) -> str:
        """The path of the URL, percent-encoded as it came."""
        return urlsplit(self.url).path or "/"

    @property
    def query(self) -> dict[str, str]:
        """The URL's query; the last of equal names counts."""
        return dict(parse_qsl(urlsplit(self.url).query, keep_blank_values=True))

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The body as it arrives. It can be read once."""
        return self._body

    async def body(self) -> bytes:
        """The whole body."""
        return b"".join([part async for part in self._body])

    async def text(self) -> str:
        return (await self.body()).decode()

    async def json(self) -> Any:
        return json.loads(await self.body())


class Response:
    """The answer: a body that is there, or one that is made as it is sent.

    Response("hello")
    Response(json.dumps(found), 201, {"Content-Type": "application/json"})
    Response(rows(), headers={"Content-Type": "text/csv"})     # an async iterator of bytes or str
    """

    def __init__(
        self,
        body: bytes | str | AsyncIterator[bytes | str] = b"",
        status: int = 200,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    ) -> None:
        """Text without a `Content-Type` is `text/plain; charset=utf-8`.

        Raises:
            DeveloperError: No such status or header can be sent.
        """
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
        if isinstance(body, str) and not any(name.lower() == "content-type" for name, _ in pairs):
            pairs.append(("content-type", "text/plain; charset=utf-8"))
        self.body = body.encode() if isinstance(body, str) else body
        self.status = status
        self.headers: HeaderPairs = [(name.lower(), value) for name, value in pairs]
        _check_status(status)
        for name, value in self.headers:
            _check_header(name, value)

    @classmethod
    def json(
        cls, value: Any, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> Response:
        """`value` as JSON text."""
        text = json.dumps(value, ensure_ascii=False).encode()
        return cls(text, status, {"Content-Type": "application/json", **(headers or {})})


def _check_status(status: object) -> None:
    if not isinstance(status, int) or not 200 <= status <= 599:
        raise DeveloperError(
            f"A response has a status from 200 to 599, not {status!r}.", code="BadHttpResponse"
        )


def _check_header(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise DeveloperError(
            f"Header {name} must be a text, not {type(value).__name__}.", code="BadHttpResponse"
        )
    visible = all(character == "\t" or " " <= character <= "\xff" for character in value)
    if not name or not set(name) <= _TOKEN or not visible or "\x7f" in value:
        raise DeveloperError(f"Header {name!r} cannot be sent.", code="BadHttpResponse")


# ----------------------------------------------------------------------------------------- context


class _UnprovenAuth(ActionAuth):
    """The caller showed something that proves nothing here: a webhook's own scheme, perhaps."""

    def __init__(self, caller: ActionCaller, problem: str) -> None:
        super().__init__(caller)
        self._problem = problem

    def get_user_identity(self) -> Mapping[str, Value] | None:
        raise UnauthenticatedError(self._problem)


class HttpCtx(ActionCtx):
    """What an HTTP action may do: what an action may. `auth` knows the caller by the request's
    `Authorization: Bearer`; if that proves nothing here, asking raises UnauthenticatedError.
    """

    def __init__(self, caller: ActionCaller, identity_problem: str | None = None) -> None:
        super().__init__(caller)
        if identity_problem is not None:
            self.auth = _UnprovenAuth(caller, identity_problem)


Handler = Callable[[HttpCtx, Request], Awaitable[Response]]


# ------------------------------------------------------------------------------------------ routes


class HttpAction:
    """A handler at a route. Loading the app gives it its path, `module:name`."""

    def __init__(self, handler: Handler, method: str, route: str) -> None:
        self.handler = handler
        self.method = method
        self.route = route
        self.path = ""

    def __call__(self, ctx: HttpCtx, request: Request) -> Awaitable[Response]:
        return self.handler(ctx, request)

    @property
    def name(self) -> str:
        """How logs call it: `POST /webhook`."""
        return f"{self.method} {self.route}"


class JavaScriptRoute(NamedTuple):
    """A route of a pushed `http.js`, whose router knows what answers it. `route`: where it is
    served, the prefix of the app or component included.
    """

    method: str
    route: str
    component: str = ""

    @property
    def path(self) -> str:
        return qualified(self.component, f"{JAVASCRIPT_ROUTER} {self.name}")

    @property
    def name(self) -> str:
        return f"{self.method} {self.route}"


AnyHttpAction = HttpAction | JavaScriptRoute


def http_action(method: str, route: str) -> Callable[[Handler], HttpAction]:
    """Answer HTTP requests. `route`: a path such as `/webhook`, or `/files/*` for all below it.

    Raises:
        SchemaError: A method or route that cannot be.
    """
    if method not in METHODS:
        raise SchemaError(
            f"An HTTP action answers one of {', '.join(METHODS)}, not {method!r}.",
            code="BadHttpAction",
        )
    path = route.removesuffix("*")
    if not path.startswith("/") or (path != route and not path.endswith("/")):
        raise SchemaError(
            f'A route is a path like "/webhook", or one like "/files/*" for all below it, not '
            f"{route!r}.",
            code="BadHttpAction",
        )

    def decorate(handler: Handler) -> HttpAction:
        if not inspect.iscoroutinefunction(handler):
            raise SchemaError(
                f"The HTTP action for {route} must be an `async def`.", code="BadHttpAction"
            )
        return HttpAction(handler, method, route)

    return decorate


class Route(NamedTuple, Generic[ActionT]):
    """One entry of a table of routes. `path` ends with `*` if it is a prefix."""

    method: str
    path: str
    action: ActionT


class Routes(Generic[ActionT]):
    """Finds what answers a request."""

    def __init__(self, routes: Iterable[Route[ActionT]], mounts: Iterable[str] = ()) -> None:
        """`mounts`: prefixes whose paths belong to components. What a component does not answer
        there, no shorter prefix does; an exact route of the app comes before it.

        Raises:
            SchemaError: Two routes have the same method and path.
        """
        self._exact: dict[tuple[str, str], ActionT] = {}
        self._prefixes: list[Route[ActionT]] = []
        self.all: list[Route[ActionT]] = sorted(routes, key=lambda each: (each.path, each.method))
        for one, other in zip(self.all, self.all[1:], strict=False):
            if (one.method, one.path) == (other.method, other.path):
                raise SchemaError(
                    f"{one.method} {one.path} is answered by two HTTP actions; remove one.",
                    code="BadHttpAction",
                )
        for route in self.all:
            if route.path.endswith("*"):
                self._prefixes.append(route._replace(path=route.path[:-1]))
            else:
                self._exact[route.method, route.path] = route.action
        self._prefixes.sort(key=lambda each: -len(each.path))
        self._mounts = sorted(mounts, key=len, reverse=True)

    def __bool__(self) -> bool:
        return bool(self.all or self._mounts)

    def find(self, method: str, path: str) -> ActionT | None:
        """The exact route, else the longest prefix; HEAD is answered by GET."""
        wanted = "GET" if method == "HEAD" else method
        found = self._exact.get((wanted, path))
        if found is not None:
            return found
        mount = next((each for each in self._mounts if path.startswith(each)), "")
        for prefix in self._prefixes:
            if len(prefix.path) < len(mount):
                return None
            if prefix.method == wanted and path.startswith(prefix.path):
                return prefix.action
        return None

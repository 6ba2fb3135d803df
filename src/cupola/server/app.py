"""The HTTP side of a deployment: a bare ASGI callable, dispatched by one look-up of the path.

No framework and no middleware: at tens of thousands of requests a second each layer costs more
than a cached query. The sync protocol does not come through here; see `websocket.py`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import unquote

import orjson

from cupola.auth import ANONYMOUS, Identity, UserToken, admin_of, parse_authorization
from cupola.backend import Backend, CallRequest, CallResult
from cupola.backend.calls import CallKind
from cupola.backend.redaction import shown_to
from cupola.deploy import Deployer
from cupola.errors import (
    BadRequestError,
    CupolaError,
    ForbiddenError,
    OverloadedError,
    UnauthenticatedError,
)
from cupola.files.links import FILES_PATH, UPLOAD_PATH
from cupola.server.clients import Client, parse_client
from cupola.server.cors import cors_headers, preflight_headers
from cupola.server.deploy_routes import EXPORT_FILES, DeployRoutes
from cupola.server.errors import (
    BodyTooLargeError,
    MethodNotAllowedError,
    NotFoundError,
    RequestTimeoutError,
    bad_json,
    error_body,
    internal_error,
)
from cupola.server.file_routes import FileRoutes
from cupola.server.http_actions import PREFIX, HttpActionRoutes
from cupola.server.http_calls import (
    CallBody,
    Format,
    any_json,
    arguments,
    batch_bodies,
    batch_body,
    call_bodies,
    output_format,
    read,
    request_id,
    result_body,
    run_bodies,
    timestamp,
    timestamp_body,
)
from cupola.server.large_bodies import LargeBodies, is_surely_small
from cupola.server.messages import (
    TEXT,
    Disconnected,
    Receive,
    Request,
    Response,
    Scope,
    Send,
    respond,
)
from cupola.server.metrics import ServerMetrics
from cupola.server.origins import Origins
from cupola.server.static_files import StaticFiles

logger = logging.getLogger("cupola.server")

Handler = Callable[[Request], Awaitable[Response]]
Methods = dict[str, Handler]
Result = TypeVar("Result")

MiB = 2**20
_ECHO_BYTES_MAX = 128 * MiB
_ECHO_UNDECLARED_BYTES_MAX = 1 * MiB
_CLOSE = ((b"connection", b"close"),)
_ALLOWED_OPS = ("ViewData", "RunInternalQueries")
_ALLOWED_OPS_FULL = (
    *_ALLOWED_OPS,
    "WriteData",
    "RunInternalMutations",
    "RunInternalActions",
    "ActAsUser",
    "Deploy",
)


class App:
    """Answers HTTP for one deployment.

    Args:
        public: Folder of the app's own web page and files, served below `/`; may be missing.
        deployer: Who takes pushes, where the backend has one already.
        origins: Where requests come from, as functions are told.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        public: Path | None = None,
        metrics: ServerMetrics | None = None,
        deployer: Deployer | None = None,
        origins: Origins | None = None,
    ) -> None:
        self._backend = backend
        self._origins = origins or Origins()
        self._limits = backend.limits
        self._metrics = metrics or ServerMetrics()
        self._own_files = StaticFiles(Path(__file__).parent / "static")
        self._public = StaticFiles(public) if public is not None else None
        self._large_bodies = LargeBodies(self._limits.http_body_bytes_max)
        self._routes: dict[str, Methods] = {
            "/api/query": {"POST": self._query, "GET": self._query_by_url},
            "/api/mutation": {"POST": self._mutation},
            "/api/action": {"POST": self._action},
            "/api/function": {"POST": self._function},
            "/api/query_ts": {"POST": self._query_ts},
            "/api/query_at_ts": {"POST": self._query_at_ts},
            "/api/query_batch": {"POST": self._query_batch},
            "/api/check_admin_key": {"GET": self._check_admin_key},
            "/api/debug_event": {"POST": self._debug_event},
            "/": {"GET": self._index},
            "/version": {"GET": self._version},
            "/instance_version": {"GET": self._version},
            "/instance_name": {"GET": self._instance_name},
            "/echo": {"POST": self._echo},
            "/metrics": {"GET": self._show_metrics},
            "/healthz": {"GET": self._healthz},
            "/readyz": {"GET": self._readyz},
            "/cupola.js": {"GET": self._own_file},
        }
        pushes = DeployRoutes(
            backend, deployer, lambda request: admin_of(self._who(request)), self._large_bodies
        )
        self._routes.update(pushes.routes)
        self.http_actions = HttpActionRoutes(
            backend,
            self._identity_with_origin,
            lambda request: self._origins.of_request(request, is_user=False),
        )
        files = FileRoutes(backend)
        self._routes[UPLOAD_PATH] = {"POST": files.upload}
        self._stored_files: Methods = {"GET": files.serve}
        self._export_methods = pushes.export_files
        self._run_methods: Methods = {"POST": self._run}
        self._file_methods: Methods = {"GET": self._public_file}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. ASGI's lifespan and WebSockets are not served here."""
        assert scope["type"] == "http", scope["type"]
        request = Request(scope, receive)
        origin = request.headers.get(b"origin")
        extra: Sequence[tuple[bytes, bytes]] = () if origin is None else cors_headers(origin)
        if request.path == "/http" or request.path.startswith("/http/"):
            answer = self.http_actions.answer(request, PREFIX)
            await self.respond_to(request, send, answer, ())
            return
        if request.method == "OPTIONS":
            extra = preflight_headers(request.headers)[1:]
        await self.respond_to(request, send, self._answer(request), extra)

    async def _answer(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(200, b"", TEXT)
        return await self._handler(request)(request)

    async def respond_to(
        self,
        request: Request,
        send: Send,
        answer: Awaitable[Response],
        extra: Sequence[tuple[bytes, bytes]],
    ) -> None:
        """Send an answer with `extra` headers, or the error that comes instead of it."""
        try:
            response = await answer
        except Disconnected:
            return
        except CupolaError as error:
            response = _error_response(error)
        except Exception as error:  # the last line of defence: a bug of ours must not show its text
            response = _error_response(internal_error(error))
        self._metrics.count_request(response.status)
        try:
            await respond(send, response, extra, head_only=request.method == "HEAD")
        except (Disconnected, RequestTimeoutError):
            return  # in the middle of a stream: uvicorn closes the connection, which says enough

    def _handler(self, request: Request) -> Handler:
        """The handler of this path and method.

        Raises:
            MethodNotAllowedError: The path has others.
            BadRequestError (UnsupportedEndpoint): A tooling endpoint that is not there yet: after a
                404 the published command line would try again for half a minute.
        """
        if request.path.startswith("//"):
            request.path = "/" + request.path.lstrip("/")
        methods = self._routes.get(request.path)
        if methods is None:
            if request.path.startswith("/api/run/"):
                methods = self._run_methods
            elif request.path.startswith(FILES_PATH):
                methods = self._stored_files
            elif request.path.startswith(EXPORT_FILES):
                methods = self._export_methods
            elif request.path == "/api" or request.path.startswith("/api/"):
                raise BadRequestError(
                    f"This server does not offer {request.path[:200]}.", code="UnsupportedEndpoint"
                )
            else:
                methods = self._file_methods
        method = "GET" if request.method == "HEAD" else request.method
        handler = methods.get(method)
        if handler is None:
            raise MethodNotAllowedError(
                f"{request.path[:200]} does not answer {method}; use {' or '.join(methods)}."
            )
        return handler

    # --------------------------------------------------------------------------------------- calls

    async def _query(self, request: Request) -> Response:
        return await self._typed_call("query", request)

    async def _mutation(self, request: Request) -> Response:
        return await self._typed_call("mutation", request)

    async def _action(self, request: Request) -> Response:
        return await self._typed_call("action", request)

    async def _typed_call(self, kind: CallKind, request: Request) -> Response:
        identity, client = await self._caller(request)
        body = read(call_bodies, await self._json(request))
        write = output_format(body.format, client)
        result = await self._call(self._call_request(kind, body, identity, request))
        return Response(200, result_body(result, write))

    async def _query_by_url(self, request: Request) -> Response:
        identity, client = await self._caller(request)
        query = request.query()
        if "path" not in query:
            raise BadRequestError("The URL lacks `path=<module>:<function>`.", code="BadQueryArgs")
        args = read(any_json, query.get("args", "{}").encode())
        body = CallBody(query["path"], args, query.get("format"))
        write = output_format(body.format, client)
        result = await self._call(self._call_request("query", body, identity, request))
        return Response(200, result_body(result, write))

    async def _function(self, request: Request) -> Response:
        identity, client = await self._caller(request)
        _require_admin(identity)
        body = read(call_bodies, await self._json(request))
        write = output_format(body.format, client)
        call = self._call_request("any", body, identity, request, body.component_path)
        return Response(200, result_body(await self._call(call), write))

    async def _run(self, request: Request) -> Response:
        identity, _ = await self._caller(request)
        path = _function_path_of_url(request)
        body = read(run_bodies, await self._json(request))
        write = output_format(body.format, None)
        call_body = CallBody(path, body.args, body.format)
        result = await self._call(self._call_request("any", call_body, identity, request))
        return Response(200, result_body(result, write))

    async def _query_ts(self, request: Request) -> Response:
        return Response(200, timestamp_body(self._backend.newest_durable_ts()))

    async def _query_at_ts(self, request: Request) -> Response:
        identity, client = await self._caller(request)
        body = read(call_bodies, await self._json(request))
        write = output_format(body.format, client)
        at_ts = timestamp(body.ts)
        call = self._call_request("query", body, identity, request, at_ts=at_ts)
        return Response(200, result_body(await self._call(call), write))

    async def _query_batch(self, request: Request) -> Response:
        identity, client = await self._caller(request)
        queries = read(batch_bodies, await self._json(request)).queries
        if len(queries) > self._limits.http_batch_queries_max:
            raise bad_json(
                f"{len(queries)} queries are more than {self._limits.http_batch_queries_max} "
                "(http_batch_queries_max)"
            )
        formats: list[Format] = [output_format(body.format, client) for body in queries]
        calls = [self._call_request("query", body, identity, request) for body in queries]
        answer: _Answer[list[CallResult]] = _Answer()
        self._require_started()
        self._backend.submit_batch(calls, answer.done)
        results = [
            self._shown(call, result)
            for call, result in zip(calls, await answer.wait(), strict=True)
        ]
        return Response(200, batch_body(results, formats))

    async def _call(self, call: CallRequest) -> CallResult:
        self._require_started()
        answer: _Answer[CallResult] = _Answer()
        self._backend.submit(call, answer.done)
        result = answer.result if answer.result is not None else await answer.wait()
        return self._shown(call, result)

    def _shown(self, call: CallRequest, result: CallResult) -> CallResult:
        return shown_to(call.identity, result) if self._backend.redacts_errors else result

    def _call_request(
        self,
        kind: CallKind,
        body: CallBody,
        identity: Identity,
        request: Request,
        component_path: str | None = None,
        at_ts: int | None = None,
    ) -> CallRequest:
        return CallRequest(
            kind=kind,
            path=body.path,
            args=arguments(body.args),
            identity=self._with_origin(identity, request),
            request_id=request_id(request.headers.get(b"convex-request-id")),
            component_path=component_path,
            at_ts=at_ts,
            visibility="any" if identity.may_call_internal else "public",
        )

    async def _caller(self, request: Request) -> tuple[Identity, Client | None]:
        """Who sends this request, with which client.

        Raises: as `parse_authorization` and `TokenVerifier.identify`.
        """
        header = request.headers.get(b"convex-client")
        client = None if header is None else parse_client(header.decode("latin-1"))
        who = self._who(request)
        if isinstance(who, UserToken):
            return await self._backend.users.identify(who.text), client
        return who, client

    async def _identity_with_origin(self, request: Request) -> Identity:
        return self._with_origin((await self._caller(request))[0], request)

    def _with_origin(self, identity: Identity, request: Request) -> Identity:
        is_user = identity.kind == "user"
        return identity.seen_from(self._origins.of_request(request, is_user=is_user))

    def _who(self, request: Request) -> Identity | UserToken:
        authorization = request.headers.get(b"authorization")
        if authorization is None:
            if b"adminKey=" not in request.query_string:
                return ANONYMOUS
            authorization = f"Convex {request.query().get('adminKey', '')}".encode()
        credential = authorization.decode("utf-8", "replace")
        return parse_authorization(credential, self._backend.admin_keys)

    def _require_started(self) -> None:
        if self._backend.state not in ("ready", "draining"):
            raise OverloadedError(
                f"The deployment is not ready: it is {self._backend.state}.", code="NotReady"
            )

    async def _json(self, request: Request) -> bytes:
        request.require_json()
        if is_surely_small(request):
            return await request.body(self._limits.http_body_bytes_max)
        with self._large_bodies.reserved(request):
            return await request.body(self._limits.http_body_bytes_max)

    # -------------------------------------------------------------------------- the deployment

    async def _check_admin_key(self, request: Request) -> Response:
        identity, _ = await self._caller(request)
        if identity.kind == "anonymous":
            raise UnauthenticatedError(
                "Send the admin key as `Authorization: Convex <admin key>`.", code="BadAdminKey"
            )
        _require_admin(identity)
        answer = {
            "success": True,
            "allowedOps": _ALLOWED_OPS if identity.read_only else _ALLOWED_OPS_FULL,
            "isReadOnly": identity.read_only,
        }
        return Response(200, orjson.dumps(answer))

    async def _debug_event(self, request: Request) -> Response:
        return Response(200, b"{}")

    async def _index(self, request: Request) -> Response:
        if self._public is not None:
            page = self._public.answer(request)
            if page is not None:
                return page
        return Response(200, b"This Cupola deployment is running.\n", TEXT)

    async def _version(self, request: Request) -> Response:
        from importlib.metadata import version  # slow to load, too

        return Response(200, version("cupola").encode(), TEXT)

    async def _instance_name(self, request: Request) -> Response:
        return Response(200, self._backend.instance_name.encode(), TEXT)

    async def _echo(self, request: Request) -> Response:
        declared = request.headers.get(b"content-length")
        if declared is None:
            return Response(
                200, await request.body(_ECHO_UNDECLARED_BYTES_MAX), _content_type(request)
            )
        if int(declared) > _ECHO_BYTES_MAX:
            raise BodyTooLargeError("/echo answers up to 128 MiB.", unread=True)
        return Response(
            200, b"", _content_type(request), stream=request.parts(), length=int(declared)
        )

    async def _show_metrics(self, request: Request) -> Response:
        # Slow to load, and most deployments are asked only long after their start.
        from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

        text = generate_latest(self._backend.registry)
        return Response(200, text, CONTENT_TYPE_LATEST.encode())

    async def _healthz(self, request: Request) -> Response:
        alive = self._backend.state != "failed"
        return Response(200 if alive else 503, self._backend.state.encode(), TEXT)

    async def _readyz(self, request: Request) -> Response:
        """Whether to send requests here, and the health of the Global State Manager."""
        ready = self._backend.state == "ready"
        answer = {**self._backend.status(), "ready": ready}
        return Response(200 if ready else 503, orjson.dumps(answer, option=orjson.OPT_NON_STR_KEYS))

    # --------------------------------------------------------------------------------------- files

    async def _own_file(self, request: Request) -> Response:
        page = self._own_files.answer(request)
        if page is None:
            raise _no_such_page(request)
        return page

    async def _public_file(self, request: Request) -> Response:
        page = self._public.answer(request) if self._public is not None else None
        if page is None:
            raise _no_such_page(request)
        return page


class _Answer(Generic[Result]):
    """What `submit` hands to its callback, at once or later; a future only if it is later."""

    __slots__ = ("_waiting", "result")

    def __init__(self) -> None:
        self.result: Result | None = None
        self._waiting: asyncio.Future[None] | None = None

    def done(self, result: Result) -> None:
        self.result = result
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def wait(self) -> Result:
        if self.result is None:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        assert self.result is not None
        return self.result


class Site:
    """The site port: nothing but HTTP actions."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", scope["type"]
        request = Request(scope, receive)
        await self._app.respond_to(request, send, self._app.http_actions.answer(request), ())


def _require_admin(identity: Identity) -> None:
    if identity.kind != "admin":
        raise ForbiddenError(
            "This needs an admin key: send `Authorization: Convex <admin key>`.",
            code="BadDeployKey",
        )


def _function_path_of_url(request: Request) -> str:
    """`/api/run/a/b/f` as `a/b:f`; a slash inside a piece comes percent-encoded."""
    raw_path: bytes = request.scope.get("raw_path") or request.path.encode()
    pieces = raw_path.partition(b"/run/")[2].decode("latin-1").split("/")
    names = [unquote(piece) for piece in pieces]
    if len(names) < 2 or not all(names):
        raise BadRequestError(
            "The URL needs a module and a function: /api/run/<module>/<function>.",
            code="MissingIdentifier",
        )
    return f"{'/'.join(names[:-1])}:{names[-1]}"


def _content_type(request: Request) -> bytes:
    return request.headers.get(b"content-type", b"application/octet-stream")


def _no_such_page(request: Request) -> NotFoundError:
    return NotFoundError(f"There is nothing at {request.path[:200]}.")


def _error_response(error: CupolaError) -> Response:
    unread = isinstance(error, BodyTooLargeError) and error.unread
    return Response(error.http_status, error_body(error), headers=_CLOSE if unread else ())

"""The paths of the published command line: pushes, environment variables, log streams."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson

from cupola.auth import Identity, admin_of, parse_authorization
from cupola.backend import Backend, CallRequest
from cupola.deploy import Deployer
from cupola.deploy.deletions import delete_component, delete_tables
from cupola.deploy.imports import FinishUpload, ImportId, ImportSettings
from cupola.deploy.made_up_queries import MadeUpQuery
from cupola.deploy.requests import (
    AdminRequest,
    CancelAllJobs,
    CancelJob,
    ChangeState,
    DeleteTables,
    FinishPush,
    InComponent,
    StartPush,
    UpdateEnvironment,
    WaitForSchema,
    read,
)
from cupola.deploy.samples import shapes_of_tables
from cupola.errors import BadRequestError, ForbiddenError, OverloadedError
from cupola.functions.scheduler import CANCEL
from cupola.server.app_metrics_routes import AppMetricsRoutes
from cupola.server.event_routes import EventRoutes
from cupola.server.function_logs import FunctionLogs, wanted_request
from cupola.server.http_calls import output_format, result_body
from cupola.server.large_bodies import LargeBodies
from cupola.server.messages import Request, Response
from cupola.server.platform_routes import PlatformRoutes
from cupola.server.push_bodies import push_body
from cupola.server.streaming_routes import StreamingRoutes
from cupola.system.scheduling import CANCEL_ALL, CLEAR, JOBS_PER_CALL
from cupola.values import Int64, decode, encode

Handler = Callable[[Request], Awaitable[Response]]
Identify = Callable[[Request], Identity]

EXPORT_FILES = "/api/export/zip/"

_PUSHES_MAX = 4
_PIECE_BYTES = 256 * 1024
_STRUCTURED_CLIENTS = (b"npm-cli-", b"dashboard-")


class DeployRoutes:
    """Handlers, by path and method in `routes`."""

    def __init__(
        self,
        backend: Backend,
        deployer: Deployer | None,
        identify: Identify,
        large_bodies: LargeBodies,
    ) -> None:
        """`identify`: who sends a request, by its headers or URL. `large_bodies`: what bounds those
        of strangers.
        """
        self._backend = backend
        self._given_deployer = deployer
        self._identify = identify
        self._large_bodies = large_bodies
        self._logs = FunctionLogs(backend)
        self._pushes = 0
        update: dict[str, Handler] = {"POST": self._update_environment}
        variables: dict[str, Handler] = {"GET": self._list_environment}
        logs: dict[str, Handler] = {"GET": self._stream_logs}
        self.routes: dict[str, dict[str, Handler]] = {
            "/api/get_config_hashes": {"POST": self._config_hashes},
            "/api/deploy2/evaluate_schema": {"POST": self._evaluate_schema},
            "/api/deploy2/evaluate_push": {"POST": self._evaluate_push},
            "/api/deploy2/start_push": {"POST": self._start_push},
            "/api/deploy2/wait_for_schema": {"POST": self._wait_for_schema},
            "/api/deploy2/finish_push": {"POST": self._finish_push},
            "/api/deploy2/report_push_completed": {"POST": self._report_push},
            "/api/v1/get_canonical_urls": {"GET": self._canonical_urls},
            "/api/v1/deployment_info": {"GET": self._deployment_info},
            "/api/update_environment_variables": update,
            "/api/v1/update_environment_variables": update,
            "/api/list_environment_variables": variables,
            "/api/v1/list_environment_variables": variables,
            "/api/export/request/zip": {"POST": self._request_export},
            "/api/import/start_upload": {"POST": self._start_upload},
            "/api/import/upload_part": {"POST": self._upload_part},
            "/api/import/finish_upload": {"POST": self._finish_upload},
            "/api/perform_import": {"POST": self._perform_import},
            "/api/cancel_import": {"POST": self._cancel_import},
            "/api/run_test_function": {"POST": self._run_test_function},
            "/api/v1/pause_deployment": {"POST": self._pause},
            "/api/v1/unpause_deployment": {"POST": self._resume},
            "/api/change_deployment_state": {"POST": self._change_state},
            "/api/cancel_job": {"POST": self._cancel_job},
            "/api/import": {"POST": self._import_at_once},
            "/api/delete_tables": {"POST": self._delete_tables},
            "/api/delete_component": {"POST": self._delete_component},
            "/api/delete_scheduled_functions_table": {"POST": self._clear_jobs},
            "/api/stream_udf_execution": {"GET": self._stream_completions},
            "/api/cancel_all_jobs": {"POST": self._cancel_all_jobs},
            "/api/shapes2": {"GET": self._shapes},
            "/api/authorize": {"GET": self._authorize},
            "/api/check_opt_ins": {"POST": self._opt_ins},
            "/api/stream_function_logs": logs,
            "/api/app_metrics/stream_function_logs": logs,
        }
        streaming = StreamingRoutes(backend, self._admin, self._admin_body)
        self.routes.update(streaming.routes)
        self.routes.update(AppMetricsRoutes(backend, self._require_admin).routes)
        self.routes.update(PlatformRoutes(self._require_admin).routes)
        self.routes.update(EventRoutes(backend, self._admin).routes)
        self.export_files: dict[str, Handler] = {"GET": self._export_file}
        """Below EXPORT_FILES."""

    @property
    def _deployer(self) -> Deployer:
        if self._given_deployer is None:
            self._given_deployer = Deployer(self._backend)
        return self._given_deployer

    # ---------------------------------------------------------------- pushes

    async def _config_hashes(self, request: Request) -> Response:
        await self._admin_body(request, "Deploy")
        return _json(self._deployer.config_hashes())

    async def _evaluate_schema(self, request: Request) -> Response:
        """Advice on large tables, before a push."""
        push = read(StartPush, await self._admin_body(request))
        return _json(await self._deployer.evaluate_schema(push))

    async def _evaluate_push(self, request: Request) -> Response:
        started = await self._start(request, only_evaluate=True)
        return _json({"schemaChange": started["schemaChange"]})

    async def _start_push(self, request: Request) -> Response:
        return _json(await self._start(request, only_evaluate=False))

    async def _start(self, request: Request, *, only_evaluate: bool) -> dict[str, Any]:
        if self._pushes >= _PUSHES_MAX:
            raise OverloadedError(
                f"{_PUSHES_MAX} pushes are under way already; try again soon.",
                code="TooManyConcurrentRequests",
            )
        self._pushes += 1
        try:
            push = read(StartPush, await self._admin_body(request, "Deploy"))
            return await self._deployer.start_push(push, only_evaluate=only_evaluate)
        finally:
            self._pushes -= 1

    async def _wait_for_schema(self, request: Request) -> Response:
        body = read(WaitForSchema, await self._admin_body(request, "Deploy"))
        return _json(await self._deployer.wait_for_schema(body))

    async def _finish_push(self, request: Request) -> Response:
        body = read(FinishPush, await self._admin_body(request, "Deploy"))
        return _json(await self._deployer.finish_push(body))

    async def _report_push(self, request: Request) -> Response:
        """Timings of the command line, which nobody keeps. It wants a JSON body all the same."""
        await self._admin_body(request)
        return _json(None)

    async def _run_test_function(self, request: Request) -> Response:
        body = read(MadeUpQuery, await self._admin_body(request))
        write = output_format(body.format, None)
        identity = self._identify(request)
        result = await self._deployer.run_made_up_query(body, identity)
        return Response(200, result_body(result, write))

    # ---------------------------------------------------------------- the deployment

    async def _canonical_urls(self, request: Request) -> Response:
        self._admin(request)
        system = self._backend.node.system
        return _json({"convexCloudUrl": system.cloud_url, "convexSiteUrl": system.site_url})

    async def _deployment_info(self, request: Request) -> Response:
        self._admin(request)
        return _json({"kind": "selfHosted"})

    async def _shapes(self, request: Request) -> Response:
        """What documents look like, table by table, by a sample."""
        self._admin(request)
        component = request.query().get("component", "")
        return _json(await shapes_of_tables(self._backend, component))

    async def _authorize(self, request: Request) -> Response:
        """Whether a token is an admin key of this deployment: asked in place of the makers' cloud
        where `CONVEX_PROVISION_HOST` names this server (`npx convex mcp`).
        """
        header = request.headers.get(b"authorization", b"").decode("utf-8", "replace")
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer":
            raise ForbiddenError("Send `Authorization: Bearer <admin key>`.", code="BadDeployKey")
        identity = admin_of(parse_authorization(f"Convex {token}", self._backend.admin_keys))
        _check_admin(identity, None)
        return Response(200, b"")

    async def _opt_ins(self, request: Request) -> Response:
        """Terms that must be accepted first: there are none."""
        return _json({"optInsToAccept": []})

    async def _list_environment(self, request: Request) -> Response:
        self._admin(request)
        return _json({"environmentVariables": self._deployer.variables})

    async def _update_environment(self, request: Request) -> Response:
        body = await self._admin_body(request, "WriteEnvironmentVariables")
        await self._deployer.update_environment(read(UpdateEnvironment, body).changes)
        return _json(None)

    async def _request_export(self, request: Request) -> Response:
        await self._admin_body(request, "CreateBackups")
        include_storage = request.query().get("includeStorage") == "true"
        await self._deployer.exports.request(include_storage=include_storage)
        return _json(None)

    async def _export_file(self, request: Request) -> Response:
        self._admin(request)
        path, ts = self._deployer.exports.find(request.path.removeprefix(EXPORT_FILES))
        name = f"snapshot_{self._backend.instance_name}_{ts}.zip"
        headers = [
            (b"content-disposition", f'attachment; filename="{name}"'.encode()),
            (b"cache-control", b"private, max-age=2592000"),
        ]
        size = path.stat().st_size
        return Response(200, b"", b"application/zip", headers, stream=_pieces(path), length=size)

    async def _start_upload(self, request: Request) -> Response:
        await self._admin_body(request, "ImportBackups")
        return _json({"uploadToken": self._deployer.imports.start_upload()})

    async def _upload_part(self, request: Request) -> Response:
        body = await self._admin_body(request, "ImportBackups")
        query = request.query()
        token, number = query.get("uploadToken", ""), query.get("partNumber", "")
        return _json(self._deployer.imports.part(token, number, body))

    async def _finish_upload(self, request: Request) -> Response:
        body = read(FinishUpload, await self._admin_body(request, "ImportBackups"))
        return _json({"importId": await self._deployer.imports.finish_upload(body)})

    async def _import_at_once(self, request: Request) -> Response:
        identity = self._identify(request)
        self._check(identity, "ImportBackups")
        query = request.query()
        settings = ImportSettings(
            query.get("mode", "requireEmpty"),
            query.get("format", ""),
            query.get("tableName"),
            query.get("componentPath"),
        )
        body = request.parts(stall_s=self._backend.limits.upload_stall_s)
        return _json({"numWritten": await self._deployer.imports.import_at_once(settings, body)})

    async def _perform_import(self, request: Request) -> Response:
        body = read(ImportId, await self._admin_body(request, "ImportBackups"))
        await self._deployer.imports.perform(body.import_id)
        return _json(None)

    async def _cancel_import(self, request: Request) -> Response:
        body = read(ImportId, await self._admin_body(request, "ImportBackups"))
        await self._deployer.imports.cancel(body.import_id)
        return _json(None)

    async def _pause(self, request: Request) -> Response:
        await self._admin_body(request, "PauseDeployment")
        await self._backend.pausing.pause()
        return _json(None)

    async def _resume(self, request: Request) -> Response:
        await self._admin_body(request, "UnpauseDeployment")
        await self._backend.pausing.resume()
        return _json(None)

    async def _change_state(self, request: Request) -> Response:
        """The same as older tools ask for it."""
        state = read(ChangeState, await self._admin_body(request, "PauseDeployment")).new_state
        if state == "paused":
            await self._backend.pausing.pause()
        else:
            await self._backend.pausing.resume()
        return _json(None)

    async def _cancel_job(self, request: Request) -> Response:
        body = read(CancelJob, await self._admin_body(request, "WriteData"))
        args = {"id": body.id, "component": body.component_id or "", "by_administrator": True}
        await self._run_system(CANCEL, args)
        return _json(None)

    async def _cancel_all_jobs(self, request: Request) -> Response:
        """Those that wait, or those of one function or time that do: some hundred per
        transaction.
        """
        body = read(CancelAllJobs, await self._admin_body(request, "WriteData"))
        args: dict[str, Any] = {"function": body.udf_path, "component": body.component_id or ""}
        due = {"start": body.start_next_ts, "end": body.end_next_ts}
        args |= {name: Int64(ns) for name, ns in due.items() if ns is not None}
        await self._change_jobs(CANCEL_ALL, args)
        return _json(None)

    async def _clear_jobs(self, request: Request) -> Response:
        body = read(InComponent, await self._admin_body(request, "WriteData"))
        await self._change_jobs(CLEAR, {"component": body.component_id or ""})
        return _json(None)

    async def _change_jobs(self, path: str, args: dict[str, Any]) -> None:
        changed, before = JOBS_PER_CALL, 0
        while changed >= JOBS_PER_CALL:
            changed = int(await self._run_system(path, {**args, "before": before}))
            before += changed

    async def _delete_tables(self, request: Request) -> Response:
        body = read(DeleteTables, await self._admin_body(request, "WriteData"))
        await delete_tables(self._backend, body.table_names, body.component_id or "")
        return _json(None)

    async def _delete_component(self, request: Request) -> Response:
        body = read(InComponent, await self._admin_body(request, "WriteData"))
        await delete_component(self._backend, body.component_id or "")
        return _json(None)

    async def _run_system(self, path: str, args: dict[str, Any]) -> Any:
        """Raises: CupolaError: What the mutation failed with."""
        result = await self._backend.call(
            CallRequest("mutation", path, encode(args), Identity("admin"), visibility="any")
        )
        if result.value is None:
            raise result.error or BadRequestError(result.error_message or "")
        return decode(result.value)

    async def _stream_logs(self, request: Request) -> Response:
        self._admin(request)
        cursor = _cursor(request)
        client = request.headers.get(b"convex-client", b"")
        structured = client.startswith(_STRUCTURED_CLIENTS)
        wanted = wanted_request(request.query())
        return _json(await self._logs.after(cursor, structured=structured, wanted=wanted))

    async def _stream_completions(self, request: Request) -> Response:
        """The same for older tools, which read lines as texts."""
        self._admin(request)
        return _json(await self._logs.after(_cursor(request), structured=False))

    # ---------------------------------------------------------------- inside

    async def _admin_body(self, request: Request, operation: str | None = None) -> bytes:
        """The body of a request that an administrator sends, who is shown by its head or by
        `adminKey` in the body; in the second case it must be small. Raises: as `_check_admin`.
        """
        identity = self._identify(request)
        limits = self._backend.limits
        if identity.kind == "admin":
            self._check(identity, operation)
            return await push_body(request, limits.push_size_bytes_max)
        with self._large_bodies.reserved(request):
            body = await push_body(request, limits.http_body_bytes_max)
        key = read(AdminRequest, body).admin_key
        if key is not None:
            identity = admin_of(parse_authorization(f"Convex {key}", self._backend.admin_keys))
        self._check(identity, operation)
        return body

    def _require_admin(self, request: Request) -> None:
        """Raises: as `_check_admin`."""
        _check_admin(self._identify(request), None)

    def _admin(self, request: Request) -> None:
        """Raises: as `_check_admin`."""
        self._check(self._identify(request), None)

    def _check(self, identity: Identity, operation: str | None) -> None:
        _check_admin(identity, operation)
        self._logs.watch()  # whoever works on the deployment may want to see what happened


def _cursor(request: Request) -> float:
    try:
        return float(request.query().get("cursor", "0"))
    except ValueError:
        raise BadRequestError("`cursor` is a number.", code="BadQueryArgs") from None


async def _pieces(path: Path) -> AsyncGenerator[bytes, None]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


def _check_admin(identity: Identity, operation: str | None) -> None:
    """`operation`: what a read-only key may not do.

    Raises:
        ForbiddenError: This is no administrator, or the key is read-only.
    """
    if identity.kind != "admin":
        raise ForbiddenError(
            "This needs an admin key: send `Authorization: Convex <admin key>`.",
            code="BadDeployKey",
        )
    if operation is not None and identity.read_only:
        raise ForbiddenError(
            f"You do not have permission to perform this operation ({operation}): "
            "the admin key is read-only.",
            code="OperationNotPermitted",
        )


def _json(answer: Any) -> Response:
    return Response(200, orjson.dumps(answer))

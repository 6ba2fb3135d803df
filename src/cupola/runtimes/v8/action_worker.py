"""The action worker of deployments with pushed JavaScript: runs actions of both languages, many at
a time. Those of JavaScript run in a Deno process that this one drives.

Started as `python -m cupola.runtimes.v8.action_worker FD PARENT`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import msgspec

from cupola.errors import CupolaError, DeveloperError, UnauthenticatedError
from cupola.functions.app import App, load_app
from cupola.functions.audit_logs import audit
from cupola.functions.definitions import Function, Kind
from cupola.functions.execution import Execution, check_arguments
from cupola.functions.failure import RemoteError, tell
from cupola.functions.http import JAVASCRIPT_ROUTER, Request
from cupola.functions.http_run import Outlet
from cupola.functions.javascript import JavaScriptFunction, PushedCode
from cupola.functions.log_lines import LogBuffer
from cupola.functions.near_limits import CLIENT_GONE
from cupola.functions.requests import metadata_of
from cupola.functions.scheduler import CANCEL, SCHEDULE
from cupola.runtimes.python.action_worker import ActionWorker, Run, job_of, main
from cupola.runtimes.python.http_runs import HttpRun
from cupola.runtimes.python.messages import NestedResult, RunAction, RunHttp, Setup, identity_of
from cupola.runtimes.v8.action_host import ActionHost, Surroundings
from cupola.runtimes.v8.action_hosts import ActionHosts
from cupola.runtimes.v8.action_storage import ActionBlobs, HttpOperations
from cupola.runtimes.v8.addresses import function_at
from cupola.runtimes.v8.failures import JavaScriptError
from cupola.runtimes.v8.results import checked_result
from cupola.runtimes.v8.syscall_arguments import arguments_of, encoded_arguments, time_ms_of
from cupola.runtimes.v8.syscalls import function_metadata, not_yet
from cupola.values import Value, decode, encode, qualified, split_qualified

_CALLS = {
    "1.0/actions/query": Kind.QUERY,
    "1.0/actions/mutation": Kind.MUTATION,
    "1.0/actions/action": Kind.ACTION,
}
_NOT_YET = {
    "1.0/createServiceToken": "A service token",
}


class JavaScriptActionWorker(ActionWorker):
    """Runs the actions of one socket."""

    _code: PushedCode
    _hosts: ActionHosts

    def _load(self, setup: Setup) -> App:
        self._code = msgspec.msgpack.decode(setup.javascript, type=PushedCode)
        surroundings = Surroundings(setup.packages, setup.forbids_private_addresses)
        self._hosts = ActionHosts(lambda: ActionHost(self._code.bundle, self._limits, surroundings))
        app = load_app(setup.app_folder, setup.sources) if setup.sources else App({}, {})
        return app.with_javascript(self._code)

    async def _execute(
        self, function: Function[Any, Any], run: RunAction, logs: LogBuffer
    ) -> Execution:
        if not isinstance(function, JavaScriptFunction):
            return await super()._execute(function, run, logs)
        return await self._outcome(self._run_javascript(function, run, logs), run, logs)

    async def _outcome(self, work: Awaitable[bytes], run: Run, logs: LogBuffer) -> Execution:
        """What the work of an action comes to, in its time."""
        try:
            async with asyncio.timeout(self._limits.action_time_s) as deadline:
                value = await work
            return Execution(value, None, logs.lines)
        except CupolaError as error:
            told = (
                error.told(run.request_id)
                if isinstance(error, JavaScriptError)
                else tell(error, run.request_id, None)
            )
            return Execution(None, error, logs.lines, told=told)
        except TimeoutError:
            assert deadline.expired()
            seconds = self._limits.action_time_s
            late = DeveloperError(
                f"Function execution timed out (maximum duration: {seconds:g}s).",
                code="FunctionTimeout",
            )
            return Execution(None, late, logs.lines)

    async def _run_javascript(
        self, function: JavaScriptFunction, run: RunAction, logs: LogBuffer
    ) -> bytes:
        check_arguments(function, run.args, self._limits)
        request = {
            "path": function.module,
            "component": function.component,
            "name": function.name,
            "isNode": function.is_node,
            "args": f"[{run.args.decode()}]",
        }

        blobs = ActionBlobs(self.files_of(run))

        async def operate(op: str, text: bytes) -> bytes:
            return await self._operate(function.path, run, op, text, blobs, logs)

        try:
            async with self._hosts.host_for(function.path) as host:
                result = await host.run(request, operate, logs.add)
        finally:
            blobs.close()
        return checked_result(function, result, self._limits)

    async def _execute_http(
        self, run: RunHttp, request: Request, logs: LogBuffer, outlet: Outlet
    ) -> Execution:
        if not split_qualified(run.path)[1].startswith(JAVASCRIPT_ROUTER):
            return await super()._execute_http(run, request, logs, outlet)
        http = HttpOperations(request, outlet, logs, self._limits)
        if isinstance(outlet, HttpRun):
            outlet.on_leave = partial(_note_leaving, http, logs)
        execution = await self._outcome(self._serve_javascript(run, logs, http), run, logs)
        if execution.error is not None and http.has_begun:
            logs.add("ERROR", f"The response was cut off: {execution.error}")
        return execution

    async def _serve_javascript(self, run: RunHttp, logs: LogBuffer, http: HttpOperations) -> bytes:
        has_body = run.method not in ("GET", "HEAD", "OPTIONS")
        asked = {
            "url": run.url,
            "method": run.method,
            "headerPairs": run.headers,
            "streamId": "request" if has_body else None,
        }
        component = self._code.component(split_qualified(run.path)[0])
        below = (component.mount or "/").removesuffix("/")
        path = urlsplit(run.url).path or "/"
        request = {
            "path": component.folder + JAVASCRIPT_ROUTER,
            "component": component.path,
            "isNode": False,
            "http": {"request": asked, "routedPath": path.removeprefix(below)},
        }
        blobs = ActionBlobs(self.files_of(run))

        async def operate(op: str, text: bytes) -> bytes:
            if op.startswith("http/"):
                answer = await http.answer(op, arguments_of(op, text))
                if answer is not None:
                    return answer
            return await self._operate(run.path, run, op, text, blobs, logs)

        try:
            async with self._hosts.host_for(f"{run.method} {path}") as host:
                return await host.run(request, operate, logs.add, http.gone)
        finally:
            blobs.close()

    async def _operate(
        self, path: str, run: Run, op: str, text: bytes, blobs: ActionBlobs, logs: LogBuffer
    ) -> bytes:
        """One asynchronous syscall (spec: function runtime, section 6.3).

        Raises:
            CupolaError: What it failed with; the action may catch it.
        """
        arguments = arguments_of(op, text)
        if (kind := _CALLS.get(op)) is not None:
            return await self._call(run, path, kind, arguments)
        if (what := _NOT_YET.get(op)) is not None:
            raise not_yet(what)
        if (stored := await blobs.answer(op, arguments)) is not None:
            return stored
        component = split_qualified(path)[0]
        match op:
            case "1.0/actions/schedule":
                return await self._schedule(run, component, arguments)
            case "1.0/actions/cancel_job":
                job: dict[str, Value] = {"id": arguments.get("id"), "component": component}
                return _value_of(await self.ask(run, "system", CANCEL, encode(job)))
            case "1.0/getUserIdentity" if component:  # users are the app's
                return b"null"
            case "1.0/actions/vectorSearch":
                query = _inside(component, arguments.get("query"))
                asked = msgspec.json.encode(query)
                return _value_of(await self.ask(run, "vectors", "search", asked))
            case "1.0/getUserIdentity":
                if isinstance(run, RunHttp) and run.identity_problem is not None:
                    raise UnauthenticatedError(run.identity_problem)
                identity: Mapping[str, Value] | None = identity_of(run.caller).attributes
                return b"null" if identity is None else encode(dict(identity))
            case "1.0/getFunctionMetadata":
                return function_metadata(path)
            case "1.0/getDeploymentMetadata":
                return b'{"name":"cupola","region":null,"class":"s256"}'
            case "1.0/getRequestMetadata":
                who = identity_of(run.caller)
                return msgspec.json.encode(metadata_of(who, run.request_id, job_of(run)))
            case "1.0/auditLog":
                audit(logs, arguments.get("body"))
                return b"null"
            case "1.0/createFunctionHandle":
                if isinstance(handle := arguments.get("functionHandle"), str):
                    return msgspec.json.encode(handle)
                function = function_at(self._app, arguments, "createFunctionHandle", component)
                return msgspec.json.encode(self._app.handles.handle_of(function.path))
        raise DeveloperError(f"Unknown async operation {op[:100]}", code="UnknownOperation")

    async def _schedule(self, run: Run, component: str, arguments: dict[str, Any]) -> bytes:
        request = {
            "component": component,
            "function": function_at(self._app, arguments, "schedule", component).path,
            "args": decode(encoded_arguments(arguments)),
            "time": time_ms_of(arguments),
        }
        return _value_of(await self.ask(run, "system", SCHEDULE, encode(request)))

    async def _call(self, run: Run, path: str, kind: Kind, arguments: dict[str, Any]) -> bytes:
        method, component = f"run{kind.value.capitalize()}", split_qualified(path)[0]
        called = function_at(self._app, arguments, method, component).path
        result = await self.ask(run, kind.value, called, encoded_arguments(arguments))
        return _value_of(result)


def _note_leaving(http: HttpOperations, logs: LogBuffer) -> None:
    http.gone.set()
    logs.add("INFO", CLIENT_GONE)


def _value_of(result: NestedResult) -> bytes:
    if result.value is not None:
        return result.value
    failure = result.failure
    assert failure is not None
    raise RemoteError(failure.message, failure.code, failure.data)


def _inside(component: str, query: Any) -> Any:
    """A vector search of a component's function: its index is one of the component's tables."""
    if component and isinstance(query, dict) and isinstance(name := query.get("indexName"), str):
        return {**query, "indexName": qualified(component, name)}
    return query


if __name__ == "__main__":
    main(sys.argv, JavaScriptActionWorker)

"""The analysis of pushed modules in a Deno process of their own, which ends with it (spec: function
runtime, section 4).
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from cupola.errors import CupolaError, DeveloperError
from cupola.functions.bundles import (
    AnalysisError,
    AnalyzedFunction,
    AnalyzedModule,
    Bundle,
    CronJob,
    FunctionKind,
    FunctionVisibility,
    HttpRoute,
    Module,
    Position,
)
from cupola.limits import Limits
from cupola.runtimes.v8.action_host import ActionHost, Surroundings
from cupola.runtimes.v8.crons import checked_schedule
from cupola.runtimes.v8.deno import Deno, ProcessEnded, TookTooLong
from cupola.runtimes.v8.runtime import HEAP_BYTES_MAX, bundle_frame, prelude
from cupola.runtimes.v8.source_maps import SourceMaps
from cupola.schema.validator_json import validator_from_json
from cupola.values import is_identifier

_MODULE_S = 4.0
_START_S = 30.0
_LINES_MAX = 100
_METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
_UNSET = re.compile(r"Environment variable (\S+) is used in auth config")
_T = TypeVar("_T")


class _Found(msgspec.Struct):
    """What `host/exports.js` says of an exported function."""

    name: str
    kind: FunctionKind
    visibility: FunctionVisibility | None
    args: str | None
    returns: str | None
    line: int | None = None
    column: int | None = None
    source: str | None = None


class _Route(msgspec.Struct):
    path: str
    method: str
    line: int | None = None
    column: int | None = None


class _Exports(msgspec.Struct):
    functions: list[_Found]
    routes: list[_Route] | None
    crons: str | None


class _Text(msgspec.Struct):
    text: str = ""
    problem: str | None = None


class _Failure(msgspec.Struct):
    message: str
    stack: str = ""
    unset: str | None = None


class V8Analyzer:
    """An `Analyzer` that starts a process for each question."""

    def __init__(self, limits: Limits, packages_root: str = "") -> None:
        """`packages_root`: where npm packages are installed."""
        self._limits = limits
        self._packages_root = packages_root
        self._schema: tuple[tuple[str, bytes, int], str] | None = None

    async def analyze(self, bundle: Bundle) -> dict[str, AnalyzedModule]:
        def work() -> dict[str, AnalyzedModule]:
            with _Session(bundle) as session:
                return {
                    module.path: session.module(module)
                    for module in bundle.modules
                    if not module.is_dependency and module.environment == "isolate"
                }

        found = await _in_thread(work)
        found.update(await self._analyze_node(bundle))
        return found

    async def evaluate_schema(self, bundle: Bundle, schema: Module) -> str:
        problems = {
            "missing": AnalysisError(
                "The schema file is missing a default export: `export default "
                "defineSchema({...})`.",
                code="MissingSchemaExportError",
                module=schema.path,
            ),
            "invalid": AnalysisError(
                "The default export of the schema file must be made by `defineSchema`.",
                code="InvalidSchemaExport",
                module=schema.path,
            ),
        }
        # A push asks for the same one twice, and the next push too: nothing else decides it.
        key = (schema.sha256, bundle.import_seed, bundle.import_time_ms)
        if self._schema is not None and self._schema[0] == key:
            return self._schema[1]
        options = {"variables": "refuse"}
        found = await _evaluated(bundle, "schema", schema, options, "InvalidSchema", problems)
        self._schema = (key, found)
        return found

    async def evaluate_auth_config(self, bundle: Bundle, auth_config: Module) -> str:
        missing = AnalysisError(
            "auth.config.js has no default export: `export default { providers: [...] }`.",
            code="InvalidAuthConfig",
            module=auth_config.path,
        )
        return await _evaluated(
            bundle,
            "authConfig",
            auth_config,
            {"variables": "insist", "pure": True},
            "InvalidAuthConfig",
            {"missing": missing},
        )

    async def evaluate_definitions(
        self,
        definitions: Mapping[str, Module],
        dependencies: Mapping[str, Sequence[str]],
        environment: Mapping[str, str],
    ) -> dict[str, str]:
        def work() -> dict[str, str]:
            found: dict[str, str] = {}
            for path in _children_first(definitions, dependencies):
                found[path] = _definition(path, definitions[path], found, dict(environment))
            return found

        return await _in_thread(work)

    async def _analyze_node(self, bundle: Bundle) -> dict[str, AnalyzedModule]:
        """Modules that begin with "use node" are evaluated where they will run."""
        modules = [m for m in bundle.modules if m.environment == "node" and not m.is_dependency]
        if not modules:
            return {}
        maps = SourceMaps({module.path: module for module in bundle.modules})
        host = ActionHost(bundle, self._limits, Surroundings(self._packages_root))
        await host.start()
        try:
            return {module.path: await _node_module(module, host, maps) for module in modules}
        finally:
            host.close()


async def _evaluated(
    bundle: Bundle,
    look: str,
    module: Module,
    options: dict[str, Any],
    code: str,
    problems: Mapping[str, AnalysisError],
) -> str:
    """What a module that stands alone exports, as a JSON text. `problems`: what to raise when
    `host/exports.js` finds the export missing or invalid.
    """

    def work() -> str:
        with _Session(msgspec.structs.replace(bundle, modules=(module,))) as session:
            found = session.text(look, module, options, code)
        if found.problem is not None:
            raise problems[found.problem]
        return found.text

    return await _in_thread(work)


async def _node_module(module: Module, host: ActionHost, maps: SourceMaps) -> AnalyzedModule:
    lines: list[str] = []

    async def refuse(op: str, args: bytes) -> bytes:
        raise DeveloperError(f"{op} unsupported at import time", code="UnknownOperation")

    request = {"path": module.path, "look": "module", "isNode": True}
    try:
        async with asyncio.timeout(_MODULE_S):
            body = await host.run(request, refuse, lambda level, text: lines.append(text))
    except (DeveloperError, TimeoutError) as error:
        reason = getattr(error, "message", f"it did not end within {_MODULE_S:g} s")
        raise AnalysisError(
            f"Failed to analyze {module.path}: {reason}", module=module.path
        ) from None
    exports = msgspec.json.decode(body, type=_Exports)
    for each in exports.functions:
        if each.kind != "action":
            raise AnalysisError(
                f'{module.path}: `{each.name}` is a {each.kind}; "use node" modules '
                "can define only actions.",
                module=module.path,
            )
        at = module.source.find(each.source) if each.source else -1
        if at >= 0:
            each.line = module.source.count("\n", 0, at) + 1
            each.column = at - module.source.rfind("\n", 0, at)
    return analyzed(module, exports, maps)


async def _in_thread(work: Callable[[], _T]) -> _T:
    return await asyncio.get_running_loop().run_in_executor(None, work)


def _children_first(
    definitions: Mapping[str, Module], dependencies: Mapping[str, Sequence[str]]
) -> list[str]:
    order: list[str] = []
    under_way: set[str] = set()

    def visit(path: str) -> None:
        if path in order:
            return
        if path in under_way or path not in definitions:
            what = "imports itself" if path in under_way else "is not among what was pushed"
            raise AnalysisError(f"The component definition `{path}` {what}.", code="CyclicImport")
        under_way.add(path)
        for child in dependencies.get(path, ()):
            visit(child)
        order.append(path)

    for path in definitions:
        visit(path)
    return order


def _definition(
    path: str, module: Module, known: Mapping[str, str], environment: dict[str, str]
) -> str:
    """Evaluate one `convex.config.js`; the definitions that it imports are known already."""
    children = [_imported(child, text) for child, text in known.items()]
    environment = environment if path == "" else {}
    with _Session(Bundle((module, *children), environment)) as session:
        found = session.text("definition", module, {"pure": True}, "InvalidDefinition")
    if found.problem is not None:
        raise AnalysisError(
            f"{module.path} must have exactly one export, the default: what `defineApp()` or "
            "`defineComponent(name)` makes.",
            code="InvalidDefinition",
            module=module.path,
        )
    return json.dumps({**json.loads(found.text), "path": path})


def _imported(path: str, exported: str) -> Module:
    """What a definition gets when it imports another."""
    identifier = base64.urlsafe_b64encode(path.encode()).decode().rstrip("=")
    definition = json.loads(exported)
    kind = definition.get("definitionType")
    name = definition.get("name") or (kind.get("name") if isinstance(kind, dict) else None)
    fields = {"componentDefinitionPath": path, "defaultName": name}
    source = (
        f"const exported = {exported};\n"
        f"export default {{ ...{json.dumps(fields)}, export: () => exported }};\n"
    )
    return Module(f"_componentDeps/{identifier}.js", source)


class _Session:
    """One process with one bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self._maps = SourceMaps({module.path: module for module in bundle.modules})
        self._deno = Deno("transactions.mjs", HEAP_BYTES_MAX)
        self._lines: list[str] = []
        self._deno.send(b"P", prelude())
        self._deno.receive(_START_S)
        self._deno.bound_memory()
        self._deno.send(b"B", bundle_frame(bundle))

    def __enter__(self) -> _Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._deno.kill()

    def module(self, module: Module) -> AnalyzedModule:
        body = self._ask("module", module, {}, "InvalidModules")
        exports = msgspec.json.decode(body, type=_Exports)
        return analyzed(module, exports, self._maps)

    def text(self, look: str, module: Module, options: dict[str, Any], code: str) -> _Text:
        return msgspec.json.decode(self._ask(look, module, options, code), type=_Text)

    def _ask(self, look: str, module: Module, options: dict[str, Any], code: str) -> bytes:
        question = {"look": look, "path": module.path, "options": options}
        try:
            self._deno.send(b"A", msgspec.json.encode(question))
            while True:
                kind, body = self._deno.receive(_MODULE_S)
                if kind == b"V":
                    return body
                if kind == b"E":
                    raise self._error(module, msgspec.json.decode(body, type=_Failure), code)
                if kind == b"L":
                    self._lines = [*self._lines[1 - _LINES_MAX :], body.decode("utf-8", "replace")]
        except TookTooLong:
            text = f"it did not end within {_MODULE_S:g} s"
        except ProcessEnded:
            text = "it ended its process; most likely it used more memory than 64 MB"
        raise AnalysisError(
            f"Failed to analyze {module.path}: {text}.", code=code, module=module.path
        )

    def _error(self, module: Module, failure: _Failure, code: str) -> AnalysisError:
        frames = "\n".join(self._maps.frames(failure.stack))
        if failure.unset is not None:
            return AnalysisError(
                f"Environment variable {failure.unset} is used in auth config file but its value "
                "was not set.",
                code="AuthConfigMissingEnvironmentVariable",
                module=module.path,
                stack=frames,
            )
        parts = [f"Failed to analyze {module.path}: {failure.message}", frames]
        if self._lines:
            parts += ["", "Logs:", *self._lines]
        message = "\n".join(part for part in parts if part or self._lines).strip()
        return AnalysisError(message, code=code, module=module.path, stack=frames)


def analyzed(module: Module, exports: _Exports, maps: SourceMaps) -> AnalyzedModule:
    """What exports amount to, checked.

    Raises:
        AnalysisError: A name, validator, route or schedule that cannot be.
    """
    functions = [_function(module, each, maps) for each in exports.functions]
    functions.sort(key=lambda f: (f.position.line, f.position.column) if f.position else (0, 0))
    routes = exports.routes
    source_map = maps.of(module.path)
    return AnalyzedModule(
        tuple(functions),
        None if routes is None else tuple(_route(module, each, maps) for each in routes),
        None if exports.crons is None else _crons(module, exports.crons),
        _source_index(module.path, source_map.sources) if source_map is not None else None,
    )


def _function(module: Module, found: _Found, maps: SourceMaps) -> AnalyzedFunction:
    if not is_identifier(found.name):
        raise AnalysisError(
            f"{module.path}: `{found.name[:80]}` cannot be the name of a function: use letters, "
            "digits and underscores, at most 64, not starting with a digit.",
            module=module.path,
        )
    for what, text in (("args", found.args), ("returns", found.returns)):
        try:
            tree = None if text is None else msgspec.json.decode(text)
            if tree is not None:
                validator_from_json(tree)
        except (msgspec.DecodeError, CupolaError) as error:
            raise AnalysisError(
                f"{module.path}: the {what} validator of `{found.name}` makes no sense: {error}",
                module=module.path,
            ) from None
    return AnalyzedFunction(
        found.name,
        found.kind,
        found.visibility,
        found.args,
        found.returns,
        _position(module, found.line, found.column, maps),
    )


def _position(
    module: Module, line: int | None, column: int | None, maps: SourceMaps
) -> Position | None:
    source_map = maps.of(module.path)
    if line is None or column is None or source_map is None:
        return None
    source = source_map.find(line, column)
    return None if source is None else Position(*source)


def _route(module: Module, route: _Route, maps: SourceMaps) -> HttpRoute:
    if route.method not in _METHODS:
        raise AnalysisError(
            f"{module.path}: `{route.method}` is no method of a route; use one of "
            f"{', '.join(sorted(_METHODS))}.",
            module=module.path,
        )
    return HttpRoute(route.path, route.method, _position(module, route.line, route.column, maps))


def _crons(module: Module, text: str) -> tuple[CronJob, ...]:
    try:
        table = msgspec.json.decode(text, type=dict[str, dict[str, Any]])
        return tuple(
            CronJob(
                identifier,
                str(entry["name"]),
                json.dumps(entry.get("args", [])),
                checked_schedule(identifier, entry.get("schedule")),
            )
            for identifier, entry in table.items()
        )
    except (msgspec.DecodeError, KeyError) as error:
        raise AnalysisError(
            f"{module.path}: the table of cron jobs makes no sense: {error}", module=module.path
        ) from None


def _source_index(path: str, sources: list[str]) -> int | None:
    stem = path.rpartition(".")[0].rpartition("/")[2]
    for index, source in enumerate(sources):
        if source.rpartition("/")[2].partition(".")[0] == stem:
            return index
    return None

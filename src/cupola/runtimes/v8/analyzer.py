"""The analysis of pushed modules, in a Deno process of their own (spec: function runtime, part 4).

What a module defines depends on its text, on the modules it imports, and on the surroundings of the
import phase: seed, time and variables. Where all of them are what they were, so is the answer, and
nobody is asked: a push of one changed file evaluates that file.
"""

from __future__ import annotations

import asyncio
import base64
import collections
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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
from cupola.runtimes.v8.analysis_process import MODULE_S, AnalysisProcess
from cupola.runtimes.v8.crons import checked_schedule
from cupola.runtimes.v8.source_maps import SourceMaps
from cupola.schema.validator_json import validator_from_json
from cupola.values import is_identifier

_METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
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
    """`modules`: the paths of all that were evaluated, the one that was asked about included."""

    functions: list[_Found]
    routes: list[_Route] | None
    crons: str | None
    modules: list[str] = []


class _Text(msgspec.Struct):
    text: str = ""
    problem: str | None = None


class _Known(msgspec.Struct, frozen=True):
    """What was found in a module. `modules`: the hashes of all it imports, by path, its own too."""

    phase: bytes
    modules: dict[str, str]
    found: AnalyzedModule

    def holds(self, phase: bytes, hashes: Mapping[str, str]) -> bool:
        return self.phase == phase and all(
            hashes.get(path) == sha256 for path, sha256 in self.modules.items()
        )


class V8Analyzer:
    """An `Analyzer` that keeps one process, and what it has found before."""

    def __init__(self, limits: Limits, packages_root: str = "") -> None:
        """`packages_root`: where npm packages are installed."""
        self._limits = limits
        self._packages_root = packages_root
        self._process = AnalysisProcess()
        self._known: collections.OrderedDict[tuple[str, str], _Known] = collections.OrderedDict()
        self._node_known: tuple[bytes, dict[str, AnalyzedModule]] | None = None
        self._texts: dict[str, tuple[bytes, str]] = {}
        self._definitions: tuple[bytes, dict[str, str]] | None = None
        # Deno processes end with the thread that started them: one of our own.
        self._thread = ThreadPoolExecutor(1, "analysis")
        self._end: asyncio.TimerHandle | None = None

    async def warm_up(self) -> None:
        await self._in_thread(self._process.start)

    def close(self) -> None:
        if self._end is not None:
            self._end.cancel()
        self._thread.submit(self._process.end)
        self._thread.shutdown(wait=False)

    async def analyze(self, bundle: Bundle) -> dict[str, AnalyzedModule]:
        phase = _phase(bundle)
        hashes = {module.path: module.sha256 for module in bundle.modules}
        found: dict[str, AnalyzedModule] = {}
        unknown = []
        for module in bundle.modules:
            if module.is_dependency or module.environment != "isolate":
                continue
            key = module.path, hashes[module.path]
            known = self._known.get(key)
            if known is not None and known.holds(phase, hashes):
                self._known.move_to_end(key)
                found[module.path] = known.found
            else:
                unknown.append(module)

        def work() -> None:
            with self._process.session(bundle) as session:
                for module in unknown:
                    body = session.ask("module", module, {}, "InvalidModules")
                    exports = msgspec.json.decode(body, type=_Exports)
                    found[module.path] = analyzed(module, exports, session.maps)
                    of = {path: hashes[path] for path in exports.modules}
                    key = module.path, hashes[module.path]
                    self._known[key] = _Known(phase, of, found[module.path])

        if unknown:
            await self._in_thread(work)
            while len(self._known) > self._limits.analyzed_modules_kept_max:
                self._known.popitem(last=False)
        found.update(await self._analyze_node(bundle, phase, hashes))
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
        options = {"variables": "refuse"}
        return await self._evaluated(bundle, "schema", schema, options, "InvalidSchema", problems)

    async def evaluate_auth_config(self, bundle: Bundle, auth_config: Module) -> str:
        missing = AnalysisError(
            "auth.config.js has no default export: `export default { providers: [...] }`.",
            code="InvalidAuthConfig",
            module=auth_config.path,
        )
        return await self._evaluated(
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
        hashes = {path: module.sha256 for path, module in definitions.items()}
        key = _digest(hashes, {path: list(of) for path, of in dependencies.items()}, environment)
        if self._definitions is not None and self._definitions[0] == key:
            return self._definitions[1]

        def work() -> dict[str, str]:
            found: dict[str, str] = {}
            for path in _children_first(definitions, dependencies):
                module = definitions[path]
                found[path] = _definition(path, module, found, environment, self._process)
            return found

        found = await self._in_thread(work)
        self._definitions = key, found
        return found

    async def _analyze_node(
        self, bundle: Bundle, phase: bytes, hashes: Mapping[str, str]
    ) -> dict[str, AnalyzedModule]:
        """Modules that begin with "use node" are evaluated where they will run."""
        modules = [m for m in bundle.modules if m.environment == "node" and not m.is_dependency]
        if not modules:
            return {}
        reachable = {m.path for m in bundle.modules if m.environment == "node" or m.is_dependency}
        key = _digest(
            phase.hex(),
            {path: hashes[path] for path in sorted(reachable)},
            [[package.name, package.version] for package in bundle.external_packages],
        )
        if self._node_known is not None and self._node_known[0] == key:
            return self._node_known[1]
        maps = SourceMaps({module.path: module for module in bundle.modules})
        host = ActionHost(bundle, self._limits, Surroundings(self._packages_root))
        await host.start()
        try:
            found = {module.path: await _node_module(module, host, maps) for module in modules}
        finally:
            host.close()
        self._node_known = key, found
        return found

    async def _evaluated(
        self,
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
        # A push asks for the same one twice, and the next push too: nothing else decides it.
        key = _digest(module.sha256, _phase(bundle).hex())
        if (last := self._texts.get(look)) is not None and last[0] == key:
            return last[1]

        def work() -> str:
            alone = msgspec.structs.replace(bundle, modules=(module,))
            with self._process.session(alone) as session:
                body = session.ask(look, module, options, code)
            found = msgspec.json.decode(body, type=_Text)
            if found.problem is not None:
                raise problems[found.problem]
            return found.text

        text = await self._in_thread(work)
        self._texts[look] = key, text
        return text

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        """Run `work`, which may ask the process; some time later, that may end."""
        loop = asyncio.get_running_loop()
        if self._end is not None:
            self._end.cancel()
        idle_s = self._limits.push_idle_s
        self._end = loop.call_later(idle_s, self._thread.submit, self._process.end)
        return await loop.run_in_executor(self._thread, work)


def _phase(bundle: Bundle) -> bytes:
    """What modules meet while they are evaluated, besides each other."""
    return _digest(bundle.import_seed.hex(), bundle.import_time_ms, bundle.environment)


def _digest(*facts: Any) -> bytes:
    return hashlib.sha256(msgspec.json.encode(facts, order="deterministic")).digest()


async def _node_module(module: Module, host: ActionHost, maps: SourceMaps) -> AnalyzedModule:
    lines: list[str] = []

    async def refuse(op: str, args: bytes) -> bytes:
        raise DeveloperError(f"{op} unsupported at import time", code="UnknownOperation")

    request = {"path": module.path, "look": "module", "isNode": True}
    try:
        async with asyncio.timeout(MODULE_S):
            body = await host.run(request, refuse, lambda level, text: lines.append(text))
    except (DeveloperError, TimeoutError) as error:
        reason = getattr(error, "message", f"it did not end within {MODULE_S:g} s")
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
    path: str,
    module: Module,
    known: Mapping[str, str],
    environment: Mapping[str, str],
    process: AnalysisProcess,
) -> str:
    """Evaluate one `convex.config.js`; the definitions that it imports are known already."""
    children = [_imported(child, text) for child, text in known.items()]
    bundle = Bundle((module, *children), dict(environment) if path == "" else {})
    with process.session(bundle) as session:
        body = session.ask("definition", module, {"pure": True}, "InvalidDefinition")
    found = msgspec.json.decode(body, type=_Text)
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

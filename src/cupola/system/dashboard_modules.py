"""What dashboards ask about code (spec: deploy API, section 19)."""

from __future__ import annotations

import inspect
import json
from typing import Any

from cupola.errors import CupolaError
from cupola.functions.app import App
from cupola.functions.bundles import AnalyzedModule, Position
from cupola.functions.context import QueryCtx
from cupola.functions.definitions import Function
from cupola.functions.javascript import InstalledComponent, JavaScriptFunction
from cupola.system.modules import functions_in, http_routes, validators_of, visibility_of
from cupola.system.registry import system_of, system_query
from cupola.system.schedules import cron_spec, own_name
from cupola.values import qualified, split_qualified

_Module = dict[str, Any]


@system_query("frontend/modules:listForAllComponents")
def modules_of_all(ctx: QueryCtx) -> Any:
    app = ctx._call.app
    components = app.javascript.components if app.javascript is not None else ()
    of_components = [[each.path, _modules(app, each.path)] for each in components]
    return [[None, _modules(app, "")], *of_components]


@system_query("frontend/modules:list")
def modules(ctx: QueryCtx, componentId: str | None = None) -> Any:
    return _modules(ctx._call.app, ctx._call.component)


@system_query("frontend/modules:argsValidator")
def arguments_validator(ctx: QueryCtx, function: str, componentId: str | None = None) -> Any:
    try:
        takes, _ = validators_of(ctx._call.app.find(qualified(ctx._call.component, function)))
    except CupolaError:
        return None
    return json.dumps(takes.to_json())


@system_query("frontend/node:version")
def node_version(ctx: QueryCtx) -> Any:
    """What "use node" modules are compatible with; null if there are none, as in the reference."""
    return system_of(ctx).node_version


def _modules(app: App, component: str) -> list[Any]:
    """`[path, {functions, …}]` per module, both languages alike."""
    place = _place(app, component)
    found: dict[str, _Module] = {}

    def module(path: str) -> _Module:
        return found.setdefault(path, {"functions": [], "sourcePackageId": ""})

    for path, function in functions_in(app, component):
        name, _, own = path.rpartition(":")
        line = _line(place.analysis.get(f"{name}.js"), own, function)
        module(f"{name}.js")["functions"].append(
            {
                "name": own,
                "udfType": function.kind.value.capitalize(),
                "visibility": {"kind": visibility_of(function)},
                **_lineno(line),
            }
        )
    lines = _lines_of_routes(place)
    for method, path in http_routes(app, component):
        route = {"udfType": "HttpAction", "visibility": {"kind": "public"}}
        line = lines.get((method, path))
        module("http.js")["functions"].append(
            {"name": f"{method} {path}", **route, **_lineno(line)}
        )
    for cron in app.crons:
        if split_qualified(cron.function)[0] == component:
            stored = cron.to_value()
            spec = cron_spec(cron.function, stored["args"], stored["schedule"])
            name = own_name(cron.name, cron.function)
            module("crons.js").setdefault("cronSpecs", []).append([name, spec])
    return [[path, described] for path, described in found.items()]


def _place(app: App, component: str) -> InstalledComponent:
    """What was pushed as the app, or as a component: nothing, where all is Python."""
    if app.javascript is None:
        return InstalledComponent("", "")
    return app.javascript.component(component)


def _line(analyzed: AnalyzedModule | None, name: str, function: Function[Any, Any]) -> int | None:
    """Where a function begins in its source, from 1."""
    if not isinstance(function, JavaScriptFunction):
        code = getattr(inspect.unwrap(function.handler), "__code__", None)
        return None if code is None else int(code.co_firstlineno)
    for each in analyzed.functions if analyzed is not None else ():
        if each.name == name:
            return _line_of(each.position)
    return None


def _lines_of_routes(place: InstalledComponent) -> dict[tuple[str, str], int | None]:
    mount = (place.mount or "").rstrip("/")
    return {
        (route.method, mount + route.path): _line_of(route.position)
        for module in place.analysis.values()
        for route in module.routes or ()
    }


def _line_of(position: Position | None) -> int | None:
    return None if position is None else position.line


def _lineno(line: int | None) -> dict[str, int]:
    return {} if line is None else {"lineno": line}

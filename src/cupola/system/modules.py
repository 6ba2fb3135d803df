"""What functions and routes an app has, in the forms that tools read."""

from __future__ import annotations

from typing import Any

from cupola.functions.app import App
from cupola.functions.definitions import Function
from cupola.functions.javascript import JavaScriptFunction
from cupola.schema import ANY, Validator
from cupola.schema.components import as_written
from cupola.values import split_qualified


def function_specs(app: App, component: str) -> list[dict[str, Any]]:
    """All functions of both languages by path, then the HTTP routes: `function-spec`. Those of the
    app itself (""), or of a component.
    """
    specs = [_spec(path, function) for path, function in functions_in(app, component)]
    return specs + [
        {"functionType": "HttpAction", "method": method, "path": path}
        for method, path in http_routes(app, component)
    ]


def functions_in(app: App, component: str) -> list[tuple[str, Function[Any, Any]]]:
    """The functions of the app itself, or of a component, with the paths that they have there."""
    return [
        (split_qualified(path)[1], function)
        for path, function in sorted(app.functions.items())
        if function.component == component
    ]


def http_routes(app: App, component: str) -> list[tuple[str, str]]:
    """(method, path) of the HTTP actions of both languages; prefixes end with `*`."""
    return [
        (route.method, route.path)
        for route in app.routes.all
        if split_qualified(route.action.path)[0] == component
    ]


def visibility_of(function: Function[Any, Any]) -> str:
    """As declared: outside, no function of a component is public."""
    is_exported = isinstance(function, JavaScriptFunction) and function.is_exported
    return "public" if is_exported else function.visibility.value


def _spec(path: str, function: Function[Any, Any]) -> dict[str, Any]:
    module, _, name = path.rpartition(":")
    takes, gives = validators_of(function)
    return {
        "identifier": f"{module}.js:{name}",  # of both languages: it is how tools find modules
        "functionType": function.kind.value.capitalize(),
        "visibility": {"kind": visibility_of(function)},
        "args": as_written(takes.to_json()),
        "returns": as_written(gives.to_json()),
    }


def validators_of(function: Function[Any, Any]) -> tuple[Validator, Validator]:
    """Of the arguments and the result; `any` where nothing is declared."""
    if isinstance(function, JavaScriptFunction):
        return function.takes or ANY, function.gives or ANY
    returns = function.returns.validator if function.returns is not None else ANY
    return function.parameters.validator, returns

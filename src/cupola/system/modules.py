"""What functions and routes an app has, in the forms that tools read."""

from __future__ import annotations

from typing import Any

from cupola.functions.app import App
from cupola.functions.definitions import Function
from cupola.functions.javascript import JavaScriptFunction
from cupola.schema import ANY, Validator


def function_specs(app: App) -> list[dict[str, Any]]:
    """All functions of both languages by path, then the HTTP routes: `function-spec`."""
    specs = [_spec(path, function) for path, function in sorted(app.functions.items())]
    return specs + [
        {"functionType": "HttpAction", "method": method, "path": path}
        for method, path in http_routes(app)
    ]


def http_routes(app: App) -> list[tuple[str, str]]:
    """(method, path) of the HTTP actions of both languages; prefixes end with `*`."""
    return [(route.method, route.path) for route in app.routes.all]


def _spec(path: str, function: Function[Any, Any]) -> dict[str, Any]:
    module, _, name = path.rpartition(":")
    takes, gives = validators_of(function)
    return {
        "identifier": f"{module}.js:{name}",  # of both languages: it is how tools find modules
        "functionType": function.kind.value.capitalize(),
        "visibility": {"kind": function.visibility.value},
        "args": takes.to_json(),
        "returns": gives.to_json(),
    }


def validators_of(function: Function[Any, Any]) -> tuple[Validator, Validator]:
    """Of the arguments and the result; `any` where nothing is declared."""
    if isinstance(function, JavaScriptFunction):
        return function.takes or ANY, function.gives or ANY
    returns = function.returns.validator if function.returns is not None else ANY
    return function.parameters.validator, returns

"""Pushed functions as part of an app."""

import pytest

from cupola.errors import DeveloperError, SchemaError
from cupola.functions.app import App
from cupola.functions.bundles import AnalyzedFunction, AnalyzedModule, Bundle, Module
from cupola.functions.definitions import Kind, Visibility
from cupola.functions.javascript import JavaScriptFunction, PushedCode

ARGS = '{"type":"object","value":{"n":{"fieldType":{"type":"number"},"optional":false}}}'


def pushed(*functions: AnalyzedFunction, path: str = "messages.js") -> PushedCode:
    bundle = Bundle((Module(path, "export {}"),))
    return PushedCode(bundle, {path: AnalyzedModule(functions)})


def test_a_pushed_function_is_found_by_its_path_and_checks_its_arguments():
    code = pushed(AnalyzedFunction("list", "query", "internal", ARGS, "null"))

    app = App({}, {}).with_javascript(code)

    function = app.find("messages.js:list")
    assert isinstance(function, JavaScriptFunction)
    assert (function.kind, function.visibility) == (Kind.QUERY, Visibility.INTERNAL)
    function.check_arguments({"n": 1.0})
    with pytest.raises(DeveloperError, match="float64"):
        function.check_arguments({"n": "one"})
    function.check_result("anything: it declares no return type")


def test_a_name_in_both_languages_is_refused():
    """Callers could not tell which they get."""
    first = App({}, {}).with_javascript(
        pushed(AnalyzedFunction("list", "query", "public", None, None))
    )
    in_python = App({"messages:list": _PythonFunction}, {})

    with pytest.raises(SchemaError, match="messages:list"):
        in_python.with_javascript(first.javascript)


def test_another_push_replaces_the_one_before():
    app = App({}, {}, version="abc").with_javascript(
        pushed(AnalyzedFunction("old", "query", "public", None, None))
    )

    again = app.with_javascript(pushed(AnalyzedFunction("new", "query", "public", None, None)))

    assert set(again.functions) == {"messages:new"}
    assert again.version.startswith("abc+")


def test_a_digest_tells_variables_apart():
    module = Module("a.js", "export {}")
    assert Bundle((module,)).digest != Bundle((module,), environment={"A": "1"}).digest


class _Anything:
    path = "messages:list"
    exchanges_api_keys = False

    def compile(self, path, tables):
        pass


_PythonFunction = _Anything()

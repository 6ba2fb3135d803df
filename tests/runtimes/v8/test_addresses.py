"""What functions may call, by name, reference or handle."""

from __future__ import annotations

from typing import Any

import pytest

from cupola.errors import CupolaError
from cupola.functions.app import App
from cupola.functions.bundles import AnalyzedFunction, AnalyzedModule, Bundle, Module
from cupola.functions.handles import FunctionHandles, handle_key
from cupola.functions.javascript import InstalledComponent, PushedCode
from cupola.runtimes.v8.addresses import function_at

FUNCTIONS = AnalyzedModule(
    (
        AnalyzedFunction("run", "mutation", "public", None, None),
        AnalyzedFunction("hidden", "mutation", "internal", None, None),
    )
)
COMPONENTS = tuple(
    InstalledComponent(path, "_components/box/", {"deep/lib.js": FUNCTIONS})
    for path in ("box", "box/inner")
)
APP = App({}, {}).with_javascript(
    PushedCode(Bundle((Module("lib.js", ""),)), {"lib.js": FUNCTIONS}, COMPONENTS)
)
HANDLES = APP.handles = FunctionHandles(handle_key(bytes(32)))

FOUND = {
    "a name": ("", {"name": "lib:run"}, "lib:run"),
    "a name in a component": ("box", {"name": "deep/lib:hidden"}, "box//deep/lib:hidden"),
    "a reference": ("box", {"reference": "_reference/function/deep/lib:run"}, "box//deep/lib:run"),
    "a child": (
        "",
        {"reference": "_reference/childComponent/box/deep/lib/run"},
        "box//deep/lib:run",
    ),
    "a child's child": (
        "box",
        {"reference": "_reference/childComponent/inner/deep/lib/run"},
        "box/inner//deep/lib:run",
    ),
    "a handle of the app": (
        "box",
        {"functionHandle": HANDLES.handle_of("lib:hidden")},
        "lib:hidden",
    ),
    "a handle of a component": (
        "",
        {"functionHandle": HANDLES.handle_of("box/inner//deep/lib:run")},
        "box/inner//deep/lib:run",
    ),
}


@pytest.mark.parametrize(("caller", "named", "path"), FOUND.values(), ids=list(FOUND))
def test_an_address_is_relative_to_who_uses_it(caller: str, named: Any, path: str) -> None:
    function = function_at(APP, named, "runUdf", caller)
    assert function.path == path
    assert function_at(APP, {"functionHandle": HANDLES.handle_of(path)}, "", "x") is function


REFUSED = {
    "the app's, from a component": ("box", {"name": "lib:run"}, "Could not find function"),
    "a component's by its path": ("", {"name": "box//deep/lib:run"}, "`components.name...`"),
    "what a child does not export": (
        "",
        {"reference": "_reference/childComponent/box/deep/lib/hidden"},
        "`components.box.deep.lib.hidden`",
    ),
    "a grandchild": (
        "",
        {"reference": "_reference/childComponent/box/inner/deep/lib/run"},
        "cannot be resolved",
    ),
    "nothing of a child": (
        "",
        {"reference": "_reference/childComponent/box"},
        "cannot be resolved",
    ),
    "another kind": ("", {"reference": "_reference/componentArgument/x"}, "cannot be resolved"),
    "a handle that was made up": ("box", {"functionHandle": "function://;lib:run"}, "no function"),
    "a handle of another deployment": (
        "box",
        {"functionHandle": FunctionHandles(b"x").handle_of("lib:run")},
        "no function handle",
    ),
    "a seal of another function": (
        "box",
        {"functionHandle": HANDLES.handle_of("lib:run").replace("run", "hidden")},
        "no function handle",
    ),
    "no handle": ("", {"functionHandle": "lib:run"}, "no function handle"),
    "nothing": ("", {}, "missing a function name"),
}


@pytest.mark.parametrize(("caller", "named", "words"), REFUSED.values(), ids=list(REFUSED))
def test_what_cannot_be_called_is_refused(caller: str, named: Any, words: str) -> None:
    with pytest.raises(CupolaError) as refused:
        function_at(APP, named, "runUdf", caller)
    assert words in refused.value.message

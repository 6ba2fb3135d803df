"""How functions name functions (spec: function runtime, sections 6.3 and 18).

| form             | example                                  | means                           |
|------------------|------------------------------------------|---------------------------------|
| `name`           | `messages:list`                          | a function of the own component |
| `reference`      | `_reference/function/messages:list`      | the same                        |
| `reference`      | `_reference/childComponent/rates/lib/ok` | `lib:ok`, exported by a child   |
| `functionHandle` | see `functions.handles`                  | any function                    |

A handle is made by whoever may call the function, and gives that right to whoever gets it.
"""

from __future__ import annotations

from typing import Any

from cupola.errors import DeveloperError, FunctionNotFoundError, InvalidPathError
from cupola.functions.app import App
from cupola.functions.definitions import Function
from cupola.functions.javascript import JavaScriptFunction
from cupola.values import qualified, split_qualified

_FUNCTION = "_reference/function/"
_CHILD = "_reference/childComponent/"


def function_at(
    app: App, arguments: dict[str, Any], method: str, component: str
) -> Function[Any, Any]:
    """The function that a syscall of a function in `component` names.

    Raises:
        DeveloperError, FunctionNotFoundError: It names none, or none that it may call.
    """
    match arguments:
        case {"functionHandle": str(handle)}:
            return app.find(app.handles.path_in(handle))
        case {"name": str(name)}:
            return app.find(_own(component, name))
        case {"reference": str(reference)} if reference.startswith(_FUNCTION):
            return app.find(_own(component, reference.removeprefix(_FUNCTION)))
        case {"reference": str(reference)} if reference.startswith(_CHILD):
            return _of_child(app, reference, component)
        case {"reference": str(reference)}:
            raise _unresolved(reference)
    raise DeveloperError(
        f"Invalid arguments for `{method}`: missing a function name, reference or handle.",
        code="BadArguments",
    )


def _own(component: str, name: str) -> str:
    if split_qualified(name)[0]:
        raise InvalidPathError(
            f"{name[:200]!r} names a function of a component; call it by `components.name...`."
        )
    return qualified(component, name)


def _of_child(app: App, reference: str, component: str) -> Function[Any, Any]:
    child, _, rest = reference.removeprefix(_CHILD).partition("/")
    module, _, name = rest.rpartition("/")
    path = f"{component}/{child}" if component else child
    try:
        function = app.find(qualified(path, f"{module}:{name}"))
    except (FunctionNotFoundError, InvalidPathError):
        raise _unresolved(reference) from None
    if not isinstance(function, JavaScriptFunction) or not function.is_exported:
        raise _unresolved(reference)
    return function


def _unresolved(reference: str) -> DeveloperError:
    shown = ".".join(["components", *reference.removeprefix(_CHILD).split("/")])
    return DeveloperError(
        f"`{shown[:200]}` cannot be resolved: is the component used in convex.config.ts under this "
        "name, and does it export this function?",
        code="InvalidReference",
    )

"""Paths to functions, and the identifiers in them and in schemas (spec: values, section 3).

Clients write the same function as `messages:list` or `messages.js:list`, and a default export as
`crons` or `crons:default`. Parse before any look-up, cache key or log line.

What belongs to a component has a *qualified* name everywhere inside: `limiter//lib:check` is a
function, `limiter//buckets` a table of the component at the path `limiter`; `outer/inner//lib:run`
is of a component inside another. A name of the app itself has no `//`, and no other name may have.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from cupola.errors import InvalidPathError, SchemaError
from cupola.limits import Limits
from cupola.values.bounds import follow, in_force

_is_identifier = re.compile(r"(?=_*[A-Za-z0-9])[A-Za-z_][A-Za-z0-9_]*", re.ASCII).fullmatch
_is_component_name = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII).fullmatch
_QUALIFIES = "//"
_is_part = re.compile(r"(?=[_.]*[A-Za-z0-9])[A-Za-z0-9_.]+", re.ASCII).fullmatch


@dataclass(frozen=True, slots=True)
class FunctionPath:
    """A function of a module; its text is `folder/module:function`."""

    module: str
    function: str

    def __str__(self) -> str:
        return f"{self.module}:{self.function}"


@lru_cache(maxsize=4096)
def parse_function_path(text: str) -> FunctionPath:
    """`folder/module:function`, `folder/module.js:function`, or `folder/module` for its default.

    Raises:
        InvalidPathError: The text is no path, whether or not there is such a function.
    """
    module, colon, function = text.rpartition(":")
    if not colon:
        module, function = text, "default"
    module = module.removesuffix(".js")
    if not is_identifier(function):
        raise _refusal(text, f"`{function[:80]}` is no function name")
    *folders, name = module.split("/")
    if "." in name:
        raise _refusal(text, "a module has no extension, or `.js`")
    length_max = in_force().identifier_length_max
    for part in (*folders, name):
        if len(part) > length_max or not _is_part(part):
            raise _refusal(text, f"`{part[:80]}` is no name of a folder or module")
    return FunctionPath(module, function)


@follow
def _use(limits: Limits) -> None:
    parse_function_path.cache_clear()  # another length may be allowed now


def qualified(component: str, name: str) -> str:
    """The name of something in a component; "" is the app itself."""
    return f"{component}{_QUALIFIES}{name}" if component else name


def qualified_table(component: str, name: str) -> str:
    """The same for a table. Those of the system are shared, but for the jobs of components, which
    have a table of their own.
    """
    if component and name == "_scheduled_functions":
        return "_component_scheduled_functions"
    return name if name.startswith("_") else qualified(component, name)


def split_qualified(text: str) -> tuple[str, str]:
    """The component ("": the app itself) and the name in it."""
    component, _, name = text.rpartition(_QUALIFIES)
    return component, name


def is_component_path(text: str) -> bool:
    """Names of components joined by `/`; "" is the app itself."""
    return not text or all(_is_component_name(name) for name in text.split("/"))


def is_identifier(name: str) -> bool:
    """Letters, digits and `_`, in bounds; not starting with a digit, not only underscores."""
    return len(name) <= in_force().identifier_length_max and _is_identifier(name) is not None


def check_identifier(name: str, what: str) -> None:
    """Raise SchemaError unless `name` is an identifier; `what` it names: a "table", a "field"."""
    if not is_identifier(name):
        most = in_force().identifier_length_max
        raise SchemaError(
            f"`{name[:80]}` cannot be the name of a {what}: use 1 to {most} letters, digits "
            "and underscores, not starting with a digit and not only underscores.",
            code="InvalidIdentifier",
        )


def _refusal(text: str, reason: str) -> InvalidPathError:
    return InvalidPathError(
        f"{text[:200]} is not a valid path to a Convex function. {reason}; write "
        "`folder/module:function`."
    )

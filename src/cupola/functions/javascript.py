"""Functions of pushed JavaScript, as the rest of the system sees them: a kind, a visibility and
validators. Their code runs in V8 (`runtimes.v8`), never in this process.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Mapping
from typing import Any

import msgspec

from cupola.errors import SchemaError
from cupola.functions.bundles import AnalyzedFunction, AnalyzedModule, Bundle
from cupola.functions.definitions import Function, Kind, Visibility
from cupola.schema.components import in_component
from cupola.schema.validator_json import validator_from_json
from cupola.schema.validators import Validator
from cupola.values import FunctionPath, parse_function_path, qualified, split_qualified


class InstalledComponent(msgspec.Struct, frozen=True):
    """One component of an app: what a definition becomes where it is used.

    `path`: names joined by `/`, from the app down. `folder`: where its modules are in the bundle,
    ending in `/`. `analysis`: by the modules' own paths. `mount`: the prefix of its HTTP routes.
    """

    path: str
    folder: str
    analysis: Mapping[str, AnalyzedModule] = {}
    mount: str | None = None


_THE_APP = InstalledComponent("", "", mount="/")


class JavaScriptFunction(Function[Any, Any]):
    """A query, mutation or action of a bundle's module."""

    def __init__(
        self,
        module: str,
        analyzed: AnalyzedFunction,
        *,
        is_node: bool = False,
        component: InstalledComponent = _THE_APP,
    ) -> None:
        """`module`: its path, with `.js`. `is_node`: an action that begins with "use node".

        Raises:
            SchemaError: Its validators, as JSON, make no sense.
        """
        self.kind = Kind(analyzed.kind)
        self.component = component.path
        self.is_exported = analyzed.visibility != "internal"
        """Whether whoever uses the component may call it."""
        is_inside = component.path or not self.is_exported
        self.visibility = Visibility.INTERNAL if is_inside else Visibility.PUBLIC
        self.module = component.folder + module
        self.name = analyzed.name
        self.is_node = is_node
        self.returns = None
        own_path = FunctionPath(module.removesuffix(".js"), analyzed.name)
        self.path = qualified(component.path, str(own_path))
        self.takes = _validator(analyzed.args, component.path)
        self.gives = _validator(analyzed.returns, component.path)

    def handler(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"`{self.path}` is JavaScript and cannot be called as Python.")

    def compile(self, path: str, tables: Mapping[str, int]) -> None:
        """Build the checks of arguments and results; `tables` as in `Function.compile`."""
        self.path = path
        self.check_arguments = _check(self.takes, tables)
        self.check_result = _check(self.gives, tables)


def _validator(text: str | None, component: str) -> Validator | None:
    tree = None if text is None else msgspec.json.decode(text)
    return None if tree is None else validator_from_json(in_component(tree, component))


def _check(validator: Validator | None, tables: Mapping[str, int]) -> Any:
    return validator.checker(tables) if validator is not None else lambda value: None


def functions_of(
    bundle: Bundle, analysis: Mapping[str, AnalyzedModule]
) -> dict[str, JavaScriptFunction]:
    """The functions of a bundle, by path.

    Raises:
        InvalidPathError: A module's name is none that a path may have.
        SchemaError: A validator makes no sense.
    """
    found: dict[str, JavaScriptFunction] = {}
    for module in bundle.modules:
        analyzed = analysis.get(module.path)
        for each in analyzed.functions if analyzed is not None else ():
            try:
                function = JavaScriptFunction(
                    module.path, each, is_node=module.environment == "node"
                )
            except SchemaError as error:
                text = f"{module.path}, `{each.name}`: {error.message}"
                raise SchemaError(text, code=error.code) from error
            found[str(parse_function_path(function.path))] = function
    return found


def functions_of_component(
    component: InstalledComponent, node_modules: Container[str]
) -> dict[str, JavaScriptFunction]:
    """The functions of an installed component, by qualified path. `node_modules`: of the whole
    bundle, those that begin with "use node". Raises: as `functions_of`.
    """
    found: dict[str, JavaScriptFunction] = {}
    for path, module in component.analysis.items():
        for each in module.functions:
            is_node = component.folder + path in node_modules
            function = JavaScriptFunction(path, each, component=component, is_node=is_node)
            parse_function_path(split_qualified(function.path)[1])
            found[function.path] = function
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class PushedCode:
    """What a push has made of JavaScript: a bundle and what is in it.

    `http_prefix`: below which the app's own HTTP routes are.
    """

    bundle: Bundle
    analysis: Mapping[str, AnalyzedModule]
    components: tuple[InstalledComponent, ...] = ()
    http_prefix: str = "/"

    def component(self, path: str) -> InstalledComponent:
        """The component at a path, which must be there; the app itself has none."""
        if not path:
            return InstalledComponent("", "", self.analysis, self.http_prefix)
        return next(each for each in self.components if each.path == path)

    def extended(self, bundle: Bundle, place: InstalledComponent) -> PushedCode:
        """The same with another bundle, and another analysis of one component, or of the app."""
        if not place.path:
            return dataclasses.replace(self, bundle=bundle, analysis=place.analysis)
        components = tuple(place if each.path == place.path else each for each in self.components)
        return dataclasses.replace(self, bundle=bundle, components=components)

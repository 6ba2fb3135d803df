"""Components: from definitions that were pushed to what is installed (spec: function runtime 4.7,
deploy API 5, steps 9 to 11).

A definition is code: a folder with a `convex.config.ts`. The app's definition and those of
components use others, each under a name; each use is an instance with data of its own, at the path
of the names from the app down. Nothing here evaluates anything.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from cupola.errors import BadRequestError
from cupola.functions.bundles import AnalyzedFunction, AnalyzedModule, Module
from cupola.functions.javascript import InstalledComponent
from cupola.schema import SchemaDefinition
from cupola.schema.components import schema_in_component
from cupola.values import in_force, is_component_path

FOLDER = "_components/"
SCHEMA = "schema.js"
_NOT_IN_A_FOLDER = re.compile(r"[^A-Za-z0-9_]")
_CHILD = "_reference/childComponent/"

Json = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class DefinedComponent:
    """The code of one component definition. `schema`: what its `schema.js` exported, as JSON text.

    `definition`: what its `convex.config.js` exported, with its exports filled in.
    """

    modules: Mapping[str, Module]
    analysis: Mapping[str, AnalyzedModule]
    schema: str | None
    definition: Json


class Instance(msgspec.Struct, frozen=True):
    """A component in its place. `definition`: the path of its definition; "" is the app's.

    `variables`: what its `process.env` has, but for the system's. `mount`: the prefix of its HTTP
    routes, which begins and ends with `/`; None: they are served nowhere.
    """

    path: str
    definition: str
    variables: dict[str, str]
    mount: str | None
    children: tuple[Instance, ...] = ()

    def all(self) -> Iterator[Instance]:
        """This one, and all those inside it, parents first."""
        yield self
        for child in self.children:
            yield from child.all()


def instances(definitions: Mapping[str, Json], variables: Mapping[str, str]) -> Instance:
    """The tree of components, from the app down. `variables`: those of the deployment.

    Raises:
        BadRequestError (InvalidDefinition): Uses that make no sense.
    """
    own = {name: value for name, value in variables.items() if not _is_of_the_system(name)}
    root = _instance("", "", definitions, own, _prefix_of(definitions[""]), absolute="/")
    count = sum(1 for _ in root.all()) - 1
    if count > (most := in_force().components_max):
        raise _invalid(f"the app uses {count} components; at most {most} are allowed")
    return root


def _instance(
    path: str,
    definition_path: str,
    definitions: Mapping[str, Json],
    variables: dict[str, str],
    mount: str | None,
    absolute: str | None,
) -> Instance:
    """`absolute`: what the mounts inside it are relative to."""
    definition = definitions[definition_path]
    mounts = {
        str(target).removeprefix(_CHILD): prefix
        for prefix, target in (definition.get("httpMounts") or {}).items()
    }
    children: list[Instance] = []
    for use in definition.get("childComponents") or ():
        name, child_path = str(use["name"]), str(use["path"])
        if not is_component_path(name) or "/" in name:
            raise _invalid(f"{name[:80]!r} cannot be the name of a component: letters, digits, _")
        if any(child.path.rpartition("/")[2] == name for child in children):
            raise _invalid(
                f"two components are called `{name}`; give one another: "
                '`app.use(component, { name: "..." })`'
            )
        if child_path not in definitions:
            raise _invalid(f"the definition {child_path!r} of `{name}` was not pushed")
        prefix = mounts.get(name)
        inside = None
        if prefix is not None and absolute is not None:
            inside = absolute.removesuffix("/") + _checked_prefix(name, prefix)
        children.append(
            _instance(
                f"{path}/{name}" if path else name,
                child_path,
                definitions,
                _bound(name, use, definitions[child_path], variables),
                inside,
                inside,
            )
        )
    _refuse_overlaps(children)
    return Instance(path, definition_path, variables, mount, tuple(children))


def _bound(name: str, use: Json, definition: Json, variables: Mapping[str, str]) -> dict[str, str]:
    """The variables of a component: those that it declares, as whoever uses it has bound them."""
    declared = dict(definition.get("envVars") or ())
    bound: dict[str, str] = {}
    given = dict(use.get("env") or ())
    for variable, binding in given.items():
        if variable not in declared:
            raise _invalid(f"`{name}` declares no environment variable {variable}")
        value = binding["value"] if binding["type"] == "value" else variables.get(binding["name"])
        if value is not None:
            bound[variable] = str(value)
    for variable, declaration in declared.items():
        if variable not in given and not declaration.get("optional"):
            raise _invalid(
                f"`{name}` needs the environment variable {variable}: "
                f"`app.use({name}, {{ env: {{ {variable}: ... }} }})`"
            )
    return bound


def _prefix_of(app: Json) -> str:
    """Where the app's own HTTP routes are."""
    kind = app.get("definitionType")
    prefix = app.get("httpPrefix") or (kind.get("httpPrefix") if isinstance(kind, dict) else None)
    return "/" if prefix is None else _checked_prefix("the app", str(prefix))


def _checked_prefix(name: str, prefix: str) -> str:
    if not prefix.startswith("/") or not prefix.endswith("/") or "*" in prefix:
        raise _invalid(
            f"the httpPrefix {prefix!r} of {name} must begin and end with `/`, without *"
        )
    return prefix


def _refuse_overlaps(children: list[Instance]) -> None:
    mounts = sorted((child.mount, child.path) for child in children if child.mount is not None)
    for (mount, path), (other, other_path) in itertools.pairwise(mounts):
        if other.startswith(mount):
            raise _invalid(
                f"the components `{path}` and `{other_path}` are mounted one inside the other, at "
                f"{mount} and {other}"
            )


def _is_of_the_system(name: str) -> bool:
    return name in ("CONVEX_CLOUD_URL", "CONVEX_SITE_URL")


def _invalid(reason: str) -> BadRequestError:
    return BadRequestError(f"convex.config.ts makes no sense: {reason}.", code="InvalidDefinition")


# ------------------------------------------------------------------------------------ what is used


def folders(definitions: Mapping[str, DefinedComponent]) -> dict[str, str]:
    """Where the modules of each definition are in the bundle."""
    found: dict[str, str] = {}
    for path in sorted(definitions):
        name = _NOT_IN_A_FOLDER.sub("_", str(definitions[path].definition.get("name") or path))
        folder, number = f"{FOLDER}{name}/", 1
        while folder in found.values():
            number += 1
            folder = f"{FOLDER}{name}{number}/"
        found[path] = folder
    return found


def modules_of(definitions: Mapping[str, DefinedComponent]) -> list[Module]:
    """All modules of all definitions, as they are in the bundle."""
    return [
        msgspec.structs.replace(module, path=folder + path)
        for definition, folder in folders(definitions).items()
        for path, module in sorted(definitions[definition].modules.items())
        if path != SCHEMA
    ]


def installed(
    root: Instance, definitions: Mapping[str, DefinedComponent]
) -> tuple[InstalledComponent, ...]:
    """What runs, the app itself left out."""
    folder = folders(definitions)
    return tuple(
        InstalledComponent(
            each.path, folder[each.definition], definitions[each.definition].analysis, each.mount
        )
        for each in root.all()
        if each.path
    )


def environments(root: Instance, system: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """What `process.env` answers in each component. `system`: the deployment's variables, of which
    components see those of the system.
    """
    found: dict[str, dict[str, str]] = {}
    for each in root.all():
        if each.path:
            built_in = {name: value for name, value in system.items() if _is_of_the_system(name)}
            if "CONVEX_SITE_URL" in built_in and each.mount is not None:
                built_in["CONVEX_SITE_URL"] += each.mount.removesuffix("/")
            found[each.path] = {**built_in, **each.variables}
    return found


def with_components(
    schema: SchemaDefinition, root: Instance, definitions: Mapping[str, DefinedComponent]
) -> SchemaDefinition:
    """The app's tables, and those of all components under their qualified names.

    Raises:
        SchemaError: A schema that makes no sense.
    """
    tables = dict(schema.checked().tables)
    for each in root.all():
        text = definitions[each.definition].schema if each.path else None
        if text is not None:
            tree = schema_in_component(msgspec.json.decode(text), each.path)
            tables |= SchemaDefinition.from_json(tree).checked().tables
    return SchemaDefinition.of(tables.values(), validate=True)


# ------------------------------------------------------------------------------------ what is shown


def public_functions(
    analysis: Mapping[str, AnalyzedModule],
) -> Iterator[tuple[list[str], AnalyzedFunction]]:
    """Each with the steps of its module's path, without the ending."""
    for path, module in sorted(analysis.items()):
        steps = path.removesuffix(".js").split("/")
        for function in module.functions:
            if function.visibility == "public":
                yield steps, function


def exports_of(analysis: Mapping[str, AnalyzedModule]) -> Json:
    """The public functions of a component as a tree of module folders, modules and names."""
    tree: dict[str, Any] = {}
    for steps, function in public_functions(analysis):
        branch = tree
        for step in steps:
            branch = branch.setdefault(step, {})
        branch[function.name] = f"_reference/function/{'/'.join(steps)}:{function.name}"
    return _branch(tree)


def _branch(tree: Mapping[str, Any]) -> Json:
    return {
        "type": "branch",
        "branch": [
            [name, _branch(node) if isinstance(node, dict) else {"type": "leaf", "leaf": node}]
            for name, node in tree.items()
        ],
    }

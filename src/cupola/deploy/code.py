"""One version of pushed code: what runs, what it was made from, and what was found in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import msgspec

from cupola.auth.providers import provider_of
from cupola.deploy.components import (
    DefinedComponent,
    Instance,
    environments,
    installed,
    instances,
    modules_of,
    with_components,
)
from cupola.deploy.schemas import joined_schema
from cupola.functions.app import App
from cupola.functions.bundles import AnalyzedModule, Bundle, ExternalPackage, Module
from cupola.functions.javascript import PushedCode
from cupola.schema import SchemaDefinition

AUTH_CONFIG = "auth.config.js"


class ComponentFacts(msgspec.Struct, frozen=True):
    """The same for a component definition, whose path is the key."""

    definition: dict[str, Any]
    schema: str | None = None


class PushFacts(msgspec.Struct, frozen=True):
    """What a push says beside its modules. `schema`: what `schema.js` exported, as JSON text.

    `auth`: the providers of `auth.config.js`. `definition`: what `convex.config.js` exported.
    """

    functions: str
    server_version: str | None
    import_seed: bytes
    import_time_ms: int
    schema: str | None = None
    auth: list[dict[str, Any]] = []
    definition: dict[str, Any] = {}
    node_version: str | None = None
    external_packages: list[ExternalPackage] = []
    components: dict[str, ComponentFacts] = {}


@dataclasses.dataclass(frozen=True, slots=True)
class DeployedCode:
    """`modules` and `analysis` by path; `components`: the definitions of components, by path."""

    modules: Mapping[str, Module]
    analysis: Mapping[str, AnalyzedModule]
    facts: PushFacts
    components: Mapping[str, DefinedComponent] = dataclasses.field(default_factory=dict)

    def bundle(self, environment: Mapping[str, str]) -> Bundle:
        """What runs. `environment`: the deployment's variables, those of the system included."""
        bundle = bundle_of(self.modules, self.facts, environment)
        if not self.components:
            return bundle
        return msgspec.structs.replace(
            bundle,
            modules=(*bundle.modules, *modules_of(self.components)),
            environments=environments(self.instances(environment), environment),
        )

    def instances(self, environment: Mapping[str, str]) -> Instance:
        """The app, and the components installed in it.

        Raises:
            BadRequestError (InvalidDefinition): Uses of components that make no sense.
        """
        definitions = {path: each.definition for path, each in self.components.items()}
        return instances({"": self.facts.definition, **definitions}, environment)

    def pushed(self, environment: Mapping[str, str]) -> PushedCode:
        """What the app is made from. Raises: as `instances`."""
        root = self.instances(environment)
        components = installed(root, self.components)
        return PushedCode(self.bundle(environment), self.analysis, components, root.mount or "/")

    @property
    def uses_node(self) -> bool:
        """Whether modules of the app begin with "use node"."""
        return any(module.environment == "node" for module in self.modules.values())

    @property
    def schema(self) -> SchemaDefinition | None:
        text = self.facts.schema
        return SchemaDefinition.from_json(text) if text is not None else None


def bundle_of(
    modules: Mapping[str, Module], facts: PushFacts, environment: Mapping[str, str]
) -> Bundle:
    return Bundle(
        tuple(modules[path] for path in sorted(modules) if path != AUTH_CONFIG),
        dict(environment),
        facts.import_seed,
        facts.import_time_ms,
        external_packages=tuple(facts.external_packages),
    )


def joined(python: App, code: DeployedCode | None, environment: Mapping[str, str]) -> App:
    """One app of both languages.

    Raises:
        SchemaError: They define the same function, or the same table in two ways.
    """
    if code is None:
        return python
    schema = joined_schema(python.schema, code.schema)
    if code.components:
        schema = with_components(schema, code.instances(environment), code.components)
    app = python.with_javascript(code.pushed(environment), schema)
    app.auth_providers = (
        *python.auth_providers,
        *(provider_of(each) for each in code.facts.auth),
    )
    return app

"""One version of pushed code: what runs, what it was made from, and what was found in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import msgspec

from cupola.auth.providers import provider_of
from cupola.deploy.schemas import joined_schema
from cupola.functions.app import App
from cupola.functions.bundles import AnalyzedModule, Bundle, ExternalPackage, Module
from cupola.functions.javascript import PushedCode
from cupola.schema import SchemaDefinition

AUTH_CONFIG = "auth.config.js"


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


@dataclasses.dataclass(frozen=True, slots=True)
class DeployedCode:
    """`modules` and `analysis` by path."""

    modules: Mapping[str, Module]
    analysis: Mapping[str, AnalyzedModule]
    facts: PushFacts

    def bundle(self, environment: Mapping[str, str]) -> Bundle:
        """What runs. `environment`: the deployment's variables, those of the system included."""
        return bundle_of(self.modules, self.facts, environment)

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
    pushed = PushedCode(code.bundle(environment), code.analysis)
    app = python.with_javascript(pushed, joined_schema(python.schema, code.schema))
    app.auth_providers = (
        *python.auth_providers,
        *(provider_of(each) for each in code.facts.auth),
    )
    return app

"""From a push to code that could run: reassemble, analyse, check (spec: deploy API, section 5).

Nothing here changes anything; all JavaScript is evaluated by an `Analyzer`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from cupola.clock import Clock
from cupola.deploy.auth_config import providers_of
from cupola.deploy.code import (
    AUTH_CONFIG,
    ComponentFacts,
    DeployedCode,
    PushFacts,
    bundle_of,
)
from cupola.deploy.components import SCHEMA, DefinedComponent, exports_of
from cupola.deploy.requests import MODULES_MAX, StartPush
from cupola.errors import BadRequestError, InvalidPathError
from cupola.functions.bundles import AnalyzedModule, Analyzer, Module
from cupola.schema import SchemaDefinition
from cupola.values import parse_function_path

_SYNTHETIC_DEFINITION: dict[str, Any] = {
    "path": "",
    "definitionType": {"type": "app"},
    "childComponents": [],
    "httpMounts": {},
    "exports": {"type": "branch", "branch": []},
}


async def evaluated(
    push: StartPush,
    before: DeployedCode | None,
    environment: Mapping[str, str],
    analyzer: Analyzer,
    clock: Clock,
) -> DeployedCode:
    """What a push amounts to.

    Raises:
        CupolaError: Something in it cannot be; nothing was changed.
    """
    app = push.app_definition
    modules = _modules(push, before.modules if before is not None else {})
    facts = _facts(push, before, clock)
    bundle = bundle_of(modules, facts, environment)
    analysis = await analyzer.analyze(bundle)
    schema = auth = None
    if app.schema is not None:
        schema = await analyzer.evaluate_schema(bundle, app.schema.module())
    if AUTH_CONFIG in modules:
        analysis = {**analysis, AUTH_CONFIG: AnalyzedModule()}
        auth = await analyzer.evaluate_auth_config(bundle, modules[AUTH_CONFIG])
    definitions = await _definitions(push, environment, analyzer)
    components = await _components(push, definitions, facts, before, analyzer)
    facts = PushFacts(
        functions=facts.functions,
        server_version=facts.server_version,
        import_seed=facts.import_seed,
        import_time_ms=facts.import_time_ms,
        schema=schema,
        auth=providers_of(auth) if auth is not None else [],
        definition=definitions[""],
        node_version=facts.node_version,
        external_packages=facts.external_packages,
        components={
            path: ComponentFacts(each.definition, each.schema) for path, each in components.items()
        },
    )
    code = DeployedCode(modules, analysis, facts, components)
    _ = code.schema  # it must make sense
    return code


async def _definitions(
    push: StartPush, environment: Mapping[str, str], analyzer: Analyzer
) -> dict[str, dict[str, Any]]:
    """What each `convex.config.js` exports, by definition path."""
    app = push.app_definition
    if app.definition is None:
        if push.component_definitions:
            raise BadRequestError("Components come without an app.", code="InvalidDefinition")
        return {"": _SYNTHETIC_DEFINITION}
    configs = {each.definition_path: each for each in push.component_definitions}
    found = await analyzer.evaluate_definitions(
        {
            "": app.definition.module(),
            **{p: each.definition.module() for p, each in configs.items()},
        },
        {"": app.dependencies, **{path: each.dependencies for path, each in configs.items()}},
        environment,
    )
    return {path: json.loads(text) for path, text in found.items()}


async def _components(
    push: StartPush,
    definitions: Mapping[str, dict[str, Any]],
    facts: PushFacts,
    before: DeployedCode | None,
    analyzer: Analyzer,
) -> dict[str, DefinedComponent]:
    """The code of each component definition. One that has not changed is not analysed again."""
    known = before.components if before is not None else {}
    is_same_phase = before is not None and before.facts.import_seed == facts.import_seed
    found: dict[str, DefinedComponent] = {}
    for sent in push.component_definitions:
        path = sent.definition_path
        modules: dict[str, Module] = {}
        for module in (each.module() for each in sent.functions):
            _add(modules, module)
        schema = sent.schema.module() if sent.schema is not None else None
        if schema is not None:
            modules[SCHEMA] = schema
        old = known.get(path)
        if old is not None and is_same_phase and old.modules == modules:
            analysis, schema_text = old.analysis, old.schema
        else:
            bundle = bundle_of({p: m for p, m in modules.items() if p != SCHEMA}, facts, {})
            analysis = await analyzer.analyze(bundle)
            schema_text = (
                await analyzer.evaluate_schema(bundle, schema) if schema is not None else None
            )
        definition = {**definitions[path], "exports": exports_of(analysis)}
        found[path] = DefinedComponent(modules, analysis, schema_text, definition)
    return found


async def evaluated_schema(
    push: StartPush,
    before: DeployedCode | None,
    environment: Mapping[str, str],
    analyzer: Analyzer,
    clock: Clock,
) -> SchemaDefinition | None:
    """The schema of a push alone; None if it has none."""
    sent = push.app_definition.schema
    if sent is None:
        return None
    bundle = bundle_of({}, _facts(push, before, clock), environment)
    return SchemaDefinition.from_json(await analyzer.evaluate_schema(bundle, sent.module()))


def _facts(push: StartPush, before: DeployedCode | None, clock: Clock) -> PushFacts:
    """Seed and time of the import phase stay from push to push, until the package changes."""
    version = push.app_definition.udf_server_version
    old = before.facts if before is not None else None
    is_same = old is not None and old.server_version == version
    return PushFacts(
        functions=push.functions,
        server_version=version,
        import_seed=old.import_seed if old is not None and is_same else clock.random_bytes(32),
        import_time_ms=(
            old.import_time_ms if old is not None and is_same else clock.now_ns() // 1_000_000
        ),
        node_version=push.node_version,
        external_packages=push.node_dependencies,
    )


def _modules(push: StartPush, before: Mapping[str, Module]) -> dict[str, Module]:
    """All modules of the app by path: those that were sent, and those that did not change.

    Raises:
        BadRequestError: A path that cannot be, or a module the deployment does not have (any more).
    """
    app = push.app_definition
    modules: dict[str, Module] = {}
    for module in (sent.module() for sent in app.changed):
        _add(modules, module)
    for unchanged in app.unchanged_module_hashes:
        known = before.get(unchanged.path)
        if known is None:
            raise _race(f"{unchanged.path} is not there", code="MissingExistingModule")
        if known.sha256 != unchanged.sha256 or known.environment != unchanged.environment:
            raise _race(f"{unchanged.path} is another one", code="ExistingModuleHashConflict")
        _add(modules, known)
    if len(modules) > MODULES_MAX:
        raise BadRequestError(
            f"The push has {len(modules)} modules; at most {MODULES_MAX} are allowed.",
            code="TooManyModules",
        )
    return modules


def _race(what: str, *, code: str) -> BadRequestError:
    return BadRequestError(
        f"The deployment's code was changed by another push meanwhile ({what}); push again.",
        code=code,
    )


def _add(modules: dict[str, Module], module: Module) -> None:
    path = module.path
    if path in modules:
        raise BadRequestError(f"The module {path} was sent twice.", code="InvalidModules")
    if path.startswith("_system/") or not path.endswith(".js"):
        raise BadRequestError(
            f"{path[:200]} cannot be a module's path: it ends in `.js`, and `_system/` is kept for "
            "the system.",
            code="BadConvexModuleIdentifier",
        )
    if path != AUTH_CONFIG:
        try:
            parse_function_path(path.removesuffix(".js"))
        except InvalidPathError as error:
            raise BadRequestError(error.message, code="BadConvexModuleIdentifier") from None
    modules[path] = module


def missing_variables(definition: Mapping[str, Any], environment: Mapping[str, str]) -> list[str]:
    """Variables that the app's definition requires and that nobody has set."""
    declared: Iterable[tuple[str, Mapping[str, Any]]] = definition.get("envVars") or ()
    return [
        name
        for name, declaration in declared
        if not declaration.get("optional") and name not in environment
    ]

"""From a push to code that could run: reassemble, analyse, check (spec: deploy API, section 5).

Nothing here changes anything; all JavaScript is evaluated by an `Analyzer`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from cupola.clock import Clock
from cupola.deploy.auth_config import providers_of
from cupola.deploy.code import AUTH_CONFIG, DeployedCode, PushFacts, bundle_of
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
    _refuse_unsupported(push)
    app = push.app_definition
    modules = _modules(push, before.modules if before is not None else {})
    facts = _facts(push, before, clock)
    bundle = bundle_of(modules, facts, environment)
    analysis = await analyzer.analyze(bundle)
    schema = auth = None
    definition = _SYNTHETIC_DEFINITION
    if app.schema is not None:
        schema = await analyzer.evaluate_schema(bundle, app.schema.module())
    if AUTH_CONFIG in modules:
        analysis = {**analysis, AUTH_CONFIG: AnalyzedModule()}
        auth = await analyzer.evaluate_auth_config(bundle, modules[AUTH_CONFIG])
    if app.definition is not None:
        found = await analyzer.evaluate_definitions(
            {"": app.definition.module()}, {"": app.dependencies}, environment
        )
        definition = json.loads(found[""])
    facts = PushFacts(
        functions=facts.functions,
        server_version=facts.server_version,
        import_seed=facts.import_seed,
        import_time_ms=facts.import_time_ms,
        schema=schema,
        auth=providers_of(auth) if auth is not None else [],
        definition=definition,
        node_version=facts.node_version,
        external_packages=facts.external_packages,
    )
    code = DeployedCode(modules, analysis, facts)
    _ = code.schema  # it must make sense
    return code


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


def _refuse_unsupported(push: StartPush) -> None:
    if push.component_definitions or push.app_definition.dependencies:
        paths = [each.definition_path for each in push.component_definitions]
        raise BadRequestError(
            "Components are not supported by this version of Cupola yet; remove "
            f"{', '.join(paths) or 'them'} from convex.config.ts.",
            code="ComponentsNotSupported",
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

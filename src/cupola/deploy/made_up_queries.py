"""Queries that are made up on the spot: `run --inline-query`, and the box of dashboards."""

from __future__ import annotations

from pathlib import Path

import msgspec

from cupola.auth import Identity
from cupola.backend import Backend, CallResult
from cupola.deploy.code import DeployedCode
from cupola.errors import BadRequestError
from cupola.functions.bundles import AnalyzedModule, Analyzer, Bundle, Module
from cupola.functions.javascript import InstalledComponent, PushedCode
from cupola.values import qualified

_WRAPPERS = Module(
    "_system/repl/wrappers.js", (Path(__file__).parent / "repl_wrappers.js").read_text()
)


class SentQuery(msgspec.Struct, frozen=True):
    path: str
    source: str


class MadeUpQuery(msgspec.Struct, frozen=True, rename="camel"):
    """`bundle` exports nothing but a query, as `default`."""

    bundle: SentQuery
    admin_key: str | None = None
    format: str | None = None
    component_id: str | None = None


async def run_made_up_query(
    backend: Backend,
    analyzer: Analyzer,
    code: DeployedCode | None,
    environment: dict[str, str],
    sent: MadeUpQuery,
    identity: Identity,
) -> CallResult:
    """Run a query that was sent as a module, beside the functions that are deployed.

    Raises:
        BadRequestError: It is no query, or this deployment cannot run one.
        AnalysisError: It cannot be evaluated.
    """
    if backend.data_path is None:
        raise BadRequestError(
            "This deployment keeps its data in memory; a made-up query needs a data file.",
            code="UnsupportedTestQuery",
        )
    module = Module(sent.bundle.path, sent.bundle.source)
    pushed = code.pushed(environment) if code is not None else _nothing(environment)
    place = _place(pushed, sent.component_id or "")
    own_path, module = module.path, msgspec.structs.replace(module, path=place.folder + module.path)
    if pushed.bundle.module(module.path) is not None or not module.path.endswith(".js"):
        raise BadRequestError(
            f"`{own_path[:80]}` cannot be the path of a made-up query.", code="InvalidTestQuery"
        )
    alone = msgspec.structs.replace(pushed.bundle, modules=(module, _WRAPPERS))
    found = (await analyzer.analyze(alone)).get(module.path, AnalyzedModule())
    if [(f.name, f.kind) for f in found.functions] != [("default", "query")]:
        raise BadRequestError(
            "The module must export one query, as `default`, and nothing else.",
            code="InvalidTestQuery",
        )
    place = msgspec.structs.replace(place, analysis={**place.analysis, own_path: found})
    modules = (*pushed.bundle.modules, module, _WRAPPERS)
    bundle = msgspec.structs.replace(pushed.bundle, modules=modules)
    path = qualified(place.path, own_path.removesuffix(".js") + ":default")
    return await backend.run_one_off(pushed.extended(bundle, place), path, identity)


def _nothing(environment: dict[str, str]) -> PushedCode:
    return PushedCode(Bundle((), environment), {})


def _place(pushed: PushedCode, component: str) -> InstalledComponent:
    """The app, or the component with this id."""
    if component and all(each.path != component for each in pushed.components):
        raise BadRequestError(
            f"There is no component {component[:80]!r}.", code="ComponentNotFound"
        )
    return pushed.component(component)

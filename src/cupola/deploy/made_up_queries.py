"""Queries that are made up on the spot: `run --inline-query`, and the box of dashboards."""

from __future__ import annotations

from pathlib import Path

import msgspec

from cupola.auth import Identity
from cupola.backend import Backend, CallResult
from cupola.deploy.code import DeployedCode
from cupola.errors import BadRequestError
from cupola.functions.bundles import AnalyzedModule, Analyzer, Bundle, Module
from cupola.functions.javascript import PushedCode

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
    deployed = code.bundle(environment) if code is not None else Bundle((), environment)
    if deployed.module(module.path) is not None or not module.path.endswith(".js"):
        raise BadRequestError(
            f"`{module.path[:80]}` cannot be the path of a made-up query.",
            code="InvalidTestQuery",
        )
    alone = msgspec.structs.replace(deployed, modules=(module, _WRAPPERS))
    found = (await analyzer.analyze(alone)).get(module.path, AnalyzedModule())
    if [(f.name, f.kind) for f in found.functions] != [("default", "query")]:
        raise BadRequestError(
            "The module must export one query, as `default`, and nothing else.",
            code="InvalidTestQuery",
        )
    together = msgspec.structs.replace(deployed, modules=(*deployed.modules, module, _WRAPPERS))
    analysis = {**(code.analysis if code is not None else {}), module.path: found}
    path = module.path.removesuffix(".js") + ":default"
    return await backend.run_one_off(PushedCode(together, analysis), path, identity)

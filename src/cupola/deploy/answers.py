"""What the command line is told about a push (spec: deploy API, sections 4.5 and 4.7)."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from cupola.deploy.code import AUTH_CONFIG, DeployedCode
from cupola.functions.bundles import AnalyzedFunction, AnalyzedModule, CronJob, Position

Json = dict[str, Any]


def module_hashes(code: DeployedCode | None) -> Json:
    """What is deployed, for `get_config_hashes`."""
    modules = code.modules if code is not None else {}
    node_version = code.facts.node_version if code is not None else None
    return {
        "config": {"functions": code.facts.functions if code is not None else "convex/"},
        "moduleHashes": [
            {"path": path, "hash": module.sha256, "environment": module.environment}
            for path, module in sorted(modules.items())
        ],
        "udfServerVersion": code.facts.server_version if code is not None else None,
        **({"nodeVersion": node_version} if node_version is not None else {}),
    }


def push_started(
    push_id: str, code: DeployedCode, environment: Mapping[str, str], index_diff: Json
) -> Json:
    """The answer to `start_push`. The command line echoes it, `cupolaPushId` included."""
    has_schema = code.facts.schema is not None
    return {
        "cupolaPushId": push_id,
        "environmentVariables": dict(environment),
        "externalDepsId": None,
        "componentDefinitionPackages": {"": {}},
        "appAuth": code.facts.auth,
        "analysis": {"": _definition(code)},
        "app": _app(code),
        "schemaChange": {
            "cupolaPushId": push_id,
            "allocatedComponentIds": {},
            "schemaIds": {"": push_id if has_schema else None},
            "indexDiffs": {"": index_diff},
        },
    }


def push_finished(
    before: DeployedCode | None, after: DeployedCode, index_diff: Json, *, schema: list[str | None]
) -> Json:
    """The answer to `finish_push`: what has changed. `schema`: JSON texts before and after."""
    old_auth = before.facts.auth if before is not None else []
    old_version = before.facts.server_version if before is not None else None
    version = after.facts.server_version
    old_paths = set(before.modules) if before is not None else set()
    previous, following = schema
    component = {
        "diffType": {"type": "create" if before is None else "modify"},
        "moduleDiff": {
            "added": sorted(set(after.modules) - old_paths),
            "removed": sorted(old_paths - set(after.modules)),
        },
        "udfConfigDiff": (
            {"previous_version": old_version, "next_version": version}
            if before is not None and old_version != version
            else None
        ),
        "cronDiff": _cron_diff(before, after),
        "indexDiff": index_diff,
        "schemaDiff": (
            {"previous_schema": previous, "next_schema": following}
            if previous != following
            else None
        ),
    }
    return {
        "authDiff": {
            "added": [json.dumps(each) for each in after.facts.auth if each not in old_auth],
            "removed": [json.dumps(each) for each in old_auth if each not in after.facts.auth],
        },
        "definitionDiffs": {"": {}},
        "componentDiffs": {"": component},
    }


def nothing_finished() -> Json:
    """The answer to a `finish_push` that is a dry run."""
    return {"authDiff": {"added": [], "removed": []}, "definitionDiffs": {}, "componentDiffs": {}}


def _definition(code: DeployedCode) -> Json:
    facts = code.facts
    return {
        "definition": facts.definition,
        "schema": json.loads(facts.schema) if facts.schema is not None else None,
        "functions": {
            path: _analyzed(module)
            for path, module in sorted(code.analysis.items())
            if path != AUTH_CONFIG
        },
        "udfConfig": {
            "serverVersion": facts.server_version or "",
            "importPhaseRngSeed": {"$bytes": base64.b64encode(facts.import_seed).decode()},
            "importPhaseUnixTimestamp": {"$integer": _int64(facts.import_time_ms * 1_000_000)},
        },
    }


def _app(code: DeployedCode) -> Json:
    router = code.analysis.get("http.js")
    routes = router.routes if router is not None else None
    return {
        "definitionPath": "",
        "componentPath": "",
        "args": {},
        "childComponents": {},
        "httpRoutes": {
            "httpModuleRoutes": (
                [{"method": route.method, "path": route.path} for route in routes]
                if routes is not None
                else None
            ),
            "mounts": [],
        },
        "exports": {},
    }


def _analyzed(module: AnalyzedModule) -> Json:
    return {
        "functions": [_function(function) for function in module.functions],
        "httpRoutes": (
            [
                {
                    "route": {"path": route.path, "method": route.method},
                    "pos": _position(route.position),
                }
                for route in module.routes
            ]
            if module.routes is not None
            else None
        ),
        "cronSpecs": (
            [[cron.identifier, _cron_spec(cron)] for cron in module.crons]
            if module.crons is not None
            else None
        ),
        "sourceMapped": {"sourceIndex": module.source_index},
    }


def _cron_spec(cron: CronJob) -> Json:
    return {
        "udfPath": cron.function,
        "udfArgs": json.loads(cron.args),
        "cronSchedule": cron.schedule,
    }


def _crons(code: DeployedCode | None) -> dict[str, CronJob]:
    modules = code.analysis.values() if code is not None else ()
    return {cron.identifier: cron for module in modules for cron in module.crons or ()}


def _cron_diff(before: DeployedCode | None, after: DeployedCode) -> Json:
    old, new = _crons(before), _crons(after)
    return {
        "added": sorted(new.keys() - old.keys()),
        "updated": sorted(name for name in new.keys() & old.keys() if new[name] != old[name]),
        "deleted": sorted(old.keys() - new.keys()),
    }


def _function(function: AnalyzedFunction) -> Json:
    visibility = function.visibility
    return {
        "name": function.name,
        "pos": _position(function.position),
        "udfType": function.kind.capitalize(),
        "visibility": {"kind": visibility} if visibility is not None else None,
        "args": function.args,
        "returns": function.returns,
    }


def _position(position: Position | None) -> Json | None:
    if position is None:
        return None
    return {
        "path": position.path,
        "start_lineno": position.line,
        "start_col": position.column,
    }


def _int64(number: int) -> str:
    return base64.b64encode(number.to_bytes(8, "little", signed=True)).decode()

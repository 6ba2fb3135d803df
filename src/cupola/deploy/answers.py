"""What the command line is told about a push (spec: deploy API, sections 4.5 and 4.7)."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Mapping
from typing import Any

from cupola.deploy.code import AUTH_CONFIG, DeployedCode, PushFacts
from cupola.deploy.components import DefinedComponent, Instance, public_functions
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
    push_id: str,
    before: DeployedCode | None,
    code: DeployedCode,
    environment: Mapping[str, str],
    index_diffs: Json,
) -> Json:
    """The answer to `start_push`. The command line echoes it, `cupolaPushId` included.

    A component is identified by its path.
    """
    root = code.instances(environment)
    known = _instances(before)
    schemas = {path: each.schema for path, each in code.components.items()}
    schemas[""] = code.facts.schema
    return {
        "cupolaPushId": push_id,
        "environmentVariables": dict(environment),
        "externalDepsId": None,
        "componentDefinitionPackages": {path: {} for path in ("", *code.components)},
        "appAuth": code.facts.auth,
        "analysis": {
            "": _evaluated(code.facts, code.facts, code.analysis),
            **{
                path: _evaluated(code.facts, each, each.analysis)
                for path, each in code.components.items()
            },
        },
        "app": _installed(code, root),
        "schemaChange": {
            "cupolaPushId": push_id,
            "allocatedComponentIds": {
                each.path: each.path for each in root.all() if each.path and each.path not in known
            },
            "schemaIds": {
                each.path: push_id if schemas[each.definition] is not None else None
                for each in root.all()
            },
            "indexDiffs": index_diffs,
        },
    }


def push_finished(
    before: DeployedCode | None,
    after: DeployedCode,
    index_diffs: Json,
    *,
    schema: list[str | None],
    had_tables: Collection[str] = (),
) -> Json:
    """The answer to `finish_push`: what has changed. `schema`: JSON texts before and after.
    `had_tables`: the components that had tables before, also those that were in use no more.
    """
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
        "indexDiff": index_diffs[""],
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
        "definitionDiffs": {path: {} for path in ("", *after.components)},
        "componentDiffs": {
            "": component,
            **_component_diffs(before, after, index_diffs, had_tables),
        },
    }


def _instances(code: DeployedCode | None) -> dict[str, str]:
    """The definition of each installed component, by path."""
    root = code.instances({}) if code is not None else None
    return {each.path: each.definition for each in root.all() if each.path} if root else {}


def _component_diffs(
    before: DeployedCode | None,
    after: DeployedCode,
    index_diffs: Json,
    had_tables: Collection[str],
) -> Json:
    old, new = _instances(before), _instances(after)

    def modules(code: DeployedCode | None, definition: str | None) -> set[str]:
        return set(code.components[definition].modules) if code and definition else set()

    diffs = {}
    for path in sorted(old.keys() | new.keys()):
        was, will_be = modules(before, old.get(path)), modules(after, new.get(path))
        if path in old:
            kind = "modify" if path in new else "unmount"
        else:
            kind = "remount" if path in had_tables else "create"
        diffs[path] = {
            "diffType": {"type": kind},
            "moduleDiff": {"added": sorted(will_be - was), "removed": sorted(was - will_be)},
            "udfConfigDiff": None,
            "cronDiff": {"added": [], "updated": [], "deleted": []},
            "indexDiff": index_diffs.get(path, {"added_indexes": [], "removed_indexes": []}),
            "schemaDiff": None,
        }
    return diffs


def nothing_finished() -> Json:
    """The answer to a `finish_push` that is a dry run."""
    return {"authDiff": {"added": [], "removed": []}, "definitionDiffs": {}, "componentDiffs": {}}


def _evaluated(
    facts: PushFacts,
    definition: PushFacts | DefinedComponent,
    analysis: Mapping[str, AnalyzedModule],
) -> Json:
    return {
        "definition": definition.definition,
        "schema": json.loads(definition.schema) if definition.schema is not None else None,
        "functions": {
            path: _analyzed(module)
            for path, module in sorted(analysis.items())
            if path != AUTH_CONFIG
        },
        "udfConfig": {
            "serverVersion": facts.server_version or "",
            "importPhaseRngSeed": {"$bytes": base64.b64encode(facts.import_seed).decode()},
            "importPhaseUnixTimestamp": {"$integer": _int64(facts.import_time_ms * 1_000_000)},
        },
    }


def _installed(code: DeployedCode, instance: Instance) -> Json:
    """The tree of components, each with what it offers."""
    is_app = instance.definition == ""
    analysis = code.analysis if is_app else code.components[instance.definition].analysis
    router = analysis.get("http.js")
    routes = router.routes if router is not None else None
    return {
        "definitionPath": instance.definition,
        "componentPath": instance.path,
        "args": {},
        "childComponents": {
            each.path.rpartition("/")[2]: _installed(code, each) for each in instance.children
        },
        "httpRoutes": {
            "httpModuleRoutes": (
                [{"method": route.method, "path": route.path} for route in routes]
                if routes is not None
                else None
            ),
            "mounts": [each.mount for each in instance.children if each.mount is not None],
        },
        "exports": {} if is_app else _exported(instance.path, analysis),
        **({"httpPrefix": instance.mount} if instance.mount not in (None, "/") else {}),
    }


def _exported(component: str, analysis: Mapping[str, AnalyzedModule]) -> Json:
    """What a component offers, as a tree of branches by name."""
    tree: Json = {}
    for steps, function in public_functions(analysis):
        branch = tree
        for step in steps:
            branch = branch.setdefault(step, {"type": "branch", "children": {}})["children"]
        path = {"component": component, "udfPath": f"{'/'.join(steps)}:{function.name}"}
        leaf = {"type": "function", "path": path}
        branch[function.name] = {"type": "leaf", "resource": leaf}
    return tree


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

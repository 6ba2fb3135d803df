"""What the history of a deployment says of pushes and imports (spec: deploy API, section 19)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from cupola.database.catalog import Document
from cupola.deploy.answers import Json
from cupola.deploy.code import DeployedCode
from cupola.deploy.import_plans import Plan
from cupola.system.events import Metadata
from cupola.values import Int64, split_qualified

_MESSAGE_MAX: Final = 1000


def push_finished_event(
    finished: Json, before: DeployedCode | None, after: DeployedCode, message: str | None
) -> Metadata:
    """From the answer to `finish_push`. `message`: what whoever pushed says of it."""
    diffs = finished["componentDiffs"].items()
    metadata: Metadata = {
        "auth_diff": finished["authDiff"],
        "component_diffs": [component_diff(path, diff) for path, diff in diffs],
    }
    if message:
        metadata["message"] = message[:_MESSAGE_MAX]
    versions = [None if code is None else code.facts.node_version for code in (before, after)]
    if versions[0] != versions[1]:
        metadata["node_version_diff"] = {
            "previous_version": versions[0],
            "next_version": versions[1],
        }
    return metadata


def component_diff(path: str, diff: Json) -> Json:
    """What has changed in a component; "": in the app."""
    return {"component_path": path or None, "component_diff": diff}


def import_completed(plan: Plan, fields: Document) -> Metadata:
    """From what an import was to do, and the document that tells of it."""
    imported = [table.name for table in plan.tables if table.file is not None]
    deleted = [table.name for table in plan.tables if table.file is None and table.delete]
    return {
        "table_names": _by_component(imported),
        "table_count": Int64(len(imported)),
        "import_mode": fields["mode"],
        "import_format": fields["format"],
        "requestor": fields["requestor"],
        "table_names_deleted": _by_component(deleted),
        "table_count_deleted": Int64(len(deleted)),
    }


def _by_component(names: Iterable[str]) -> list[dict[str, Any]]:
    found: dict[str, list[str]] = {}
    for name in names:
        component, own_name = split_qualified(name)
        found.setdefault(component, []).append(own_name)
    return [
        {"component": component or None, "table_names": own_names}
        for component, own_names in sorted(found.items())
    ]

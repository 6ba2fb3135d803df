"""What changes a deployment's own facts, as transactions: `_system/deployment/…`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from cupola.database.catalog import DEPLOYMENT, ENVIRONMENT, EXPORTS, IMPORTS, Document
from cupola.errors import BadRequestError
from cupola.functions.context import MutationCtx
from cupola.system.events import note_in, of_component
from cupola.system.reading import documents, engine
from cupola.system.registry import PREFIX, system_mutation

UPDATE_ENVIRONMENT: Final = PREFIX + "deployment/environment:update"
PUT_EXPORT: Final = PREFIX + "deployment/exports:put"
PUT_IMPORT: Final = PREFIX + "deployment/imports:put"
FORGET_IMPORT: Final = PREFIX + "deployment/imports:forget"
FORGET_EXPORT: Final = PREFIX + "deployment/exports:forget"
CHANGE_STATE: Final = PREFIX + "deployment/state:change"
STATE: Final = "state"
"""The name of whether the app's functions run, in the table of the deployment."""
PAUSED: Final = "paused"
PUSH_FACTS: Final = "push"
"""The name of what the newest push says beside its modules, in the table of the deployment."""
BUILT_IN_VARIABLES: Final = ("CONVEX_CLOUD_URL", "CONVEX_SITE_URL")

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAME_LENGTH_MAX = 256
_VALUE_BYTES_MAX = 8192
_VARIABLES_MAX = 512
_TOTAL_BYTES_MAX = 512 * 1024


@system_mutation("deployment/environment:update")
def update_environment(
    ctx: MutationCtx, changes: list[dict[str, Any]], push: str | None = None
) -> None:
    """Set variables, or remove those whose value is null. `push`: the facts of the newest push,
    where some of them follow from variables.
    """
    known = {str(document["name"]): document for document in documents(ctx, ENVIRONMENT)}
    with engine(ctx) as transaction:
        for name, value in checked_changes(changes).items():
            document = known.get(name)
            old_id = str(document["_id"]) if document is not None else None
            if value is not None:
                transaction.put_system(ENVIRONMENT, old_id, {"name": name, "value": value})
            elif old_id is not None:
                transaction.put_system(ENVIRONMENT, old_id, None)
            old_value = document["value"] if document is not None else None
            if value != old_value:
                action = "create" if old_value is None else "update"
                action = "delete" if value is None else action
                note_in(ctx, f"{action}_environment_variable", variable_name=name)
        for document in documents(ctx, DEPLOYMENT) if push is not None else []:
            if document["name"] == PUSH_FACTS and document["value"] != push:
                fields: Document = {"name": PUSH_FACTS, "value": push}
                transaction.put_system(DEPLOYMENT, str(document["_id"]), fields)


@system_mutation("deployment/exports:put")
def put_export(ctx: MutationCtx, id: str | None, fields: dict[str, Any]) -> str:
    """Note a new export, or how far one is. Returns its id."""
    with engine(ctx) as transaction:
        export_id = transaction.put_system(EXPORTS, id, fields)
    if fields["state"] == "requested":
        format_, requestor = fields["format"]["format"], fields["requestor"]
        asked = {"id": export_id, "format": format_, "requestor": requestor}
        note_in(ctx, "request_export", **of_component(fields["component"] or ""), **asked)
    return export_id


@system_mutation("deployment/imports:put")
def put_import(
    ctx: MutationCtx,
    id: str | None,
    fields: dict[str, Any],
    completed: dict[str, Any] | None = None,
) -> str:
    """The same for an import. `completed`: the metadata of the event that it leaves at its end."""
    if completed is not None:
        note_in(ctx, "snapshot_import", **completed)
    with engine(ctx) as transaction:
        return transaction.put_system(IMPORTS, id, fields)


@system_mutation("deployment/imports:forget")
def forget_import(ctx: MutationCtx, id: str) -> None:
    """Nobody needs to know of it any more."""
    with engine(ctx) as transaction:
        transaction.put_system(IMPORTS, id, None)


@system_mutation("deployment/exports:forget")
def forget_export(ctx: MutationCtx, id: str) -> None:
    """Its file is gone."""
    with engine(ctx) as transaction:
        transaction.put_system(EXPORTS, id, None)


@system_mutation("deployment/state:change")
def change_state(ctx: MutationCtx, paused: bool) -> None:
    """Pause the deployment, or resume it."""
    known = [document for document in documents(ctx, DEPLOYMENT) if document["name"] == STATE]
    if not paused and not is_paused(known):
        raise BadRequestError("The deployment is not paused.", code="UnpauseDeploymentFailed")
    fields: Document = {"name": STATE, "value": PAUSED if paused else "running"}
    if paused != is_paused(known):
        note_in(ctx, "pause_deployment" if paused else "unpause_deployment")
    with engine(ctx) as transaction:
        transaction.put_system(DEPLOYMENT, str(known[0]["_id"]) if known else None, fields)


def is_paused(documents: Iterable[Document]) -> bool:
    """What the documents of the deployment say."""
    return any(each["name"] == STATE and each["value"] == PAUSED for each in documents)


def checked_changes(changes: list[dict[str, Any]]) -> dict[str, str | None]:
    """Name to value, the last of equals.

    Raises:
        BadRequestError: A name or value that a variable cannot have.
    """
    checked: dict[str, str | None] = {}
    for change in changes:
        name, value = change.get("name"), change.get("value")
        if not isinstance(name, str) or not (value is None or isinstance(value, str)):
            raise BadRequestError(
                "A change is an object with a `name` and a text or null as `value`.",
                code="BadJsonBody",
            )
        _check_name(name)
        if value is not None and len(value.encode()) > _VALUE_BYTES_MAX:
            raise BadRequestError(
                f"The value of environment variable {name} has more than {_VALUE_BYTES_MAX} "
                "bytes; keep large data in a table or a file.",
                code="EnvironmentVariableValueTooLarge",
            )
        checked[name] = value
    return checked


def check_total(variables: dict[str, str]) -> None:
    """Refuse more variables, or larger ones in sum, than a deployment may have."""
    size = sum(len(name) + len(value.encode()) for name, value in variables.items())
    if len(variables) > _VARIABLES_MAX or size > _TOTAL_BYTES_MAX:
        raise BadRequestError(
            f"A deployment has at most {_VARIABLES_MAX} environment variables of together "
            f"{_TOTAL_BYTES_MAX} bytes; this would make {len(variables)} of {size} bytes.",
            code="TooManyEnvironmentVariables",
        )


def _check_name(name: str) -> None:
    if len(name) > _NAME_LENGTH_MAX:
        raise BadRequestError(
            f"The name of an environment variable has at most {_NAME_LENGTH_MAX} characters.",
            code="EnvironmentVariableNameTooLong",
        )
    if not _NAME.fullmatch(name) or name in BUILT_IN_VARIABLES:
        raise BadRequestError(
            f"{name!r} cannot name an environment variable: use letters, digits and underscores, "
            f"not starting with a digit; {' and '.join(BUILT_IN_VARIABLES)} are the system's.",
            code="EnvironmentVariableNameInvalid",
        )

"""What dashboards ask for: `_system/frontend/…` (spec: deploy API, section 19).

`componentId` is taken everywhere (see `registry`). Functions are in `dashboard_modules.py`, files
in `storage.py`, schedules and cron jobs in `schedules.py`, exports and imports in
`command_line.py`, the history of the deployment in `event_queries.py`; what is changed here leaves
an event there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from cupola.database.catalog import DEPLOYMENT, FIRST_USER_TABLE, Index
from cupola.database.ranges import EVERYTHING
from cupola.database.search_indexes import SearchIndex
from cupola.database.transaction import Transaction
from cupola.errors import CupolaError
from cupola.functions.context import MutationCtx, QueryCtx
from cupola.schema.components import schema_of_component
from cupola.system.deployment import PUSH_FACTS, is_paused
from cupola.system.events import note_in_component
from cupola.system.reading import (
    catalog_of,
    documents,
    engine,
    filtered_page,
    newest_of_table,
    table_named,
    table_size,
    user_tables,
)
from cupola.system.registry import system_mutation, system_of, system_query

_DOCUMENTS_MAX = 4096
_CLEARED_MAX = 500
_BACKFILL = {"backfilling": "backfilling", "staged": "backfilled"}

# --------------------------------------------------------------------------------- the deployment


@system_query("frontend/backendState:backendState")
def backend_state(ctx: QueryCtx) -> Any:
    paused = is_paused(documents(ctx, DEPLOYMENT))
    return {"system": "none", "usage_limit": "none", "user": "paused" if paused else "none"}


@system_query("frontend/deploymentState:deploymentState")
def deployment_state(ctx: QueryCtx) -> Any:
    return {"state": "paused" if is_paused(documents(ctx, DEPLOYMENT)) else "running"}


@system_query("frontend/components:list")
def components(ctx: QueryCtx) -> Any:
    code = ctx._call.app.javascript
    app: Any = {
        "id": "",
        "name": None,
        "path": "",
        "args": {},
        "state": "active",
        "httpPrefix": code.http_prefix if code is not None and code.http_prefix != "/" else None,
    }

    def at(path: str, **more: Any) -> Any:
        return {**app, "id": path, "name": path.rpartition("/")[2], "path": path, **more}

    mounts = {each.path: each.mount for each in (code.components if code is not None else ())}
    return [
        app,
        *(at(path, httpPrefix=mount) for path, mount in mounts.items()),
        *(at(path, state="unmounted", httpPrefix=None) for path in _left_behind(ctx, set(mounts))),
    ]


def _left_behind(ctx: QueryCtx, installed: set[str]) -> list[str]:
    """Components that are in use no more, and whose documents are still there."""
    catalog = catalog_of(ctx)
    found: set[str] = set()
    with engine(ctx) as transaction:
        for table in catalog.by_name.values():
            is_known = not table.component or table.component in installed | found
            if not is_known and next(transaction.scan(table.primary, EVERYTHING), None) is not None:
                found.add(table.component)
    return sorted(found)


@system_query("frontend/getVersion:default")
def version(ctx: QueryCtx) -> Any:
    return system_of(ctx).server_version


@system_query("frontend/convexCloudUrl:default")
def cloud_url(ctx: QueryCtx) -> Any:
    return system_of(ctx).cloud_url


@system_query("frontend/convexSiteUrl:default")
def site_url(ctx: QueryCtx) -> Any:
    return system_of(ctx).site_url


@system_query("frontend/listAuthProviders:default")
def auth_providers(ctx: QueryCtx) -> Any:
    for document in documents(ctx, DEPLOYMENT):
        if document["name"] == PUSH_FACTS:
            return json.loads(str(document["value"]))["auth"]
    return []


# ------------------------------------------------------------------------------------------- data


@system_query("frontend/getTableMapping:default")
def table_mapping(ctx: QueryCtx, componentId: str | None = None) -> Any:
    return {str(number): name for name, number in user_tables(ctx).items()}


@system_query("frontend/getSchemas:default")
def schemas(ctx: QueryCtx, componentId: str | None = None) -> Any:
    catalog = catalog_of(ctx)
    found = {"active": catalog.schema, "inProgress": catalog.pending}
    component = ctx._call.component
    return {
        state: json.dumps(schema_of_component(schema.to_json(), component))
        for state, schema in found.items()
        if schema is not None
    }


@system_query("frontend/getSchemas:schemaValidationProgress")
def schema_progress(ctx: QueryCtx, componentId: str | None = None) -> Any:
    return None


@system_query("frontend/indexes:default")
def indexes(ctx: QueryCtx, tableName: str, tableNamespace: str | None = None) -> Any:
    catalog_of(ctx)
    table = table_named(ctx, tableName)
    return [
        {
            "name": index.name,
            "staged": index.state == "staged",
            "fields": _fields(index),
            "backfill": {"state": _BACKFILL.get(index.state, "done")},
        }
        for index in (table.declared if table is not None else ())
    ]


def _fields(index: Index | SearchIndex) -> Any:
    if isinstance(index, Index):
        return index.field_names
    return {k: v for k, v in index.definition.to_json().items() if k != "indexDescriptor"}


@system_query("frontend/paginatedTableDocuments:default")
def page_of_documents(
    ctx: QueryCtx,
    table: str,
    filters: str | None,
    paginationOpts: dict[str, Any],
    componentId: str | None = None,
) -> Any:
    return filtered_page(ctx, table, filters, paginationOpts)


@system_query("frontend/listTableScan:default")
def newest_documents(
    ctx: QueryCtx, table: str, limit: float, componentId: str | None = None
) -> Any:
    """The newest of a table; fewer than asked for where they are many or large."""
    return newest_of_table(ctx, table, limit)


@system_query("frontend/tableSize:default")
def size_of_table(ctx: QueryCtx, tableName: str, componentId: str | None = None) -> Any:
    return table_size(ctx, tableName)


@system_query("frontend/listById:default")
def list_by_id(ctx: QueryCtx, ids: list[dict[str, Any]], componentId: str | None = None) -> Any:
    return [_document(ctx, str(each["id"])) for each in ids]


@system_query("frontend/getById:default")
def get_by_id(ctx: QueryCtx, id: str, componentId: str | None = None) -> Any:
    return _document(ctx, id)


def _document(ctx: QueryCtx, document_id: str) -> Any:
    with engine(ctx) as transaction:
        try:
            table = transaction.table_of(document_id)
            found = transaction.get(document_id) if table.number >= FIRST_USER_TABLE else None
        except CupolaError:
            return None
        return found.value if found is not None else None


def _table_of(ctx: QueryCtx, document_id: str) -> str:
    """The name of a document's table; "" if the id is none."""
    with engine(ctx) as transaction:
        try:
            return transaction.table_of(document_id).own_name
        except CupolaError:
            return ""


def _written(
    ctx: MutationCtx, action: str, table: str, write: Callable[[Transaction], list[str]]
) -> Any:
    """What `write` did to documents of a table, whose ids it returns, or why it could not, which
    leaves nothing of it.
    """
    with engine(ctx) as transaction:
        mark = transaction.mark()
        try:
            written = write(transaction)
        except CupolaError as error:
            transaction.rollback(mark)
            return _failure(error.message)
    _note(ctx, action, table, written)
    return {"success": True}


def _note(ctx: MutationCtx, action: str, table: str, document_ids: list[str]) -> None:
    if document_ids:
        note_in_component(ctx, action, table=table, document_ids=document_ids)


@system_mutation("frontend/addDocument:default")
def add_documents(
    ctx: MutationCtx, table: str, documents: list[dict[str, Any]], componentId: str | None = None
) -> Any:
    if len(documents) > _DOCUMENTS_MAX:
        return _failure(f"At most {_DOCUMENTS_MAX} documents can be added at once.")

    def insert(transaction: Transaction) -> list[str]:
        return [transaction.insert(table, document) for document in documents]

    return _written(ctx, "add_documents", table, insert)


@system_mutation("frontend/replaceDocument:default")
def replace_document(
    ctx: MutationCtx, id: str, document: dict[str, Any], componentId: str | None = None
) -> Any:
    def replace(transaction: Transaction) -> list[str]:
        transaction.replace(id, document)
        return [id]

    return _written(ctx, "update_documents", _table_of(ctx, id), replace)


@system_mutation("frontend/patchDocumentsFields:default")
def patch_documents(
    ctx: MutationCtx,
    table: str,
    fields: dict[str, Any],
    ids: list[str] | None = None,
    componentId: str | None = None,
) -> Any:
    def patch(transaction: Transaction) -> list[str]:
        for document_id in ids or []:
            transaction.patch(document_id, fields)
        return ids or []

    return _written(ctx, "update_documents", table, patch)


@system_mutation("frontend/deleteDocuments:default")
def delete_documents(
    ctx: MutationCtx, toDelete: list[dict[str, Any]], componentId: str | None = None
) -> Any:
    if len(toDelete) > _DOCUMENTS_MAX:
        return _failure(f"At most {_DOCUMENTS_MAX} documents can be deleted at once.")
    deleted: dict[str, list[str]] = {}
    for each in toDelete:
        document_id = str(each["id"])
        if _document(ctx, document_id) is not None:
            deleted.setdefault(_table_of(ctx, document_id), []).append(document_id)
            with engine(ctx) as transaction:
                transaction.delete(document_id)
    for table, document_ids in deleted.items():
        _note(ctx, "delete_documents", table, document_ids)
    return {"success": True}


@system_mutation("frontend/clearTablePage:default")
def clear_table(
    ctx: MutationCtx, tableName: str, cursor: str | None = None, componentId: str | None = None
) -> Any:
    table = table_named(ctx, tableName)
    if table is None:
        return {"deleted": 0, "hasMore": False, "continueCursor": ""}
    page = filtered_page(ctx, tableName, None, {"numItems": _CLEARED_MAX, "cursor": None})
    document_ids = [str(document["_id"]) for document in page["page"]]
    with engine(ctx) as transaction:
        for document_id in document_ids:
            if transaction.get(document_id) is not None:  # else another one has drawn it along
                transaction.delete(document_id)
    _note(ctx, "delete_documents", tableName, document_ids)
    deleted = len(document_ids)
    return {"deleted": deleted, "hasMore": not page["isDone"], "continueCursor": ""}


@system_mutation("frontend/createTable:default")
def create_table(ctx: MutationCtx, table: str, componentId: str | None = None) -> None:
    with engine(ctx) as transaction:
        if transaction.table(table) is not None:
            return
        transaction.create_table(table)
    note_in_component(ctx, "create_table", table=table)


def _failure(message: str) -> dict[str, Any]:
    return {"success": False, "error": message}


# ----------------------------------------------------------------------- what does not exist here


@system_query("frontend/listEnvironmentVariables:default")
def environment_variables(ctx: QueryCtx) -> Any:
    from cupola.system.command_line import environment_variables as listed

    return listed(ctx)


@system_query("frontend/listConfiguredSinks:default")
def log_sinks(ctx: QueryCtx) -> Any:
    return []

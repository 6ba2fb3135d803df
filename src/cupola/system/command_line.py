"""What the published command line asks for: `_system/cli/…`."""

from __future__ import annotations

from typing import Any

from cupola.database.catalog import ENVIRONMENT, EXPORTS, IMPORTS
from cupola.functions.context import QueryCtx
from cupola.system.modules import function_specs
from cupola.system.reading import (
    depend_on_all,
    documents,
    engine,
    page_of_table,
    table_named,
    table_size,
    user_tables,
)
from cupola.system.registry import system_of, system_query


@system_query("cli/queryEnvironmentVariables:default")
def environment_variables(ctx: QueryCtx) -> Any:
    return sorted(documents(ctx, ENVIRONMENT), key=lambda variable: str(variable["name"]))


@system_query("cli/queryEnvironmentVariables:get")
def environment_variable(ctx: QueryCtx, name: str) -> Any:
    for variable in documents(ctx, ENVIRONMENT):
        if variable["name"] == name:
            return {"name": name, "value": variable["value"]}
    system = system_of(ctx)
    built_in = {"CONVEX_CLOUD_URL": system.cloud_url, "CONVEX_SITE_URL": system.site_url}
    return {"name": name, "value": built_in[name]} if name in built_in else None


@system_query("cli/tables:default")
def tables(ctx: QueryCtx, paginationOpts: dict[str, Any]) -> Any:
    page = [{"name": name} for name in user_tables(ctx)]
    return {"page": page, "isDone": True, "continueCursor": "end"}


@system_query("cli/tableData:default")
def table_data(
    ctx: QueryCtx, table: str, order: str = "asc", *, paginationOpts: dict[str, Any]
) -> Any:
    return page_of_table(ctx, table, order, paginationOpts)


@system_query("cli/tableSize:default")
def size_of_table(ctx: QueryCtx, tableName: str) -> Any:
    return table_size(ctx, tableName)


@system_query("cli/queryTable:default")
def watch_table(ctx: QueryCtx, tableName: str) -> Any:
    """Another number after each change of the table: a signal, without the data."""
    table = table_named(ctx, tableName)
    if table is not None:
        with engine(ctx) as transaction:
            depend_on_all(transaction, table.primary)
    return int.from_bytes(ctx._call.seed[:6], "big")


@system_query("cli/modules:apiSpec")
def api_spec(ctx: QueryCtx, componentId: str | None = None) -> Any:
    return function_specs(ctx._call.app, ctx._call.component)


@system_query("cli/exports:getLatest")
@system_query("frontend/latestExport:default")
def latest_export(ctx: QueryCtx) -> Any:
    found = sorted(documents(ctx, EXPORTS), key=lambda export: export["_creationTime"])  # type: ignore[arg-type, return-value]
    return found[-1] if found else None


@system_query("frontend/latestExport:canExportFileStorage")
def can_export_files(ctx: QueryCtx) -> Any:
    return system_of(ctx).keeps_files


@system_query("cli/queryImport:list")
@system_query("frontend/snapshotImport:list")
def imports(ctx: QueryCtx) -> Any:
    """The newest twenty."""
    found = sorted(documents(ctx, IMPORTS), key=lambda each: each["_creationTime"])  # type: ignore[arg-type, return-value]
    return found[-20:][::-1]


@system_query("cli/queryImport:default")
def one_import(ctx: QueryCtx, importId: str) -> Any:
    return next((each for each in documents(ctx, IMPORTS) if each["_id"] == importId), None)


@system_query("cli/convexUrl:cloudUrl")
def cloud_url(ctx: QueryCtx) -> str:
    return system_of(ctx).cloud_url

"""Transactions on files: `_system/storage:…`, for actions, for uploads and for serving; and what
dashboards ask of them, at `_system/frontend/fileStorageV2:…` (spec: deploy API, section 19).
"""

from __future__ import annotations

from typing import Any

from cupola.database.catalog import STORAGE
from cupola.functions.context import MutationCtx, QueryCtx
from cupola.functions.storage import add_file, delete_file, file_metadata, file_url, upload_url
from cupola.system.events import note_in_component
from cupola.system.filters import Clause, Filter
from cupola.system.reading import depend_on_all, engine, page_where
from cupola.system.registry import system_mutation, system_query


@system_query("storage:getUrl")
def get_url(ctx: QueryCtx, storageId: str) -> Any:
    with engine(ctx):
        return file_url(ctx._call, storageId)


@system_query("storage:getMetadata")
def get_metadata(ctx: QueryCtx, storageId: str) -> Any:
    with engine(ctx):
        return file_metadata(ctx._call, storageId)


@system_query("storage:find")
def find(ctx: QueryCtx, storageId: str) -> Any:
    """As `getMetadata`, whoever's it is: for those who have its URL."""
    with engine(ctx) as transaction:
        stored = transaction.get_system(STORAGE, storageId)
        owner = "" if stored is None else str(stored.value.get("component", ""))
        with transaction.within(owner):
            return file_metadata(ctx._call, storageId)


@system_mutation("storage:generateUploadUrl")
def generate_upload_url(ctx: MutationCtx) -> Any:
    """A mutation, so that no cache keeps the URL. It writes nothing."""
    with engine(ctx):
        return upload_url(ctx._call)


@system_mutation("storage:delete")
def delete(ctx: MutationCtx, storageId: str) -> None:
    with engine(ctx):
        delete_file(ctx._call, storageId)


@system_mutation("storage:add")
def add(
    ctx: MutationCtx, storageId: str, sha256: bytes, size: int, contentType: str | None
) -> None:
    """Bytes are durable under this id: from now on there is a file."""
    with engine(ctx):
        add_file(ctx._call, storageId, sha256, size, contentType)


# -------------------------------------------------------------------------------------- dashboards

_COUNT_MAX = 200_000


@system_query("frontend/fileStorageV2:numFiles")
def number_of_files(ctx: QueryCtx, componentId: str | None = None) -> Any:
    """What is more than 200,000 is not counted."""
    with engine(ctx) as transaction:
        primary = transaction.system_table(STORAGE).primary
        depend_on_all(transaction, primary)
        return transaction.size_of(primary, _COUNT_MAX)


@system_query("frontend/fileStorageV2:fileMetadata")
def files(
    ctx: QueryCtx,
    paginationOpts: dict[str, Any],
    filters: dict[str, Any] | None = None,
    componentId: str | None = None,
) -> Any:
    """A page of files, each with its URL; the newest first."""
    given = filters or {}
    bounds = [("gte", given.get("minCreationTime")), ("lte", given.get("maxCreationTime"))]
    clauses = [Clause("_creationTime", op, at) for op, at in bounds if at is not None]
    wanted = Filter(clauses, order=given.get("order") or "desc")
    page = page_where(ctx, "_storage", wanted, paginationOpts)
    with engine(ctx):
        page["page"] = [_shown(ctx, document) for document in page["page"]]
    return page


@system_query("frontend/fileStorageV2:getFile")
def file(ctx: QueryCtx, storageId: str, componentId: str | None = None) -> Any:
    with engine(ctx) as transaction:
        found = transaction.get(storageId)
        return None if found is None else _shown(ctx, found.value)


def _shown(ctx: QueryCtx, document: Any) -> dict[str, Any]:
    return {**document, "url": file_url(ctx._call, document["_id"])}


@system_mutation("frontend/fileStorageV2:deleteFile")
def delete_one(ctx: MutationCtx, storageId: str, componentId: str | None = None) -> None:
    _delete(ctx, [storageId])


@system_mutation("frontend/fileStorageV2:deleteFiles")
def delete_several(ctx: MutationCtx, storageIds: list[str], componentId: str | None = None) -> None:
    _delete(ctx, storageIds)


def _delete(ctx: MutationCtx, storage_ids: list[str]) -> None:
    with engine(ctx):
        for storage_id in storage_ids:
            delete_file(ctx._call, storage_id)
    if storage_ids:
        note_in_component(ctx, "delete_files", storage_ids=storage_ids)


@system_mutation("frontend/fileStorageV2:generateUploadUrl")
def upload_url_for_dashboard(ctx: MutationCtx, componentId: str | None = None) -> Any:
    note_in_component(ctx, "generate_upload_url")
    with engine(ctx):
        return upload_url(ctx._call)

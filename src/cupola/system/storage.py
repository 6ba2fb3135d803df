"""Transactions on files: `_system/storage:…`, for actions, for uploads and for serving."""

from __future__ import annotations

from typing import Any

from cupola.functions.context import MutationCtx, QueryCtx
from cupola.functions.storage import add_file, delete_file, file_metadata, file_url, upload_url
from cupola.system.reading import engine
from cupola.system.registry import system_mutation, system_query


@system_query("storage:getUrl")
def get_url(ctx: QueryCtx, storageId: str) -> Any:
    with engine(ctx):
        return file_url(ctx._call, storageId)


@system_query("storage:getMetadata")
def get_metadata(ctx: QueryCtx, storageId: str) -> Any:
    with engine(ctx):
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

"""What `files.ts` does, in Python."""

from typing import Any

from cupola import ActionCtx, MutationCtx, QueryCtx, StorageId, action, mutation, query


@mutation
def uploadUrl(ctx: MutationCtx) -> str:  # as in TypeScript
    return ctx.storage.generate_upload_url()


@query
def url(ctx: QueryCtx, id: StorageId) -> str | None:
    return ctx.storage.get_url(id)


@query
def all(ctx: QueryCtx) -> list[Any]:
    return ctx.db.system.query("_storage").collect()


@mutation
def remove(ctx: MutationCtx, id: StorageId) -> None:
    ctx.storage.delete(id)


@action
async def copy(ctx: ActionCtx, id: StorageId) -> StorageId:
    found = await ctx.storage.get(id)
    assert found is not None
    return await ctx.storage.store(await found.read(), content_type=found.content_type)

"""B6: one document of a live result of a hundred changes."""

import builtins

from cupola import MutationCtx, QueryCtx, mutation, query

from .schema import Doc


@mutation
def seed(ctx: MutationCtx, group: str, count: int, size: int) -> None:
    for i in range(count):
        ctx.db.insert(Doc(group=group, i=i, body="y" * size))


@query
def list(ctx: QueryCtx, group: str) -> builtins.list[Doc]:
    return ctx.db.query(Doc).with_index("by_group", group=group).take(100)


@mutation
def touch(ctx: MutationCtx, group: str, i: int, body: str) -> None:
    doc = ctx.db.query(Doc).with_index("by_group", group=group, i=i).unique()
    assert doc is not None
    ctx.db.patch(doc._id, body=body)

"""B7: ranges of a hundred in a table of a hundred thousand, or a million."""

import builtins

from cupola import MutationCtx, QueryCtx, Range, mutation, query

from .schema import Item


@mutation
def insertMany(ctx: MutationCtx, start: int, count: int, body: str) -> None:
    for k in builtins.range(start, start + count):
        ctx.db.insert(Item(k=k, body=body))


@query
def range(ctx: QueryCtx, lo: int, n: int) -> list[Item]:
    """The first `n` documents with `k >= lo`."""
    return ctx.db.query(Item).with_index("by_k", k=Range(gte=lo)).take(n)

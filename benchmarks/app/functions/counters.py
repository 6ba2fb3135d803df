"""B4: read, modify, write; on counters of one's own and on one that everybody wants."""

from cupola import MutationCtx, QueryCtx, mutation, query

from .schema import Counter


@mutation
def increment(ctx: MutationCtx, name: str) -> int:
    counter = ctx.db.query(Counter).with_index("by_name", name=name).unique()
    if counter is None:
        ctx.db.insert(Counter(name=name, value=1))
        return 1
    value = counter.value + 1
    ctx.db.patch(counter._id, value=value)
    return value


@query
def get(ctx: QueryCtx, name: str) -> int:
    counter = ctx.db.query(Counter).with_index("by_name", name=name).unique()
    return counter.value if counter else 0

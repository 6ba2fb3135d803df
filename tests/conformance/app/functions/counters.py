"""A counter shows how often a mutation took effect."""

from cupola import MutationCtx, QueryCtx, mutation, query

from .schema import Counter


@query
def get(ctx: QueryCtx, name: str) -> int:
    counter = ctx.db.query(Counter).with_index("by_name", name=name).unique()
    return counter.value if counter else 0


@mutation
def increment(ctx: MutationCtx, name: str) -> int:
    """The counter's new value."""
    counter = ctx.db.query(Counter).with_index("by_name", name=name).unique()
    if counter is None:
        ctx.db.insert(Counter(name=name, value=1))
        return 1
    ctx.db.patch(counter._id, value=counter.value + 1)
    return counter.value + 1

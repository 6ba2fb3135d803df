from collections.abc import Sequence

from cupola import (
    Id,
    MutationCtx,
    Page,
    PaginationOptions,
    QueryCtx,
    Range,
    mutation,
    query,
)

from .schema import Account, Item, Note


@query
def list(ctx: QueryCtx, group: str) -> Sequence[str]:
    return [item.text for item in ctx.db.query(Item).with_index("by_group", group=group)]


@query
def between(ctx: QueryCtx, group: str, low: float, high: float) -> Sequence[float]:
    rank = Range(gte=low, lt=high)
    return [item.rank for item in ctx.db.query(Item).with_index("by_group", group=group, rank=rank)]


@query
def first(ctx: QueryCtx, group: str, count: int) -> Sequence[float]:
    return [
        item.rank for item in ctx.db.query(Item).with_index("by_group", group=group).take(count)
    ]


@query
def count(ctx: QueryCtx, group: str) -> int:
    return ctx.db.query(Item).with_index("by_group", group=group).count()


@query
def get(ctx: QueryCtx, item: Id[Item]) -> str | None:
    found = ctx.db.get(item)
    return None if found is None else found.text


@query
def page(ctx: QueryCtx, group: str, order: str, paginationOpts: PaginationOptions) -> Page[Item]:
    items = ctx.db.query(Item).with_index("by_group", group=group)
    return items.order("desc" if order == "desc" else "asc").paginate(paginationOpts)


@query
def fragile_page(ctx: QueryCtx, group: str, paginationOpts: PaginationOptions) -> Page[Item]:
    """Fails while the group `broken` has an item."""
    if ctx.db.query(Item).with_index("by_group", group="broken").first():
        raise ValueError("broken")
    return ctx.db.query(Item).with_index("by_group", group=group).paginate(paginationOpts)


@mutation
def add(ctx: MutationCtx, group: str, rank: float, text: str = "") -> Id[Item]:
    return ctx.db.insert(Item(group=group, rank=rank, text=text))


@mutation
def edit(ctx: MutationCtx, item: Id[Item], text: str) -> None:
    ctx.db.patch(item, text=text)


@mutation
def remove(ctx: MutationCtx, item: Id[Item]) -> None:
    ctx.db.delete(item)


@query
def amount(ctx: QueryCtx, name: str) -> int:
    account = ctx.db.query(Account).with_index("by_name", name=name).unique()
    return 0 if account is None else account.amount


@mutation
def move(ctx: MutationCtx, giver: str, taker: str, amount: int) -> None:
    for name, change in ((giver, -amount), (taker, amount)):
        account = ctx.db.query(Account).with_index("by_name", name=name).unique()
        if account is None:
            ctx.db.insert(Account(name=name, amount=change))
        else:
            ctx.db.patch(account._id, amount=account.amount + change)


@query
def mine(ctx: QueryCtx) -> Sequence[str]:
    """Whether it looks at its caller depends on the data."""
    if ctx.db.query(Note).first() is None:
        return []
    identity = ctx.auth.get_user_identity()
    owner = "nobody" if identity is None else str(identity["subject"])
    return [note.text for note in ctx.db.query(Note).with_index("by_owner", owner=owner)]


@mutation
def write_note(ctx: MutationCtx, owner: str, text: str) -> None:
    ctx.db.insert(Note(owner=owner, text=text))

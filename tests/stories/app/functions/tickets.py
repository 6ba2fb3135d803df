"""What the simulation runs: every mutation that took effect leaves one ticket."""

import time
from typing import Any

from cupola import (
    ApplicationError,
    MutationCtx,
    Page,
    PaginationOptions,
    QueryCtx,
    mutation,
    query,
)

from .schema import Account, Ticket


@mutation
def add(ctx: MutationCtx, ticket: str, key: str, amount: int) -> int:
    ctx.db.insert(Ticket(ticket=ticket, key=key, amount=amount))
    account = ctx.db.query(Account).with_index("by_name", name=key).unique()
    if account is None:
        ctx.db.insert(Account(name=key, amount=amount))
        return amount
    ctx.db.patch(account._id, amount=account.amount + amount)
    return account.amount + amount


@mutation
def refuse(ctx: MutationCtx, ticket: str, key: str) -> None:
    ctx.db.insert(Ticket(ticket=ticket, key=key, amount=0))
    raise ApplicationError("refused")


@query
def amount(ctx: QueryCtx, key: str) -> int:
    account = ctx.db.query(Account).with_index("by_name", name=key).unique()
    return 0 if account is None else account.amount


@query
def total(ctx: QueryCtx, key: str) -> int:
    return sum(ticket.amount for ticket in ctx.db.query(Ticket).with_index("by_key", key=key))


@query
def everything(ctx: QueryCtx) -> dict[str, int]:
    return {account.name: account.amount for account in ctx.db.query(Account)}


@query
def who(ctx: QueryCtx) -> Any:
    identity = ctx.auth.get_user_identity()
    return None if identity is None else identity["subject"]


@query
def maybe_who(ctx: QueryCtx, key: str) -> Any:
    """It looks at its caller only while the amount is odd."""
    found = amount.handler(ctx, key)
    if found % 2 == 0:
        return [found, None]
    identity = ctx.auth.get_user_identity()
    return [found, None if identity is None else identity["subject"]]


@query
def page(ctx: QueryCtx, key: str, paginationOpts: PaginationOptions) -> Page[Ticket]:
    return ctx.db.query(Ticket).with_index("by_key", key=key).paginate(paginationOpts)


@query
def clock(ctx: QueryCtx, key: str) -> Any:
    time.time()
    return amount.handler(ctx, key)

"""Values that go in and come out: through arguments and results, and through the database."""

from typing import Any

from cupola import ActionCtx, Id, MutationCtx, QueryCtx, action, mutation, query

from .schema import Kept


@query
def echo(ctx: QueryCtx, value: Any) -> Any:
    return value


@action
async def echo_from_action(ctx: ActionCtx, value: Any) -> Any:
    return value


@mutation
def keep(ctx: MutationCtx, value: Any) -> Id[Kept]:
    return ctx.db.insert(Kept(value=value))


@query
def kept(ctx: QueryCtx, id: Id[Kept]) -> Any:
    document = ctx.db.get(id)
    assert document is not None
    return document.value


@query
def large(ctx: QueryCtx, mebibytes: int) -> list[str]:
    """A result of about that size."""
    return [f"{i:02d}" + "x" * (2**20 - 2) for i in range(mebibytes)]

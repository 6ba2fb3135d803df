"""Functions that fail, as an app says it should and as a bug does."""

from typing import Any

from cupola import ActionCtx, ApplicationError, MutationCtx, QueryCtx, action, mutation, query

from .schema import Message

DATA = {"code": "RoomFull", "limit": 20, "who": ["ada", None]}


@query
def application(ctx: QueryCtx) -> None:
    raise ApplicationError(DATA)


@query
def plain(ctx: QueryCtx) -> None:
    print("about to fail")
    raise ValueError("boom")


@mutation
def application_mutation(ctx: MutationCtx, channel: str) -> None:
    """Writes first: the failure takes that back."""
    ctx.db.insert(Message(channel=channel, author="nobody", body="never there"))
    raise ApplicationError(DATA)


@mutation
def plain_mutation(ctx: MutationCtx) -> None:
    raise ValueError("boom")


@action
async def application_action(ctx: ActionCtx) -> None:
    raise ApplicationError("just text")


@query
def returns_wrong(ctx: QueryCtx) -> int:
    result: Any = "no number"
    return result

import asyncio
import time
from collections.abc import Sequence

from cupola import (
    ActionCtx,
    ApplicationError,
    Id,
    MutationCtx,
    QueryCtx,
    action,
    internal_mutation,
    internal_query,
    mutation,
    query,
)

from .schema import Message


@query
def list(ctx: QueryCtx, channel: str) -> Sequence[Message]:
    return ctx.db.query(Message).with_index("by_channel", channel=channel).collect()


@query
def likes(ctx: QueryCtx, message: Id[Message]) -> int:
    found = ctx.db.get(message)
    if found is None:
        raise ApplicationError({"code": "NoMessage"})
    return found.likes


@mutation
def send(ctx: MutationCtx, channel: str, author: str, body: str) -> Id[Message]:
    print("sending", body)
    return ctx.db.insert(Message(channel=channel, author=author, body=body))


@mutation
def like(ctx: MutationCtx, message: Id[Message]) -> int:
    found = ctx.db.get(message)
    assert found is not None
    ctx.db.patch(message, likes=found.likes + 1)
    return found.likes + 1


@mutation
def send_and_fail(ctx: MutationCtx, channel: str) -> None:
    ctx.db.insert(Message(channel=channel, author="?", body="?"))
    raise ApplicationError({"code": "Refused", "limit": 3})


@mutation
def divide(ctx: MutationCtx) -> float:
    return 1 / 0


@mutation
def now(ctx: MutationCtx) -> float:
    return time.time()


@query
def who(ctx: QueryCtx) -> str | None:
    identity = ctx.auth.get_user_identity()
    return None if identity is None else str(identity["subject"])


@internal_mutation
def clear(ctx: MutationCtx) -> int:
    found = ctx.db.query(Message).collect()
    for message in found:
        ctx.db.delete(message._id)
    return len(found)


@internal_query
def total(ctx: QueryCtx) -> int:
    return ctx.db.query(Message).count()


@action
async def send_later(ctx: ActionCtx, channel: str, count: int) -> int:
    await asyncio.sleep(0)
    for number in range(count):
        await ctx.run_mutation(send, channel=channel, author="action", body=str(number))
    return await ctx.run_query(total)

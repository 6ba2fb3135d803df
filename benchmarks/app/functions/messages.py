"""B1, B2, B3 and B5: the last fifty messages of a channel."""

import builtins

from cupola import MutationCtx, QueryCtx, mutation, query

from .schema import Message


@query
def list(ctx: QueryCtx, channel: str) -> builtins.list[Message]:
    """The last fifty, oldest first."""
    newest = ctx.db.query(Message).with_index("by_channel", channel=channel).order("desc").take(50)
    return newest[::-1]


@mutation
def send(ctx: MutationCtx, channel: str, body: str) -> None:
    ctx.db.insert(Message(channel=channel, body=body))


@mutation
def seed(ctx: MutationCtx, channel: str, count: int, body: str) -> None:
    for _ in range(count):
        ctx.db.insert(Message(channel=channel, body=body))

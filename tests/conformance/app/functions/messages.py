"""Live lists, pages, and an action that writes."""

import builtins
from collections.abc import Sequence

from cupola import (
    ActionCtx,
    Id,
    MutationCtx,
    Page,
    PaginationOptions,
    QueryCtx,
    action,
    mutation,
    query,
)

from .schema import Message


@query
def list(ctx: QueryCtx, channel: str) -> Sequence[Message]:
    """The newest fifty of a channel, newest first."""
    return ctx.db.query(Message).with_index("by_channel", channel=channel).order("desc").take(50)


@query
def page(ctx: QueryCtx, channel: str, paginationOpts: PaginationOptions) -> Page[Message]:
    messages = ctx.db.query(Message).with_index("by_channel", channel=channel).order("desc")
    return messages.paginate(paginationOpts)


@mutation
def send(ctx: MutationCtx, channel: str, author: str, body: str) -> Id[Message]:
    print("sending to", channel)
    return ctx.db.insert(Message(channel=channel, author=author, body=body))


@mutation
def send_many(ctx: MutationCtx, channel: str, bodies: builtins.list[str]) -> int:
    for body in bodies:
        ctx.db.insert(Message(channel=channel, author="many", body=body))
    return len(bodies)


@mutation
def remove(ctx: MutationCtx, id: Id[Message]) -> None:
    ctx.db.delete(id)


@action
async def announce(ctx: ActionCtx, channel: str, body: str) -> int:
    """Sends twice, each in a transaction of its own; returns how many the channel shows then."""
    for number in (1, 2):
        await ctx.run_mutation(
            "messages:send", channel=channel, author="announcer", body=f"{body} {number}"
        )
    return len(await ctx.run_query("messages:list", channel=channel))

"""What clients may call: `messages:list` and `messages:send`."""

from collections.abc import Sequence

from cupola import ApplicationError, Id, MutationCtx, QueryCtx, mutation, query

from .schema import Message


@query
def list(ctx: QueryCtx, channel: str) -> Sequence[Message]:
    """The newest fifty messages, newest first. Every page that shows them stays up to date."""
    return ctx.db.query(Message).with_index("by_channel", channel=channel).order("desc").take(50)


@mutation
def send(ctx: MutationCtx, channel: str, author: str, body: str) -> Id[Message]:
    """Say something in a channel."""
    if not body.strip():
        raise ApplicationError("A message needs some text.")
    return ctx.db.insert(Message(channel=channel, author=author, body=body.strip()))

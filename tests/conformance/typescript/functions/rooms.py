"""Python beside the pushed TypeScript, on the same tables."""

from cupola import MutationCtx, QueryCtx, mutation, query


@query
def bodies(ctx: QueryCtx, channel: str) -> list[str]:
    messages = ctx.db.query("messages").with_index("by_channel", channel=channel).collect()
    return [message["body"] for message in messages]


@mutation
def send_twice(ctx: MutationCtx, channel: str, body: str) -> int:
    for _ in range(2):
        ctx.db.insert("messages", {"channel": channel, "author": "python", "body": body})
    return len(ctx.db.query("messages").with_index("by_channel", channel=channel).collect())

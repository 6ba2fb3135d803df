"""What only an administrator may call."""

from cupola import QueryCtx, internal_query, query


@internal_query
def secret(ctx: QueryCtx) -> str:
    return "hidden"


@query
def identity(ctx: QueryCtx) -> str | None:
    """The caller's name, if it has one."""
    attributes = ctx.auth.get_user_identity()
    return str(attributes["name"]) if attributes and "name" in attributes else None

"""The same index, searched from Python."""

from typing import Any

from cupola import ActionCtx, action


@action
async def nearest(ctx: ActionCtx, plot: list[float], genre: str) -> list[Any]:
    found = await ctx.vector_search(
        "movies", "by_plot", plot, limit=256, filter=lambda q: q.eq("genre", genre)
    )
    return [[match["_id"], match["_score"]] for match in found]

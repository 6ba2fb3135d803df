"""What `benchmarks.vector_search` fills and searches."""

from typing import Any

from cupola import ActionCtx, MutationCtx, Table, VectorIndex, action, mutation


class Movie(
    Table,
    name="movies",
    indexes={"by_plot": VectorIndex("plot", dimensions=256, filters=["genre", "number"])},
):
    number: int
    genre: int
    plot: list[float]


@mutation
def add(ctx: MutationCtx, start: int, plots: list[list[float]]) -> None:
    for number, plot in enumerate(plots, start):
        ctx.db.insert(Movie(number=number, genre=number % 100, plot=plot))


@action
async def nearest(ctx: ActionCtx, plot: list[float]) -> Any:
    return await ctx.vector_search(Movie, "by_plot", plot, limit=10)

"""`ctx.vector_search` as apps use it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cupola.errors import CupolaError
from cupola.testing import Deployment

MOVIES = """
from collections.abc import Mapping
from typing import Any

from cupola import UNSET, ActionCtx, MutationCtx, QueryCtx, Table, VectorIndex
from cupola import action, mutation, query

class Movie(Table, name="movies", indexes={
    "by_plot": VectorIndex("plot", dimensions=3, filters=["genre", "about.year"]),
    "later": VectorIndex("poster", dimensions=2, staged=True),
}):
    title: str
    plot: list[float] | None = None
    poster: list[float] | None = None
    genre: str = "drama"
    about: Mapping[str, int] | None = None

@mutation
def add(ctx: MutationCtx, title: str, plot: list[float] | None = None, genre: str = "drama") -> str:
    return ctx.db.insert(Movie(title=title, plot=plot, genre=genre))

@mutation
def forget(ctx: MutationCtx, movie: str) -> None:
    ctx.db.delete(movie)

@query
def title(ctx: QueryCtx, movie: str) -> str:
    return ctx.db.get(movie).title

@action
async def nearest(ctx: ActionCtx, plot: Any, limit: Any = None) -> list[Any]:
    found = await ctx.vector_search(Movie, "by_plot", plot, limit=limit)
    return [
        {"title": await ctx.run_query("movies:title", movie=match["_id"]), "score": match["_score"]}
        for match in found
    ]

@action
async def filtered(ctx: ActionCtx, conditions: list[list[Any]], years: list[int]) -> list[str]:
    found = await ctx.vector_search(
        "movies", "by_plot", (1, 0, 0), limit=256,
        filter=lambda q: q.or_(
            *(q.eq(field, value) for field, value in conditions),
            *(q.eq("about.year", year) for year in years),
        ),
    )
    return sorted([await ctx.run_query("movies:title", movie=match["_id"]) for match in found])

@action
async def dramas(ctx: ActionCtx) -> int:
    drama = lambda q: q.eq("genre", "drama") | q.eq("genre", UNSET)
    return len(await ctx.vector_search(Movie, "by_plot", [1, 0, 0], filter=drama))

@action
async def search(ctx: ActionCtx, table: str, index: str, vector: Any) -> list[Any]:
    return await ctx.vector_search(table, index, vector)

@action
async def wrongly_filtered(ctx: ActionCtx) -> list[Any]:
    return await ctx.vector_search(Movie, "by_plot", [1, 0, 0], filter=lambda q: {"genre": "x"})

@query
def in_a_query(ctx: QueryCtx) -> None:
    ctx.vector_search("movies", "by_plot", [1, 0, 0])
"""


@pytest.fixture
def cupola(deploy: Callable[..., Deployment]) -> Deployment:
    return deploy(movies=MOVIES)


def test_an_action_finds_what_is_nearest_as_of_now(cupola: Deployment) -> None:
    """Best first, with the cosine similarity; documents without a vector are not found."""
    heat = cupola.mutation("movies:add", title="Heat", plot=[2.0, 0.0, 0.0])
    cupola.mutation("movies:add", title="Alien", plot=[0.0, 1.0, 0.0])
    cupola.mutation("movies:add", title="Ronin", plot=[1.0, 1.0, 0.0])
    cupola.mutation("movies:add", title="Untold")

    found = cupola.action("movies:nearest", plot=[1.0, 0.0, 0.0])
    assert [match["title"] for match in found] == ["Heat", "Ronin", "Alien"]
    assert [match["score"] for match in found] == pytest.approx([1.0, 0.5**0.5, 0.0])

    cupola.mutation("movies:forget", movie=heat)
    (best,) = cupola.action("movies:nearest", plot=[1.0, 0.0, 0.0], limit=1)
    assert best["title"] == "Ronin"


def test_a_filter_takes_documents_that_meet_any_condition(cupola: Deployment) -> None:
    """As in the reference, also across fields; `q.or_()` of nothing filters nothing."""
    plot = [1.0, 0.0, 0.0]
    for title, genre in (("Heat", "crime"), ("Alien", "horror"), ("Ronin", "crime")):
        cupola.mutation("movies:add", title=title, plot=plot, genre=genre)

    def filtered(*conditions: list[Any], years: tuple[int, ...] = ()) -> Any:
        return cupola.action("movies:filtered", conditions=list(conditions), years=list(years))

    assert filtered(["genre", "crime"]) == ["Heat", "Ronin"]
    assert filtered(["genre", "crime"], ["genre", "horror"]) == ["Alien", "Heat", "Ronin"]
    assert filtered(["genre", "horror"], years=(1995,)) == ["Alien"]
    assert filtered(["genre", "war"]) == []
    assert len(filtered()) == 3
    assert cupola.action("movies:dramas") == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ({"index": "by_plt"}, "IndexNotFound", "it has `by_plot`, `later`"),
        ({"table": "movis"}, "IndexNotFound", "no table `movis`"),
        ({"index": "later", "vector": [1.0, 0.0]}, "IndexNotReady", "is staged"),
        ({"vector": [1.0, 0.0]}, "VectorDimensionsMismatch", "dimensions 3, received 2"),
        ({"vector": []}, "InvalidVectorSearch", "not an empty one"),
        ({"vector": ["1", "x", "2"]}, "InvalidVectorSearch", "list of numbers"),
        ({"vector": [1.0, 2.0, float("nan")]}, "InvalidVectorSearch", "finite numbers"),
        ({"vector": 3.0}, "InvalidVectorSearch", "list of numbers"),
    ],
)
def test_a_search_that_makes_no_sense_says_why(
    cupola: Deployment, arguments: dict[str, Any], code: str, message: str
) -> None:
    usual = {"table": "movies", "index": "by_plot", "vector": [1.0, 0.0, 0.0]}
    with pytest.raises(CupolaError, match=message) as raised:
        cupola.action("movies:search", **{**usual, **arguments})
    assert raised.value.code == code


@pytest.mark.parametrize(
    ("limit", "code"),
    [(257, "VectorLimitTooLargeError"), (-1, "InvalidVectorSearch"), (1.5, "InvalidVectorSearch")],
)
def test_the_number_of_results_is_bounded(cupola: Deployment, limit: float, code: str) -> None:
    with pytest.raises(CupolaError) as raised:
        cupola.action("movies:nearest", plot=[1.0, 0.0, 0.0], limit=limit)
    assert raised.value.code == code


def test_a_filter_is_checked(cupola: Deployment) -> None:
    def filtered(*conditions: list[Any]) -> Any:
        return cupola.action("movies:filtered", conditions=list(conditions), years=[])

    with pytest.raises(CupolaError, match="cannot filter by `title`") as raised:
        filtered(["title", "Heat"])
    assert raised.value.code == "IncorrectVectorFilterField"
    with pytest.raises(CupolaError, match="64 conditions") as raised:
        filtered(*(["genre", f"g{n}"] for n in range(65)))
    assert raised.value.code == "TooManyElementsInVectorQueryError"
    assert filtered(*(["genre", "same"] for n in range(65))) == []
    with pytest.raises(CupolaError, match=r"return `q\.eq") as raised:
        cupola.action("movies:wrongly_filtered")
    assert raised.value.code == "InvalidVectorSearchFilter"


def test_queries_and_mutations_cannot_search_vectors(cupola: Deployment) -> None:
    with pytest.raises(CupolaError, match="in actions only"):
        cupola.query("movies:in_a_query")


def test_an_index_past_the_bound_of_memory_refuses_searches_alone(
    deploy: Callable[..., Deployment],
) -> None:
    """A typed error names the bound; all else goes on."""
    from cupola.limits import Limits

    cupola = deploy({"limits": Limits(vector_index_bytes_max=1000)}, movies=MOVIES)
    movie = cupola.mutation("movies:add", title="Heat", plot=[1.0, 0.0, 0.0])

    with pytest.raises(CupolaError, match="vector_index_bytes_max") as raised:
        cupola.action("movies:nearest", plot=[1.0, 0.0, 0.0])

    assert raised.value.code == "VectorIndexTooLarge"
    assert cupola.query("movies:title", movie=movie) == "Heat"

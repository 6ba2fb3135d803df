"""`ctx.vector_search`: the documents whose vectors point most nearly the same way as another.

await ctx.vector_search(
    Movie, "by_plot", vector, limit=5, filter=lambda q: q.eq("genre", "drama")
)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NoReturn, TypedDict

import msgspec

from cupola.errors import DatabaseUseError, FunctionKindError
from cupola.functions.conversion import value_of
from cupola.schema import Id, Table
from cupola.values import UNSET, encode

SearchVectors = Callable[[bytes], Awaitable[bytes]]
"""Asks the engine: JSON to JSON; see `search.vector_query`. Raises what the search failed with."""


class VectorMatch(TypedDict):
    """A document that was found, and the cosine similarity of its vector: 1 is the same direction,
    -1 the opposite one.
    """

    _id: Id[Any]
    _score: float


class VectorFilter:
    """Which documents to look at; made by a `VectorFilterBuilder`."""

    __slots__ = ("json",)

    def __init__(self, json: dict[str, Any]) -> None:
        self.json = json

    def __or__(self, other: VectorFilter) -> VectorFilter:
        return VectorFilter({"$or": [self.json, other.json]})

    def __bool__(self) -> bool:
        raise DatabaseUseError(
            "A vector filter is no truth value: combine filters with `|` or `q.or_`, not `or`.",
            code="InvalidVectorSearchFilter",
        )


class VectorFilterBuilder:
    """What a filter is made of. There is no `and`: documents are found that meet any condition."""

    def eq(self, field: str, value: Any) -> VectorFilter:
        """Documents with this value in a filter field of the index; `UNSET`: without the field."""
        literal = {"$undefined": None} if value is UNSET else _raw(value)
        return VectorFilter({"$eq": [{"$field": field}, {"$literal": literal}]})

    def or_(self, *filters: VectorFilter) -> VectorFilter:
        """Documents that any of these finds."""
        return VectorFilter({"$or": [each.json for each in filters]})


FilterFunction = Callable[[VectorFilterBuilder], VectorFilter]


async def search_vectors(
    search: SearchVectors,
    table: type[Table] | str,
    index: str,
    vector: Sequence[float],
    limit: int | None,
    filter: FilterFunction | None,  # the reference's name for it
) -> list[VectorMatch]:
    """Carry out `ActionCtx.vector_search`."""
    name = table if isinstance(table, str) else table.__cupola_table__.name
    expressions = None
    if filter is not None:
        made = filter(VectorFilterBuilder())
        if not isinstance(made, VectorFilter):
            raise DatabaseUseError(
                f"The filter of a vector search returned {made!r}; return `q.eq(...)` or "
                "`q.or_(...)`.",
                code="InvalidVectorSearchFilter",
            )
        expressions = made.json
    asked = {
        "indexName": f"{name}.{index}",
        "vector": _numbers(vector),
        "limit": limit,
        "expressions": expressions,
    }
    answer = msgspec.json.decode(await search(msgspec.json.encode(asked)))
    found: list[VectorMatch] = answer["results"]
    return found


def _numbers(vector: Sequence[float]) -> list[float]:
    """Also of a numpy array, whose numbers are of types of its own."""
    try:
        return [float(number) for number in vector]
    except (TypeError, ValueError, OverflowError):
        raise DatabaseUseError(
            "The vector of a search must be a list of numbers.", code="InvalidVectorSearch"
        ) from None


def _raw(value: Any) -> Any:
    return msgspec.Raw(encode(value_of(value)))


def only_in_actions() -> NoReturn:
    """What queries and mutations answer: there, results would depend on more than the snapshot."""
    raise FunctionKindError(
        "Vector searches run in actions only: search in an action, and load the documents that it "
        "finds with `ctx.run_query`.",
        code="VectorSearchOutsideAction",
    )

"""What a vector search asks for, from its JSON (spec: function runtime, section 7.5).

    {"indexName": "movies.by_plot", "vector": [0.1, ...], "limit": 10,
     "expressions": {"$or": [{"$eq": [{"$field": "genre"}, {"$literal": "drama"}]}, ...]}}

A filter is `q.eq` or an `q.or` of such, also of `q.or`: a document is found if it meets any of the
conditions, whichever fields they are about. `q.or` of nothing is no filter.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from cupola.database.catalog import Catalog
from cupola.database.search_indexes import SearchIndex
from cupola.errors import DatabaseUseError, LimitError
from cupola.limits import Limits
from cupola.schema import VectorIndexDefinition
from cupola.values import UNSET, decode_tree, encode_key

DEFAULT_LIMIT = 10
_VALUE_BYTES_MAX = 32
_DEPTH_MAX = 64


@dataclasses.dataclass(frozen=True, slots=True)
class VectorQuery:
    """A search that can be carried out. `conditions`: filter fields by position, their values as
    `filter_value` has them; none: every document is looked at.
    """

    index: SearchIndex
    vector: list[float]
    limit: int
    conditions: list[tuple[int, bytes]]


def filter_value(value: Any) -> bytes:
    """What stands for a value of a filter field: equal for equal values, missing ones included."""
    key = encode_key(value)
    if len(key) <= _VALUE_BYTES_MAX:
        return key
    return b"\xff" + hashlib.sha256(key).digest()  # no key begins so


def vector_query(tree: Any, catalog: Catalog, limits: Limits) -> VectorQuery:
    """Read what is asked for, and check it against the index.

    Raises:
        DatabaseUseError: There is no such index, or it is not ready; or the vector or the filter
            does not fit it.
        LimitError: Too many results or conditions.
    """
    if not isinstance(tree, dict):
        _refuse("a vector search is an object with `indexName`, `vector`, `limit`, `expressions`")
    vector = _vector_of(tree.get("vector"))
    conditions = list(dict.fromkeys(_conditions_of(tree.get("expressions"))))
    index = _index_of(tree.get("indexName"), catalog)
    limit = _limit_of(tree.get("limit"), limits)
    where = f"{catalog.by_number[index.table].name}.{index.name}"
    fields = {name: position for position, name in enumerate(index.definition.filters)}
    for field, _ in conditions:
        if field not in fields:
            raise DatabaseUseError(
                f"Vector index `{where}` cannot filter by `{field[:200]}`; add it to the index's "
                f"filter fields, which are {_list(fields)}.",
                code="IncorrectVectorFilterField",
            )
    if len(conditions) > limits.vector_conditions_max:
        raise LimitError(
            f"A vector search can have {limits.vector_conditions_max} conditions at most "
            f"(vector_conditions_max); this one of `{where}` has {len(conditions)}.",
            code="TooManyElementsInVectorQueryError",
        )
    assert isinstance(index.definition, VectorIndexDefinition)
    if len(vector) != index.definition.dimensions:
        raise DatabaseUseError(
            f"Expected a vector with dimensions {index.definition.dimensions}, received "
            f"{len(vector)}: that is how long the vectors of `{where}` are.",
            code="VectorDimensionsMismatch",
        )
    return VectorQuery(index, vector, limit, [(fields[name], value) for name, value in conditions])


def _list(names: Sequence[str] | dict[str, int]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


def _index_of(name: Any, catalog: Catalog) -> SearchIndex:
    if not isinstance(name, str) or name.count(".") != 1:
        _refuse("`indexName` must be a table's name and an index's, with a point between them")
    table_name, index_name = name.split(".")
    table = catalog.by_name.get(table_name)
    if table is None or not table.is_readable:
        raise DatabaseUseError(
            f"There is no table `{table_name[:200]}`, so it has no vector index "
            f"`{index_name[:200]}`.",
            code="IndexNotFound",
        )
    return table.vector_index(index_name)


def _vector_of(numbers: Any) -> list[float]:
    if not isinstance(numbers, list) or not numbers:
        _refuse("`vector` must be a list of numbers, and not an empty one")
    if any(type(number) not in (float, int) for number in numbers):
        _refuse("`vector` must hold finite numbers and nothing else")
    try:
        vector = [float(number) for number in numbers]
    except OverflowError:
        vector = [math.inf]
    if not all(map(math.isfinite, vector)):
        _refuse("`vector` must hold finite numbers and nothing else")
    return vector


def _limit_of(limit: Any, limits: Limits) -> int:
    if limit is None:
        return min(DEFAULT_LIMIT, limits.vector_results_max)
    if type(limit) not in (int, float) or limit != limit // 1 or limit < 0:
        _refuse("`limit` must be a whole number")
    if limit > limits.vector_results_max:
        raise LimitError(
            f"Vector queries can fetch at most {limits.vector_results_max} results "
            f"(vector_results_max), requested {limit:.0f}.",
            code="VectorLimitTooLargeError",
        )
    return int(limit)


def _conditions_of(tree: Any, depth: int = 0) -> Iterator[tuple[str, bytes]]:
    match tree:
        case None if depth == 0:
            return
        case {"$eq": [{"$field": str(field)}, {"$literal": literal}]}:
            yield field, filter_value(_literal(literal))
        case {"$eq": _}:
            _refuse_filter("`q.eq` takes the name of a field, and a value")
        case {"$or": list(members)} if depth < _DEPTH_MAX:
            for member in members:
                yield from _conditions_of(member, depth + 1)
        case _:
            _refuse_filter("it must be made of `q.eq` and `q.or` and nothing else")


def _literal(tree: Any) -> Any:
    if tree == {"$undefined": None}:
        return UNSET
    value = decode_tree(tree)
    return float(value) if type(value) is int else value


def _refuse(why: str) -> NoReturn:
    raise DatabaseUseError(f"This is no vector search: {why}.", code="InvalidVectorSearch")


def _refuse_filter(why: str) -> NoReturn:
    raise DatabaseUseError(
        f"This is no filter of a vector search: {why}.", code="InvalidVectorSearchFilter"
    )

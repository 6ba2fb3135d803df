"""What aggregated indexes say to JavaScript: the system call `cupola/aggregate`.

The published package has no methods for it; an app calls it with the description of a query that
the package makes (docs/how-to/count-and-sum.md).
"""

from __future__ import annotations

from typing import Any

from cupola.database.aggregates import require_aggregated
from cupola.database.figures import count, nth, rank, summarize
from cupola.errors import DatabaseUseError
from cupola.functions.call import Call
from cupola.runtimes.v8.queries import plan_of
from cupola.values import Value, encode


def figure_of(call: Call, arguments: dict[str, Any]) -> bytes:
    """The encoded figure, or for "nth" the document.

    `arguments`: `query` as in a query stream, `figure`, and `field`, `position` or `id`.

    Raises:
        DatabaseUseError: The index does not keep it, or it is no known figure.
    """
    plan = plan_of(arguments["query"])
    transaction, name = call.transaction, arguments.get("figure")
    field = arguments.get("field") if name in ("sum", "min", "max") else None
    place = plan.place(call)
    if place is None:
        return b"0.0" if name in ("count", "sum") else b"null"
    index, keys = place
    require_aggregated(plan.table, index, str(name), field, has_filter=bool(plan.operators))
    value: Value
    match arguments:
        case {"figure": "count"}:
            value = float(count(transaction, index, keys))
        case {"figure": "sum" | "min" | "max", "field": str()}:
            summary = summarize(transaction, index, keys)
            numbers = summary.numbers[index.aggregate_names.index(str(field))]
            figures = {"sum": numbers.sum, "min": numbers.minimum, "max": numbers.maximum}
            value = figures[str(name)]
        case {"figure": "nth", "position": int(position) | float(position)} if position >= 0:
            found = nth(transaction, index, keys, int(position), descending=plan.descending)
            return b"null" if found is None else found.body
        case {"figure": "rank", "id": str(document_id)}:
            document = None
            if transaction.table_of(document_id).number == index.table:
                document = transaction.get(document_id)
            place_in = None
            if document is not None:
                place_in = rank(transaction, index, keys, document, descending=plan.descending)
            value = None if place_in is None else float(place_in)
        case _:
            raise DatabaseUseError(
                f"{name!r} is no figure of a query, or lacks its `field`, `position` or `id`.",
                code="BadArguments",
            )
    return encode(value)

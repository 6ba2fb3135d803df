"""Queries that JavaScript describes as JSON, over a transaction (spec: function runtime, 7, 8)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any

from cupola.database.catalog import Index, TableInfo, table_to_come
from cupola.database.cursors import END, fingerprint
from cupola.database.documents import StoredDocument
from cupola.database.pagination import PageRequest, PageResult, read_page
from cupola.database.ranges import Range, key_range
from cupola.database.transaction import EVERYTHING, KeyRange
from cupola.errors import DatabaseUseError, LimitError
from cupola.functions.call import Call
from cupola.functions.expressions import Expression
from cupola.runtimes.v8.filters import bound_of, expression_of

_OPERATORS_MAX = 256
_PAGE_SIZE_MAX = 32_000
_BUILT_IN = ("by_id", "by_creation_time")
_BOUNDS = {"Gt": "gt", "Gte": "gte", "Lt": "lt", "Lte": "lte"}


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """A query: which index to read, in which direction, and what to do with its rows.

    `operators`: filters and limits, in the order written.
    """

    table: str
    index: str
    constraints: dict[str, Any]
    descending: bool
    operators: tuple[Expression | int, ...]
    text: str

    def place(self, call: Call) -> tuple[Index, KeyRange] | None:
        """Where to read; None while the table does not exist."""
        table = call.transaction.table(self.table)
        if table is None or not table.is_readable:  # the others look like none
            self._range(table_to_come(self.table), strict=False)
            return None
        return self._range(table)

    def _range(self, table: TableInfo, *, strict: bool = True) -> tuple[Index, KeyRange]:
        if not strict and self.index not in _BUILT_IN:
            return table.primary, EVERYTHING
        index = table.index(self.index)
        if not self.constraints:
            return index, EVERYTHING
        return index, key_range(self.table, index, self.constraints)


def plan_of(tree: Any) -> Plan:
    """The plan of a query.

    Raises:
        DatabaseUseError, InvalidValueError: It makes no sense.
    """
    source, operators = tree.get("source"), tree.get("operators", [])
    if not isinstance(source, dict) or not isinstance(operators, list):
        raise _malformed("it has no source")
    if len(operators) > _OPERATORS_MAX:
        raise LimitError(
            f"A query has {len(operators)} operators; at most {_OPERATORS_MAX} are allowed.",
            code="TooManyOperators",
        )
    order = source.get("order")
    if order not in ("asc", "desc", None):
        raise _malformed("its order is neither asc nor desc")
    table, index, constraints = _source(source)
    return Plan(
        table,
        index,
        constraints,
        order == "desc",
        tuple(_operator(each) for each in operators),
        json.dumps(tree, sort_keys=True),
    )


def _source(source: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    match source:
        case {"type": "FullTableScan", "tableName": str(table)}:
            return table, "by_creation_time", {}
        case {"type": "IndexRange", "indexName": str(name), "range": list(bounds)}:
            table, dot, index = name.partition(".")
            if not dot:
                raise _malformed(f"`{name}` names no table's index")
            return table, index, _constraints(bounds)
        case {"type": "Search", "indexName": str(name)}:
            raise DatabaseUseError(
                f"Text search (`withSearchIndex` on `{name}`) is not available yet; read an index "
                "and filter.",
                code="SearchNotAvailable",
            )
    raise _malformed("its source is of no known type")


def _constraints(bounds: list[Any]) -> dict[str, Any]:
    """Equalities and at most one range, by field."""
    found: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    limited: str | None = None
    for bound in bounds:
        match bound:
            case {"type": "Eq", "fieldPath": str(name), "value": value}:
                if name in found:
                    raise _already(name)
                found[name] = bound_of(value)
            case {"type": str(kind), "fieldPath": str(name), "value": value} if kind in _BOUNDS:
                if limited not in (None, name):
                    raise DatabaseUseError(
                        f"An index range has bounds on `{limited}` and on `{name}`; bounds must be "
                        "on one field.",
                        code="BoundsOnMultipleFields",
                    )
                if any(each[0] == _BOUNDS[kind][0] for each in limits):
                    raise _already(name)
                limited = name
                limits[_BOUNDS[kind]] = bound_of(value)
            case _:
                raise _malformed("a bound of its index range is malformed")
    if limited is not None:
        if limited in found:
            raise _already(limited)
        found[limited] = Range(**limits)
    return found


def _operator(tree: Any) -> Expression | int:
    match tree:
        case {"filter": condition}:
            return expression_of(condition)
        case {"limit": int(count) | float(count)} if count >= 0:
            return int(count)
    raise _malformed("an operator is neither a filter nor a limit")


def _malformed(reason: str) -> DatabaseUseError:
    return DatabaseUseError(f"A query makes no sense: {reason}.", code="BadQuery")


def _already(name: str) -> DatabaseUseError:
    return DatabaseUseError(f"The index range bounds `{name}` twice.", code="AlreadyDefinedBound")


class Stream:
    """The rows of a query, one after the other."""

    def __init__(self, call: Call, plan: Plan) -> None:
        """Compiles the range; reads nothing yet.

        Raises:
            DatabaseUseError: There is no such index, or it has no such range.
        """
        place = plan.place(call)
        self._rows: Iterator[StoredDocument] = iter(())
        if place is not None:
            limits = [each for each in plan.operators if isinstance(each, int)]
            expect = min([16, *limits]) or 1
            scan = call.transaction.scan(*place, descending=plan.descending, expect=expect)
            self._rows = _piped((document for _, document in scan), plan.operators)

    def next(self) -> StoredDocument | None:
        return next(self._rows, None)


def _piped(
    rows: Iterator[StoredDocument], operators: tuple[Expression | int, ...]
) -> Iterator[StoredDocument]:
    for each in operators:
        rows = _limited(rows, each) if isinstance(each, int) else _filtered(rows, each)
    return rows


def _filtered(rows: Iterator[StoredDocument], condition: Expression) -> Iterator[StoredDocument]:
    return (row for row in rows if condition.keeps(row.value))


def _limited(rows: Iterator[StoredDocument], count: int) -> Iterator[StoredDocument]:
    """The first rows, and no look at the one behind them."""
    for _ in range(count):
        row = next(rows, None)
        if row is None:
            return
        yield row


def page_of(call: Call, arguments: dict[str, Any]) -> PageResult:
    """One page (`1.0/queryPage`). A call may paginate once.

    Raises:
        DatabaseUseError, InvalidCursorError
    """
    if call.paginated:
        raise DatabaseUseError(
            "This query or mutation function ran multiple paginated queries. Only one paginated "
            "query is supported per function; split it in two.",
            code="MultiplePaginatedDatabaseQueries",
        )
    call.paginated = True
    plan = plan_of(arguments["query"])
    request = _page_request(arguments)
    place = plan.place(call)
    _, keys = place or (None, EVERYTHING)
    shape = fingerprint(call.path, plan.text, keys.start, keys.end or b"\xff")
    if place is None:
        end = call.sealer.seal(END, shape)
        call.next_journal = end
        return PageResult([], True, end, None, None, end)
    if any(isinstance(each, int) for each in plan.operators):
        raise DatabaseUseError("A paginated query takes no limit.", code="BadQuery")
    result = read_page(
        call.transaction,
        *place,
        descending=plan.descending,
        keep=_keep(plan),
        request=request,
        journal=call.journal,
        plan=shape,
        sealer=call.sealer,
        limits=call.limits,
    )
    call.next_journal = result.journal
    return result


def _keep(plan: Plan) -> Callable[[StoredDocument], bool] | None:
    filters = [each for each in plan.operators if isinstance(each, Expression)]
    if not filters:
        return None
    return lambda row: all(each.keeps(row.value) for each in filters)


def _page_request(arguments: dict[str, Any]) -> PageRequest:
    size = _whole(arguments, "pageSize")
    if size is None or size < 1:
        raise DatabaseUseError(
            "NoDocumentsForPagination: numItems must be at least 1.",
            code="NoDocumentsForPagination",
        )
    if size > _PAGE_SIZE_MAX:
        raise LimitError(
            f"A page has at most {_PAGE_SIZE_MAX} documents, not {size}.", code="PageSizeTooLarge"
        )
    rows, size_bytes = _whole(arguments, "maximumRowsRead"), _whole(arguments, "maximumBytesRead")
    if rows == 0 or size_bytes == 0:
        raise DatabaseUseError(
            "A pagination limit must be at least 1.", code="InvalidPaginationLimit"
        )
    return PageRequest(
        size, _text(arguments, "cursor"), _text(arguments, "endCursor"), rows, size_bytes
    )


def _whole(arguments: dict[str, Any], name: str) -> int | None:
    value = arguments.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise DatabaseUseError(f"`{name}` must be a whole number.", code="BadArguments")
    return int(value)


def _text(arguments: dict[str, Any], name: str) -> str | None:
    value = arguments.get(name)
    if value is not None and not isinstance(value, str):
        raise DatabaseUseError(f"`{name}` must be a string or null.", code="BadArguments")
    return value

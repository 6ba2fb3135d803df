"""Queries that JavaScript describes as JSON, over a transaction (spec: function runtime, 7, 8)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from cupola.database.catalog import SHARED_TABLES, Index, TableInfo, table_to_come
from cupola.database.cursors import fingerprint
from cupola.database.documents import StoredDocument
from cupola.database.pagination import PageRequest, PageResult
from cupola.database.ranges import EVERYTHING, KeyRange, Range, key_range
from cupola.errors import CupolaError, DatabaseUseError, LimitError
from cupola.functions.call import Call
from cupola.functions.definitions import Kind
from cupola.functions.expressions import Expression
from cupola.functions.text_queries import TextSearch, text_page
from cupola.runtimes.v8.filters import bound_of, expression_of
from cupola.search.text_search import TextScan
from cupola.values import encode, split_qualified

_Rows = Iterator[tuple[bytes, StoredDocument]]

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
    tree: Any
    search: TextSearch | None = None

    @property
    def text(self) -> str:
        """What tells this query from others."""
        return json.dumps(self.tree, sort_keys=True)

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
    search = _search(source) if source.get("type") == "Search" else None
    table, index, constraints = (search.table, search.index, {}) if search else _source(source)
    return Plan(
        table,
        index,
        constraints,
        order == "desc",
        tuple(_operator(each) for each in operators),
        tree,
        search,
    )


def _source(source: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    match source:
        case {"type": "FullTableScan", "tableName": str(table)}:
            return table, "by_creation_time", {}
        case {"type": "IndexRange", "indexName": str(name), "range": list(bounds)}:
            return *_index_name(name), _constraints(bounds)
    raise _malformed("its source is of no known type")


def _index_name(name: str) -> tuple[str, str]:
    table, dot, index = name.partition(".")
    if not dot:
        raise _malformed(f"`{name}` names no table's index")
    return table, index


def _search(source: dict[str, Any]) -> TextSearch:
    name, filters = source.get("indexName"), source.get("filters")
    if not isinstance(name, str) or not isinstance(filters, list):
        raise _malformed("its search has no index or no filters")
    searches: list[tuple[str, Any]] = []
    equalities: list[tuple[str, Any]] = []
    for each in filters:
        match each:
            case {"type": "Search", "fieldPath": str(field), "value": value}:
                searches.append((field, value))
            case {"type": "Eq", "fieldPath": str(field), "value": value}:
                equalities.append((field, bound_of(value)))
            case _:
                raise _malformed("a filter of its search is malformed")
    return TextSearch(*_index_name(name), searches, equalities)


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


class Batch(NamedTuple):
    """Rows read ahead; `is_last`: there are none behind them."""

    rows: list[StoredDocument]
    is_last: bool


class Stream:
    """The rows of a query, read some at a time: crossing into JavaScript costs more than reading.

    What was read ahead counts as read, whether or not the function comes to look at it. After a
    write it is out of date: `rewind` goes back to the last row that was looked at. A loop that
    writes does so again and again; so after each time twice as many rows come one by one.
    """

    def __init__(self, call: Call, plan: Plan) -> None:
        """Compiles the range; reads nothing yet.

        Raises:
            DatabaseUseError: There is no such index, or it has no such range.
        """
        self._call = call
        self._plan = plan
        self._found: TextScan | None = None
        place = plan.place(call) if plan.search is None else None
        self._index = place[0] if place is not None else None
        self._keys = place[1] if place is not None else EVERYTHING
        *filters, last = plan.operators or (None,)
        if not isinstance(last, int):
            filters, last = list(plan.operators), None
        self._left = last  # how many rows are still to come at most
        # What writes system tables (scheduling, say) is not told from what does not: see `abi.js`.
        may_change = call.kind is Kind.MUTATION and plan.table.startswith("_")
        is_simple = all(isinstance(each, Expression) for each in filters)
        self._reads_ahead = is_simple and not may_change
        self._filters = filters
        self._read: list[bytes] = []  # keys of the newest batch
        self._ahead = _AHEAD_MIN
        self._rewinds = 0
        self._one_by_one = 0  # so many rows to come
        self._failure: CupolaError | None = None  # met while reading ahead, and not told yet
        self._rows = self._scan()

    def _scan(self) -> _Rows:
        if self._plan.search is not None:
            return self._processed(self._search(self._plan.search))
        if self._index is None:
            return iter(())
        expect = _AHEAD_MIN if self._left is None else max(1, min(self._left, _AHEAD_MIN))
        rows = self._call.transaction.scan(
            self._index, self._keys, descending=self._plan.descending, expect=expect
        )
        if self._index.table in SHARED_TABLES:
            rows = _own_rows(self._call, rows)
        return self._processed(rows)

    def _search(self, search: TextSearch) -> _Rows:
        """The documents found, under their ids instead of keys."""
        if self._found is None:
            self._found = search.scan(self._call, self._left)
        for document in self._found or ():
            yield str(document.value["_id"]).encode(), document

    def _processed(self, rows: _Rows) -> _Rows:
        if self._reads_ahead:
            return _filtered(rows, [each for each in self._filters if isinstance(each, Expression)])
        return _piped(rows, self._plan.operators)

    def next_batch(self) -> Batch:
        """The next rows, at least one unless there are none."""
        if self._failure is not None:
            raise self._failure
        wanted = self._wanted()
        if self._left is not None and self._reads_ahead:
            wanted = min(wanted, self._left)
        found: list[StoredDocument] = []
        keys: list[bytes] = []
        size = 0
        is_last = wanted == 0
        while len(found) < wanted and size < _AHEAD_BYTES:
            try:
                row = next(self._rows, None)
            except CupolaError as failure:
                self._failure = failure
                if not found:
                    raise
                break  # whoever asks for more is told
            if row is None:
                is_last = True
                break
            keys.append(row[0])
            found.append(row[1])
            size += len(row[1].body)
        if self._left is not None and self._reads_ahead:
            self._left -= len(found)
            is_last = is_last or self._left == 0
        self._read = keys or self._read[-1:]
        return Batch(found, is_last)

    def _wanted(self) -> int:
        """How many rows to read now."""
        if not self._reads_ahead:
            return 1
        if self._one_by_one > 0:
            self._one_by_one -= 1
            return 1
        wanted, self._ahead = self._ahead, min(self._ahead * 4, _AHEAD_MAX)
        return wanted

    def rewind(self, unread: int) -> None:
        """Forget the last rows of the newest batch, or (0) that there were none behind it: they
        will be read again, as they are then.
        """
        if not 0 <= unread <= len(self._read) or not self._reads_ahead:
            return
        if self._left is not None:
            self._left += unread
        self._rewinds += 1
        self._one_by_one, self._ahead = 2**self._rewinds, _AHEAD_MIN
        cut = len(self._read) - unread
        looked_at, taken_back = self._read[:cut], self._read[cut:]
        if self._found is not None:
            self._found.take_back([key.decode() for key in taken_back])
        elif looked_at:
            self._keys = _behind(self._keys, looked_at[-1], self._plan.descending)
        self._read = []
        self._failure = None
        self._rows = self._scan()


_AHEAD_MIN = 16
_AHEAD_MAX = 256
_AHEAD_BYTES = 256 * 1024


def _behind(keys: KeyRange, key: bytes, descending: bool) -> KeyRange:
    """The part of a range that comes after a key, in the direction of the scan."""
    return keys._replace(end=key) if descending else keys._replace(start=key + b"\0")


def _own_rows(call: Call, rows: _Rows) -> _Rows:
    """Those of the component that asks, of a table that several share."""
    for key, document in rows:
        if call.transaction.is_own(document):
            yield key, shown_in(document, call.component)


def shown_in(document: StoredDocument, component: str) -> StoredDocument:
    """A document of such a table as the component's functions see it."""
    if not component:
        return document
    shown = {name: value for name, value in document.value.items() if name != "component"}
    owner, name = split_qualified(str(shown.get("name", "")))
    if owner == component:
        shown["name"] = name
    return StoredDocument(document.version, encode(shown), shown)


def _piped(rows: _Rows, operators: tuple[Expression | int, ...]) -> _Rows:
    for each in operators:
        rows = _limited(rows, each) if isinstance(each, int) else _filtered(rows, [each])
    return rows


def _filtered(rows: _Rows, conditions: list[Expression]) -> _Rows:
    if not conditions:
        return rows
    return (row for row in rows if all(each.keeps(row[1].value) for each in conditions))


def _limited(rows: _Rows, count: int) -> _Rows:
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
    if plan.search is not None:
        _refuse_limits(plan)
        searched = fingerprint(call.path, plan.text)
        found = text_page(call, plan.search, request, searched, _keep(call, plan))
        call.next_journal = found.journal
        return found
    place = plan.place(call)
    _, keys = place or (None, EVERYTHING)
    shape = fingerprint(call.path, plan.text, keys.start, keys.end or b"\xff")
    _refuse_limits(plan)
    return call.read_page(
        place, descending=plan.descending, keep=_keep(call, plan), request=request, plan=shape
    )


def _refuse_limits(plan: Plan) -> None:
    if any(isinstance(each, int) for each in plan.operators):
        raise DatabaseUseError("A paginated query takes no limit.", code="BadQuery")


def _keep(call: Call, plan: Plan) -> Callable[[StoredDocument], bool] | None:
    filters = [each for each in plan.operators if isinstance(each, Expression)]
    is_shared = plan.table.startswith("_")
    if not filters and not is_shared:
        return None

    def keep(row: StoredDocument) -> bool:
        is_own = not is_shared or call.transaction.is_own(row)
        return is_own and all(each.keeps(row.value) for each in filters)

    return keep


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

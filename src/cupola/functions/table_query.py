"""`ctx.db.query(...)`: a range of an index, narrowed step by step, and the ways to read it.

As for all of `ctx.db`, the runtime's interruption is paused while the engine works.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from cupola.database import figures
from cupola.database.aggregates import require_aggregated
from cupola.database.catalog import Index, TableInfo, table_to_come
from cupola.database.cursors import fingerprint
from cupola.database.documents import StoredDocument
from cupola.database.pagination import PageRequest, PageResult
from cupola.database.ranges import EVERYTHING, KeyRange, key_range
from cupola.errors import DatabaseUseError
from cupola.functions.call import Call
from cupola.functions.expressions import Expression
from cupola.functions.names import require_id
from cupola.functions.pages import Page, PaginationOptions, page_request
from cupola.persistence import Numbers
from cupola.schema import Id
from cupola.values import Int64

if TYPE_CHECKING:
    from cupola.functions.text_queries import TextSearch

T = TypeVar("T")
Keep = Callable[[StoredDocument], bool]


class Query(Generic[T]):
    """A query under construction. Nothing is read until it is iterated or collected."""

    def __init__(self, call: Call, table: str) -> None:
        self._call = call
        self._table = table
        self._index = "by_creation_time"
        self._constraints: dict[str, Any] = {}
        self._descending = False
        self._filters: tuple[Callable[[Any], Any] | Expression, ...] = ()
        self._search: dict[str, Any] | None = None

    def _copy(self) -> Query[T]:
        copy: Query[T] = Query(self._call, self._table)
        copy._index = self._index
        copy._constraints = self._constraints
        copy._descending = self._descending
        copy._filters = self._filters
        copy._search = self._search
        return copy

    # ---------------------------------------------------------------- narrowing

    def with_index(
        self, index: str, constraints: Mapping[str, Any] | None = None, /, **fields: Any
    ) -> Query[T]:
        """Read an index instead: equalities on its first fields, then at most one `Range`.

        with_index("by_channel", channel="general", _creationTime=Range(gt=since))
        """
        changed = self._copy()
        changed._index = index
        changed._constraints = {**(constraints or {}), **fields}
        changed._search = None
        return changed

    def with_search_index(
        self, index: str, search: Mapping[str, Any] | None = None, /, **fields: Any
    ) -> Query[T]:
        """Search the words of a text field, the most relevant documents first: the text to look for
        in the field that the index searches, and values for its filter fields.

        with_search_index("search_body", body="quick fox", author=ada)
        """
        changed = self._copy()
        changed._index = index
        changed._search = {**(search or {}), **fields}
        return changed

    def order(self, order: Literal["asc", "desc"]) -> Query[T]:
        """Index order, ascending unless told otherwise."""
        if order not in ("asc", "desc"):
            raise DatabaseUseError(f'order is "asc" or "desc", not {order!r}.', code="BadOrder")
        if self._search is not None:
            raise DatabaseUseError(
                "A text search is in the order of relevance; leave order out.", code="BadOrder"
            )
        changed = self._copy()
        changed._descending = order == "desc"
        return changed

    def filter(self, keep: Callable[[T], bool] | Expression) -> Query[T]:
        """Leave out documents. They count as read all the same, so prefer an index."""
        changed = self._copy()
        changed._filters = (*self._filters, keep)
        return changed

    # ---------------------------------------------------------------- reading

    def collect(self) -> list[T]:
        """All documents of the query."""
        return self._fetch(None)

    def take(self, count: int) -> list[T]:
        """The first `count` documents."""
        if not isinstance(count, int) or count < 0:
            raise DatabaseUseError(
                f"take needs a count of 0 or more, not {count!r}.", code="BadCount"
            )
        return self._fetch(count) if count else []

    def first(self) -> T | None:
        """The first document, or None."""
        found = self._fetch(1)
        return found[0] if found else None

    def unique(self) -> T | None:
        """The only document, or None.

        Raises:
            DatabaseUseError: There are several.
        """
        found = self._fetch(2)
        if len(found) > 1:
            raise DatabaseUseError(
                f"unique() query returned more than one result from table {self._table}:\n"
                f" [{_id_of(found[0])}, {_id_of(found[1])}, ...]",
                code="NotUnique",
            )
        return found[0] if found else None

    def count(self) -> int:
        """How many documents there are. Without a filter only index entries are read, and of an
        aggregated index not even those.
        """
        if self._filters or self._search is not None:
            return sum(1 for _ in self)
        self._call.interruption.pause()
        try:
            place = self._place()
            return figures.count(self._call.transaction, *place) if place is not None else 0
        finally:
            self._call.interruption.resume()

    def sum(self, field: str) -> float | Int64:
        """The sum of a field, over all documents in which it is a number: exact, rounded once.

        It is whole (int) where the table's class says so, an Int64 where all numbers are, and 0
        where there are none. The index must aggregate the field, as must those below.

        Raises:
            DatabaseUseError: It does not, or the query has a filter.
        """
        found = self._aggregate("sum", field, lambda numbers: numbers.sum)
        return 0 if found is None else found

    def min(self, field: str) -> float | Int64 | None:
        """The least number that a field holds; None where it holds none. Raises: as `sum`."""
        return self._aggregate("min", field, lambda numbers: numbers.minimum)

    def max(self, field: str) -> float | Int64 | None:
        """The greatest number that a field holds; None where it holds none. Raises: as `sum`."""
        return self._aggregate("max", field, lambda numbers: numbers.maximum)

    def nth(self, position: int) -> T | None:
        """The document that has `position` others before it, or None. 0 is the first.

        Raises:
            DatabaseUseError: The index is not aggregated, or the query has a filter.
        """
        if not isinstance(position, int) or position < 0:
            raise DatabaseUseError(
                f"nth needs a position of 0 or more, not {position!r}.", code="BadCount"
            )
        self._call.interruption.pause()
        try:
            place = self._aggregated("nth")
            if place is None:
                return None
            found = figures.nth(
                self._call.transaction, *place, position, descending=self._descending
            )
            if found is None:
                return None
            return self._call.app.to_python(self._table, found)  # type: ignore[no-any-return]
        finally:
            self._call.interruption.resume()

    def rank(self, id: Id[Any]) -> int | None:
        """How many documents of the query come before this one; None: it is not among them.

        Raises: as `nth`.
        """
        self._call.interruption.pause()
        try:
            document_id = require_id(id)
            place = self._aggregated("rank")
            transaction = self._call.transaction
            if place is None or transaction.table_of(document_id).number != place[0].table:
                return None
            document = transaction.get(document_id)
            if document is None:
                return None
            return figures.rank(transaction, *place, document, descending=self._descending)
        finally:
            self._call.interruption.resume()

    def __iter__(self) -> Iterator[T]:
        """Documents one by one; the read set ends where the iteration does."""
        pause, resume = self._call.interruption.pause, self._call.interruption.resume
        rows: Iterator[StoredDocument] | None = None
        while True:
            pause()
            try:
                if rows is None:
                    rows = self._rows(16)
                row = next(rows, None)
                if row is None:
                    return
                document = self._call.app.to_python(self._table, row)
            finally:
                resume()
            if self._keeps(row, document):
                yield document

    def paginate(self, options: PaginationOptions) -> Page[T]:
        """One page that stays live: re-runs cover the same documents, so pages never overlap or
        gap.

        A call may paginate once.
        """
        call = self._call
        if call.paginated:
            raise DatabaseUseError(
                "A function can paginate only once per call; split it into two queries.",
                code="MultiplePaginatedDatabaseQueries",
            )
        call.paginated = True
        request = page_request(options)
        call.interruption.pause()
        try:
            if self._search is not None:
                return self._search_page(request)
            place = self._place()
            _, keys = place or self._range(table_to_come(self._table))
            result = call.read_page(
                place,
                descending=self._descending,
                keep=self._keep() if self._filters else None,
                request=request,
                plan=self._plan(keys),
            )
            return self._page(result)
        finally:
            call.interruption.resume()

    def _search_page(self, request: PageRequest) -> Page[T]:
        from cupola.functions.text_queries import text_page

        search = self._text_search()
        searched = repr(sorted(map(repr, (*search.searches, *search.equalities))))
        plan = fingerprint(
            self._call.path, self._table, self._index, searched, self._filter_texts()
        )
        keep = self._keep() if self._filters else None
        return self._page(text_page(self._call, search, request, plan, keep))

    def _page(self, result: PageResult) -> Page[T]:
        call = self._call
        call.next_journal = result.journal
        return Page(
            [call.app.to_python(self._table, d) for d in result.documents],
            result.is_done,
            result.continue_cursor,
            result.split_cursor,
            result.status,  # type: ignore[arg-type]
        )

    # ---------------------------------------------------------------- inside

    def _aggregate(
        self, name: str, field: str, of: Callable[[Numbers], float | Int64 | None]
    ) -> float | Int64 | None:
        """One figure of a field, as the table's class has the field."""
        self._call.interruption.pause()
        try:
            place = self._aggregated(name, field)
            if place is None:
                return None
            summary = figures.summarize(self._call.transaction, *place)
            figure = of(summary.numbers[place[0].aggregate_names.index(field)])
            if type(figure) is float and figure.is_integer():
                return self._call.app.to_number(self._table, field, figure)
            return figure
        finally:
            self._call.interruption.resume()

    def _aggregated(self, name: str, field: str | None = None) -> tuple[Index, KeyRange] | None:
        """`_place`, if its index can answer for ranges."""
        place = self._place()
        if place is not None:
            has_filter = bool(self._filters)
            require_aggregated(self._table, place[0], name, field, has_filter=has_filter)
        return place

    def _place(self) -> tuple[Index, KeyRange] | None:
        """Where to read; None while the table does not exist."""
        if self._search is not None:
            raise DatabaseUseError(
                "A text search has no ranges: read its documents.", code="NotAggregated"
            )
        table: TableInfo | None = self._call.transaction.table(self._table)
        if table is None:
            if self._index not in ("by_creation_time", "by_id"):
                raise DatabaseUseError(
                    f"`{self._table}` has no index `{self._index}`: it is empty and in no schema.",
                    code="IndexNotFound",
                )
            return None
        return self._range(table)

    def _range(self, table: TableInfo) -> tuple[Index, KeyRange]:
        index = table.index(self._index)
        if not self._constraints:
            return index, EVERYTHING
        wire = self._call.app.to_bounds(self._table, self._constraints)
        return index, key_range(self._table, index, wire)

    def _plan(self, keys: KeyRange) -> bytes:
        filters = self._filter_texts()
        order = "desc" if self._descending else "asc"
        return fingerprint(
            self._call.path,
            self._table,
            self._index,
            order,
            filters,
            keys.start,
            keys.end or b"\xff",
        )

    def _filter_texts(self) -> str:
        return ";".join(f.text if isinstance(f, Expression) else "python" for f in self._filters)

    def _text_search(self) -> TextSearch:
        from cupola.functions.text_queries import TextSearch

        assert self._search is not None
        wire = self._call.app.to_bounds(self._table, self._search)
        return TextSearch.by_fields(self._call, self._table, self._index, wire)

    def _rows(self, expect: int | None) -> Iterator[StoredDocument]:
        if self._search is not None:
            return self._text_search().scan(self._call, expect) or iter(())
        expect = 64 if expect is None else min(expect, 1024)
        place = self._place()
        if place is None:
            return iter(())
        scan = self._call.transaction.scan(*place, descending=self._descending, expect=expect)
        return (document for _, document in scan)

    def _fetch(self, count: int | None) -> list[T]:
        if self._filters:
            return list(itertools.islice(self, count))
        self._call.interruption.pause()
        try:
            if self._search is not None:
                rows = self._rows(count)
                return [self._call.app.to_python(self._table, r) for r in _first(rows, count)]
            place = self._place()
            if place is None:
                return []
            if self._call.transaction.sees_plainly(place[0].table):
                return self._fetch_at_once(place, count)
            rows = self._rows(count)
            to_python = self._call.app.converter(self._table)
            return [to_python(row) for row in itertools.islice(rows, count)]
        finally:
            self._call.interruption.resume()

    def _fetch_at_once(self, place: tuple[Index, KeyRange], count: int | None) -> list[T]:
        bodies = self._call.transaction.bodies(*place, descending=self._descending, limit=count)
        return self._call.app.bodies_converter(self._table)(bodies)

    def _keeps(self, row: StoredDocument, document: T) -> bool:
        for keep in self._filters:
            if isinstance(keep, Expression):
                if not keep.keeps(row.value):
                    return False
            else:
                kept = keep(document)
                if isinstance(kept, Expression):
                    kept = kept.keeps(row.value)
                if not kept:
                    return False
        return True

    def _keep(self) -> Keep:
        """The filters over stored rows; user predicates run with interruption allowed."""

        def keep(row: StoredDocument) -> bool:
            document = self._call.app.to_python(self._table, row)
            self._call.interruption.resume()
            try:
                return self._keeps(row, document)
            finally:
                self._call.interruption.pause()

        return keep


def _first(rows: Iterator[StoredDocument], count: int | None) -> Iterator[StoredDocument]:
    return rows if count is None else itertools.islice(rows, count)


def _id_of(document: object) -> str:
    return str(document["_id"] if isinstance(document, dict) else getattr(document, "_id", "?"))

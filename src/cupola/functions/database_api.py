"""`ctx.db`: what functions may do with the data.

Each operation runs inside the call's transaction. While it does, the runtime's interruption is
paused, so that a time limit never strikes inside the engine.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from cupola.database.aggregates import require_aggregated
from cupola.database.catalog import (
    READABLE_TABLES,
    SYSTEM_TABLES,
    Index,
    TableInfo,
    table_to_come,
)
from cupola.database.cursors import fingerprint
from cupola.database.documents import StoredDocument
from cupola.database.pagination import PageRequest, PageResult
from cupola.database.ranges import key_range
from cupola.database.transaction import EVERYTHING, KeyRange
from cupola.errors import DatabaseUseError, InvalidIdError
from cupola.functions.call import Call
from cupola.functions.expressions import Expression
from cupola.functions.pages import Page, PaginationOptions
from cupola.persistence import Numbers
from cupola.schema import Id, Table
from cupola.values import UNSET, Int64, UnsetType, Value, decode_canonical, decode_id

if TYPE_CHECKING:
    from cupola.functions.text_queries import TextSearch

T = TypeVar("T")
TableT = TypeVar("TableT", bound=Table)
Keep = Callable[[StoredDocument], bool]


class DatabaseReader:
    """Reads of queries and mutations, all at one snapshot."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def get(self, id: Id[T]) -> T | None:
        """The document with this id, or None if there is none (any more).

        Raises:
            InvalidIdError: The text is no document id of this deployment.
        """
        self._call.interruption.pause()
        try:
            document_id = _require_id(id)
            found = self._call.transaction.get(document_id)
            if found is None:
                return None
            name = self._call.transaction.table_of(document_id).name
            return self._call.app.to_python(name, found)  # type: ignore[no-any-return]
        finally:
            self._call.interruption.resume()

    @overload
    def query(self, table: type[TableT]) -> Query[TableT]: ...
    @overload
    def query(self, table: str) -> Query[Any]: ...
    def query(self, table: type[TableT] | str) -> Query[Any]:
        """Start a query over a table: all documents in order of creation, until narrowed."""
        return Query(self._call, _table_name(table))

    @property
    def snapshot_ts(self) -> Int64:
        """The timestamp of the snapshot that is read, in ns: later commits are not seen here. On
        the clock of `DatabaseWriter.commit_ts`, not on that of `time.time()`. A query that asks is
        cached as one that reads the clock.
        """
        self._call.observe_time()
        return Int64(self._call.transaction.snapshot_ts)

    @property
    def system(self) -> SystemReader:
        """Documents that the system keeps, such as `_scheduled_functions`."""
        return SystemReader(self._call)

    def normalize_id(self, table: type[TableT] | str, text: str) -> Id[TableT] | None:
        """`text` if it is an id of this table (whether or not the document exists), else None."""
        self._call.interruption.pause()
        try:
            info = self._call.transaction.table(_table_name(table))
            number, _ = decode_id(text)
            return text if info is not None and info.number == number else None  # type: ignore[return-value]
        except InvalidIdError:
            return None
        finally:
            self._call.interruption.resume()


class SystemReader:
    """Reads of documents that the system keeps for functions to see; they are dicts."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def get(self, id: str) -> dict[str, Any] | None:
        """The document with this id, or None if there is none (any more).

        Raises:
            InvalidIdError: The text is no id of such a document.
        """
        self._call.interruption.pause()
        try:
            document_id = _require_id(id)
            table = self._call.transaction.table_of(document_id)
            if table.number not in READABLE_TABLES:
                raise InvalidIdError(
                    f'"{document_id}" is of `{table.name}`; read it with `ctx.db.get`.'
                )
            found = self._call.transaction.get(document_id)
            return None if found is None else fresh_document(found.body)
        finally:
            self._call.interruption.resume()

    def query(self, table: str) -> Query[dict[str, Any]]:
        """Start a query over a system table: `ctx.db.system.query("_scheduled_functions")`."""
        readable = [name for name, number in SYSTEM_TABLES.items() if number in READABLE_TABLES]
        if table not in readable:
            raise DatabaseUseError(
                f"`{table}` is no system table that functions can read; there is "
                f"{', '.join(f'`{name}`' for name in readable)}.",
                code="SystemTable",
            )
        found: Query[dict[str, Any]] = Query(self._call, table)
        return found.filter(lambda row: "component" not in row) if table == "_storage" else found


class DatabaseWriter(DatabaseReader):
    """Reads and writes of mutations: all of them happen, or none."""

    @property
    def commit_ts(self) -> Int64:
        """Becomes the timestamp of this mutation's commit, in ns, wherever it is stored: greater
        than that of any commit before. Until then it sorts above all Int64 and is no number.
        """
        return self._call.transaction.commit_timestamp()

    @overload
    def insert(self, table: TableT) -> Id[TableT]: ...
    @overload
    def insert(self, table: str, document: Mapping[str, Any]) -> Id[Any]: ...
    @overload
    def insert(self, table: type[TableT], document: Mapping[str, Any]) -> Id[TableT]: ...
    def insert(
        self, table: Table | str | type[Table], document: Mapping[str, Any] | None = None
    ) -> Id[Any]:
        """Insert `Message(...)`, or a table name and a dict. Returns the new id."""
        self._call.interruption.pause()
        try:
            if isinstance(table, Table):
                name, fields = _table_name(type(table)), table.to_value()
            elif document is None:
                raise DatabaseUseError(
                    "insert takes a document of a table class, or a table and a dict.",
                    code="BadArguments",
                )
            else:
                name = _table_name(table)
                fields = self._call.app.to_fields(name, document)
            return self._call.transaction.insert(name, fields)  # type: ignore[return-value]
        finally:
            self._call.interruption.resume()

    def patch(
        self, id: Id[Any], changes: Mapping[str, Any] | None = None, /, **fields: Any
    ) -> None:
        """Change some top-level fields: `patch(id, body="new")` or `patch(id, {"body": "new"})`.

        A field set to UNSET is removed.
        """
        self._call.interruption.pause()
        try:
            document_id = _require_id(id)
            name = self._call.transaction.table_of(document_id).name
            given = {**(changes or {}), **fields}
            self._call.transaction.patch(document_id, self._call.app.to_fields(name, given))
        finally:
            self._call.interruption.resume()

    def replace(self, id: Id[Any], document: Table | Mapping[str, Any]) -> None:
        """Replace all fields of a document; its id and creation time stay."""
        self._call.interruption.pause()
        try:
            document_id = _require_id(id)
            name = self._call.transaction.table_of(document_id).name
            if isinstance(document, Table):
                fields = document.to_value()
                if _table_name(type(document)) != name:
                    raise DatabaseUseError(
                        f'"{document_id}" is in `{name}`; it cannot be replaced by a document of '
                        f"`{_table_name(type(document))}`.",
                        code="WrongTable",
                    )
            else:
                fields = self._call.app.to_fields(name, document)
            self._call.transaction.replace(document_id, fields)
        finally:
            self._call.interruption.resume()

    def delete(self, id: Id[Any]) -> None:
        """Delete a document."""
        self._call.interruption.pause()
        try:
            self._call.transaction.delete(_require_id(id))
        finally:
            self._call.interruption.resume()


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
            return self._call.transaction.count(*place) if place is not None else 0
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
            found = self._call.transaction.nth(*place, position, descending=self._descending)
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
            document_id = _require_id(id)
            place = self._aggregated("rank")
            transaction = self._call.transaction
            if place is None or transaction.table_of(document_id).number != place[0].table:
                return None
            document = transaction.get(document_id)
            if document is None:
                return None
            return transaction.rank(*place, document, descending=self._descending)
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
        request = _page_request(options)
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
            summary = self._call.transaction.summarize(*place)
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
        wire = {k: self._call.app.to_bound(v) for k, v in self._constraints.items()}
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
        wire = {name: self._call.app.to_bound(value) for name, value in self._search.items()}
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


def _table_name(table: type[Table] | str) -> str:
    if isinstance(table, str):
        return table
    if isinstance(table, type) and issubclass(table, Table):
        return table.__cupola_table__.name
    raise DatabaseUseError(
        f"A table is named by its class or by its name, not by {table!r}.", code="BadArguments"
    )


def _require_id(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidIdError(f"A document id is a string, not {value!r}.")
    return value


def _id_of(document: object) -> str:
    return str(document["_id"] if isinstance(document, dict) else getattr(document, "_id", "?"))


def _page_request(options: PaginationOptions) -> PageRequest:
    if not 1 <= options.numItems < math.inf:
        raise DatabaseUseError(
            f"NoDocumentsForPagination: numItems must be at least 1, not {options.numItems:g}.",
            code="NoDocumentsForPagination",
        )
    return PageRequest(
        int(options.numItems),
        options.cursor,
        None if options.endCursor is UNSET else options.endCursor,
        _read_bound("maximumRowsRead", options.maximumRowsRead),
        _read_bound("maximumBytesRead", options.maximumBytesRead),
    )


def _read_bound(name: str, value: float | UnsetType) -> int | None:
    if value is UNSET:
        return None
    if not 1 <= value < math.inf:
        raise DatabaseUseError(f"{name} must be at least 1, not {value:g}.", code="BadArguments")
    return int(value)


def fresh_document(body: bytes) -> dict[str, Value]:
    """A dict of its own for documents of tables without a class."""
    value = decode_canonical(body)
    assert isinstance(value, dict)
    return value


def fresh_documents(bodies: list[bytes]) -> list[dict[str, Value]]:
    return list(map(fresh_document, bodies))

"""How the system's functions read: like others, but private tables too."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from cupola.database.catalog import (
    CATALOG_TABLES,
    FIRST_USER_TABLE,
    SHARED_TABLES,
    TABLES,
    Catalog,
    Document,
    Index,
    TableInfo,
)
from cupola.database.cursors import fingerprint
from cupola.database.documents import StoredDocument
from cupola.database.pagination import PageRequest
from cupola.database.ranges import EVERYTHING
from cupola.database.read_set import RangeRead
from cupola.database.transaction import Transaction
from cupola.functions.context import QueryCtx
from cupola.limits import MiB
from cupola.system.filters import Filter, read_filter
from cupola.values import split_qualified

Keep = Callable[[StoredDocument], bool]

_PAGE_ROWS_MAX = 1000  # a page stays well inside the time that a call may keep the loop
_PAGE_BYTES_MAX = 1 * MiB
_COUNT_MAX = 200_000


@contextmanager
def engine(ctx: QueryCtx) -> Iterator[Transaction]:
    """The call's transaction, while no time limit may strike."""
    ctx._call.interruption.pause()
    try:
        yield ctx._call.transaction
    finally:
        ctx._call.interruption.resume()


def documents(ctx: QueryCtx, number: int) -> list[Document]:
    """All documents of a small system table. They are shared: change none."""
    with engine(ctx) as transaction:
        index = transaction.system_table(number).primary
        return [document.value for _, document in transaction.scan(index, EVERYTHING)]


def user_tables(ctx: QueryCtx) -> dict[str, int]:
    """Names of the tables of the app, or of the component looked at, sorted; with their numbers."""
    found = {}
    for document in documents(ctx, TABLES):
        component, name = split_qualified(str(document["name"]))
        if component == ctx._call.component:
            found[name] = int(document.get("idNumber", document["number"]))  # type: ignore[arg-type]
    return dict(sorted(found.items()))


def table_named(ctx: QueryCtx, name: str) -> TableInfo | None:
    """An app's table; None if there is none of this name, or it is the system's."""
    with engine(ctx) as transaction:
        table = transaction.table(name)
    return table if table is not None and table.number >= FIRST_USER_TABLE else None


def depend_on_all(transaction: Transaction, index: Index) -> None:
    """The result changes with whatever is written there, though nothing is read."""
    read = RangeRead(index.number, *EVERYTHING, False)
    read.exhausted()
    transaction.read_set.add_range(read)


def table_size(ctx: QueryCtx, name: str) -> int:
    """How many documents a table has; what is more than 200,000 is not counted."""
    table = table_named(ctx, name)
    if table is None:
        return 0
    with engine(ctx) as transaction:
        depend_on_all(transaction, table.primary)
        return transaction.size_of(table.primary, _COUNT_MAX)


def newest_of_table(ctx: QueryCtx, name: str, limit: float) -> list[Document]:
    """Up to `limit` documents of the app's table, the newest first, within the bounds of a page."""
    table = table_named(ctx, name)
    if table is None:
        return []
    found: list[Document] = []
    size = 0
    wanted = int(max(0, min(limit, _PAGE_ROWS_MAX)))
    with engine(ctx) as transaction:
        rows = transaction.scan(
            table.indexes["by_creation_time"], EVERYTHING, descending=True, expect=wanted + 1
        )
        for _, document in itertools.islice(rows, wanted):
            size += len(document.body)
            if found and size > _PAGE_BYTES_MAX:
                break
            found.append(document.value)
    return found


def catalog_of(ctx: QueryCtx) -> Catalog:
    """Tables, indexes and schemas; the result depends on all of them."""
    with engine(ctx) as transaction:
        for number in CATALOG_TABLES.values():
            depend_on_all(transaction, transaction.system_table(number).primary)
        return transaction.catalog


def page_of_table(ctx: QueryCtx, name: str, order: str, options: dict[str, Any]) -> dict[str, Any]:
    """A page of a table in order of creation, as the clients' pagination takes it."""
    return _page(ctx, name, Filter(order=order), options, fingerprint("_system", name, order))


def filtered_page(
    ctx: QueryCtx, name: str, filters: str | None, options: dict[str, Any]
) -> dict[str, Any]:
    """A page of what a dashboard's filter shows; the newest first unless it says otherwise."""
    wanted = read_filter(filters)
    if wanted.order is None:
        wanted = msgspec.structs.replace(wanted, order="desc")
    plan = fingerprint("_system", name, filters or "")
    return _page(ctx, name, wanted, options, plan)


def page_where(ctx: QueryCtx, name: str, wanted: Filter, options: dict[str, Any]) -> dict[str, Any]:
    """A page of what a filter leaves of a table."""
    plan = fingerprint("_system", name, msgspec.json.encode(wanted))
    return _page(ctx, name, wanted, options, plan)


def _kept(transaction: Transaction, table: TableInfo, wanted: Filter) -> Keep | None:
    """What a page shows of a table: of one that several components share, their own documents."""
    keep = wanted.keep()
    if table.number not in SHARED_TABLES:
        return keep
    return lambda row: transaction.is_own(row) and (keep is None or keep(row))


def _page(
    ctx: QueryCtx, name: str, wanted: Filter, options: dict[str, Any], plan: bytes
) -> dict[str, Any]:
    with engine(ctx) as transaction:
        table = transaction.table(name)
    if table is None or not table.is_readable:
        return {"page": [], "isDone": True, "continueCursor": ""}
    request = PageRequest(
        items=max(1, min(int(options.get("numItems", 1)), _PAGE_ROWS_MAX)),
        cursor=options.get("cursor"),
        end_cursor=options.get("endCursor"),
        rows_read_max=_PAGE_ROWS_MAX,
        bytes_read_max=_PAGE_BYTES_MAX,
    )
    with engine(ctx):
        search = wanted.text_search(table)
        if search is not None:
            from cupola.functions.text_queries import text_page

            keep = _kept(transaction, table, wanted)
            result = text_page(ctx._call, search, request, plan, keep)
            ctx._call.next_journal = result.journal
        else:
            result = ctx._call.read_page(
                wanted.place(table),
                descending=wanted.order == "desc",
                keep=_kept(transaction, table, wanted),
                request=request,
                plan=plan,
            )
        return {
            "page": [document.value for document in result.documents],
            "isDone": result.is_done,
            "continueCursor": result.continue_cursor,
            "splitCursor": result.split_cursor,
            "pageStatus": result.status,
        }

"""What dashboards and tools ask of the history of a deployment: ordinary queries, so they are live
when they are subscribed to (spec: deploy API, sections 15 and 19).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Final

from cupola.database.catalog import EVENTS, Document, system_index
from cupola.database.cursors import fingerprint
from cupola.database.documents import StoredDocument
from cupola.database.pagination import PageRequest, PageResult
from cupola.database.ranges import KeyRange
from cupola.functions.context import QueryCtx
from cupola.limits import MiB
from cupola.system.events import PUSH
from cupola.system.reading import engine
from cupola.system.registry import PREFIX, system_query
from cupola.values import Int64, encode, encode_key
from cupola.values.keys import after

LIST: Final = PREFIX + "deployment/events:list"

_SHOWN_MAX: Final = 1000
_PAGE_BYTES_MAX: Final = 1 * MiB
_SHOWN_BYTES_MAX: Final = 8 * MiB


@system_query("frontend/deploymentEvents:lastPushEvent")
def last_push(ctx: QueryCtx, componentId: str | None = None) -> Any:
    """The newest push, of the whole deployment."""
    prefix = encode_key(PUSH)
    keys = KeyRange(1, prefix, prefix, after(prefix))
    with engine(ctx) as transaction:
        index = system_index(EVENTS, "by_action")
        rows = transaction.scan(index, keys, descending=True, expect=1)
        return next((_shown(row) for _, row in rows), None)


@system_query("frontend/paginatedDeploymentEvents:default")
def events(ctx: QueryCtx, paginationOpts: dict[str, Any], filters: dict[str, Any]) -> Any:
    """A page of events, the newest first. `filters`: times in ms, the last one included, authors
    and actions.
    """
    keys = _between(filters.get("minDate"), filters.get("maxDate") or None)
    request = PageRequest(
        items=max(1, min(int(paginationOpts.get("numItems", 1)), _SHOWN_MAX)),
        cursor=paginationOpts.get("cursor"),
        end_cursor=paginationOpts.get("endCursor"),
        rows_read_max=_SHOWN_MAX,
        bytes_read_max=_PAGE_BYTES_MAX,
    )
    plan = fingerprint("_system", "events", encode(filters))
    result = _page(ctx, keys, request, plan, descending=True, keep=_wanted(filters))
    return {
        "page": [_shown(row) for row in result.documents],
        "isDone": result.is_done,
        "continueCursor": result.continue_cursor,
        "splitCursor": result.split_cursor,
        "pageStatus": result.status,
    }


@system_query("frontend/listDeploymentEventsFromTime:default")
def events_from(ctx: QueryCtx, fromTimestamp: float) -> Any:
    """Those since a time (ms), in order; of very many, the newest."""
    found: list[Document] = []
    size = 0
    with engine(ctx) as transaction:
        index = system_index(EVENTS, "by_creation_time")
        rows = transaction.scan(index, _between(fromTimestamp, None), descending=True)
        for _, row in itertools.islice(rows, _SHOWN_MAX):
            size += len(row.body)
            if size > _SHOWN_BYTES_MAX:
                break
            found.append(_shown(row))
    return found[::-1]


@system_query(LIST.removeprefix(PREFIX))
def listed(ctx: QueryCtx, since: float, limit: float, cursor: str | None) -> Any:
    """A page of them in order, as tools take it over HTTP."""
    request = PageRequest(
        items=int(limit), cursor=cursor, rows_read_max=_SHOWN_MAX, bytes_read_max=_PAGE_BYTES_MAX
    )
    plan = fingerprint("_system", "events since", encode(since))
    result = _page(ctx, _between(since, None), request, plan, descending=False, keep=None)
    return {
        "events": [_shown(row) for row in result.documents],
        "cursor": None if result.is_done else result.continue_cursor,
    }


def _page(
    ctx: QueryCtx,
    keys: KeyRange,
    request: PageRequest,
    plan: bytes,
    *,
    descending: bool,
    keep: Callable[[StoredDocument], bool] | None,
) -> PageResult:
    with engine(ctx):
        return ctx._call.read_page(
            (system_index(EVENTS, "by_creation_time"), keys),
            descending=descending,
            keep=keep,
            request=request,
            plan=plan,
        )


def _between(first_ms: float | None, last_ms: float | None) -> KeyRange:
    start = b"" if first_ms is None else encode_key(float(first_ms))
    end = None if last_ms is None else max(start, after(encode_key(float(last_ms))))
    return KeyRange(0, b"", start, end)


def _wanted(filters: dict[str, Any]) -> Callable[[StoredDocument], bool] | None:
    authors: list[Int64] | None = filters.get("authorMemberIds")
    actions: list[str] | None = filters.get("actions")
    if authors is None and actions is None:
        return None

    def keep(row: StoredDocument) -> bool:
        event = row.value
        is_author = authors is None or event["member_id"] in authors
        return is_author and (actions is None or event["action"] in actions)

    return keep


def _shown(row: StoredDocument) -> Document:
    return {name: value for name, value in row.value.items() if name != "number"}

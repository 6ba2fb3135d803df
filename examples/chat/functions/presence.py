"""Who is in a room, and who is typing.

A query cannot ask how late it is: its result would grow stale without any write, and could not be
shared. So time comes in as data. Each page writes a heartbeat every few seconds, and at once when
its user starts or stops typing; and it asks `list` for those seen since a moment that it moves on,
in steps that are the same for all pages, so that all of them still share one result. A page that
crashed is gone after three steps at most.
"""

import time
from collections.abc import Sequence
from typing import TypedDict

from cupola import Id, MutationCtx, QueryCtx, Range, mutation, query

from .schema import Room, Visitor

FORGOTTEN_AFTER_MS = 60 * 60 * 1000


class Person(TypedDict):
    name: str
    typing: bool


@query
def list(ctx: QueryCtx, room: Id[Room], since: float) -> Sequence[Person]:
    """The people seen in a room since then, by name; someone with two pages open is listed once.

    Heartbeats change nothing of this, so they re-run the query but nothing is sent.
    """
    typing: dict[str, bool] = {}
    for visitor in ctx.db.query(Visitor).with_index("by_room", room=room, seen=Range(gte=since)):
        typing[visitor.name] = typing.get(visitor.name, False) or visitor.typing
    return [Person(name=name, typing=typing[name]) for name in sorted(typing)]


@mutation
def heartbeat(ctx: MutationCtx, page: str, room: Id[Room], name: str, typing: bool) -> float:
    """Say that this page is here.

    Returns: the server's clock, so that all pages step together whatever their own clocks say.
    """
    now_ms = time.time() * 1000
    visitor = Visitor(page=page, room=room, name=name, typing=typing, seen=now_ms)
    known = ctx.db.query(Visitor).with_index("by_page", page=page).unique()
    if known:
        ctx.db.replace(known._id, visitor)
    else:
        ctx.db.insert(visitor)
        _forget_some(ctx, room, now_ms - FORGOTTEN_AFTER_MS)
    return now_ms


@mutation
def leave(ctx: MutationCtx, page: str) -> None:
    """Say that this page is closed. One that cannot is forgotten when it is not seen any more."""
    known = ctx.db.query(Visitor).with_index("by_page", page=page).unique()
    if known:
        ctx.db.delete(known._id)


def _forget_some(ctx: MutationCtx, room: Id[Room], before_ms: float) -> None:
    """Each page that comes sweeps up after two that crashed: so the table cannot grow for ever."""
    gone = ctx.db.query(Visitor).with_index("by_room", room=room, seen=Range(lt=before_ms))
    for visitor in gone.take(2):
        ctx.db.delete(visitor._id)

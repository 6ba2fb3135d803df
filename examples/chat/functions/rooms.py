"""Rooms: a list of them, and the way into one."""

import re
from collections.abc import Sequence

from cupola import ApplicationError, Id, MutationCtx, QueryCtx, mutation, query

from .schema import Room

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,29}")


@query
def list(ctx: QueryCtx) -> Sequence[Room]:
    """The first hundred rooms, by name."""
    return ctx.db.query(Room).with_index("by_name").take(100)


@mutation
def open(ctx: MutationCtx, name: str) -> Id[Room]:
    """The room of this name, made on its first visit.

    Two visitors who open a new room at the same moment get the same one: mutations are
    serializable.
    """
    if not NAME.fullmatch(name):
        raise ApplicationError(
            {
                "code": "BadName",
                "message": "Use up to 30 lower-case letters, digits and hyphens: “book-club”.",
            }
        )
    room = ctx.db.query(Room).with_index("by_name", name=name).unique()
    return room._id if room else ctx.db.insert(Room(name=name))

"""To-do lists: one's own, and those that others share."""

from collections.abc import Sequence
from typing import TypedDict

from cupola import Id, MutationCtx, QueryCtx, mutation, query

from .access import require_own, require_text, require_user
from .schema import Item, TodoList, User

LISTS_MAX = 100


class ListSummary(TypedDict):
    """A list as the overview shows it."""

    id: Id[TodoList]
    title: str
    owner_name: str
    mine: bool
    shared: bool
    open_items: int


@query
def overview(ctx: QueryCtx, token: str) -> Sequence[ListSummary]:
    """The user's own lists, newest first, then the lists others share."""
    user = require_user(ctx, token)
    lists = ctx.db.query(TodoList)
    own = lists.with_index("by_owner", owner=user._id).order("desc").take(LISTS_MAX)
    shared = lists.with_index("by_shared", shared=True).order("desc").take(LISTS_MAX)
    others = [todo_list for todo_list in shared if todo_list.owner != user._id]
    return [_summary(ctx, user, todo_list) for todo_list in [*own, *others]]


def _summary(ctx: QueryCtx, user: User, todo_list: TodoList) -> ListSummary:
    owner = ctx.db.get(todo_list.owner)
    items = ctx.db.query(Item).with_index("by_list", todo_list=todo_list._id)
    return ListSummary(
        id=todo_list._id,
        title=todo_list.title,
        owner_name=owner.name if owner else "somebody",
        mine=todo_list.owner == user._id,
        shared=todo_list.shared,
        open_items=sum(not item.done for item in items.take(LISTS_MAX)),
    )


@mutation
def create(ctx: MutationCtx, token: str, title: str) -> Id[TodoList]:
    """Start a list. Nobody else sees it until it is shared."""
    user = require_user(ctx, token)
    title = require_text(title, "A title")
    return ctx.db.insert(TodoList(owner=user._id, title=title, shared=False))


@mutation
def share(ctx: MutationCtx, token: str, todo_list: Id[TodoList], shared: bool) -> None:
    """Let everyone read a list, or nobody else any more."""
    ctx.db.patch(require_own(ctx, token, todo_list)._id, shared=shared)


@mutation
def delete(ctx: MutationCtx, token: str, todo_list: Id[TodoList]) -> None:
    """Delete a list and what is on it: in one transaction, so nobody ever sees half of it."""
    found = require_own(ctx, token, todo_list)
    for item in ctx.db.query(Item).with_index("by_list", todo_list=found._id):
        ctx.db.delete(item._id)
    ctx.db.delete(found._id)

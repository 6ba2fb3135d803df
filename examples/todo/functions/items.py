"""What is to be done."""

from collections.abc import Sequence

from cupola import ApplicationError, Id, MutationCtx, QueryCtx, mutation, query

from .access import require_own, require_own_item, require_readable, require_text
from .schema import Item, TodoList

ITEMS_MAX = 200


@query
def list(ctx: QueryCtx, token: str, todo_list: Id[TodoList]) -> Sequence[Item]:
    """The items of a list that the user may read, in the order they were added."""
    found = require_readable(ctx, token, todo_list)
    return ctx.db.query(Item).with_index("by_list", todo_list=found._id).take(ITEMS_MAX)


@mutation
def add(ctx: MutationCtx, token: str, todo_list: Id[TodoList], text: str) -> Id[Item]:
    """Put something on a list."""
    found = require_own(ctx, token, todo_list)
    text = require_text(text, "An item")
    items = ctx.db.query(Item).with_index("by_list", todo_list=found._id)
    if len(items.take(ITEMS_MAX)) == ITEMS_MAX:
        raise ApplicationError(
            {"code": "ListFull", "message": f"A list holds at most {ITEMS_MAX} items."}
        )
    return ctx.db.insert(Item(todo_list=found._id, text=text, done=False))


@mutation
def check(ctx: MutationCtx, token: str, item: Id[Item], done: bool) -> None:
    """Tick an item off, or not."""
    ctx.db.patch(require_own_item(ctx, token, item)._id, done=done)


@mutation
def rewrite(ctx: MutationCtx, token: str, item: Id[Item], text: str) -> None:
    """Change what an item says."""
    found = require_own_item(ctx, token, item)
    ctx.db.patch(found._id, text=require_text(text, "An item"))


@mutation
def delete(ctx: MutationCtx, token: str, item: Id[Item]) -> None:
    """Take an item off its list."""
    ctx.db.delete(require_own_item(ctx, token, item)._id)

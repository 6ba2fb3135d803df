"""Who asks, and what they may do. Every function of this app begins with one of these.

They read the database like the function itself, so a query depends on what they looked at: when a
list is no longer shared, the pages that read it lose it at once.
"""

import hashlib

from cupola import ApplicationError, Id, MutationCtx, QueryCtx

from .schema import Item, TodoList, User


def hash_of(token: str) -> str:
    """What is stored of a token. It is long and random, so a plain hash is enough."""
    return hashlib.sha256(token.encode()).hexdigest()


def require_user(ctx: QueryCtx | MutationCtx, token: str) -> User:
    """The user who holds this token."""
    users = ctx.db.query(User).with_index("by_token_hash", token_hash=hash_of(token))
    user = users.unique()
    if user is None:
        raise ApplicationError({"code": "SignedOut", "message": "Sign in first."})
    return user


def require_readable(ctx: QueryCtx | MutationCtx, token: str, todo_list: Id[TodoList]) -> TodoList:
    """The list, if it is the user's own or shared. Nobody learns whether another's list exists."""
    user = require_user(ctx, token)
    found = ctx.db.get(todo_list)
    if found is None or not (found.shared or found.owner == user._id):
        raise ApplicationError({"code": "NoList", "message": "There is no such list."})
    return found


def require_own(ctx: MutationCtx, token: str, todo_list: Id[TodoList]) -> TodoList:
    """The list, if it is the user's own."""
    found = require_readable(ctx, token, todo_list)
    if found.owner != require_user(ctx, token)._id:
        raise ApplicationError(
            {"code": "NotYours", "message": "Only its owner can change this list."}
        )
    return found


def require_own_item(ctx: MutationCtx, token: str, item: Id[Item]) -> Item:
    """The item, if it is on a list of the user's own."""
    found = ctx.db.get(item)
    if found is None:
        require_user(ctx, token)
        raise ApplicationError({"code": "NoItem", "message": "This item does not exist any more."})
    require_own(ctx, token, found.todo_list)
    return found


def require_text(text: str, what: str, length_max: int = 200) -> str:
    """The text without surrounding white space, if something is left and it is not too long."""
    text = text.strip()
    if not text:
        raise ApplicationError({"code": "Empty", "message": f"{what} cannot be empty."})
    if len(text) > length_max:
        raise ApplicationError(
            {"code": "TooLong", "message": f"{what} has at most {length_max} characters."}
        )
    return text

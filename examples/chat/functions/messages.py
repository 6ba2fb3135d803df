"""What is said in a room."""

from cupola import (
    ApplicationError,
    Id,
    MutationCtx,
    Page,
    PaginationOptions,
    QueryCtx,
    mutation,
    query,
)

from .schema import Message, Room

BODY_LENGTH_MAX = 2000


@query
def list(ctx: QueryCtx, room: Id[Room], paginationOpts: PaginationOptions) -> Page[Message]:
    """The messages of a room, newest first, a page at a time.

    Live like any query: a new message appears in the first page, and pages that are already loaded
    stay adjacent.
    """
    messages = ctx.db.query(Message).with_index("by_room", room=room)
    return messages.order("desc").paginate(paginationOpts)


@mutation
def send(ctx: MutationCtx, room: Id[Room], author: str, body: str) -> Id[Message]:
    """Say something."""
    author, body = author.strip(), body.strip()
    if not author or not body:
        raise ApplicationError(
            {"code": "Empty", "message": "A message needs an author and a text."}
        )
    if len(body) > BODY_LENGTH_MAX:
        raise ApplicationError(
            {
                "code": "TooLong",
                "message": f"A message has at most {BODY_LENGTH_MAX} characters.",
            }
        )
    if ctx.db.get(room) is None:
        raise ApplicationError({"code": "NoRoom", "message": "This room does not exist any more."})
    return ctx.db.insert(Message(room=room, author=author, body=body))

"""Notes with a text index."""

from cupola import MutationCtx, QueryCtx, Table, TextIndex, mutation, query


class Note(Table, name="notes", indexes={"search_body": TextIndex("body", filters=["room"])}):
    body: str
    room: str


@mutation
def add(ctx: MutationCtx, bodies: list[str], start: int) -> None:
    for number, body in enumerate(bodies, start):
        ctx.db.insert(Note(body=body, room=f"room {number % 100}"))


@query
def search(ctx: QueryCtx, text: str, n: int, room: str | None = None) -> list[str]:
    filters = {} if room is None else {"room": room}
    found = ctx.db.query(Note).with_search_index("search_body", body=text, **filters).take(n)
    return [note._id for note in found]

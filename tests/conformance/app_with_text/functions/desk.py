"""The same index, searched from Python."""

from cupola import QueryCtx, query


@query
def find(ctx: QueryCtx, text: str, author: str) -> list[str]:
    notes = ctx.db.query("notes").with_search_index("search_body", body=text, author=author)
    return [note["body"] for note in notes.collect()]

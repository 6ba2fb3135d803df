"""The engine's side of the text worker, before the worker has said anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from cupola.backend import Backend, CallRequest
from cupola.persistence.sqlite import SqlitePersistence

NOTES = """
class Note(Table, name="notes", indexes={"by_body": TextIndex("body")}):
    body: str

@mutation
def look(ctx: MutationCtx) -> int:
    return len(ctx.db.query(Note).collect())
"""


def test_mutations_that_write_nothing_are_no_news(
    tmp_path: Path, write_app: Callable[..., Path]
) -> None:
    """After a start nobody knows yet how far the indexes are, so each commit asks the worker. A
    group without commits asks nobody, and stops nobody.
    """
    app = write_app(notes=NOTES)
    path = str(tmp_path / "data.sqlite3")

    async def look_first() -> None:
        backend = Backend(SqlitePersistence(path))
        backend.use_workers(path)
        backend.load(app)
        stopped = asyncio.get_running_loop().create_future()
        backend.on_failure = stopped.set_exception
        backend.attach(asyncio.get_running_loop())
        call = asyncio.ensure_future(backend.call(CallRequest("mutation", "notes:look")))
        try:
            await asyncio.wait([call, stopped], return_when=asyncio.FIRST_COMPLETED)
            assert backend.state == "ready"
            assert (await call).value == b"0.0"
        finally:
            call.cancel()
            await backend.close()

    asyncio.run(look_first())
    asyncio.run(look_first())  # the index has been built before this process began

"""The engine's side of the text worker, before the worker has said anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from cupola.backend import Backend, CallRequest, text_workers
from cupola.backend.node import ExecutionLog
from cupola.limits import Limits
from cupola.persistence.sqlite import SqlitePersistence

NOTES = """
class Note(Table, name="notes", indexes={"by_body": TextIndex("body")}):
    body: str

@mutation
def look(ctx: MutationCtx) -> int:
    return len(ctx.db.query(Note).collect())

@mutation
def add_many(ctx: MutationCtx) -> None:
    for number in range(30):
        ctx.db.insert(Note(body="hi"))

@mutation
def find(ctx: MutationCtx) -> int:
    return len(ctx.db.query(Note).with_search_index("by_body", body="hi").collect())

@mutation
def find_later(ctx: MutationCtx) -> None:
    ctx.scheduler.run_after(0, find)
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


def test_a_job_that_meets_an_index_which_is_behind_is_tried_again_from_workers_too(
    tmp_path: Path, write_app: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails is the system, not the function, wherever that runs."""
    app = write_app(notes=NOTES)
    path = str(tmp_path / "data.sqlite3")
    monkeypatch.setattr(text_workers, "MODULE", "cupola.runtimes.no_such_module")
    tried: list[str | None] = []

    async def story() -> None:
        backend = Backend(SqlitePersistence(path), limits=Limits(search_changes_max=5))
        backend.use_workers(path)
        backend.always_in_workers(["notes:find"])
        backend.load(app)
        backend.attach(asyncio.get_running_loop())
        twice = asyncio.Event()

        def watch(log: ExecutionLog) -> None:
            if log.path == "notes:find":
                tried.append(log.error_message)
                if len(tried) == 2:
                    twice.set()

        backend.node.watchers.append(watch)
        try:
            assert (await backend.call(CallRequest("mutation", "notes:add_many"))).ok
            assert (await backend.call(CallRequest("mutation", "notes:find_later"))).ok
            await asyncio.wait_for(twice.wait(), 60)
        finally:
            await backend.close()

    asyncio.run(story())
    assert all(error is not None and "catches up" in error for error in tried)

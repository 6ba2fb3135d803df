"""The engine's side of the text worker: it is asked again as long as there is something to do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cupola.backend import Backend, CallRequest
from cupola.backend import text_workers as engine_side
from cupola.backend.text_workers import TextWorkers
from cupola.runtimes.python.messages import TextIndexed, TextProgress

from .serving import serving

NOTES = """
class Note(Table, name="notes", indexes={"by_body": TextIndex("body")}):
    body: str

@mutation
def add(ctx: MutationCtx) -> None:
    ctx.db.insert(Note(body="fox"))
"""


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


@pytest.fixture
def run(tmp_path: Path, write_app: Callable[..., Path]) -> Callable[..., None]:
    """Runs a story with a deployment, from when its text worker has nothing to do."""
    app = write_app(notes=NOTES)

    def run(story: Callable[[Backend, TextWorkers], Awaitable[None]]) -> None:
        async def all_of_it() -> None:
            async with serving(tmp_path, app) as backend:
                texts = backend.workers.texts
                assert texts is not None
                await until(lambda: "idle" in texts._timers)
                await story(backend, texts)

        asyncio.run(all_of_it())

    return run


def test_an_index_that_waits_for_the_log_to_be_synced_is_asked_for_again(
    run: Callable[..., None],
) -> None:
    """Its documents were read at the head, where others write, and it stands for nothing before.
    Who writes to other tables does not ask; so a push would wait for ever.
    """

    async def story(backend: Backend, texts: TextWorkers) -> None:
        (name,) = texts._kept
        texts._asked_ts = texts._done_ts
        texts._received(TextIndexed({name: TextProgress(False, 0, 1, 1)}, is_done=True))
        await until(lambda: texts._kept[name].is_built)

    run(story)


def test_a_worker_that_is_needed_again_does_not_end_as_idle(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long others have been writing since it was last without work."""
    monkeypatch.setattr(engine_side, "_FOLLOW_S", 1.0)

    async def story(backend: Backend, texts: TextWorkers) -> None:
        worker = texts._worker
        texts._later("idle", 0.9, texts._end_if_idle)
        assert (await backend.call(CallRequest("mutation", "notes:add"))).ok
        await until(lambda: texts._done_ts >= backend.node.head_ts)
        assert texts._worker is worker is not None

    run(story)

"""A paused deployment: nothing of the app runs, everybody is told, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cupola.errors import BadRequestError, PausedError
from cupola.persistence import MemoryPersistence
from cupola.testing import Deployment

NOTES = """
    @query
    def texts(ctx: QueryCtx) -> list[str]:
        return [note["text"] for note in ctx.db.query("notes")]

    @mutation
    def add(ctx: MutationCtx, text: str) -> None:
        ctx.db.insert("notes", {"text": text})

    @mutation
    def later(ctx: MutationCtx, text: str) -> None:
        ctx.scheduler.run_after(10, add, text=text)

    @action
    async def act(ctx: ActionCtx, text: str) -> None:
        await ctx.run_mutation(add, text=text)

    @mutation
    def later_act(ctx: MutationCtx, text: str) -> None:
        ctx.scheduler.run_after(10, act, text=text)
"""
CRONS = """
    from cupola import Crons
    from . import notes
    crons = Crons()
    crons.interval("tick", notes.add, minutes=1, args={"text": "tick"})
"""


@pytest.fixture
def folder(write_app: Callable[..., Path]) -> Path:
    return write_app(notes=NOTES)


@pytest.fixture
def app(folder: Path) -> Iterator[Deployment]:
    with Deployment(folder) as deployment:
        yield deployment


def change(app: Deployment, name: str) -> None:
    async def work() -> None:
        with app._turning():
            await getattr(app.backend.pausing, name)()

    asyncio.run(work())
    app.settle()


def state(app: Deployment) -> Any:
    return app.as_admin().query("_system/frontend/deploymentState:deploymentState")["state"]


def test_calls_of_all_kinds_are_refused_until_it_is_resumed(app: Deployment) -> None:
    app.mutation("notes:add", text="before")
    change(app, "pause")
    for call in (app.query, app.as_admin().query):
        with pytest.raises(PausedError, match="cupola resume"):
            call("notes:texts")
    with pytest.raises(PausedError):
        app.mutation("notes:add", text="meanwhile")
    with pytest.raises(PausedError):
        app.action("notes:act", text="meanwhile")
    assert state(app) == "paused"
    change(app, "resume")
    assert state(app) == "running"
    assert app.query("notes:texts") == ["before"]


def test_live_queries_show_it_and_come_back(app: Deployment) -> None:
    client = app.connect()
    texts = client.subscribe("notes:texts")
    dashboard = app.as_admin().connect().subscribe("_system/frontend/backendState:backendState")
    assert texts.value == [] and dashboard.value["user"] == "none"

    change(app, "pause")
    assert dashboard.value["user"] == "paused"
    with pytest.raises(Exception, match="Cannot run functions while this deployment is paused"):
        _ = texts.value
    change(app, "resume")
    assert texts.value == [] and dashboard.value["user"] == "none"


def test_scheduled_functions_wait(app: Deployment) -> None:
    app.mutation("notes:later", text="mutation")
    app.mutation("notes:later_act", text="action")
    change(app, "pause")
    app.advance(3600)
    with pytest.raises(PausedError):
        app.query("notes:texts")
    change(app, "resume")
    asyncio.run(finish(app))
    assert sorted(app.query("notes:texts")) == ["action", "mutation"]


async def finish(app: Deployment) -> None:
    with app._turning():
        await app._actions.run()
    app.settle()


def test_cron_jobs_are_skipped(write_app: Callable[..., Path]) -> None:
    """Their times pass: a resumed deployment does not make up for them."""
    with Deployment(write_app(notes=NOTES, crons=CRONS)) as app:
        app.advance(120)
        ran = len(app.query("notes:texts"))
        change(app, "pause")
        app.advance(600)
        change(app, "resume")
        assert len(app.query("notes:texts")) == ran
        app.advance(60)
        assert len(app.query("notes:texts")) == ran + 1


def test_it_is_still_paused_after_a_restart(folder: Path) -> None:
    persistence = MemoryPersistence()
    app = Deployment(folder, persistence=persistence)
    change(app, "pause")
    again = Deployment(folder, persistence=persistence)
    with pytest.raises(PausedError):
        again.query("notes:texts")
    change(again, "resume")
    assert again.query("notes:texts") == []
    again.close()


def test_pausing_twice_is_fine_and_resuming_twice_is_told(app: Deployment) -> None:
    change(app, "pause")
    change(app, "pause")
    change(app, "resume")
    with pytest.raises(BadRequestError) as caught:
        change(app, "resume")
    assert caught.value.code == "UnpauseDeploymentFailed"

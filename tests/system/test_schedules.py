"""What dashboards see of scheduled functions and cron jobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cupola.functions.app import load_app
from cupola.testing import Deployment
from cupola.values import Int64

CLOCK = """
from cupola import MutationCtx, internal_mutation

@internal_mutation
def tick(ctx: MutationCtx, fail: bool) -> None:
    if fail:
        raise ValueError("broken")
"""
CRONS = """
from cupola import Crons
from . import clock

crons = Crons()
crons.interval("fails", clock.tick, minutes=1, args={"fail": True})
crons.daily("works", clock.tick, at="09:30", args={"fail": False})
"""


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Deployment]:
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "clock.py").write_text(CLOCK)
    (tmp_path / "functions" / "crons.py").write_text(CRONS)
    with Deployment(load_app(tmp_path)) as deployment:
        deployment.settle()
        yield deployment


def test_what_waits_is_listed_by_time(app: Deployment) -> None:
    for delay in (20, 10):
        app.run(lambda ctx: ctx.scheduler.run_after(delay, "clock:tick", fail=False))  # noqa: B023
    page = app.as_admin().query("_system/frontend/paginatedScheduledJobs:default")["page"]
    now_ns = app.clock.now_ns()
    assert [int(job["nextTs"]) - now_ns for job in page] == [10 * 10**9, 20 * 10**9]
    assert [(job["udfPath"], job["udfArgs"]) for job in page] == [
        ("clock:tick", b'[{"fail":false}]')
    ] * 2


def test_cron_jobs_stand_in_their_module(app: Deployment) -> None:
    modules = dict(app.as_admin().query("_system/frontend/modules:list"))
    listed = app.as_admin().query("_system/frontend/listCronJobs:default")
    assert modules["crons.js"]["cronSpecs"] == [[job["name"], job["cronSpec"]] for job in listed]
    (tick,) = modules["clock.js"]["functions"]
    assert (tick["name"], tick["lineno"]) == ("tick", 4)


def test_cron_jobs_tell_when_they_run_and_how_it_went(app: Deployment) -> None:
    app.advance(90)
    (fails, works) = app.as_admin().query("_system/frontend/listCronJobs:default")
    assert fails["cronSpec"]["cronSchedule"] == {"type": "interval", "seconds": Int64(60)}
    assert "broken" in fails["lastRun"]["status"]["error"]
    assert int(fails["nextRun"]["nextTs"]) == app.clock.now_ns() + 30 * 10**9
    assert (works["lastRun"], works["nextRun"]["prevTs"]) == (None, None)
    runs = app.as_admin().query("_system/frontend/listCronJobRuns:default")
    assert [run["name"] for run in runs] == ["fails", "fails"]

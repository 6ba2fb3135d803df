"""Cron jobs: when they run, what a deploy changes, and what happens when one takes long."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cupola.clock import ManualClock
from cupola.database.catalog import CRON_JOBS, CRON_RUNS
from cupola.database.load import load_documents
from cupola.errors import SchemaError
from cupola.functions.app import App, load_app
from cupola.limits import Limits
from cupola.testing import Deployment

from .held_actions import HeldActions

FUNCTIONS = """
from cupola import ActionCtx, MutationCtx, internal_action, internal_mutation, query, QueryCtx
import datetime

@internal_mutation
def tick(ctx: MutationCtx, text: str = "tick") -> None:
    now = datetime.datetime.now(datetime.UTC)
    ctx.db.insert("ticks", {"text": text, "at": now.strftime("%a %d %H:%M:%S")})

@internal_mutation
def fail(ctx: MutationCtx) -> None:
    raise ValueError("broken")

@query
def times(ctx: QueryCtx) -> list[str]:
    return [tick["at"] for tick in ctx.db.query("ticks")]

@query
def texts(ctx: QueryCtx) -> list[str]:
    return [tick["text"] for tick in ctx.db.query("ticks")]

@internal_mutation
def first(ctx: MutationCtx) -> None:
    pass

@internal_action
async def wait(ctx: ActionCtx) -> None:
    await ctx.run_mutation(tick, text="begins")
"""
HEADER = "from cupola import Crons\nfrom . import clockwork\ncrons = Crons()\n"
START = datetime.datetime(2026, 3, 27, 10, 20, 30, tzinfo=datetime.UTC)  # a Friday
HOUR_S = 3600.0

MakeApp = Callable[[str], App]


@pytest.fixture
def app(tmp_path: Path) -> MakeApp:
    """An app with these cron jobs."""

    def make(crons: str) -> App:
        folder = tmp_path / "functions"
        folder.mkdir(exist_ok=True)
        (folder / "clockwork.py").write_text(FUNCTIONS)
        (folder / "crons.py").write_text(HEADER + crons)
        return load_app(tmp_path)

    return make


@pytest.fixture
def start(app: MakeApp) -> Iterator[Callable[..., Deployment]]:
    started: list[Deployment] = []

    def make(crons: str, **settings: Any) -> Deployment:
        clock = ManualClock(int(START.timestamp()) * 10**9)
        started.append(Deployment(app(crons), clock=clock, **settings))
        started[-1].settle()
        return started[-1]

    yield make
    for deployment in started:
        deployment.close()


def cron_jobs(deployment: Deployment) -> dict[str, dict[str, Any]]:
    reader = deployment.backend.node.persistence.reader
    return {str(job["name"]): job for job in load_documents(reader, CRON_JOBS).values()}


def runs(deployment: Deployment) -> list[dict[str, Any]]:
    reader = deployment.backend.node.persistence.reader
    return list(load_documents(reader, CRON_RUNS).values())


Start = Callable[..., Deployment]


@pytest.mark.parametrize(
    ("cron", "hours", "times"),
    [
        ('interval("a", f, hours=5)', 11, ["Fri 27 10:20", "Fri 27 15:20", "Fri 27 20:20"]),
        ('hourly("a", f, minute=15)', 2, ["Fri 27 11:15", "Fri 27 12:15"]),
        ('daily("a", f, at="09:05")', 48, ["Sat 28 09:05", "Sun 29 09:05"]),
        ('weekly("a", f, day="monday", at="00:00")', 240, ["Mon 30 00:00", "Mon 06 00:00"]),
        ('monthly("a", f, day=31, at="12:00")', 1600, ["Tue 31 12:00", "Sun 31 12:00"]),
        ('cron("a", f, "*/20 11 * * sat")', 48, [f"Sat 28 11:{m}" for m in ("00", "20", "40")]),
    ],
)
def test_each_kind_of_schedule(start: Start, cron: str, hours: int, times: list[str]) -> None:
    deployment = start(f"f = clockwork.tick\ncrons.{cron}")
    deployment.advance(hours * HOUR_S)
    assert [time[:12] for time in deployment.query("clockwork:times")] == times


def test_a_time_zone_keeps_its_own_clock(start: Start) -> None:
    """Nine in Berlin is eight in UTC in winter; clocks change on 29 March 2026."""
    deployment = start('crons.daily("a", clockwork.tick, at="09:00", zone="Europe/Berlin")')
    deployment.advance(72 * HOUR_S)
    assert deployment.query("clockwork:times") == [
        "Sat 28 08:00:00",
        "Sun 29 07:00:00",
        "Mon 30 07:00:00",
    ]


def test_an_hour_that_does_not_exist_is_not_lost(start: Start) -> None:
    """At 2:30 of the day when clocks skip that hour, the job runs right after."""
    deployment = start('crons.cron("a", clockwork.tick, "30 2 * * *", zone="Europe/Berlin")')
    deployment.advance(48 * HOUR_S)
    assert deployment.query("clockwork:times") == ["Sat 28 01:30:00", "Sun 29 01:00:00"]


def test_a_cron_job_has_arguments(start: Start) -> None:
    deployment = start('crons.interval("a", "clockwork:tick", minutes=1, args={"text": "hi"})')
    deployment.advance(60)
    assert deployment.query("clockwork:texts") == ["hi", "hi"]


def test_a_failed_run_does_not_end_the_job(start: Start) -> None:
    deployment = start('crons.interval("a", clockwork.fail, minutes=1)')
    deployment.advance(120)
    states = [run["state"] for run in runs(deployment)]
    assert len(states) == 3
    assert all("broken" in state["error"] for state in states)


def test_runs_are_kept_up_to_a_bound(start: Start) -> None:
    crons = "".join(f'crons.interval("{n}", clockwork.first, seconds=1)\n' for n in "ab")
    deployment = start(crons, limits=Limits(cron_runs_kept_max=3))
    deployment.advance(10)
    assert sorted(run["cron"] for run in runs(deployment)) == ["a"] * 3 + ["b"] * 3


def test_scheduled_functions_do_not_list_cron_runs(start: Start) -> None:
    deployment = start('crons.interval("a", clockwork.tick, minutes=1)')
    deployment.advance(60)
    found = deployment.run(lambda ctx: ctx.db.system.query("_scheduled_functions").collect())
    assert found == []


# ------------------------------------------------------------------------------------- no pile-up


def test_runs_do_not_pile_up(start: Start) -> None:
    """While a run goes on, those that are due are left out, and counted."""
    deployment = start('crons.interval("a", clockwork.wait, minutes=1)')
    held = HeldActions(deployment)
    deployment.advance(300)
    assert len(held.begun) == 1
    assert cron_jobs(deployment)["a"]["skipped"] == 4

    held.begun.pop()()
    deployment.advance(60)
    assert len(held.begun) == 1
    assert len(runs(deployment)) == 3


def test_missed_times_are_left_out(start: Start) -> None:
    """The server was away for a day: one run, and then as before."""
    deployment = start('crons.hourly("a", clockwork.tick, minute=0)')
    deployment.clock.advance(24 * HOUR_S)
    deployment.settle()
    deployment.advance(HOUR_S)
    assert deployment.query("clockwork:times") == ["Sat 28 10:20:30", "Sat 28 11:00:00"]


# ----------------------------------------------------------------------------------------- deploys


def test_an_unchanged_job_keeps_its_schedule(start: Start, app: MakeApp) -> None:
    deployment = start('crons.interval("a", clockwork.tick, minutes=10)')
    deployment.advance(300)
    deployment.backend.deploy_now(
        app(
            'crons.interval("a", clockwork.tick, minutes=10)\n'
            'crons.hourly("b", clockwork.tick, minute=59)'
        )
    )
    deployment.settle()
    assert len(deployment.query("clockwork:times")) == 1
    deployment.advance(300)
    assert deployment.query("clockwork:times") == ["Fri 27 10:20:30", "Fri 27 10:30:30"]


def test_a_changed_job_starts_anew_and_a_removed_one_ends(start: Start, app: MakeApp) -> None:
    deployment = start(
        'crons.interval("a", clockwork.tick, hours=1)\ncrons.interval("b", clockwork.tick, hours=1)'
    )
    args = 'args={"text": "new"}'
    deployment.backend.deploy_now(app(f'crons.interval("a", clockwork.tick, hours=1, {args})'))
    deployment.advance(HOUR_S)
    assert deployment.query("clockwork:texts") == ["tick", "tick", "new", "new"]
    assert list(cron_jobs(deployment)) == ["a"]
    assert {run["cron"] for run in runs(deployment)} == {"a"}


def test_jobs_survive_a_restart(start: Start) -> None:
    deployment = start('crons.interval("a", clockwork.tick, minutes=10)')
    deployment.advance(300)
    deployment.restart()
    deployment.advance(300)
    assert deployment.query("clockwork:times") == ["Fri 27 10:20:30", "Fri 27 10:30:30"]


# -------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("cron", "reason"),
    [
        ('interval("a", f)', "one of seconds, minutes and hours"),
        ('interval("a", f, minutes=0)', "from 1 on"),
        ('interval("a", f, minutes=1, hours=1)', "one of seconds"),
        ('hourly("a", f, minute=60)', "0 to 59"),
        ('daily("a", f, at="24:00")', '"09:30"'),
        ('daily("a", f, at="09:00", zone="Europe/Atlantis")', "no time zone"),
        ('weekly("a", f, day="moonday", at="09:00")', "sunday"),
        ('monthly("a", f, day=32, at="09:00")', "1 to 31"),
        ('cron("a", f, "* * *")', "five fields"),
        ('cron("a", f, "61 * * * *")', "five fields"),
        ('cron("a", f, "0 0 31 2 *")', "never comes|five fields"),
        ('interval("a", clockwork.times, minutes=1)', "is a query"),
        ('interval("a", "clockwork:tock", minutes=1)', "no function `clockwork:tock`"),
        ('interval("ä", f, minutes=1)', "ASCII"),
        ('interval("a", f, minutes=1); crons.interval("a", f, minutes=2)', "the same name"),
    ],
)
def test_a_job_that_makes_no_sense_is_refused(app: MakeApp, cron: str, reason: str) -> None:
    """When the app is loaded, and not when the time has come."""
    with pytest.raises(SchemaError, match=reason):
        app(f"f = clockwork.tick\ncrons.{cron}")


def test_a_cron_job_goes_on_when_the_clock_is_set_back_as_it_is_due(start: Start) -> None:
    """It is not due any more when its turn comes, and will be again."""
    deployment = start('crons.interval("a", clockwork.tick, hours=1)')
    backend, clock = deployment.backend, deployment.clock
    clock.advance(HOUR_S)
    backend.wake()
    backend.turn()  # it is found due; what makes a run of it comes in the next turn
    clock.set(clock.now_ns() - 5 * 10**9)
    deployment.settle()
    assert len(deployment.query("clockwork:times")) == 1

    deployment.advance(HOUR_S)
    assert deployment.query("clockwork:times") == ["Fri 27 10:20:30", "Fri 27 11:20:30"]

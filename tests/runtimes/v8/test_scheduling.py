"""`ctx.scheduler` and `crons.ts`, with the published package's own code."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from cupola.database.catalog import CRON_JOBS
from cupola.database.load import load_documents

pytestmark = pytest.mark.node


def until(server: Any, path: str, is_so: Callable[[Any], bool], **args: Any) -> Any:
    """The first result of a query for which something holds."""

    async def wait() -> Any:
        from cupola.values import decode

        while True:
            result = await server.ask("query", path, args)
            assert result.value is not None, result.error_message
            if is_so(value := decode(result.value)):
                return value
            await asyncio.sleep(0.01)

    return server.run(wait())


def ended(job: dict[str, Any]) -> bool:
    return job["state"]["kind"] not in ("pending", "inProgress")


def test_a_mutation_runs_later_and_tells_how_it_went(server):
    job = server.mutation("later:after", delay=5.0, text="after")
    document = until(server, "later:job", ended, id=job)
    assert (document["name"], document["args"]) == ("later.js:write", [{"text": "after"}])
    assert document["state"] == {"kind": "success"}
    assert document["completedTime"] >= document["scheduledTime"]
    assert "after" in server.query("later:texts")
    assert server.query("later:jobs")[0]["_id"]


def test_a_time_that_has_passed_means_now(server):
    job = server.mutation("later:at", text="at")
    assert until(server, "later:job", ended, id=job)["state"] == {"kind": "success"}


def test_a_canceled_job_does_not_run(server):
    job = server.mutation("later:after", delay=3_600_000.0, text="canceled")
    server.mutation("later:cancel", id=job)
    assert server.query("later:job", id=job)["state"] == {"kind": "canceled"}


def test_what_was_rolled_back_was_not_scheduled(server):
    before = server.mutation("later:catches")
    assert server.mutation("later:catches") == before
    assert "never" not in server.query("later:texts")


def test_a_job_that_cancels_itself_goes_on(server):
    lines: list[str] = []
    watch = lambda log: lines.extend(log.log_lines)  # noqa: E731
    server.backend.node.watchers.append(watch)
    try:
        job = server.mutation("later:cancelLater")
        assert until(server, "later:job", ended, id=job)["state"] == {"kind": "success"}
    finally:
        server.backend.node.watchers.remove(watch)
    assert "went on" in server.query("later:texts")
    assert any(line.startswith("[WARN] A scheduled mutation cannot cancel") for line in lines)


def test_a_job_that_throws_has_failed(server):
    job = server.mutation("later:failLater")
    state = until(server, "later:job", ended, id=job)["state"]
    assert (state["kind"], "boom" in state["error"]) == ("failed", True)
    assert "half" not in server.query("later:texts")


def test_actions_run_later_and_schedule_themselves(server):
    job = server.mutation("later:workLater", text="work")
    assert until(server, "later:job", ended, id=job)["state"] == {"kind": "success"}
    until(server, "later:texts", lambda texts: "work by its action" in texts)
    canceled = server.action("later:fromAction")
    assert server.query("later:job", id=canceled)["state"] == {"kind": "canceled"}


def test_cron_jobs_are_those_of_the_pushed_code(server):
    until(server, "later:texts", lambda texts: "by a cron job" in texts)
    reader = server.backend.node.persistence.reader
    crons = {job["name"]: job for job in load_documents(reader, CRON_JOBS).values()}
    assert {name: job["schedule"] for name, job in crons.items()} == {
        "note": {"type": "interval", "seconds": 3600},
        "every day": {"type": "daily", "hourUTC": 3, "minuteUTC": 30},
        "in Berlin": {"type": "cron", "cron": "CRON_TZ=Europe/Berlin 0 9 * * 1-5"},
    }
    assert crons["in Berlin"]["function"] == "later.js:work"


def test_a_mutation_sees_what_it_schedules_and_cancels(server):
    assert server.mutation("later:looksAround") == {"states": ["pending", "canceled"], "added": 1.0}

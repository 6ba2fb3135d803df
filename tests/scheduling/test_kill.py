"""kill -9 of a server that is busy with jobs: each mutation takes effect once, no action starts
twice.
"""

from __future__ import annotations

import collections
import http.client
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..served import WITHIN_S, Server, until

KILLS = int(os.environ.get("CUPOLA_TEST_KILLS", "6"))
CLIENTS = 3
LIMITS = (
    *("--limit", "documents_read_max=1000000", "--limit", "bytes_read_max=1000000000"),
    *("--limit", "user_time_s=20"),
)
FAILURES = (OSError, ValueError, http.client.HTTPException, AssertionError)

WORK = """
import os
from cupola import (
    ActionCtx, MutationCtx, QueryCtx, internal_action, internal_mutation, mutation, query
)

@mutation
def schedule(ctx: MutationCtx, client: str, number: int, log: str) -> None:
    name = f"{client}-{number}"
    ctx.db.insert("scheduled", {"name": name})
    delay = number % 3 * 0.05
    if number % 10 == 0:
        ctx.scheduler.run_after(delay, act, name=name, log=log)
    elif number % 10 == 5:
        ctx.scheduler.run_after(delay, run_elsewhere, name=name)
    else:
        ctx.scheduler.run_after(delay, run, name=name)

@internal_mutation
def run(ctx: MutationCtx, name: str) -> None:
    ctx.db.insert("ran", {"name": name})

@internal_mutation
def run_elsewhere(ctx: MutationCtx, name: str) -> None:
    \"\"\"May spend long inside one C call, so it runs in a worker.\"\"\"
    assert sum(range(len(name) * 1000))
    ctx.db.insert("ran", {"name": name})

@internal_action
async def act(ctx: ActionCtx, name: str, log: str) -> None:
    with open(log, "a") as file:
        file.write(name + "\\n")
        file.flush()
        os.fsync(file.fileno())
    await ctx.run_mutation(run, name=name)

@query
def unfinished(ctx: QueryCtx) -> int:
    jobs = ctx.db.system.query("_scheduled_functions").filter(
        lambda job: job["state"]["kind"] in ("pending", "inProgress")
    )
    return len(jobs.collect())

@query
def report(ctx: QueryCtx) -> dict[str, list[str]]:
    states: dict[str, list[str]] = {"scheduled": [], "ran": []}
    for table in ("scheduled", "ran"):
        states[table] = [document["name"] for document in ctx.db.query(table)]
    for job in ctx.db.system.query("_scheduled_functions"):
        states.setdefault(job["state"]["kind"], []).append(job["args"][0]["name"])
    return states
"""


@pytest.fixture
def server(write_app: Callable[..., Path]) -> Iterator[Server]:
    server = Server(write_app(work=WORK), *LIMITS)
    yield server
    server.kill()


class Clients:
    """Some threads that schedule jobs as fast as they are answered, until they are stopped."""

    def __init__(self, server: Server, log: Path) -> None:
        self._server = server
        self._log = str(log)
        self._stop = threading.Event()
        self.answered = 0
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _run(self, client: int) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            try:
                args = {"client": str(client), "number": number, "log": self._log}
                self._server.call("mutation", "work:schedule", **args)
                self.answered += 1
            except FAILURES:
                self._stop.wait(0.05)  # it has been killed, and comes back

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.timeout(60 + 30 * KILLS)
def test_each_job_runs_once_whatever_is_killed_when(server: Server, tmp_path: Path) -> None:
    log = tmp_path / "actions.log"
    log.touch()
    chance = random.Random(4711)
    clients = Clients(server, log)
    try:
        for _ in range(KILLS):
            before = clients.answered
            deadline = time.monotonic() + WITHIN_S
            more = chance.randrange(50, 300)
            while clients.answered < before + more and time.monotonic() < deadline:
                threading.Event().wait(0.01)
            assert clients.answered >= before + more, "clients are not served"
            server.kill()
            server.start()
    finally:
        clients.stop()
    until(lambda: not server.call("query", "work:unfinished"))

    report = server.call("query", "work:report")
    actions = collections.Counter(log.read_text().split())
    ran = collections.Counter(report["ran"])
    mutations = [name for name in report["scheduled"] if not name.endswith("0")]
    assert len(report["scheduled"]) >= clients.answered > 0
    assert "pending" not in report
    assert "inProgress" not in report
    assert all(ran[name] == 1 for name in mutations), "exactly once"
    assert set(report.get("failed", ())).isdisjoint(mutations)
    assert max(actions.values(), default=0) <= 1, "at most once"
    succeeded = [name for name in report["success"] if name.endswith("0")]
    assert all(ran[name] == actions[name] == 1 for name in succeeded)

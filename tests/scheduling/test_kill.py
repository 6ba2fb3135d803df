"""kill -9 of a server that is busy with jobs: each mutation takes effect once, no action starts
twice.
"""

from __future__ import annotations

import collections
import contextlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

KILLS = int(os.environ.get("CUPOLA_TEST_KILLS", "6"))
WITHIN_S = 60.0
CLIENTS = 3
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


class Server:
    """`cupola serve`, killed and started again on the same folder."""

    def __init__(self, app: Path) -> None:
        self._app = app
        self._facts = app / ".cupola" / "server.json"
        self.url: str | None = None
        self.start()

    def start(self) -> None:
        self._facts.unlink(missing_ok=True)
        limits = ["--limit", "documents_read_max=1000000", "--limit", "bytes_read_max=1000000000"]
        command = [sys.executable, "-m", "cupola", "serve", str(self._app), *limits]
        self._process = subprocess.Popen(
            [*command, "--limit", "user_time_s=20", "--port", "0", "--site-port", "0"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline:
            with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
                self.url = json.loads(self._facts.read_text())["url"]
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                pytest.fail(f"the server ended with {self._process.wait(0.02)}")
        pytest.fail("the server does not start")

    def kill(self) -> None:
        self.url = None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def call(self, kind: str, path: str, **args: Any) -> Any:
        body = json.dumps({"path": path, "args": args, "format": "json"}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/api/{kind}", body, headers)
        with urllib.request.urlopen(request, timeout=WITHIN_S) as response:
            answer = json.load(response)
        assert answer["status"] == "success", answer
        return answer["value"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "app" / "functions").mkdir(parents=True)
    (tmp_path / "app" / "functions" / "work.py").write_text(WORK)
    server = Server(tmp_path / "app")
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
    deadline = time.monotonic() + WITHIN_S
    while server.call("query", "work:unfinished") and time.monotonic() < deadline:
        threading.Event().wait(0.1)

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

"""Scheduled functions, cron jobs and stored files through the published client and command line, in
both languages: each test runs on the functions of one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import HERE
from .project import Project

if TYPE_CHECKING:
    from .conftest import StartDriver

pytestmark = [pytest.mark.node, pytest.mark.slow]

SETTLES_WITHIN_S = 20.0
CRONS = """
import { cronJobs } from "convex/server";
import { internal } from "./_generated/api";

const crons = cronJobs();
%s
export default crons;
"""


@pytest.fixture(scope="module")
def project(node: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("jobs") / "app", node, HERE / "app_with_jobs")
    project.start()
    try:
        project.convex("deploy", "--yes")
        yield project
    finally:
        project.stop()


@pytest.mark.parametrize("module", ["jobs", "pyjobs"])
def test_functions_run_later(
    project: Project, node: str, start_driver: StartDriver, module: str
) -> None:
    """As part of the mutation, seen while they wait and end, canceled, and as nobody."""
    key = project.server.admin_key()
    facts = start_driver(project.server, node, "jobs.mjs", module, key).facts()

    assert "nothing of this is kept" in facts["failed"]
    assert "no" not in facts["texts"] and "never" not in facts["texts"]
    assert {"yes", "stays", "as ada"} <= set(facts["texts"])
    assert facts["states"][0] == "pending" and facts["states"][-1] == "success"
    job = facts["job"]
    assert job["name"].startswith(f"{module}") and job["name"].endswith(":note")
    assert job["args"] == [{"text": "yes"}]
    assert job["completedTime"] >= job["scheduledTime"] > job["_creationTime"]
    assert facts["canceled"] == ["pending", "canceled"]
    assert facts["failing"]["kind"] == "failed" and "a bad note" in facts["failing"]["error"]
    assert facts["who"] == "ada" and set(facts["users"]) == {None}
    assert "1000" in facts["tooMany"] and facts["enough"] == {"value": None}


@pytest.mark.parametrize("module", ["files", "pyfiles"])
def test_files_go_up_and_come_down(
    project: Project, node: str, start_driver: StartDriver, module: str
) -> None:
    facts = start_driver(project.server, node, "files.mjs", module).facts()

    assert facts["known"]["sha256"] == facts["digest"] and facts["known"]["size"] == 3_000_000
    assert facts["known"]["contentType"] == facts["type"] == "image/png"
    assert facts["same"] is True
    assert facts["part"] == [206, [250, 0, 1, 2]]
    assert facts["head"] == [200, "3000000", 0]
    assert facts["copied"] == ["image/png", 3_000_000]
    assert facts["unchanged"] == 304
    assert facts["gone"] == 404 and facts["url"] is None


def test_cron_jobs_follow_the_pushed_code(project: Project) -> None:
    """A push starts them, replaces the one whose arguments are others, and ends what is gone."""
    every = 'crons.interval("tick", { seconds: 1 }, internal.jobs.note, { text: "%s" });'
    file = project.folder / "convex" / "crons.ts"

    file.write_text(CRONS % (every % "tick"))
    project.convex("deploy", "--yes")
    seen(project, "tick", 2)
    file.write_text(CRONS % (every % "tock"))
    project.convex("deploy", "--yes")
    seen(project, "tock", 1)
    ticks = texts(project).count("tick")
    seen(project, "tock", 3)
    assert texts(project).count("tick") == ticks

    file.write_text(CRONS % "")
    project.convex("deploy", "--yes")
    listed: Any = project.answer("_system/frontend/listCronJobs:default", "{}")
    assert listed == []


def texts(project: Project) -> list[str]:
    return list(project.answer("jobs:texts", json.dumps({})))


def seen(project: Project, text: str, times: int) -> None:
    """Returns when notes of this text were written that often."""
    deadline = time.monotonic() + SETTLES_WITHIN_S
    while (found := texts(project)).count(text) < times:
        assert time.monotonic() < deadline, found

"""The fixture as a user's own tests meet it: found by itself, fresh per test, quick, parallel."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from cupola.testing import Deployment

TESTS = """
import pytest

@pytest.mark.parametrize("number", range(20))
def test_alone(cupola, number):
    assert cupola.query("notes:list") == []
    cupola.mutation("notes:add", text=str(number))
    assert cupola.query("notes:list") == [str(number)]
"""
NOTES = """
from cupola import MutationCtx, QueryCtx, mutation, query

@query
def list(ctx: QueryCtx) -> "list_of_str":
    return [note["text"] for note in ctx.db.query("notes")]

@mutation
def add(ctx: MutationCtx, text: str) -> None:
    ctx.db.insert("notes", {"text": text})
""".replace(' -> "list_of_str"', "")


def run_pytest(folder: Path, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    return done.stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "notes.py").write_text(NOTES)
    (tmp_path / "test_notes.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


@pytest.mark.parametrize("options", [[], ["--numprocesses=2"]])
def test_each_test_gets_a_fresh_deployment(project: Path, options: list[str]) -> None:
    """Of the app in pytest's root directory, with nothing to set up, in parallel too."""
    assert "20 passed" in run_pytest(project, *options)


def test_a_project_without_an_app_is_told_what_to_do(project: Path) -> None:
    (project / "functions").rename(project / "backend")
    assert "tell in conftest.py" in run_pytest(project, "-x")


def test_a_fresh_deployment_takes_milliseconds(cupola: Deployment) -> None:
    """The app is loaded once; each test pays for an empty database and its schema."""
    elapsed_s = []
    for _ in range(5):
        started = time.perf_counter()
        with Deployment(cupola.app) as fresh:
            fresh.query("messages:list", channel="general")
        elapsed_s.append(time.perf_counter() - started)
    assert min(elapsed_s) < 0.050

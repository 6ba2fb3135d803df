"""`cupola new`: the app it makes runs, and its own tests pass."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from cupola.testing import Deployment


def test_a_new_app_runs(cupola: Any, tmp_path: Path) -> None:
    made = cupola("new", "my-chat")

    assert made.returncode == 0
    assert "cd my-chat" in made.stdout
    assert "cupola dev" in made.stdout
    folder = tmp_path / "my-chat"
    assert (folder / "README.md").read_text().startswith("# my-chat\n")
    assert ".cupola/" in (folder / ".gitignore").read_text()
    assert "/cupola.js" in (folder / "public" / "index.html").read_text()
    with Deployment(folder) as app:
        app.mutation("messages:send", channel="general", author="Ada", body="hi")
        assert [message.body for message in app.query("messages:list", channel="general")] == ["hi"]


def test_the_tests_of_a_new_app_pass(cupola: Any, tmp_path: Path) -> None:
    cupola("new", "my-chat")

    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path / "my-chat",
        capture_output=True,
        text=True,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "2 passed" in ended.stdout


def test_a_folder_in_use_is_left_alone(cupola: Any, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")

    ended = cupola("new", "mine")

    assert ended.returncode == 3
    assert "Choose another name" in ended.stderr
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_an_empty_folder_can_be_filled(cupola: Any, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()

    assert cupola("new", ".", cwd=tmp_path / "here").returncode == 0

    checked = cupola("doctor", "--port", "0", "--json", cwd=tmp_path / "here")
    assert json.loads(checked.stdout)["healthy"] is True

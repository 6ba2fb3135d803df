"""`cupola doctor`: one finding per check, and an exit code that a script can use."""

from __future__ import annotations

import json
import socket
import sqlite3
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def diagnose(cupola: Any, app: Path) -> Any:
    """`diagnose(...options)`: exit code and findings by check."""

    def run(*words: str) -> tuple[int, dict[str, tuple[str, str]]]:
        ended = cupola("doctor", app, "--port", "0", "--json", *words)
        assert ended.stderr == ""
        answer = json.loads(ended.stdout)
        assert answer["healthy"] == (ended.returncode == 0)
        found = {row["check"]: (row["outcome"], row["detail"]) for row in answer["findings"]}
        return ended.returncode, found

    return run


def test_a_healthy_app(diagnose: Any, app: Path) -> None:
    code, found = diagnose()

    assert code == 0
    assert found["App"] == ("ok", "functions: 4, tables: 1")
    assert found["Determinism"][0] == "ok"
    assert found["Dependencies"][0] == "ok"
    assert not (app / ".cupola").exists(), "looking changes nothing"


def test_a_running_server_is_recognised(start: Any, diagnose: Any) -> None:
    server = start("serve")

    _, found = diagnose("--port", str(server.facts["port"]))

    assert f"in use by process {server.facts['pid']}" in found["Data folder"][1]
    assert found["Data file"][0] == "ok"
    assert found["Timestamps"][0] == "ok"
    assert found["Port"] == (
        "ok",
        f"{server.facts['port']} is used by the server of this data folder",
    )


def test_a_port_in_use_is_a_problem(diagnose: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, found = diagnose("--port", str(taken.getsockname()[1]))

    assert code == 1
    assert found["Port"][0] == "problem"
    assert "choose another with --port" in found["Port"][1]


def test_a_broken_app_is_a_problem(diagnose: Any, app: Path) -> None:
    (app / "functions" / "broken.py").write_text("1 / 0\n")

    code, found = diagnose()

    assert (code, found["App"][0]) == (1, "problem")
    assert "ZeroDivisionError" in found["App"][1]


def test_a_damaged_file_is_a_problem(diagnose: Any, app: Path) -> None:
    file = app / ".cupola" / "data.sqlite3"
    file.parent.mkdir()
    file.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)

    code, found = diagnose()

    assert (code, found["Data file"][0]) == (1, "problem")
    assert str(file) in found["Data file"][1]


def test_another_programs_file_is_a_problem(diagnose: Any, app: Path) -> None:
    (app / ".cupola").mkdir()
    with sqlite3.connect(app / ".cupola" / "data.sqlite3") as other:
        other.execute("CREATE TABLE t(x)")
    other.close()

    code, found = diagnose()

    assert code == 1
    assert "another program" in found["Data file"][1]


def test_commits_from_the_future_are_noticed(start: Any, diagnose: Any) -> None:
    server = start("serve")
    server.stop()
    with sqlite3.connect(server.data / "data.sqlite3") as file:
        file.execute("UPDATE commits SET ts = ts + 3600000000000")
    file.close()

    code, found = diagnose()

    assert (code, found["Timestamps"][0]) == (0, "warning")
    assert "s in the future" in found["Timestamps"][1]


def test_the_table_is_readable(cupola: Any, app: Path) -> None:
    printed = cupola("doctor", app, "--port", "0")

    assert printed.returncode == 0
    assert "\x1b[" not in printed.stdout
    assert "App" in printed.stdout

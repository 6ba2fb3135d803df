"""`cupola logs`: what functions did of late, and what they do now."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from .conftest import CUPOLA, environment


@pytest.fixture
def server(start: Any, cupola: Any) -> Any:
    """One that remembers: somebody has asked for logs before."""
    server = start("serve")
    assert cupola("logs", "--no-follow", cwd=server.app).returncode == 0
    return server


def test_the_past_is_shown_and_filtered(server: Any, cupola: Any) -> None:
    cupola("run", "notes:add", '{"text": "milk"}', cwd=server.app)
    cupola("run", "notes:add", '{"text": ""}', cwd=server.app)
    cupola("run", "notes:list", cwd=server.app)

    shown = cupola("logs", "--no-follow", cwd=server.app).stdout
    assert "Mutation notes:add ok" in shown and "  [LOG] 'adding' 'milk'" in shown
    assert "Query notes:list ok" in shown and "Request ID" in shown
    failed = cupola("logs", "notes:add", "--errors", "--json", "--no-follow", cwd=server.app)
    (entry,) = map(json.loads, failed.stdout.splitlines())
    assert "ApplicationError" in entry["error"]
    last = cupola("logs", "--history", "1", "--no-follow", cwd=server.app).stdout
    assert "notes:list" in last and "notes:add" not in last


def test_what_happens_now_is_shown_as_it_happens(server: Any, cupola: Any) -> None:
    cupola("run", "notes:list", cwd=server.app)
    command = [*CUPOLA, "logs", "--data", str(server.data)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment()
    ) as following:
        assert following.stdout is not None
        assert "notes:list" in following.stdout.readline()  # it follows by now
        cupola("run", "notes:add", '{"text": "milk"}', cwd=server.app)
        live = following.stdout.readline()
        following.kill()
    assert "Mutation notes:add ok" in live

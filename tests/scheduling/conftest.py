from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def cupola_app_folder() -> Path:
    return Path(__file__).parent / "app"

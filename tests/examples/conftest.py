from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def cupola_app_folder(request: pytest.FixtureRequest) -> Path:
    """`test_chat.py` tests `examples/chat`."""
    return EXAMPLES / request.path.stem.removeprefix("test_")

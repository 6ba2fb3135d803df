"""Adds `--record`: transcripts are written anew, to be read line by line before a commit."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record",
        action="store_true",
        default=False,
        help="rewrite the expected output in tests/sync/transcripts",
    )


@pytest.fixture
def is_recording(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--record", default=False))

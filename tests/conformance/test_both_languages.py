"""The app of these tests in Python and in TypeScript: clients cannot tell which they talk to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import LANGUAGES, serve_app

if TYPE_CHECKING:
    from .conftest import StartDriver

pytestmark = [pytest.mark.node, pytest.mark.slow]


# Where a client can tell: the error or the line speaks of the language's own values and calls.
DIFFERENT = {
    "values in lines": "`print` writes Python's `None` and `2.0`",
    "levels of lines": "`logging` formats a text; `console.warn` quotes its arguments",
    "misuse: bad id": "the published package names its own method",
    "misuse: bad argument": "what the published package rethrows becomes an error of the caller",
    "uncaught": "the same",
}


def test_results_logs_and_errors_are_the_same(
    node: str, tmp_path: Path, start_driver: StartDriver, request: pytest.FixtureRequest
) -> None:
    """Over WebSocket and HTTP: values, lines of the console, texts and data of errors."""
    seen: dict[str, dict[str, Any]] = {}
    for language in LANGUAGES:
        folder = tmp_path / language
        folder.mkdir()
        server = serve_app(language, folder, request)
        try:
            seen[language] = start_driver(server, node, "alike.mjs").facts()
        finally:
            server.stop()
    python, typescript = (seen[language] for language in LANGUAGES)
    assert python.keys() == typescript.keys()
    different = {name for name in python if python[name] != typescript[name]}
    expected = {f"{transport} {name}" for name in DIFFERENT for transport in ("websocket", "http")}
    unexpected = {name: (python[name], typescript[name]) for name in different - expected}
    assert unexpected == {}
    assert expected <= different, "these are the same by now"
    for name in expected:  # and even there, all but the words is the same
        assert python[name].keys() == typescript[name].keys(), name
        assert python[name].get("data") == typescript[name].get("data"), name

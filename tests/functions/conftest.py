from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cupola.functions.app import load_app
from cupola.testing import Deployment


@pytest.fixture
def deploy(write_app: Callable[..., Path]) -> Iterator[Callable[..., Deployment]]:
    """Starts a deployment of modules given as text, as for `write_app`."""
    with ExitStack() as stack:

        def start(settings=None, **modules: str) -> Deployment:
            app = load_app(write_app(**modules))
            return stack.enter_context(Deployment(app, **(settings or {})))

        yield start

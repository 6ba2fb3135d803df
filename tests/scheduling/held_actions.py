from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cupola.testing import Deployment


class HeldActions:
    """Actions begin, and go on when a test says so."""

    def __init__(self, deployment: Deployment) -> None:
        self.begun: list[Callable[[], None]] = []
        self._released: list[tuple[Any, ...]] = []
        self._start = deployment.backend.actions.start
        deployment.backend.actions.start = self._hold  # type: ignore[method-assign]

    def _hold(self, *args: Any) -> None:
        if args in self._released:  # it waited for an event loop, and has one now
            self._start(*args)
        else:
            self.begun.append(lambda: self._release(args))

    def _release(self, args: tuple[Any, ...]) -> None:
        self._released.append(args)
        self._start(*args)

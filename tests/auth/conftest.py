"""A token verifier whose clock and whose waiting a test decides, beside a real provider."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cupola.auth import Identity, SessionTokens, TokenVerifier
from cupola.clock import ManualClock
from cupola.errors import CupolaError
from cupola.limits import Limits


class Verifying:
    """A `TokenVerifier`; fetches run when the test says so, or at once."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.clock = ManualClock()
        self.limits = limits or Limits(key_set_fetch_s=5.0)
        self.holds = False
        self.waiting: list[Callable[[], None]] = []
        self.session_tokens = SessionTokens(bytes(32))
        self.verifier = TokenVerifier(
            self.clock, self.limits, self.session_tokens, in_background=self._background
        )

    def _background(self, work: Callable[[], Any], answer: Callable[[Any], None]) -> None:
        def run() -> None:
            try:
                result: Any = work()
            except CupolaError as error:
                result = error
            answer(result)

        if self.holds:
            self.waiting.append(run)
        else:
            run()

    @property
    def now_s(self) -> float:
        return self.clock.now_ns() / 1e9

    def ask(self, token: str) -> list[Identity | CupolaError]:
        """What is answered, once it is."""
        answers: list[Identity | CupolaError] = []
        self.verifier.verify(token, answers.append)
        return answers

    def identity(self, token: str) -> Identity:
        """Raises: why the token proves nothing."""
        (answer,) = self.ask(token)
        if isinstance(answer, CupolaError):
            raise answer
        return answer

    def error(self, token: str) -> CupolaError:
        (answer,) = self.ask(token)
        assert isinstance(answer, CupolaError), answer
        return answer


@pytest.fixture
def verifying() -> Verifying:
    return Verifying()

"""Which functions stay away from the loop for a while, after a call of theirs has kept it.

A call that passes the budget may be the first of many, or an accident: a machine that stood still
for a moment, a document read from a cold disk. So the first one sends its function to the workers
for a second, and each further one for twice as long as the one before, up to a minute: an accident
costs little, and a function that is really slow keeps the loop once a minute at most.
"""

from __future__ import annotations

import dataclasses
import logging

from cupola.clock import Clock

FIRST_S = 1.0
LONGEST_S = 60.0

_LOG = logging.getLogger("cupola")


@dataclasses.dataclass(slots=True)
class _Mark:
    until_ns: int
    lasts_s: float


class SlowFunctions:
    """Function paths, each until a moment of the monotonic clock."""

    def __init__(self, clock: Clock, budget_s: float) -> None:
        """`budget_s`: what a call may take in process."""
        self._clock = clock
        self._budget_s = budget_s
        self._marks: dict[str, _Mark] = {}

    def __contains__(self, path: str) -> bool:
        mark = self._marks.get(path)
        return mark is not None and self._clock.monotonic_ns() < mark.until_ns

    def add(self, path: str) -> None:
        """A call has kept the loop for its whole budget."""
        now_ns = self._clock.monotonic_ns()
        mark = self._marks.get(path)
        lasts_s = FIRST_S
        if mark is not None and now_ns < mark.until_ns + int(LONGEST_S * 1e9):
            lasts_s = min(2 * mark.lasts_s, LONGEST_S)
        self._marks[path] = _Mark(now_ns + int(lasts_s * 1e9), lasts_s)
        _LOG.warning(
            "`%s` has taken more than %d ms in the server's own process; its calls run in workers "
            "for the next %d s. See `Keep functions fast` in the docs.",
            path,
            round(self._budget_s * 1e3),
            lasts_s,
        )

    def clear(self) -> None:
        """The code is another."""
        self._marks.clear()

"""A pulse for many connections: each is visited once per interval, a few of them at a time.

Theory. One timer per connection costs memory and a heap; one walk over all of them every few
seconds stops everybody else for a while. So connections sit in slots, as on a wheel, and each tick
visits one slot: the work is spread evenly, and a tick costs nothing when its slot is empty.
"""

import asyncio
from typing import Protocol

SLOTS = 50


class Visited(Protocol):
    slot: int

    def beat(self) -> None:
        """Called once per interval, the first time one interval after joining."""
        ...


class Heartbeat:
    """Visits every member once per `interval_s`."""

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self._slots: list[set[Visited]] = [set() for _ in range(SLOTS)]
        self._position = 0
        self._timer: asyncio.TimerHandle | None = None

    def join(self, member: Visited) -> None:
        member.slot = self._position
        self._slots[member.slot].add(member)
        if self._timer is None:
            self._arm()

    def leave(self, member: Visited) -> None:
        self._slots[member.slot].discard(member)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self.interval_s / SLOTS, self._tick)

    def _tick(self) -> None:
        self._arm()
        self._position = (self._position + 1) % SLOTS
        for member in tuple(self._slots[self._position]):
            member.beat()

"""The durability gate: nothing leaves before the commit it shows is on disk.

Answers, transitions, query results and nested calls of actions all pass here, each with the newest
commit timestamp it shows. No other place reasons about durability.
"""

from __future__ import annotations

import collections
import logging
from collections.abc import Callable, Iterable

Delivery = Callable[[], None]

_LOG = logging.getLogger("cupola")


class Outbox:
    """Deliveries in order, each waiting for its timestamp to be durable.

    Order is that of `put`; an item with an older timestamp behind one that waits, waits with it.
    """

    def __init__(self, durable_ts: int) -> None:
        self._durable_ts = durable_ts
        self._waiting: collections.deque[tuple[int, Delivery]] = collections.deque()
        self.stopped = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, ts: int, delivery: Delivery) -> None:
        """Deliver at once if possible, else when `ts` has become durable."""
        if self.stopped:
            return
        if not self._waiting and ts <= self._durable_ts:
            attempt_each((delivery,))
        else:
            self._waiting.append((ts, delivery))

    def release(self, durable_ts: int) -> None:
        """Deliver everything up to `durable_ts`."""
        self._durable_ts = durable_ts
        waiting = self._waiting
        while waiting and not self.stopped:
            ts, delivery = waiting.popleft()
            if ts > durable_ts:
                waiting.appendleft((ts, delivery))
                return
            attempt_each((delivery,))

    def stop(self) -> None:
        """Durability is lost: deliver nothing any more, ever."""
        self.stopped = True
        self._waiting.clear()


def attempt_each(deliveries: Iterable[Delivery]) -> None:
    """Deliver to several. That one of them fails is no reason to keep the others waiting."""
    for delivery in deliveries:
        try:
            delivery()
        except Exception:
            _LOG.exception("A result could not be delivered")

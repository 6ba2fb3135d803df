"""What the engine's sides of the text worker and of the vector worker have in common: how either is
started, what is known of its indexes, and the timers by which they are looked after.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from cupola.backend.node import Node
from cupola.database.search_indexes import SearchIndex
from cupola.runtimes.python.messages import Setup, limit_fields
from cupola.runtimes.python.worker_process import WorkerProcess

HELD_S: Final = 0.02
"""How long to wait where no snapshot may be opened, because the log has to shrink."""


class Progress(Protocol):
    """How far an index is, in documents."""

    @property
    def seen(self) -> int: ...

    @property
    def total(self) -> int: ...


def seen_and_total(kept: Mapping[str, Progress], index: SearchIndex) -> tuple[int, int]:
    """As `SearchBuilds.progress` tells it; nothing of an index that is not kept yet."""
    progress = kept.get(index.document_id)
    return (progress.seen, progress.total) if progress is not None else (0, 0)


def start_worker(
    module: str,
    node: Node,
    data_path: str,
    loop: asyncio.AbstractEventLoop,
    received: Callable[[Any], None],
    ended: Callable[[], None],
) -> WorkerProcess:
    """A process that reads the database file and runs no function.

    Raises:
        OSError: The machine has no room for it.
    """
    setup = Setup("", {}, data_path, b"", limit_fields(node.limits), {})
    return WorkerProcess(module, setup, loop, received, ended)


class Timers:
    """What is due later, at most one thing of each name."""

    def __init__(self) -> None:
        self._due: dict[str, asyncio.TimerHandle] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._due

    def set(
        self,
        loop: asyncio.AbstractEventLoop,
        name: str,
        seconds: float,
        then: Callable[[], None],
    ) -> None:
        """Do this in a while, in place of what was due under the name."""
        self.cancel(name)

        def due() -> None:
            del self._due[name]
            then()

        self._due[name] = loop.call_later(seconds, due)

    def cancel(self, *names: str) -> None:
        for name in names:
            if (timer := self._due.pop(name, None)) is not None:
                timer.cancel()

    def cancel_all(self) -> None:
        self.cancel(*self._due)

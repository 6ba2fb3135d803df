"""Sessions whose queries never hold at one moment, since workers run them one by one.

Each worker runs a query at a snapshot of its own. So a session that shows several queries which
every commit touches would wait until nobody commits for a while: each result is older than the last
commit when it comes, and none holds at the moment of another. When all of them could have come
twice, and the session has not moved, one worker runs them at one snapshot. The session moves there,
and so do others that show the same. One session is helped at a time: all else goes on beside it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from cupola.backend.queries import QueryRun
from cupola.backend.sessions import SessionHost
from cupola.reactivity import CacheEntry

if TYPE_CHECKING:
    from cupola.backend.passes import Passes


_REST: Final = 10


def missed_max(host: SessionHost) -> int:
    """How many results of workers may come that do not take a session anywhere."""
    return 2 * len(host.queries)


def is_left_behind(host: SessionHost) -> bool:
    return host.missed > missed_max(host)


class LeftBehind:
    """Those that wait for a worker to run all they show, and the one whose queries run."""

    def __init__(self, passes: Passes) -> None:
        self._passes = passes
        self._waiting: dict[SessionHost, None] = {}
        self._is_running = False

    def add(self, host: SessionHost) -> None:
        self._waiting[host] = None
        self._run_next()

    def _run_next(self) -> None:
        while self._waiting and not self._is_running:
            host = next(iter(self._waiting))
            del self._waiting[host]
            if host.is_open and host.is_writable and is_left_behind(host):
                self._is_running = True
                ran = partial(self._ran, host, self._passes.generation)
                self._passes.offload.run_together(_entries_of(host), ran)

    def _ran(self, helped: SessionHost, generation: int, runs: dict[CacheEntry, QueryRun]) -> None:
        """`runs`: all at one timestamp; none if they have failed, or are of the code before."""
        self._is_running = False
        if not runs and generation == self._passes.generation:
            # One of them may not end, and would keep the worker busy.
            helped.missed = -_REST * missed_max(helped)
        hosts = dict.fromkeys(host for entry in runs for host, _ in entry.listeners)
        for entry, run in runs.items():
            if entry.listeners and entry.must_run and entry.ts <= run.ts:
                self._passes.record(entry, run)
        for host in hosts:
            self._passes.move(host, next(iter(runs.values())).ts, runs)
        self._run_next()


def _entries_of(host: SessionHost) -> list[CacheEntry]:
    """What a session shows, but for what its client has and nobody has touched since."""
    moved_ts = host.session.ts
    return list(
        dict.fromkeys(
            entry
            for query_id, entry in host.queries.items()
            if entry.must_run or entry.ts > moved_ts or query_id in host.changed
        )
    )

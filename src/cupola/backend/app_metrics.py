"""Counts, by the minute, what functions and tables do, while somebody looks at charts of it.

Counting costs about ten microseconds per call, measured: an execution is then described for
watchers, and rows are counted one by one. So nobody does it unasked: it begins with the first
question and ends an hour after the last, when the figures are forgotten. Where nobody asks, a call
pays for looking whether somebody does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from cupola.backend.app_figures import Hour, Minute
from cupola.database.catalog import FIRST_USER_TABLE, Catalog
from cupola.database.counted_transaction import CountedTransaction
from cupola.database.transaction import Transaction
from cupola.errors import CupolaError
from cupola.functions.definitions import Kind
from cupola.system.registry import PREFIX

if TYPE_CHECKING:
    from cupola.backend.backend import Backend
    from cupola.backend.node import ExecutionLog
    from cupola.database.committer import Published
    from cupola.database.text_keys import WrittenText
    from cupola.database.write_log import WrittenKey

    _Written = tuple[str | None, Sequence[WrittenKey], Sequence[WrittenText]]

KEPT_S: Final = 3600.0
_HTTP = "httpAction"


class AppMetrics:
    """Of one deployment. Belongs to the thread of its backend."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._hour: Hour | None = None
        self._asked_ns = 0
        self._tables: _TablesByIndex | None = None

    @property
    def is_counting(self) -> bool:
        return self._hour is not None

    def look(self) -> Iterable[Minute]:
        """What is known, the oldest minute first. From now on, or still, it is counted."""
        self._asked_ns = self._backend.clock.monotonic_ns()
        hour = self._hour or self._begin()
        self._sample()
        return hour.minutes

    def _begin(self) -> Hour:
        node, limits = self._backend.node, self._backend.limits
        self._hour = Hour(limits.metrics_functions_max, limits.metrics_tables_max)
        node.watchers.append(self._executed)
        node.followers.append(self._committed)
        node.tickers.append(self._tick)
        node.saw_cached = self._cached
        node.transaction_type = CountedTransaction
        return self._hour

    def _end(self) -> None:
        node = self._backend.node
        self._hour = self._tables = None
        node.watchers.remove(self._executed)
        node.followers.remove(self._committed)
        node.tickers.remove(self._tick)
        node.saw_cached = None
        node.transaction_type = Transaction

    def _tick(self) -> None:
        if self._backend.clock.monotonic_ns() - self._asked_ns > KEPT_S * 1e9:
            self._end()
        else:
            self._sample()

    @property
    def _minute(self) -> Minute | None:
        """The one to count into; None: nobody counts any more."""
        return None if self._hour is None else self._hour.at(self._backend.clock.now_ns())

    # ---------------------------------------------------------------- told by the engine

    def _executed(self, log: ExecutionLog) -> None:
        minute = self._minute
        name = self._name_of(log)
        if minute is None or name is None or log.is_cached:
            return
        minute.function(name).executed(
            log.duration_s, failed=log.error_message is not None, is_query=log.kind == "query"
        )
        tables = self._backend.node.committer.catalog.by_number
        for number, rows in (log.rows_read or {}).items():
            if number >= FIRST_USER_TABLE and number in tables:
                minute.table(tables[number].name).read += rows

    def _name_of(self, log: ExecutionLog) -> str | None:
        """The canonical path of a function of the app; callers may name what does not exist."""
        if log.kind == _HTTP:
            return log.path
        return self._path(log.path)

    def _path(self, path: str) -> str | None:
        if path.startswith(PREFIX):
            return None
        app = self._backend.node.app
        if path in app.functions:
            return path
        try:
            return app.find(path).path
        except CupolaError:
            return None

    def _cached(self, path: str) -> None:
        minute, name = self._minute, self._path(path)
        if minute is not None and name is not None:
            minute.function(name).shown()

    def _committed(self, published: Sequence[Published]) -> None:
        minute = self._minute
        if minute is None:
            return
        tables = self._tables_now()
        for commit in published:
            keys = tables.by_table(commit.written)
            for name, written in keys.items():
                minute.table(name).written += tables.documents(written)
            self._note_invalidations(minute, commit, keys)

    def _note_invalidations(
        self, minute: Minute, commit: Published, keys: Mapping[str, list[WrittenKey]]
    ) -> None:
        """Subscriptions that a commit has made stale, each by the first table that did. Whoever
        marks them has followed the commit before.
        """
        seen: set[object] = set()
        tables = self._tables_now()
        written: list[_Written] = [(name, some, ()) for name, some in keys.items()]
        written += [(tables.table_of(text.index), (), (text,)) for text in commit.texts]
        for name, some, texts in written:
            subscriptions = 0
            for entry in self._backend.node.cache.readers(some, texts):
                if entry.stale and entry.touched_ts == commit.ts and entry not in seen:
                    seen.add(entry)
                    subscriptions += len(entry.listeners)
            if subscriptions and name is not None:
                minute.invalidated(commit.function, name, subscriptions)

    def _tables_now(self) -> _TablesByIndex:
        catalog = self._backend.node.committer.catalog
        if self._tables is None or self._tables.catalog is not catalog:
            self._tables = _TablesByIndex(catalog)
        return self._tables

    # ---------------------------------------------------------------- looked at now and then

    def _sample(self) -> None:
        """What waits and what runs now."""
        minute = self._minute
        if minute is not None:
            minute.saw(self._backend.scheduler.lag_s, self._outstanding())

    def _outstanding(self) -> list[tuple[str, int]]:
        """Calls by kind and state, under the reference's names. A query or mutation that runs on
        the loop is never seen, since nobody looks meanwhile.
        """
        backend = self._backend
        status = backend.status()
        offload = backend.mutations.offload
        elsewhere = offload.outstanding() if offload is not None else {}
        queued = {
            Kind.QUERY: status["queuedQueries"] + status["staleQueries"],
            Kind.MUTATION: status["queuedMutations"],
            Kind.ACTION: backend.scheduler.waiting,
        }
        running = {Kind.ACTION: status["runningActions"]}
        return [
            (
                f"outstanding_functions:isolate:{kind.value.capitalize()}:{state}",
                here.get(kind, 0) + elsewhere.get((kind, state), 0),
            )
            for state, here in (("running", running), ("queued", queued))
            for kind in Kind
        ]


class _TablesByIndex:
    """Which of the app's tables an index belongs to."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._tables: dict[int, str] = {}
        self._primary: set[int] = set()
        for number, table in catalog.by_number.items():
            if number >= FIRST_USER_TABLE:
                self._primary.add(table.primary.number)
                numbers = [index.number for index in table.indexes.values()]
                numbers += [index.number for index in table.searches.values()]
                self._tables.update(dict.fromkeys(numbers, table.name))

    def table_of(self, index: int) -> str | None:
        return self._tables.get(index)

    def by_table(self, written: Iterable[WrittenKey]) -> dict[str, list[WrittenKey]]:
        found: dict[str, list[WrittenKey]] = {}
        for key in written:
            table = self._tables.get(key.index)
            if table is not None:
                found.setdefault(table, []).append(key)
        return found

    def documents(self, written: Iterable[WrittenKey]) -> int:
        """How many documents: each has one key of its primary index, which never changes."""
        return sum(key.index in self._primary for key in written)

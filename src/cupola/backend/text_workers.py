"""The engine's side of the text worker: started when something in a table with a text index was
written, ended when nothing has been for a while, started again when it has died.

It writes files and answers no search, so whatever becomes of it, searches go on until too much has
been written that the files do not know.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from cupola.backend.index_workers import HELD_S, Timers, seen_and_total, start_worker
from cupola.database.committer import Published
from cupola.database.search_indexes import SearchIndex
from cupola.runtimes.python.messages import (
    IndexText,
    TextIndexed,
    TextProgress,
)
from cupola.runtimes.python.worker_process import WorkerProcess
from cupola.search.places import text_folder

if TYPE_CHECKING:
    from cupola.backend.backend import Backend
    from cupola.search.text_indexer import TextIndexer

_LOG = logging.getLogger("cupola.search")
MODULE: Final = "cupola.runtimes.text_worker"
_FOLLOW_S: Final = 0.2
_IDLE_S: Final = 60.0
_NOTED_VERSIONS: Final = 10_000
_SILENT_S: Final = 120.0
_START_AGAIN_S: Final = 0.5
_START_AGAIN_S_MAX: Final = 60.0


class TextWorkers:
    """See the module's docstring. It is a `SearchBuilds` for text indexes.

    Until it is attached to an event loop, which is when a server begins, it builds in this process,
    a slice each time it is asked whether an index is built.
    """

    def __init__(self, backend: Backend, data_path: str) -> None:
        self._backend = backend
        self._node = backend.node
        self._data_path = data_path
        self._loop: asyncio.AbstractEventLoop | None = None
        self._inline: TextIndexer | None = None
        self._worker: WorkerProcess | None = None
        self._kept: dict[str, TextProgress] = {}
        self._wanted_ts = 0  # the newest commit that the files should know
        self._done_ts = -1  # up to which they know all
        self._asked_ts: int | None = None  # what the worker is at
        self._noted_version = 0  # the newest when it was asked
        self._was_behind = False
        self._lost_in_a_row = 0
        self._is_closed = False
        self._timers = Timers()

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Follow the log in the background from now on."""
        self._loop = loop
        if self._inline is not None:
            self._inline.close()
            self._inline = None
        self._node.followers.append(self._saw)
        if self._is_used or text_folder(self._data_path).is_dir():
            self._want(self._node.head_ts)

    @property
    def _is_used(self) -> bool:
        return bool(self._node.committer.catalog.text_tables)

    # ---------------------------------------------------------------- whether they are built

    def is_built(self, index: SearchIndex) -> bool:
        if self._loop is None and index.document_id in self._build_inline().failures:
            return True  # a server starts all the same; the worker tries again
        progress = self._kept.get(index.document_id)
        return progress is not None and progress.is_built

    def progress(self, index: SearchIndex) -> tuple[int, int]:
        return seen_and_total(self._kept, index)

    def _build_inline(self) -> TextIndexer:
        from cupola.search.text_indexer import TextIndexer

        if self._inline is None:
            self._inline = TextIndexer(text_folder(self._data_path))
        persistence = self._node.persistence
        persistence.wait_durable()
        self._inline.step(persistence.reader, persistence.durable_ts)
        self._kept = {
            name: TextProgress(each.is_built, each.version, each.seen, each.total)
            for name, each in self._inline.progress().items()
        }
        return self._inline

    # ---------------------------------------------------------------- following the log

    def _saw(self, published: list[Published]) -> None:
        if not self._is_used and not self._kept:
            return
        is_declared = {index for tables in self._text_tables() for index in tables}
        newest = self._node.persistence.reader.newest_version()
        is_far = newest - self._noted_version > _NOTED_VERSIONS  # of other tables
        if any(c.texts for c in published) or is_far or is_declared != self._kept.keys():
            self._want(published[-1].ts)

    def _text_tables(self) -> list[list[str]]:
        tables = self._node.committer.catalog.text_tables.values()
        return [[index.document_id for index in table] for table in tables]

    def _want(self, ts: int) -> None:
        self._wanted_ts = max(self._wanted_ts, ts)
        self._follow_in(_FOLLOW_S)

    def _follow_in(self, seconds: float) -> None:
        """Unless it is under way: when it is over, whoever ends it looks again."""
        if "follow" not in self._timers and self._asked_ts is None and not self._is_closed:
            self._timers.cancel("idle")
            self._later("follow", seconds, self._follow)

    def _follow(self) -> None:
        if self._node.persistence.holding_snapshots():
            self._later("follow", HELD_S, self._follow)
            return
        if self._worker is None and not self._start():
            return
        assert self._worker is not None
        self._asked_ts = self._node.persistence.durable_ts
        self._noted_version = self._node.persistence.reader.newest_version()
        self._later("silent", _SILENT_S, self._overdue)
        self._worker.send(IndexText(self._asked_ts))

    def _received(self, message: Any) -> None:
        if not isinstance(message, TextIndexed) or self._asked_ts is None:
            return
        self._timers.cancel("silent")
        asked, self._asked_ts = self._asked_ts, None
        self._lost_in_a_row = 0
        self._kept = message.indexes
        self._backend.wake()  # a push may wait for this
        self._look_whether_behind()
        if message.is_done:
            self._done_ts = asked
        is_built = all(each.is_built for each in message.indexes.values())
        if not message.is_done:
            self._follow_in(0.0)
        elif self._done_ts < self._wanted_ts or not is_built:  # it waits for the log to be synced
            self._follow_in(_FOLLOW_S)
        else:
            self._later("idle", _IDLE_S, self._end_if_idle)

    def _look_whether_behind(self) -> None:
        """Live queries that an index has refused are asked again when it has caught up."""
        newest = self._node.persistence.reader.newest_version()
        oldest = newest - self._node.limits.search_changes_max
        is_behind = any(not e.is_built or e.version < oldest for e in self._kept.values())
        if self._was_behind and not is_behind:
            self._backend.passes.everything_stale()
        self._was_behind = is_behind

    # ---------------------------------------------------------------- the worker

    def _start(self) -> bool:
        assert self._loop is not None
        where = (self._node, self._data_path, self._loop)
        try:
            self._worker = start_worker(MODULE, *where, self._received, self._lost)
        except OSError as error:
            _LOG.warning("No text worker can be started: %s", error)
            self._lost()
            return False
        return True

    def _overdue(self) -> None:
        _LOG.warning("The text worker has said nothing for %d s; it is started again.", _SILENT_S)
        if self._worker is not None:
            self._worker.kill()

    def _lost(self) -> None:
        """It has died, or was ended here."""
        self._worker = None
        was_at_work, self._asked_ts = self._asked_ts is not None, None
        self._timers.cancel_all()
        if self._is_closed or not (was_at_work or self._done_ts < self._wanted_ts):
            return
        self._was_behind = True
        wait_s = min(_START_AGAIN_S * 2**self._lost_in_a_row, _START_AGAIN_S_MAX)
        self._lost_in_a_row += 1
        _LOG.warning("The text worker ended unexpectedly; it is started again in %.1f s.", wait_s)
        self._later("follow", wait_s, self._follow)

    def _end_if_idle(self) -> None:
        if self._worker is not None and self._asked_ts is None:
            self._worker.kill()

    def _later(self, name: str, seconds: float, then: Any) -> None:
        assert self._loop is not None
        self._timers.set(self._loop, name, seconds, then)

    def close(self) -> None:
        """End it; what it has not committed is read from the log again."""
        self._is_closed = True
        self._timers.cancel_all()
        if self._inline is not None:
            self._inline.close()
        if self._worker is not None:
            self._worker.kill()

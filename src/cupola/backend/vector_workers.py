"""The engine's side of the vector worker: started with the first search or index, ended when nobody
has searched for a while, started again when it has died.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from cupola.backend.answers import deliver, failed
from cupola.backend.calls import CallRequest, Done
from cupola.backend.index_workers import HELD_S, Timers, seen_and_total, start_worker
from cupola.backend.vector_searches import answer, name_of, read_query, too_large
from cupola.database.committer import Published
from cupola.database.search_indexes import SearchIndex
from cupola.errors import CupolaError, OperatorError, OverloadedError
from cupola.runtimes.python.messages import (
    FindVectors,
    FollowLog,
    Message,
    VectorProgress,
    VectorsFound,
    VectorsKept,
)
from cupola.runtimes.python.worker_process import WorkerProcess
from cupola.search.vector_query import VectorQuery

if TYPE_CHECKING:
    from cupola.backend.backend import Backend

_LOG = logging.getLogger("cupola")
MODULE: Final = "cupola.runtimes.vector_worker"
_FOLLOW_S: Final = 0.1
_BUILDING_S: Final = 0.3
_IDLE_S: Final = 600.0
_STARTS_MAX: Final = 3  # in a row, without an answer; then it is given some time
_START_S: Final = 30.0
_START_AGAIN_S: Final = 10.0


@dataclasses.dataclass(slots=True)
class _Waiting:
    query: VectorQuery
    done: Done
    deadline: asyncio.TimerHandle


class VectorWorkers:
    """See the module's docstring; `VectorSearches` is what it does.

    Until it is attached to an event loop, which is when a server begins, indexes count as built:
    searches that come too early wait for them.
    """

    def __init__(self, backend: Backend, data_path: str) -> None:
        self._backend = backend
        self._data_path = data_path
        self._loop: asyncio.AbstractEventLoop | None = None
        self._worker: WorkerProcess | None = None
        self._is_wanted = False
        self._failed_starts = 0
        self._start_at = 0.0
        self._heard_at = 0.0
        self._number = 0
        self._waiting: dict[int, _Waiting] = {}
        self._unsent: list[Message] = []
        self._timers = Timers()
        self._kept: dict[str, VectorProgress] = {}
        self._searched_at = 0.0
        self._is_closed = False
        self.size_bytes = 0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        if self._is_wanted:
            self._start_or_warn()

    @property
    def _running_loop(self) -> asyncio.AbstractEventLoop:
        assert self._loop is not None, "actions run only where there is a loop"
        return self._loop

    # ---------------------------------------------------------------- searching

    def submit(self, asked: bytes, done: Done) -> None:
        backend = self._backend
        query = read_query(asked, backend.node.committer.catalog, backend.limits)
        progress = self._kept.get(query.index.document_id)
        if progress is not None and progress.is_too_large:
            raise too_large(backend, query.index)
        if len(self._waiting) >= (most := backend.limits.vector_searches_waiting_max):
            raise OverloadedError(
                f"{most} vector searches are under way already (vector_searches_waiting_max); try "
                "again soon.",
                code="TooManyVectorSearches",
            )
        self._start()
        self._number = number = self._number + 1
        wait_s = backend.limits.vector_search_time_s
        deadline = self._running_loop.call_later(wait_s, partial(self._overdue, number))
        self._waiting[number] = _Waiting(query, done, deadline)
        self._searched_at = self._running_loop.time()
        vector, limit, conditions = query.vector, query.limit, query.conditions
        self._send(FindVectors(number, query.index.document_id, vector, limit, conditions))

    def _found(self, message: VectorsFound) -> None:
        if message.hits is None:
            self._give_up(message.number)
        elif (waiting := self._ended(message.number)) is not None:
            deliver(self._backend.node, answer(message.hits, message.ts), waiting.done)

    def _overdue(self, number: int) -> None:
        """Time is up. A worker that has said nothing for as long hangs: it is ended."""
        self._give_up(number)
        worker, silence_s = self._worker, self._running_loop.time() - self._heard_at
        if worker is None or self._unsent:
            return
        wait_s = self._backend.limits.vector_search_time_s
        if silence_s >= (wait_s if worker.is_ready else max(wait_s, _START_S)):
            worker.kill()

    def _give_up(self, number: int) -> None:
        waiting = self._ended(number)
        if waiting is None:
            return
        index = waiting.query.index
        progress = self._kept.get(index.document_id)
        if progress is not None and progress.is_too_large:
            self._fail(waiting, too_large(self._backend, index))
            return
        name = name_of(self._backend, index)
        if progress is None or progress.is_built:
            why = f"Vector index `{name}` did not answer in time"
        else:
            seen, total = progress.seen, progress.total
            why = f"Vector index `{name}` is still being built, with {seen} of {total} documents"
        self._fail(waiting, unavailable(f"{why}; try again soon."))

    def _ended(self, number: int) -> _Waiting | None:
        waiting = self._waiting.pop(number, None)
        if waiting is not None:
            waiting.deadline.cancel()
        return waiting

    def _fail(self, waiting: _Waiting, error: CupolaError) -> None:
        node = self._backend.node
        request = CallRequest("query", name_of(self._backend, waiting.query.index))
        deliver(node, failed(node, error, request), waiting.done)

    # ---------------------------------------------------------------- building

    def is_built(self, index: SearchIndex) -> bool:
        """Also if nobody can build it: searches say so then, and pushes go on."""
        progress = self._kept.get(index.document_id)
        if progress is not None and progress.is_built:
            return True
        if self._loop is None:
            self._is_wanted = True
            return True
        if not self._start_or_warn():
            return True
        self._follow_in(_FOLLOW_S)
        return False

    def progress(self, index: SearchIndex) -> tuple[int, int]:
        return seen_and_total(self._kept, index)

    # ---------------------------------------------------------------- the worker

    def _start_or_warn(self) -> bool:
        """Returns whether there is a worker."""
        try:
            self._start()
        except OperatorError as error:
            _LOG.warning("A vector index is enabled before it is built. %s", error.message)
            return False
        return True

    def _start(self) -> None:
        """Raises: OperatorError: There is no worker, and none can be started."""
        if self._worker is not None:
            return
        backend, loop = self._backend, self._running_loop
        if self._failed_starts >= _STARTS_MAX and loop.time() < self._start_at:
            raise unavailable("The vector worker has ended again and again; see the server's log.")
        where = (backend.node, self._data_path, loop)
        try:
            self._worker = start_worker(MODULE, *where, self._received, self._lost)
        except OSError as error:
            raise unavailable(f"No vector worker can be started: {error}") from None
        self._heard_at = self._searched_at = loop.time()
        if self._saw not in backend.node.followers:
            backend.node.followers.append(self._saw)
        self._follow_in(0.0)
        self._later("idle", _IDLE_S, self._end_if_idle)

    def _received(self, message: Any) -> None:
        self._heard_at = self._running_loop.time()
        match message:
            case VectorsFound():
                self._failed_starts = 0
                self._found(message)
            case VectorsKept():
                self._kept = message.indexes
                self.size_bytes = message.size_bytes
                if not all(each.is_built for each in message.indexes.values()):
                    self._follow_in(_BUILDING_S)
                for number, waiting in list(self._waiting.items()):
                    progress = message.indexes.get(waiting.query.index.document_id)
                    if progress is not None and progress.is_too_large:
                        self._give_up(number)
                self._backend.wake()  # a push may wait for this

    def _lost(self) -> None:
        """It has died, or was ended here. What was asked fails; the next search starts another."""
        self._worker = None
        self._failed_starts += 1
        self._start_at = self._running_loop.time() + _START_AGAIN_S
        self._unsent.clear()
        self._kept = {}
        self.size_bytes = 0
        self._timers.cancel_all()
        if self._saw in self._backend.node.followers:
            self._backend.node.followers.remove(self._saw)
        for number in list(self._waiting):
            if (waiting := self._ended(number)) is not None and not self._is_closed:
                text = "The vector worker ended unexpectedly; search again."
                self._fail(waiting, unavailable(text))
        if not self._is_closed:
            self._backend.wake()  # a push may wait

    def _end_if_idle(self) -> None:
        left_s = self._searched_at + _IDLE_S - self._running_loop.time()
        is_building = not all(each.is_built for each in self._kept.values())
        if self._worker is not None and left_s <= 0 and not is_building and not self._waiting:
            self._worker.kill()
            self._failed_starts = 0
        else:
            self._later("idle", max(left_s, _BUILDING_S), self._end_if_idle)

    def _later(self, name: str, seconds: float, then: Callable[[], None]) -> None:
        self._timers.set(self._running_loop, name, seconds, then)

    # ---------------------------------------------------------------- following the log

    def _saw(self, published: list[Published]) -> None:
        """Commits: the worker reads them soon, so that the next search has little to read."""
        self._follow_in(_FOLLOW_S)

    def _follow_in(self, seconds: float) -> None:
        if "follow" not in self._timers and self._worker is not None:
            self._later("follow", seconds, lambda: self._send(FollowLog()))

    def _send(self, message: Message) -> None:
        """Once snapshots may be opened: until then the log has to shrink."""
        if self._worker is None:
            return
        self._unsent.append(message)
        if "send" not in self._timers:
            self._send_all()

    def _send_all(self) -> None:
        if self._worker is None:
            return
        if self._backend.node.persistence.holding_snapshots():
            self._later("send", HELD_S, self._send_all)
            return
        unsent, self._unsent = self._unsent, []
        for message in unsent:
            self._worker.send(message)

    def close(self) -> None:
        self._is_closed = True
        if self._worker is not None:
            self._worker.kill()


def unavailable(why: str) -> OperatorError:
    return OperatorError(why, code="VectorIndexesUnavailable")

"""The executor: takes jobs when they are due and sees each to its end.

Its own state is in memory and may be lost at any moment; what has happened to a job is in its
document (see `functions.jobs`). After a start it fails the actions that were in progress, since
nobody knows how far they came; everything else is pending and runs.

Failures of the function are final. Those of the system (no disk, no worker) are tried again, after
a time that doubles; a mutation that fails so has written nothing, and an action that fails so has
not begun.

Mutations and actions are bounded apart, so that long actions do not keep mutations waiting; and
background mutations take turns with those of clients (`backend.mutations`).
"""

from __future__ import annotations

import collections
import dataclasses
import heapq
import itertools
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

from cupola.clock import Clock
from cupola.database.catalog import CRON_JOBS, system_index
from cupola.database.committer import Published
from cupola.errors import ConflictError, CupolaError, OperatorError, PausedError
from cupola.functions.crons import CronJob
from cupola.functions.definitions import Function, Kind
from cupola.functions.jobs import IN_PROGRESS, JOB_TABLES, NOT_PENDING, PENDING, SCHEDULED
from cupola.limits import Limits
from cupola.persistence import Reader
from cupola.scheduling.due import DueRows
from cupola.system import scheduling as system
from cupola.values import UNSET, encode, encode_key
from cupola.values.keys import after

_LOG = logging.getLogger("cupola")
_SWEEP_MS: Final = 60_000.0
_CRONS_AT_ONCE: Final = 100
_NOT_BEGUN: Final = frozenset({"NoWorker", "TooManyConcurrentActions", PausedError.code})
_LOST: Final = "The server stopped while this action ran; it may have done part of its work."


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended: `error` and its text, or neither. `value`: of a system mutation."""

    error: CupolaError | None = None
    error_message: str | None = None
    value: Any = None

    @property
    def is_ok(self) -> bool:
        return self.error_message is None


Ended = Callable[[Outcome], None]


class Engine(Protocol):
    """Who runs what the executor decides on. Everything happens on one thread."""

    @property
    def is_serving(self) -> bool:
        """Whether jobs may begin: code is loaded, and nobody is stopping."""
        ...

    @property
    def is_paused(self) -> bool:
        """Whether jobs wait and cron jobs are skipped."""
        ...

    @property
    def reader(self) -> Reader:
        """The newest commits."""
        ...

    @property
    def may_start_action(self) -> bool: ...

    def find(self, path: str) -> Function[Any, Any]:
        """Raises: CupolaError: There is no such function."""
        ...

    def run_mutation(self, job: str, path: str, args: bytes, ended: Ended) -> None:
        """Run a mutation that completes its job in its own transaction."""
        ...

    def run_action(self, job: str, path: str, args: bytes, ended: Ended) -> None: ...

    def run_system(
        self, path: str, args: Mapping[str, Any], ended: Ended, *, is_durable: bool = False
    ) -> None:
        """Run one of the system's mutations; `is_durable`: tell when the disk has it."""
        ...

    def wake(self) -> None:
        """Ask for another turn."""
        ...

    def wake_at(self, time_ns: int | None) -> None:
        """Ask for a turn at a wall-clock time, instead of at the one asked for before.

        A timer may go off early and a clock may be set back: whoever is woken too soon asks again.
        """
        ...


@dataclasses.dataclass(slots=True, eq=False)
class _Job:
    id: str
    path: str
    args: bytes
    rows: DueRows
    key: bytes
    due_ms: float
    attempts: int = 0


class Executor:
    """The jobs of one deployment. `run` is called once per turn, and costs little if nothing is
    due.
    """

    def __init__(self, engine: Engine, limits: Limits, clock: Clock) -> None:
        self._engine = engine
        self._limits = limits
        self._clock = clock
        self._jobs = [
            DueRows(_by_due(table), encode_key(PENDING), "scheduledTime") for table in JOB_TABLES
        ]
        self._crons = DueRows(_by_due(CRON_JOBS), b"", "nextTime")
        self._waiting: collections.deque[_Job] = collections.deque()
        self._mutations = 0
        self._actions = 0
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._is_recovered = False
        self._declared: Sequence[CronJob] | None = None
        self._is_busy = False  # recovering, or declaring cron jobs: nothing begins meanwhile
        self._sweep_at_ms = 0.0
        self._rows_of = {rows.index: rows for rows in (*self._jobs, self._crons)}
        self._rests_until_ms = 0.0
        self._wakes_at_ns: int | None = None
        self.begun = 0
        """How many jobs have begun here."""

    # ---------------------------------------------------------------- told from outside

    def saw(self, commits: list[Published]) -> None:
        """To be called with every commit."""
        for commit in commits:
            for written in commit.written:
                rows = self._rows_of.get(written.index)
                if rows is not None:
                    rows.wrote(b"".join(written.parts))
                    self._rests_until_ms = 0.0

    def declare(self, crons: Sequence[CronJob]) -> None:
        """Other code is running: these are its cron jobs."""
        self._declared = crons
        self._stir()

    def paused_or_resumed(self) -> None:
        """Jobs wait from now on, or wait no longer."""
        self._stir()

    def _stir(self) -> None:
        self._rests_until_ms = 0.0
        self._engine.wake()

    @property
    def running(self) -> int:
        return self._mutations + self._actions

    @property
    def waiting(self) -> int:
        """Actions that are due and wait for others to end."""
        return len(self._waiting)

    @property
    def lag_s(self) -> float:
        """How late the job is that should have begun first."""
        due = [rows.next_ms for rows in self._jobs if rows.next_ms is not None]
        if self._waiting:
            due.append(self._waiting[0].due_ms)
        return max(0.0, self._now_ms() - min(due)) / 1000 if due else 0.0

    @property
    def next_due_ns(self) -> int | None:
        """When something is to be done next, on the wall clock; None: not before a commit says so.

        What is due already waits for others to end, who will ask for a turn; it is not counted.
        """
        return self._next_due_ns(self._now_ms())

    def _next_due_ns(self, now_ms: float) -> int | None:
        due = min((time for time in self._next_times() if time > now_ms), default=None)
        return None if due is None else _first_ns(due)

    def _next_times(self) -> list[float]:
        times = [rows.next_ms for rows in self._rows_of.values() if rows.next_ms is not None]
        if self._later:
            times.append(self._later[0][0])
        return times

    # ---------------------------------------------------------------- the turn

    def run(self) -> None:
        """Begin whatever is due and has room."""
        if not self._engine.is_serving:
            return
        now_ms = self._now_ms()
        if now_ms < self._rests_until_ms:
            self._engine.wake_at(self._wakes_at_ns)  # again, if this turn is the one asked for
            return
        is_paused = self._engine.is_paused
        if not is_paused:
            self._try_again(now_ms)
        if not self._is_busy and not self._is_recovered:
            self._recover()
        if not self._is_busy and self._declared is not None:
            self._declare()
        if not self._is_busy:
            self._fire_crons(now_ms)
            if not is_paused:
                self._begin_due(now_ms)
                self._start_waiting()
            self._sweep(now_ms)
        self._wakes_at_ns = self._next_due_ns(now_ms)
        self._engine.wake_at(self._wakes_at_ns)
        self._rests_until_ms = self._nothing_to_do_until_ms()

    def _nothing_to_do_until_ms(self) -> float:
        """Turns are many, and most are about other things: if nothing is under way here, nothing
        can be done before this time, unless somebody stirs.
        """
        if self._is_busy or self._declared is not None or self._waiting or self.running:
            return 0.0
        return min([self._sweep_at_ms, *self._next_times()])

    def _now_ms(self) -> float:
        return self._clock.now_ns() / 1e6

    def _try_again(self, now_ms: float) -> None:
        while self._later and self._later[0][0] <= now_ms:
            heapq.heappop(self._later)[2]()

    def _begin_due(self, now_ms: float) -> None:
        for rows in self._jobs:
            room = min(
                self._limits.scheduled_mutations_running_max - self._mutations,
                self._limits.scheduled_actions_waiting_max - len(self._waiting),
            )
            for key, document in rows.take(self._engine.reader, now_ms, max(0, room)):
                args = document["args"]
                assert isinstance(args, list)
                path, due_ms = str(document["name"]), document["scheduledTime"]
                assert isinstance(due_ms, float)
                self._begin(_Job(str(document["_id"]), path, encode(args[0]), rows, key, due_ms))

    def _begin(self, job: _Job) -> None:
        self.begun += 1
        try:
            function = self._engine.find(job.path)
        except CupolaError as error:
            self._end(job, error.message)
            return
        job.path = function.path
        match function.kind:
            case Kind.MUTATION:
                self._mutations += 1
                self._run_mutation(job)
            case Kind.ACTION:
                self._waiting.append(job)
            case Kind.QUERY:
                self._end(job, f"`{job.path}` is a query; only mutations and actions can be run.")

    # ---------------------------------------------------------------- mutations

    def _run_mutation(self, job: _Job) -> None:
        self._engine.run_mutation(job.id, job.path, job.args, partial(self._mutation_ended, job))

    def _mutation_ended(self, job: _Job, outcome: Outcome) -> None:
        if not outcome.is_ok and not _is_gone(outcome):
            if _is_of_the_system(outcome):
                self._retry(job, self._run_mutation)
                return
            self._end(job, outcome.error_message)
        else:
            self._release(job)
        self._mutations -= 1
        self._engine.wake()

    # ---------------------------------------------------------------- actions

    def _start_waiting(self) -> None:
        while (
            self._waiting
            and self._actions < self._limits.scheduled_actions_running_max
            and self._engine.may_start_action
        ):
            self._actions += 1
            self._mark(self._waiting.popleft())

    def _mark(self, job: _Job) -> None:
        marked = partial(self._marked, job)
        self._engine.run_system(system.START, {"id": job.id}, marked, is_durable=True)

    def _marked(self, job: _Job, outcome: Outcome) -> None:
        if outcome.is_ok:
            self._run_action(job)
        elif _is_of_the_system(outcome) and not _is_gone(outcome):
            self._retry(job, self._mark)
        else:
            self._actions -= 1
            self._release(job)
            self._engine.wake()

    def _run_action(self, job: _Job) -> None:
        self._engine.run_action(job.id, job.path, job.args, partial(self._action_ended, job))

    def _action_ended(self, job: _Job, outcome: Outcome) -> None:
        if outcome.error is not None and outcome.error.code in _NOT_BEGUN:
            self._retry(job, self._run_action)
            return
        self._actions -= 1
        self._end(job, outcome.error_message)
        self._engine.wake()

    # ---------------------------------------------------------------- ends

    def _end(self, job: _Job, error: str | None) -> None:
        """Write how a job has ended, where it has not done that itself."""

        def ended(outcome: Outcome) -> None:
            if _is_of_the_system(outcome):
                self._retry(job, lambda job: self._end(job, error))
            else:
                self._release(job)

        self._engine.run_system(system.END, {"id": job.id, "error": error}, ended)

    def _release(self, job: _Job) -> None:
        job.rows.release(job.key)

    def _retry(self, job: _Job, again: Callable[[_Job], None]) -> None:
        wait_s = self._limits.scheduled_retry_s * 2 ** min(job.attempts, 30)
        job.attempts += 1
        self._later_in(min(wait_s, self._limits.scheduled_retry_s_max), partial(again, job))

    def _later_in(self, seconds: float, work: Callable[[], None]) -> None:
        time_ms = self._now_ms() + seconds * 1000
        heapq.heappush(self._later, (time_ms, next(self._order), work))
        self._stir()

    # ---------------------------------------------------------------- cron jobs

    def _fire_crons(self, now_ms: float) -> None:
        for key, document in self._crons.take(self._engine.reader, now_ms, _CRONS_AT_ONCE):
            self._fire(str(document["_id"]), key)

    def _fire(self, cron: str, key: bytes) -> None:
        def ended(outcome: Outcome) -> None:
            if _is_of_the_system(outcome):
                self._later_in(self._limits.scheduled_retry_s, lambda: self._fire(cron, key))
                return
            self._crons.release(key)
            if not outcome.is_ok:
                _LOG.error("A cron job could not be run: %s", outcome.error_message)
                return
            self._crons.wrote(key)  # or nothing, where the clock was set back: it is due again
            self._stir()

        args = {"id": cron, "skip": self._engine.is_paused}
        self._engine.run_system(system.FIRE, args, ended)

    def _declare(self) -> None:
        crons, self._declared = self._declared or (), None
        index = system_index(CRON_JOBS, "by_due").number
        if crons or self._engine.reader.scan(index, b"", None, descending=False, limit=1):
            args = {"jobs": [cron.to_value() for cron in crons]}
            self._until_done(system.DECLARE, args, lambda value: True)

    # ---------------------------------------------------------------- upkeep

    def _recover(self) -> None:
        """Fail the actions that were in progress when the process before this one ended."""
        self._is_recovered = True
        for table in JOB_TABLES:
            prefix = encode_key(IN_PROGRESS)
            rows = self._engine.reader.scan(
                _by_due(table), prefix, after(prefix), descending=False, limit=1
            )
            if rows:
                self._until_done(system.RECOVER, {"error": _LOST}, lambda value: value == 0)
                return

    def _until_done(
        self, path: str, args: Mapping[str, Any], is_done: Callable[[Any], bool]
    ) -> None:
        """Run a system mutation again and again; no job begins meanwhile."""
        self._is_busy = True

        def again() -> None:
            self._engine.run_system(path, args, ended)

        def ended(outcome: Outcome) -> None:
            if _is_of_the_system(outcome):
                self._later_in(self._limits.scheduled_retry_s, again)
                return
            if not outcome.is_ok:
                _LOG.error("%s failed: %s", path, outcome.error_message)
            elif not is_done(outcome.value):
                again()
                return
            self._is_busy = False
            self._engine.wake()

        again()

    def _sweep(self, now_ms: float) -> None:
        """Delete documents of jobs that ended long ago: a small group per turn, once a minute."""
        if now_ms < self._sweep_at_ms:
            return
        self._sweep_at_ms = now_ms + _SWEEP_MS
        before_ms = now_ms - self._limits.scheduled_retention_s * 1000
        keys = after(encode_key(UNSET)), encode_key(before_ms)
        if not any(
            self._engine.reader.scan(_by_completion(table), *keys, descending=False, limit=1)
            for table in SCHEDULED
        ):
            return

        def ended(outcome: Outcome) -> None:
            if outcome.is_ok:
                self._sweep_at_ms = 0.0  # maybe there are more
            self._stir()

        self._engine.run_system(system.FORGET, {"before": before_ms}, ended)


def _first_ns(time_ms: float) -> int:
    """The first ns at which a clock shows this time in ms: whole ms lose nothing."""
    fraction, whole = math.modf(time_ms)
    return int(whole) * 1_000_000 + math.ceil(fraction * 1e6)


def _by_completion(table: int) -> int:
    return system_index(table, "by_completion").number


def _by_due(table: int) -> int:
    return system_index(table, "by_due").number


def _is_gone(outcome: Outcome) -> bool:
    """Whether the job was not pending any more: canceled, or deleted."""
    return outcome.error is not None and outcome.error.code == NOT_PENDING


def _is_of_the_system(outcome: Outcome) -> bool:
    """Whether the failure says nothing about the function: it may work another time."""
    return isinstance(outcome.error, OperatorError | ConflictError) and not _is_gone(outcome)

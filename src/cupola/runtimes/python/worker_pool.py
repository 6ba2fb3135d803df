"""Transaction workers: started on first use, one call each, ended when a call passes a limit.

The watchdog is here, in the engine: a wall clock and a look at the worker's memory. Its answer to a
call that passes either is SIGKILL, which nothing in the worker can ignore. A worker that dies
without being told to is replaced, and its call, a query or a mutation, is tried once more on
another.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
from collections.abc import Callable

from cupola.errors import DeveloperError, LimitError, OperatorError
from cupola.limits import Limits
from cupola.runtimes.python.messages import CallDone, Message, Ready, RunCall, Setup
from cupola.runtimes.python.worker_process import WorkerProcess

MODULE = "cupola.runtimes.python.transaction_worker"
JAVASCRIPT_MODULE = "cupola.runtimes.v8.transaction_worker"
_MEMORY_LOOK_S = 0.02
_IDLE_S = 60.0
_START_S = 30.0
_LOST_STARTS_MAX = 3
_REST_S = 1.0  # after so many, doubled with each further one
_REST_S_MAX = 60.0
_PREPARED_S = 5.0

Outcome = CallDone | Exception


@dataclasses.dataclass(slots=True, eq=False)
class Job:
    """One call for a worker. `prepare` makes its message at the moment it is sent.

    `watches_time`: its worker ends it past the time limit; here only a bound is kept that holds
    whatever the worker does.
    """

    path: str
    prepare: Callable[[], RunCall]
    done: Callable[[Outcome], None]
    attempts: int = 0
    watches_time: bool = False


def time_limit_error(path: str, seconds: float) -> DeveloperError:
    """The documented error of a call that ran too long."""
    return DeveloperError(
        f"Function execution timed out (maximum duration: {seconds:g}s). `{path}` took too long: "
        "do less per call, or move the work to an action.",
        code="FunctionTimeout",
    )


def memory_limit_error(path: str, bytes_max: int) -> LimitError:
    return LimitError(
        f"`{path}` used more memory than a function may: {bytes_max // 2**20} MiB. "
        "Read and build less per call.",
        code="OutOfMemory",
    )


def _lost_starts_error() -> DeveloperError:
    return DeveloperError(
        "Worker processes end while they import this app; look at the server's log.",
        code="WorkerCrashed",
    )


def _is_out_of_memory(message: CallDone) -> bool:
    return message.failure is not None and message.failure.code == "OutOfMemory"


class WorkerPool:
    """Up to `limits.transaction_workers_max` workers, and the calls that wait for one."""

    def __init__(
        self,
        setup: Callable[[], Setup],
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
        may_start: Callable[[], bool],
    ) -> None:
        """`may_start`: whether a snapshot may be opened now; when it may again, call `assign`."""
        self._setup = setup
        self._may_start = may_start
        self._limits = limits
        self._loop = loop
        self._waiting: collections.deque[Job] = collections.deque()
        self._workers: list[_Worker] = []
        self.kills = 0
        self._lost_starts = 0  # in a row
        self._rests_until = 0.0
        self._is_full_until = 0.0  # no room on the machine for more than there are
        self.keeps_warm = False
        self._prepared: tuple[str, _Worker] | None = None
        self._blank: _Worker | None = None  # of no code yet
        self._blank_ends: asyncio.TimerHandle | None = None
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._waiting) + sum(worker.job is not None for worker in self._workers)

    def paths(self) -> tuple[list[str], list[str]]:
        """The functions that run, and those that wait."""
        running = [worker.job.path for worker in self._workers if worker.job is not None]
        return running, [job.path for job in self._waiting]

    def submit(self, job: Job) -> None:
        self._waiting.append(job)
        self.assign()

    def assign(self) -> None:
        """Give waiting calls to idle workers; start one if all are busy and another is allowed."""
        if not self._waiting or not self._may_start():
            return
        for worker in list(self._workers):  # one that has gone takes itself out
            if worker.is_idle:
                worker.run(self._waiting.popleft())
            if not self._waiting:
                return
        if self._loop.time() < self._rests_until:
            if not self._workers:
                self.fail_waiting(_lost_starts_error())
            return
        if self._workers and self._loop.time() < self._is_full_until:
            return
        starting = sum(not worker.process.is_ready for worker in self._workers)
        while (
            len(self._waiting) > starting
            and len(self._workers) < self._limits.transaction_workers_max
        ):
            try:
                worker = _Worker(self, self._setup(), self._loop, self._limits)
            except OSError as error:
                if self._workers:  # whichever ends its call takes the next
                    self._is_full_until = self._loop.time() + _REST_S
                    return
                reason = f"No worker process can be started: {error}"
                self.fail_waiting(OperatorError(reason, code="NoWorker"))
                return
            self._workers.append(worker)
            starting += 1

    def warm_up(self) -> None:
        """Start a worker before anybody needs it; one is kept from now on."""
        self.keeps_warm = True
        if any(worker.is_useful for worker in self._workers):
            return
        # Without room the first call will tell.
        with contextlib.suppress(OSError):
            self._workers.append(_Worker(self, self._setup(), self._loop, self._limits))

    def may_end(self, worker: _Worker) -> bool:
        """Whether an idle worker is one too many."""
        others = sum(each.is_useful for each in self._workers if each is not worker)
        return not self.keeps_warm or others > 0

    def forget(self, worker: _Worker) -> None:
        """A worker has ended, for whatever reason."""
        if worker in self._workers:
            self._workers.remove(worker)
        if self._blank is worker:
            self._blank = None
            return
        if self._prepared is not None and self._prepared[1] is worker:
            self._prepared = None
            return  # nobody waits for it
        self._lost_starts = 0 if worker.has_started else self._lost_starts + 1
        if self._lost_starts >= _LOST_STARTS_MAX:
            more = min(self._lost_starts - _LOST_STARTS_MAX, 10)
            rest_s = min(_REST_S * 2**more, _REST_S_MAX)
            self._rests_until = self._loop.time() + rest_s
            self.fail_waiting(_lost_starts_error())
        job = worker.take_job()
        if job is not None:
            job.attempts += not worker.had_gone
            if job.attempts >= 2:
                job.done(
                    DeveloperError(
                        f"`{job.path}` ended its worker process twice; it may use a library that "
                        "crashes.",
                        code="WorkerCrashed",
                    )
                )
            else:
                self._waiting.appendleft(job)
        self.assign()

    def cannot_load(self, worker: _Worker, problem: str) -> None:
        """What waits is for the running code, which may be another than this worker was given."""
        if worker in self._workers:
            self.fail_waiting(DeveloperError(problem, code="ImportFailed"))

    def fail_waiting(self, error: Exception) -> None:
        """No worker can be started with this app."""
        waiting, self._waiting = self._waiting, collections.deque()
        for job in waiting:
            job.done(error)

    def expect(self) -> None:
        """Other code will come soon, of JavaScript: have a process that only has to load it."""
        if self._blank_ends is not None:
            self._blank_ends.cancel()
        self._blank_ends = self._loop.call_later(self._limits.push_idle_s, self._forget_blank)
        if self._blank is None and not self._is_closed:
            with contextlib.suppress(OSError):  # `prepare` will try again
                self._blank = _Worker(self, None, self._loop, self._limits)

    def prepare(self, setup: Setup, version: str) -> None:
        """Have a worker for code that will run soon; `restart` takes it over."""
        if self._prepared is not None and self._prepared[0] == version:
            return
        self._forget_prepared()
        blank, self._blank = self._blank, None
        if blank is not None and setup.javascript:
            self._prepared = (version, blank)
            blank.set_up(setup)
            if blank.process.is_open:  # else it had gone, and `forget` was told of that
                return
        # Without room the first call will tell.
        with contextlib.suppress(OSError):
            self._prepared = (version, _Worker(self, setup, self._loop, self._limits))

    async def wait_prepared(self, version: str) -> None:
        """Until the worker that was prepared for this code has loaded it; but not for long."""
        if self._prepared is None or self._prepared[0] != version:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PREPARED_S):
                await self._prepared[1].started.wait()

    def _forget_blank(self) -> None:
        if self._blank is not None:
            self._blank.retire()

    def _forget_prepared(self) -> None:
        if self._prepared is not None:
            _, worker = self._prepared
            self._prepared = None
            worker.retire()

    def restart(self, version: str = "") -> None:
        """The code has changed: idle workers end now, busy ones after their call."""
        self._lost_starts, self._rests_until = 0, 0.0
        for worker in list(self._workers):
            worker.retire()
        if self._prepared is not None and self._prepared[0] == version:
            self._workers.append(self._prepared[1])
            self._prepared = None
        self._forget_prepared()
        self.assign()

    def close(self) -> None:
        self._is_closed = True
        self._waiting.clear()
        self._forget_prepared()
        self._forget_blank()
        if self._blank_ends is not None:
            self._blank_ends.cancel()
        for worker in list(self._workers):
            worker.take_job()
            worker.process.kill()


class _Worker:
    """One process and the call it runs."""

    def __init__(
        self,
        pool: WorkerPool,
        setup: Setup | None,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
    ) -> None:
        """`setup`: None if it comes later, and has JavaScript."""
        self._pool = pool
        self._loop = loop
        self._limits = limits
        self._time_s = min(limits.user_time_s, limits.transaction_age_s)  # a call is a snapshot
        self._retired = False
        self.has_started = False
        self.had_gone = False
        """One that has served before, and was found to have ended as the next call was sent: that
        says nothing about the call."""
        self._has_run = False
        self._base_memory = 0
        self.job: Job | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._timeout: asyncio.TimerHandle = loop.call_later(_START_S, self._too_slow_to_start)
        self.started = asyncio.Event()
        """It has loaded its code, or has failed to."""
        try:
            module = JAVASCRIPT_MODULE if setup is None or setup.javascript else MODULE
            self.process = WorkerProcess(module, setup, loop, self._received, self._ended)
            if setup is None:
                self._timeout.cancel()
        except OSError:
            self._timeout.cancel()
            raise

    def set_up(self, setup: Setup) -> None:
        """Now it gets its code."""
        self._timeout = self._loop.call_later(_START_S, self._too_slow_to_start)
        self.process.send(setup)

    @property
    def is_idle(self) -> bool:
        is_up = self.process.is_ready and self.process.is_open
        return is_up and self.job is None and not self._retired

    @property
    def is_useful(self) -> bool:
        """Whether it runs the present code."""
        return not self._retired

    def run(self, job: Job) -> None:
        self.job = job
        self._timeout.cancel()
        self.had_gone = self._has_run
        self.process.send(job.prepare())  # first: the rest is done while it works
        if self.job is not job:
            return  # the worker has gone, which sending has told, and the job with it
        self.had_gone = False
        time_s = self._limits.transaction_age_s if job.watches_time else self._time_s
        self._timeout = self._loop.call_later(time_s, self._out_of_time)
        self._watch = self._loop.call_later(_MEMORY_LOOK_S, self._look_at_memory)

    def take_job(self) -> Job | None:
        job, self.job = self.job, None
        self._timeout.cancel()
        if self._watch is not None:
            self._watch.cancel()
        return job

    def retire(self) -> None:
        self._retired = self.has_started = True
        if self.job is None:
            self.process.kill()

    def _received(self, message: Message) -> None:
        if isinstance(message, Ready):
            self.has_started = True
            self.started.set()
            self._timeout.cancel()
            if message.problem is not None:
                self._pool.cannot_load(self, message.problem)
                self.process.kill()
                return
            self._idle()
        elif isinstance(message, CallDone):
            job = self.take_job()
            if job is not None:
                self._finish(job, message)

    def _finish(self, job: Job, message: CallDone) -> None:
        if any(_is_out_of_memory(each) for each in (message, *message.more)):
            job.done(memory_limit_error(job.path, self._limits.worker_memory_bytes_max))
            self._kill()  # what the call left behind in there is not worth keeping
            return
        self._has_run = True
        job.done(message)
        if self._retired:
            self.process.kill()
        else:
            self._loop.call_soon(self._idle)  # whoever waits for the answer comes first

    def _idle(self) -> None:
        if self.job is not None or not self.process.is_open:
            return  # it has the next one already, or has gone
        self._timeout = self._loop.call_later(_IDLE_S, self._idle_too_long)
        self._base_memory = self.process.memory_bytes()
        self._pool.assign()

    def _idle_too_long(self) -> None:
        if self._pool.may_end(self):
            self.process.kill()
        else:
            self._timeout = self._loop.call_later(_IDLE_S, self._idle_too_long)

    def _out_of_time(self) -> None:
        job = self.take_job()
        if job is not None:
            job.done(time_limit_error(job.path, self._time_s))
        self._kill()

    def _look_at_memory(self) -> None:
        job = self.job
        if job is None:
            return
        if self.process.memory_bytes() - self._base_memory > self._limits.worker_memory_bytes_max:
            self.take_job()
            job.done(memory_limit_error(job.path, self._limits.worker_memory_bytes_max))
            self._kill()
            return
        self._watch = self._loop.call_later(_MEMORY_LOOK_S, self._look_at_memory)

    def _too_slow_to_start(self) -> None:
        self._kill()

    def _kill(self) -> None:
        self._pool.kills += 1
        self.process.kill()

    def _ended(self) -> None:
        self._timeout.cancel()
        self.started.set()
        self._pool.forget(self)

"""How long a function may keep the event loop: a timer that raises inside user code, and nowhere
else.

Queries and mutations run as plain calls on the loop's thread, so one that runs long stops everyone.
A signal is the only thing that interrupts Python from outside. One interval timer ticks while a
turn of the loop lasts (arming it per call would cost two system calls each); the handler raises
`CallTooLong` if user code runs and its deadline has passed. Three rules keep the engine whole:

- **Inside the engine nothing is raised.** Whatever user code calls of ours stands between `pause`
  and `resume`; a tick there is remembered and raised by the outermost `resume`, when the engine's
  work is done.
- **The bookkeeping is never interrupted.** CPython runs signal handlers on entry to a function, at
  backward jumps and after calls; a tick that lands in a function of this module, or in one that
  the runtime names, is left to the next one.
- **Swallowing does not help.** `except BaseException` catches one exception; the next comes 10 ms
  later, and `leave` tells the runner that the result of such a call is worthless. Callbacks of the
  garbage collector and of weak references swallow it, too, and Python's report of that is dropped.

A call's time is that of its thread, running or blocked, without what the thread has spent waiting
for a processor: on a busy machine a quick function would otherwise be taken for a slow one. Linux
counts that waiting in `/proc/thread-self/schedstat`, which is read (1 µs) when a turn starts and at
each tick; a call is credited with all waiting since the last reading before it.

What a signal cannot interrupt is one long call into C; `suspects` finds functions that may make
one.

The caller's frame looks like this; `enter` stands inside `try`, because an exception may come right
after it:

    try:
        budget.enter(budget.deadline_after(0.05))
        value = function(ctx)
    except CallTooLong: ...
    finally:
        too_long = budget.leave()
"""

import functools
import importlib
import os
import signal
import sys
import threading
import time
from types import CodeType, FrameType
from typing import Any

from cupola.functions.call import Interrupted

# Bound here, before the guard replaces the module's attribute.
_monotonic_ns = time.monotonic_ns
_get_ident = threading.get_ident
_setitimer = getattr(signal, "setitimer", None)
# The C functions: the module's own look every answer up in an enum, 7 µs.
_c_signal: Any = importlib.import_module("_signal")
_getsignal = _c_signal.getsignal
_signal = _c_signal.signal
_SIGALRM = int(getattr(signal, "SIGALRM", 0))
_ITIMER_REAL = int(getattr(signal, "ITIMER_REAL", 0))

TICK_S = 0.010


class CallTooLong(Interrupted):
    """User code has run past its deadline. Not an `Exception`, so that `except Exception` lets it
    through."""


class Budget:
    """The timer of one event loop. Belongs to the thread that makes it; outside the main thread it
    does nothing."""

    __slots__ = (
        "_armed_ns",
        "_deadline_ns",
        "_delay_before_call",
        "_delay_seen",
        "_foreign_handler",
        "_foreign_timer",
        "_handler",
        "_outer",
        "_paused",
        "_pending",
        "_raised",
        "_schedule",
        "_thread",
        "is_live",
    )

    def __init__(self) -> None:
        self.is_live = _setitimer is not None and (
            threading.current_thread() is threading.main_thread()
        )
        if self.is_live:
            _drop_reports_of_interruptions()
        self._thread = _get_ident()
        self._schedule = _open_schedule(os.getpid()) if self.is_live else None
        self._delay_seen = self._delay_ns()  # waited for a processor, when last read
        self._delay_before_call = 0
        self._handler = self._tick
        self._armed_ns = 0  # 0: no turn is under way
        self._foreign_handler: Any = None
        self._foreign_timer = 0.0
        self._outer: list[tuple[int, int]] = []  # (deadline, pauses) of the calls around this one
        self._deadline_ns = 0
        self._paused = 0
        self._pending = False
        self._raised = False

    # ------------------------------------------------------------------ a turn of the loop

    def start_turn(self) -> None:
        """Start ticking. A timer and handler of someone else (a test's time-out) are put back by
        `end_turn`."""
        if not self.is_live or self._armed_ns or _get_ident() != self._thread:
            return
        current = _getsignal(_SIGALRM)
        if current is not self._handler:
            self._foreign_handler = current if callable(current) else None
            _signal(_SIGALRM, self._handler)
        self._armed_ns = _monotonic_ns()
        self._delay_seen = self._delay_ns()
        assert _setitimer is not None
        self._foreign_timer = _setitimer(_ITIMER_REAL, TICK_S, TICK_S)[0]

    def end_turn(self) -> None:
        """Stop ticking."""
        if not self._armed_ns or _get_ident() != self._thread:
            return
        assert _setitimer is not None
        _setitimer(_ITIMER_REAL, 0)
        # Else ours stays in place: the default action of a late SIGALRM ends the process.
        if self._foreign_handler is not None:
            _signal(_SIGALRM, self._foreign_handler)
            self._foreign_handler = None
        if self._foreign_timer:
            elapsed_s = (_monotonic_ns() - self._armed_ns) / 1e9
            _setitimer(_ITIMER_REAL, max(self._foreign_timer - elapsed_s, 1e-3))
        self._armed_ns = 0

    # ------------------------------------------------------------------ a call in it

    @staticmethod
    def deadline_after(seconds: float) -> int:
        """A deadline for `enter`: by the machine's clock, even where a test stops time."""
        return _monotonic_ns() + int(seconds * 1e9)

    def enter(self, deadline_ns: int) -> None:
        """User code starts. `deadline_ns`: monotonic; a nested call keeps the earlier deadline of
        the two."""
        outer = self._outer
        if outer:
            deadline_ns = min(deadline_ns, self._deadline_ns)
        else:
            self._raised = self._pending = False
            self._delay_before_call = self._delay_seen
        outer.append((self._deadline_ns, self._paused))
        self._deadline_ns = deadline_ns
        self._paused = 0

    def leave(self) -> bool:
        """User code has ended. Returns: whether it was, or ought to have been, interrupted; if so
        its result counts for nothing, since it may have caught the exception."""
        outer = self._outer
        if not outer:  # `enter` itself was never reached
            return False
        self._deadline_ns, self._paused = outer.pop()
        return self._raised or self._pending

    def pause(self) -> None:
        """The engine starts working for user code. Nests; every pause needs its `resume`, in a
        `finally`."""
        self._paused += 1

    def resume(self) -> None:
        """The engine is done.

        Raises:
            CallTooLong: A tick came meanwhile, and the deadline has passed.
        """
        self._paused -= 1
        if self._pending and not self._paused and self._outer:
            self._pending = False
            self._raised = True
            raise CallTooLong

    def _tick(self, signum: int, frame: FrameType | None) -> None:
        self._delay_seen = self._delay_ns()
        if not self._outer:
            return
        late_ns = _monotonic_ns() - self._deadline_ns
        if late_ns < 0 or late_ns < self._delay_seen - self._delay_before_call:
            return
        if self._paused:
            self._pending = True
        elif frame is None or frame.f_code not in _BOOKKEEPING:
            self._raised = True
            raise CallTooLong

    def _delay_ns(self) -> int:
        """How long this thread has waited for a processor, in all; 0 where nobody counts it."""
        if self._schedule is None:
            return 0
        return int(os.pread(self._schedule, 64, 0).split()[1])


@functools.cache
def _drop_reports_of_interruptions() -> None:
    report = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if unraisable.exc_type is not CallTooLong:
            report(unraisable)

    sys.unraisablehook = hook


@functools.cache
def _open_schedule(process: int) -> int | None:
    """The scheduling figures of a process's main thread, which calls this, to be read again and
    again.
    """
    try:
        return os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


_BOOKKEEPING: set[CodeType] = set()


def never_interrupt(*functions: Any) -> None:
    """A tick that lands in one of these functions is left to the next."""
    _BOOKKEEPING.update(function.__code__ for function in functions)


never_interrupt(Budget.enter, Budget.leave, Budget.pause, Budget.resume)
# A tick that comes while the one before it is handled would raise where that one decided not to.
never_interrupt(Budget._tick, Budget._delay_ns)

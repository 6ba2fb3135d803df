"""A small parent that watches a server and starts it again.

Two things no code inside the server can end: one call into C that never returns, and the crash of
the process itself. So `cupola serve` forks before anything heavy is imported; the parent does
nothing but wait. The child beats once a second through shared memory and notes which function runs.
When it ends by a signal or a failure, or its loop stands still for `loop_stall_s`, the parent ends
it and starts another, which recovers from the file. Clients reconnect and send again what was not
acknowledged. A function that stopped the loop is named to the new child and goes to a worker from
then on.

The child dies with its parent, so `kill -9` of the parent ends the whole server.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator

from cupola.runtimes.python.lifeline import die_with_parent

_LOOK_S = 0.25
_LATE_S = 1.0  # a look that comes later than this: we stood still ourselves, and the child with us
_RESTARTS_MAX = 5
_RESTARTS_WITHIN_S = 60.0
_SIZE = 4096
# Beats, whether the server has started, length of the function's path, how long the loop may stand
# still. The child knows the last; until it says so, it has not started.
_HEAD = struct.Struct("<QBHd")
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Beacon:
    """What the child tells its parent, in memory that both share."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SIZE)
        self._beats = 0
        self.stalled: list[str] = []
        """Functions that have stopped the loop of a child before this one."""

    def clear(self) -> None:
        self._memory[: _HEAD.size] = _HEAD.pack(0, 0, 0, 0.0)

    def beat(self, stall_s: float) -> None:
        """The loop has turned. The first beat says that the server has started.

        `stall_s`: how long it may stand still from now on.
        """
        self._beats += 1
        _, _, length, _ = _HEAD.unpack_from(self._memory)
        self._memory[: _HEAD.size] = _HEAD.pack(self._beats, 1, length, stall_s)

    def enter(self, path: str) -> None:
        """A function starts to run on the loop's thread."""
        name = path.encode()[:1024]
        self._memory[_HEAD.size : _HEAD.size + len(name)] = name
        self._memory[9:11] = len(name).to_bytes(2, "little")

    def read(self) -> tuple[int, bool, str, float]:
        """Beats, whether it has started, the function entered last, how long the loop may stand."""
        beats, started, length, stall_s = _HEAD.unpack_from(self._memory)
        name = self._memory[_HEAD.size : _HEAD.size + length]
        return beats, bool(started), name.decode(errors="replace"), stall_s


current: Beacon | None = None
"""In a supervised child: its beacon."""


def supervise(run: Callable[[], int]) -> int:
    """Run a server in a child until it ends in an orderly way. Returns its exit code.

    `run` is the child's whole life; it finds `current`, its beacon, here.
    """
    beacon = Beacon()
    restarts: list[float] = []
    while True:
        beacon.clear()
        with _signals_held():
            if _Watch.told_to_stop:  # between two children
                return 0
            watch = _Watch(_fork(run, beacon), beacon)
        code = watch.wait()
        _, started, _, _ = beacon.read()
        if code == 0 or _Watch.told_to_stop:
            return max(code, 0)
        if not started:
            return code if code > 0 else 128 - code  # as shells tell of a signal
        now = time.monotonic()
        restarts = [at for at in restarts if now - at < _RESTARTS_WITHIN_S] + [now]
        if len(restarts) > _RESTARTS_MAX:
            _say(f"The server has ended {len(restarts)} times within a minute; giving up.")
            return max(code, 1)
        _say(f"The server ended ({_reason(code)}); starting it again.")
        time.sleep(0.2 * len(restarts))


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """None is lost while a child comes into being: it is handed on, or met by the child."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)


def _fork(run: Callable[[], int], beacon: Beacon) -> int:
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    die_with_parent(parent)
    for number in _STOP_SIGNALS:  # until the server has handlers of its own
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
    global current
    current = beacon
    code = 70
    try:
        code = run()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class _Watch:
    """Waits for one child, hands signals on to it, and ends it when its loop stands still."""

    told_to_stop = False

    def __init__(self, child: int, beacon: Beacon) -> None:
        self._child = child
        self._beacon = beacon
        for number in _STOP_SIGNALS:
            signal.signal(number, self._hand_on)

    def _hand_on(self, number: int, frame: object) -> None:
        _Watch.told_to_stop = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._child, number)

    def wait(self) -> int:
        """The child's exit code; negative for a signal."""
        beats = -1
        since = looked = time.monotonic()
        while True:
            ended, status = os.waitpid(self._child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            now_beats, started, function, stall_s = self._beacon.read()
            now = time.monotonic()
            is_late, looked = now - looked > _LOOK_S + _LATE_S, now
            if now_beats != beats or is_late or not started or _Watch.told_to_stop:
                beats, since = now_beats, now
            elif now - since > stall_s:
                self._end(function, stall_s)
                since = now
            time.sleep(_LOOK_S)

    def _end(self, function: str, stall_s: float) -> None:
        _say(f"The server's loop has stood still for {stall_s:g} s; `{function}` ran last.")
        if function and function not in self._beacon.stalled:
            self._beacon.stalled.append(function)
        os.kill(self._child, signal.SIGKILL)


def _reason(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

"""The only source of time and randomness.

Everything above this layer receives a `Clock` and never reads the system's; so a test, a simulation
and a replay decide what time it is and what chance brings. Wall times are nanoseconds since the
Unix epoch.
"""

import os
import random
import time
from typing import Protocol


class Clock(Protocol):
    """Time and randomness, as a constructor argument."""

    def now_ns(self) -> int:
        """Wall clock, ns since the Unix epoch. It may jump; only `monotonic_ns` measures."""
        ...

    def monotonic_ns(self) -> int:
        """A clock that never goes back, ns since some start."""
        ...

    def random_bytes(self, count: int) -> bytes:
        """Unpredictable bytes, fit for ids, seeds and tokens."""
        ...


_ENTROPY_BYTES = 4096


class SystemClock:
    """The machine's clocks and its entropy pool."""

    # Bound once: the determinism guard replaces the module's attributes for user code
    # (runtimes/guard.py). Called as they are, without a step of our own: a commit looks at the
    # clock a dozen times.
    now_ns = staticmethod(time.time_ns)
    monotonic_ns = staticmethod(time.monotonic_ns)
    _urandom = staticmethod(os.urandom)

    def __init__(self) -> None:
        self._entropy = b""
        self._used = 0

    def random_bytes(self, count: int) -> bytes:
        """From a pool that is filled by one system call for many; no byte is given out twice."""
        start, end = self._used, self._used + count
        if end > len(self._entropy):
            self._entropy = self._urandom(max(count, _ENTROPY_BYTES))
            start, end = 0, count
        self._used = end
        return self._entropy[start:end]


class ManualClock:
    """A clock that stands still until told to move, and a generator that starts from a seed."""

    def __init__(self, now_ns: int = 1_700_000_000_000_000_000, seed: int = 0) -> None:
        self._now_ns = now_ns
        self._monotonic_ns = 0
        self._random = random.Random(seed)

    def now_ns(self) -> int:
        return self._now_ns

    def monotonic_ns(self) -> int:
        return self._monotonic_ns

    def random_bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)

    def advance(self, seconds: float) -> None:
        """Move both clocks forward by `seconds`."""
        if seconds < 0:
            raise ValueError("time only moves forward; to test a jump back, use `set`")
        self._now_ns += round(seconds * 1e9)
        self._monotonic_ns += round(seconds * 1e9)

    def set(self, now_ns: int) -> None:
        """Let the wall clock jump, in either direction, as an operator or NTP does."""
        self._now_ns = now_ns

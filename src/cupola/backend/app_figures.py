"""What functions and tables did in the last hour, minute by minute: numbers, and nothing of an
engine.

Names come from apps and are many at worst, so each minute has room for so many of them; what comes
after those is counted together, under `REST`. How long calls took is kept as counts between powers
of 2^(1/8), from a microsecond on: a percentile is off by 4.5 % at most, in a kilobyte per function
and minute, however many calls there are. (The reference's own: HdrHistogram, which starts at a
millisecond; most calls here take less.)
"""

from __future__ import annotations

import collections
import math
from array import array
from collections.abc import Callable, Hashable, Iterable
from typing import Final, TypeVar

REST: Final = "_rest"
MINUTES: Final = 60
MINUTE_NS: Final = 60 * 10**9

_PER_OCTAVE = 8
_OCTAVES = 30  # to 1074 s: no call takes longer
_STEPS = _PER_OCTAVE * _OCTAVES

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Latencies:
    """How long calls took."""

    __slots__ = ("_counts", "count")

    def __init__(self) -> None:
        self._counts = array("I", bytes(4 * _STEPS))
        self.count = 0

    def add(self, seconds: float) -> None:
        micros = seconds * 1e6
        step = int(math.log2(micros) * _PER_OCTAVE) if micros > 1 else 0
        self._counts[min(step, _STEPS - 1)] += 1
        self.count += 1

    def merge(self, others: Latencies) -> None:
        for step, count in enumerate(others._counts):
            if count:
                self._counts[step] += count
        self.count += others.count

    def percentile(self, percent: float) -> float | None:
        """Seconds within which so many of a hundred calls ended; None: there were none."""
        wanted = max(1, math.ceil(self.count * percent / 100))
        seen = 0
        for step, count in enumerate(self._counts):
            seen += count
            if seen >= wanted:
                return float(2 ** ((step + 0.5) / _PER_OCTAVE)) / 1e6
        return None


class FunctionFigures:
    """Calls of one function. `hits`: calls of a query that were shown a result which was there;
    `misses`: its executions. Both are among the calls.
    """

    __slots__ = ("calls", "errors", "hits", "latencies", "misses")

    def __init__(self) -> None:
        self.calls = 0
        self.errors = 0
        self.hits = 0
        self.misses = 0
        self.latencies: Latencies | None = None

    def executed(self, seconds: float, *, failed: bool, is_query: bool) -> None:
        self.calls += 1
        self.errors += failed
        self.misses += is_query
        if self.latencies is None:
            self.latencies = Latencies()
        self.latencies.add(seconds)

    def shown(self) -> None:
        self.calls += 1
        self.hits += 1

    def merge(self, other: FunctionFigures) -> None:
        """Add all but latencies, which nobody asks of several functions."""
        self.calls += other.calls
        self.errors += other.errors
        self.hits += other.hits
        self.misses += other.misses


class TableFigures:
    __slots__ = ("read", "written")

    def __init__(self) -> None:
        self.read = 0
        self.written = 0


Invalidation = tuple[str, str]
"""The function whose commit it was, and the table it wrote."""


class Minute:
    """`number`: minutes since the Unix epoch. `lag_s`: by how much the latest scheduled job was
    late; None: nobody looked. `outstanding`: the most calls of a kind and state that were seen.
    """

    def __init__(self, number: int, functions_max: int, tables_max: int) -> None:
        self.number = number
        self.functions: dict[str, FunctionFigures] = {}
        self.tables: dict[str, TableFigures] = {}
        self.invalidations: dict[Invalidation, int] = {}
        self.lag_s: float | None = None
        self.outstanding: dict[str, int] = {}
        self._functions_max = functions_max
        self._tables_max = tables_max

    def function(self, name: str) -> FunctionFigures:
        return _of(self.functions, name, REST, self._functions_max, FunctionFigures)

    def table(self, name: str) -> TableFigures:
        return _of(self.tables, name, REST, self._tables_max, TableFigures)

    def invalidated(self, function: str, table: str, subscriptions: int) -> None:
        key = (function, table)
        if key not in self.invalidations and len(self.invalidations) >= self._functions_max:
            key = (REST, REST)
        self.invalidations[key] = self.invalidations.get(key, 0) + subscriptions

    def saw(self, lag_s: float, outstanding: Iterable[tuple[str, int]]) -> None:
        self.lag_s = max(lag_s, self.lag_s or 0.0)
        for name, count in outstanding:
            self.outstanding[name] = max(count, self.outstanding.get(name, 0))


def _of(known: dict[K, V], key: K, rest: K, most: int, new: Callable[[], V]) -> V:
    found = known.get(key)
    if found is None:
        if len(known) >= most:
            key = rest
        found = known.setdefault(key, new())
    return found


class Hour:
    """The newest minutes, the oldest first; those in which nothing happened are left out."""

    def __init__(self, functions_max: int, tables_max: int) -> None:
        self.minutes: collections.deque[Minute] = collections.deque()
        self._functions_max = functions_max
        self._tables_max = tables_max

    def at(self, now_ns: int) -> Minute:
        """The minute of a wall-clock time; the newest there is, if that clock was set back."""
        number = now_ns // MINUTE_NS
        if self.minutes and self.minutes[-1].number >= number:
            return self.minutes[-1]
        while self.minutes and self.minutes[0].number <= number - MINUTES:
            self.minutes.popleft()
        minute = Minute(number, self._functions_max, self._tables_max)
        self.minutes.append(minute)
        return minute

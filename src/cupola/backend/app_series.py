"""Figures over time, as charts take them: one value per bucket of a window, None where nothing is
known (spec: deploy API, section 18).

Figures are kept by the minute, and a minute belongs to the bucket in which it begins. Rates are per
second, as the published dashboard takes them: it multiplies by the seconds of its buckets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from cupola.backend.app_figures import (
    MINUTE_NS,
    REST,
    FunctionFigures,
    Latencies,
    Minute,
)

Series = list[float | None]
Named = list[tuple[str, Series]]
Share = Callable[[FunctionFigures], float | None]


class Window(NamedTuple):
    """From `start_ns` to `end_ns` (exclusive, ns since the Unix epoch), in so many buckets."""

    start_ns: int
    end_ns: int
    buckets: int

    @property
    def width_ns(self) -> int:
        return (self.end_ns - self.start_ns) // self.buckets

    def starts(self) -> list[int]:
        width = self.width_ns
        return [self.start_ns + place * width for place in range(self.buckets)]

    def placed(self, minutes: Iterable[Minute]) -> list[tuple[int, Minute]]:
        """The minutes that begin in the window, each with its bucket."""
        found = []
        for minute in minutes:
            since_ns = minute.number * MINUTE_NS - self.start_ns
            place = since_ns // self.width_ns if since_ns >= 0 else self.buckets
            if place < self.buckets:
                found.append((place, minute))
        return found

    def rate(self, counts: Sequence[int | None]) -> Series:
        """Counts of buckets, per second; of a bucket shorter than a minute, that minute's rate."""
        seconds = max(self.width_ns, MINUTE_NS) / 1e9
        return [None if count is None else count / seconds for count in counts]


def counted(
    window: Window, minutes: Iterable[Minute], count: Callable[[Minute], int | None]
) -> list[int | None]:
    """The sums of what `count` finds in the minutes of each bucket."""
    sums: list[int | None] = [None] * window.buckets
    for place, minute in window.placed(minutes):
        more = count(minute)
        if more is not None:
            sums[place] = (sums[place] or 0) + more
    return sums


def greatest(
    window: Window, minutes: Iterable[Minute], value: Callable[[Minute], float | None]
) -> Series:
    """The greatest of what `value` finds in the minutes of each bucket."""
    most: Series = [None] * window.buckets
    for place, minute in window.placed(minutes):
        found = value(minute)
        if found is not None:
            most[place] = max(found, most[place] or 0.0)
    return most


def percentiles(
    window: Window, minutes: Iterable[Minute], name: str, wanted: Iterable[int]
) -> list[tuple[int, Series]]:
    """How long calls of a function took, in seconds, by percentile."""
    buckets: list[Latencies | None] = [None] * window.buckets
    for place, minute in window.placed(minutes):
        figures = minute.functions.get(name)
        if figures is not None and figures.latencies is not None:
            into = buckets[place] = buckets[place] or Latencies()
            into.merge(figures.latencies)
    return [
        (percent, [each.percentile(percent) if each else None for each in buckets])
        for percent in sorted(set(wanted))
    ]


def shares(window: Window, minutes: Iterable[Minute], name: str, share: Share) -> Series:
    """What `share` makes of one function's figures."""
    return _shares(window, _of_functions(window, minutes).get(name, {}), share)


def failures(figures: FunctionFigures) -> float | None:
    """Failed calls of a hundred."""
    return 100 * figures.errors / figures.calls if figures.calls else None


def cache_hits(figures: FunctionFigures) -> float | None:
    """Calls of a hundred that were shown a result which was there; of queries alone."""
    asked = figures.hits + figures.misses
    return 100 * figures.hits / asked if asked else None


_Buckets = dict[int, FunctionFigures]


def _of_functions(window: Window, minutes: Iterable[Minute]) -> dict[str, _Buckets]:
    found: dict[str, _Buckets] = {}
    for place, minute in window.placed(minutes):
        for name, figures in minute.functions.items():
            found.setdefault(name, {}).setdefault(place, FunctionFigures()).merge(figures)
    return found


def _shares(window: Window, buckets: Mapping[int, FunctionFigures], share: Share) -> Series:
    values: Series = [None] * window.buckets
    for place, figures in buckets.items():
        values[place] = share(figures)
    return values


def _together(several: Iterable[_Buckets]) -> _Buckets:
    sums: _Buckets = {}
    for buckets in several:
        for place, figures in buckets.items():
            sums.setdefault(place, FunctionFigures()).merge(figures)
    return sums


def _total(buckets: _Buckets) -> FunctionFigures:
    total = FunctionFigures()
    for figures in buckets.values():
        total.merge(figures)
    return total


def most_failing(window: Window, minutes: Iterable[Minute], k: int) -> Named:
    """Those that have failed, the most often failing first."""
    return _ranked(window, minutes, k, failures, lambda share: -share if share else None)


def least_cached(window: Window, minutes: Iterable[Minute], k: int) -> Named:
    """Queries; those first that most often had to run."""
    return _ranked(window, minutes, k, cache_hits, lambda share: share)


def _ranked(
    window: Window,
    minutes: Iterable[Minute],
    k: int,
    share: Share,
    order: Callable[[float], float | None],
) -> Named:
    """The first `k` by the `order` of their share in the whole window, then the others together.
    `order` None: not worth showing.
    """
    ranks = {}
    functions = _of_functions(window, minutes)
    for name, buckets in functions.items():
        value = share(_total(buckets))
        rank = None if value is None else order(value)
        if rank is not None:
            ranks[name] = rank
    first, others = _split(ranks, k)
    shown = [(name, _shares(window, functions[name], share)) for name in first]
    if others:
        rest = _together(functions[name] for name in others)
        shown.append((REST, _shares(window, rest, share)))
    return shown


def _split(ranks: Mapping[str, float], k: int) -> tuple[list[str], list[str]]:
    """The `k` with the least ranks, equal ones by name, and the others; REST is never a name."""
    ordered = sorted(ranks.keys() - {REST}, key=lambda name: (ranks[name], name))
    others = ordered[k:] + ([REST] if REST in ranks else [])
    return ordered[:k], others


def most_counted(
    window: Window, minutes: Iterable[Minute], k: int, counts: Callable[[Minute], Mapping[str, int]]
) -> Named:
    """What `counts` counts, by name: the most first, then the others together."""
    found: dict[str, dict[int, int]] = {}
    for place, minute in window.placed(minutes):
        for name, count in counts(minute).items():
            places = found.setdefault(name, {})
            places[place] = places.get(place, 0) + count
    first, others = _split({name: -sum(places.values()) for name, places in found.items()}, k)
    shown = [(name, found[name]) for name in first]
    if others:
        rest: dict[int, int] = {}
        for name in others:
            for place, count in found[name].items():
                rest[place] = rest.get(place, 0) + count
        shown.append((REST, rest))
    return [(name, [places.get(at) for at in range(window.buckets)]) for name, places in shown]

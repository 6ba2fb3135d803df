"""Figures of an hour: percentiles are near the truth, and nothing grows without a bound."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.backend.app_figures import MINUTE_NS, MINUTES, REST, Hour, Latencies


@given(
    st.lists(st.floats(2e-6, 900.0), min_size=1, max_size=200),
    st.integers(0, 100),
)
def test_a_percentile_is_a_few_percent_off_at_most(seconds: list[float], percent: int) -> None:
    """The plain way: sort them, and take the one at that rank."""
    latencies = Latencies()
    for each in seconds:
        latencies.add(each)
    rank = max(1, math.ceil(len(seconds) * percent / 100))
    assert latencies.percentile(percent) == pytest.approx(sorted(seconds)[rank - 1], rel=0.046)


def test_very_short_and_very_long_calls_have_a_place() -> None:
    latencies = Latencies()
    assert latencies.percentile(50) is None
    for seconds in (0.0, -1.0, 1e-9, 1e9):
        latencies.add(seconds)
    assert latencies.percentile(50) == pytest.approx(1e-6, rel=0.1)
    assert latencies.percentile(100) == pytest.approx(1050, rel=0.1)


def test_minutes_are_merged() -> None:
    one, other = Latencies(), Latencies()
    one.add(0.001)
    other.add(0.1)
    one.merge(other)
    assert one.count == 2
    assert one.percentile(100) == pytest.approx(0.1, rel=0.05)


def test_a_minute_has_room_for_so_many_names() -> None:
    minute = Hour(functions_max=2, tables_max=1).at(0)
    for name in "abcd":
        minute.function(name).shown()
        minute.table(name).read += 1
        minute.invalidated(name, "notes", 1)
    assert {name: each.calls for name, each in minute.functions.items()} == {
        "a": 1,
        "b": 1,
        REST: 2,
    }
    assert {name: each.read for name, each in minute.tables.items()} == {"a": 1, REST: 3}
    assert minute.invalidations == {("a", "notes"): 1, ("b", "notes"): 1, (REST, REST): 2}


@given(st.lists(st.integers(0, 200)))
def test_an_hour_has_so_many_minutes_whatever_the_clock_does(minutes: list[int]) -> None:
    hour = Hour(functions_max=1, tables_max=1)
    for minute in minutes:
        hour.at(minute * MINUTE_NS)
        numbers = [each.number for each in hour.minutes]
        assert numbers == sorted(set(numbers))
        assert numbers[-1] - numbers[0] < MINUTES

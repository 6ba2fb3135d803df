"""An accident costs a function a second in the workers; slowness, up to a minute at a time."""

import logging

import pytest

from cupola.backend.slow_functions import FIRST_S, LONGEST_S, SlowFunctions
from cupola.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def slow(clock: ManualClock) -> SlowFunctions:
    return SlowFunctions(clock, 0.05)


def stays_away_s(slow: SlowFunctions, clock: ManualClock) -> int:
    """Seconds until the function may come back."""
    seconds = 0
    while "a:b" in slow:
        clock.advance(1)
        seconds += 1
    return seconds


def test_an_accident_costs_a_second(slow: SlowFunctions, clock: ManualClock) -> None:
    assert "a:b" not in slow
    slow.add("a:b")
    assert "a:b" in slow
    assert "a:other" not in slow
    clock.advance(FIRST_S)
    assert "a:b" not in slow


def test_who_is_slow_again_and_again_comes_back_once_a_minute(
    slow: SlowFunctions, clock: ManualClock
) -> None:
    waits = []
    for _ in range(9):
        slow.add("a:b")
        waits.append(stays_away_s(slow, clock))
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_quiet_minute_makes_it_an_accident_again(slow: SlowFunctions, clock: ManualClock) -> None:
    for _ in range(4):
        slow.add("a:b")
        stays_away_s(slow, clock)
    clock.advance(LONGEST_S)
    slow.add("a:b")
    assert stays_away_s(slow, clock) == FIRST_S


def test_other_code_starts_anew(slow: SlowFunctions) -> None:
    slow.add("a:b")
    slow.clear()
    assert "a:b" not in slow


def test_the_log_names_the_function_and_how_long(
    slow: SlowFunctions, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="cupola"):
        slow.add("rooms:recount")
    assert "`rooms:recount` has taken more than 50 ms" in caplog.text
    assert "for the next 1 s" in caplog.text

"""Results that depend on the clock: shared for some seconds, by whoever asks anew."""

import datetime
import time
from collections.abc import Callable
from typing import Any

import pytest

from cupola import QueryCtx, query
from cupola.functions.app import App
from cupola.testing import Deployment


def seconds(ctx: QueryCtx) -> float:
    return time.time()


def date(ctx: QueryCtx) -> float:
    return datetime.datetime.now(datetime.UTC).timestamp()


def inside(ctx: QueryCtx) -> float:
    found: float = ctx.run_query("m:seconds")
    return found


def given(ctx: QueryCtx) -> float:
    return 1.0


def code() -> App:
    functions: list[Callable[..., Any]] = [seconds, date, inside, given]
    return App({f"m:{each.__name__}": query(each) for each in functions}, {})


@pytest.mark.parametrize("name", ["seconds", "date", "inside"])
def test_whoever_asks_after_17_seconds_gets_a_new_result(name: str) -> None:
    with Deployment(code()) as app:
        first = app.query(f"m:{name}")
        app.clock.advance(16.9)
        assert app.query(f"m:{name}") == first
        app.clock.advance(0.2)
        assert app.query(f"m:{name}") == pytest.approx(first + 17.1)


def test_a_result_that_never_looked_at_the_clock_is_computed_once() -> None:
    with Deployment(code()) as app:
        app.query("m:given")
        runs = app.backend.node.counters["query_runs"]
        app.clock.advance(1000)
        app.query("m:given")
        assert app.backend.node.counters["query_runs"] == runs


def test_time_alone_wakes_no_live_query() -> None:
    with Deployment(code()) as app:
        live = app.connect().subscribe("m:seconds")
        first = live.value
        app.clock.advance(18)
        late = app.connect().subscribe("m:seconds")
        assert late.value == pytest.approx(first + 18)
        assert live.is_quiet
        assert live.value == first

"""The dashboard: a script records measurements, pages follow them."""

from __future__ import annotations

import random
import runpy
from pathlib import Path
from typing import Any

import pytest

from cupola import ApplicationError
from cupola.testing import Deployment


def reading(name: str, value: float, measured: float = 1000.0) -> dict[str, Any]:
    return {"name": name, "unit": "ms", "measured": measured, "value": value}


def test_a_reading_moves_its_own_chart_only(cupola: Deployment) -> None:
    """Subscriptions follow index ranges, not tables."""
    cupola.mutation("metrics:record", readings=[reading("cpu", 1), reading("disk", 2)])
    viewer = cupola.connect()
    overview = viewer.subscribe("metrics:list")
    cpu, disk = (viewer.subscribe("metrics:recent", metric=m._id) for m in overview.value)

    cupola.mutation("metrics:record", readings=[reading("cpu", 3, measured=2000.0)])

    assert [point["value"] for point in cpu.next()] == [1, 3]
    assert disk.is_quiet
    assert [metric.latest for metric in overview.next()] == [3, 2]


def test_readings_are_stored_all_or_none(cupola: Deployment) -> None:
    overview = cupola.connect().subscribe("metrics:list")
    with pytest.raises(ApplicationError) as raised:
        cupola.mutation(
            "metrics:record", readings=[reading("cpu", 1), reading("disk", float("inf"))]
        )
    assert raised.value.data["code"] == "NotANumber"
    assert overview.is_quiet


def test_a_late_reading_is_drawn_but_is_not_the_latest(cupola: Deployment) -> None:
    cupola.mutation("metrics:record", readings=[reading("cpu", 1, measured=2000.0)])
    cupola.mutation("metrics:record", readings=[reading("cpu", 9, measured=1000.0)])
    (metric,) = cupola.query("metrics:list")
    assert metric.latest == 1
    points = cupola.query("metrics:recent", metric=metric._id)
    assert [point["value"] for point in points] == [9, 1]


def test_old_samples_are_swept(cupola: Deployment) -> None:
    """A table that is written for ever must not grow for ever."""
    for minute in range(40):
        cupola.mutation("metrics:record", readings=[reading("cpu", minute, minute * 60_000.0)])
    (metric,) = cupola.query("metrics:list")
    points = cupola.query("metrics:recent", metric=metric._id, limit=1000)
    assert [point["value"] for point in points] == list(range(29, 40))


def test_what_the_feed_sends_is_accepted(cupola: Deployment, cupola_app_folder: Path) -> None:
    feed = runpy.run_path(str(cupola_app_folder / "feed.py"))
    batch = next(feed["readings"](random.Random(1)))
    cupola.mutation("metrics:record", readings=batch)
    assert len(cupola.query("metrics:list")) == len(batch)

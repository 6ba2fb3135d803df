"""Measurements: a script records them, pages follow them live."""

import math
from collections.abc import Sequence
from typing import TypedDict

from cupola import ApplicationError, Id, MutationCtx, QueryCtx, Range, mutation, query

from .schema import Metric, Sample

KEPT_MS = 10 * 60 * 1000
SWEPT_PER_READING = 3
POINTS_MAX = 1000


class Reading(TypedDict):
    """One value, as a script hands it in."""

    name: str
    unit: str
    measured: float
    value: float


class Point(TypedDict):
    measured: float
    value: float


@query
def list(ctx: QueryCtx) -> Sequence[Metric]:
    """All metrics with their latest values, by name."""
    return ctx.db.query(Metric).with_index("by_name").take(50)


@query
def recent(ctx: QueryCtx, metric: Id[Metric], limit: int = 120) -> Sequence[Point]:
    """The newest measurements of a metric, oldest first.

    Only a reading of this metric re-runs it: subscriptions follow index ranges, not tables.
    """
    samples = ctx.db.query(Sample).with_index("by_metric", metric=metric).order("desc")
    newest = samples.take(min(limit, POINTS_MAX))
    return [Point(measured=sample.measured, value=sample.value) for sample in reversed(newest)]


@mutation
def record(ctx: MutationCtx, readings: Sequence[Reading]) -> None:
    """Store readings, all of them or none, so that the charts move together."""
    for reading in readings:
        if not math.isfinite(reading["value"]):
            raise ApplicationError(
                {"code": "NotANumber", "message": f"The value of {reading['name']} must be finite."}
            )
        metric = _metric_of(ctx, reading)
        ctx.db.insert(Sample(metric=metric, measured=reading["measured"], value=reading["value"]))
        _sweep(ctx, metric, before_ms=reading["measured"] - KEPT_MS)


def _metric_of(ctx: MutationCtx, reading: Reading) -> Id[Metric]:
    """The metric a reading belongs to, made on its first reading, with its latest value."""
    fresh = Metric(
        name=reading["name"],
        unit=reading["unit"],
        latest=reading["value"],
        measured=reading["measured"],
    )
    known = ctx.db.query(Metric).with_index("by_name", name=reading["name"]).unique()
    if known is None:
        return ctx.db.insert(fresh)
    if reading["measured"] >= known.measured:
        ctx.db.replace(known._id, fresh)
    return known._id


def _sweep(ctx: MutationCtx, metric: Id[Metric], before_ms: float) -> None:
    """Delete some of the samples before then: more than come in, so that the table stays small."""
    old = ctx.db.query(Sample).with_index("by_metric", metric=metric, measured=Range(lt=before_ms))
    for sample in old.take(SWEPT_PER_READING):
        ctx.db.delete(sample._id)

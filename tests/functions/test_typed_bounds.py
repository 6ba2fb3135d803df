"""What an index is compared with is of the type that its field declares, as what is written is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cupola.testing import Deployment

APP = """
    from datetime import UTC, datetime

    from cupola import Int64, MutationCtx, QueryCtx, Range, Table, mutation, query

    class Visit(
        Table,
        name="visits",
        indexes={"by_count": ["count"], "by_at": ["at"], "by_step": ["step"]},
    ):
        count: Int64
        at: datetime
        step: int

    def day(number: int) -> datetime:
        return datetime(2030, 1, number, tzinfo=UTC)

    @mutation
    def fill(ctx: MutationCtx) -> None:
        for number in range(1, 6):
            ctx.db.insert(Visit(count=number, at=day(number), step=number))

    @query
    def found(ctx: QueryCtx, how: str) -> list[int]:
        visits = ctx.db.query(Visit)
        rows = {
            "int64": lambda: visits.with_index("by_count", count=3),
            "int64 itself": lambda: visits.with_index("by_count", count=Int64(3)),
            "int64 range": lambda: visits.with_index("by_count", count=Range(gt=1, lte=3)),
            "another type": lambda: visits.with_index("by_count", count="3"),
            "datetime": lambda: visits.with_index("by_at", at=day(3)),
            "datetime range": lambda: visits.with_index("by_at", at=Range(gte=day(4))),
            "milliseconds": lambda: visits.with_index("by_at", at=day(3).timestamp() * 1000),
            "whole": lambda: visits.with_index("by_step", step=3),
            "not whole": lambda: visits.with_index("by_step", step=Range(gt=2.5, lt=4.5)),
        }[how]()
        return [visit.step for visit in rows]
"""


@pytest.mark.parametrize(
    ("how", "steps"),
    [
        ("int64", [3]),
        ("int64 itself", [3]),
        ("int64 range", [2, 3]),
        ("another type", []),
        ("datetime", [3]),
        ("datetime range", [4, 5]),
        ("milliseconds", [3]),
        ("whole", [3]),
        ("not whole", [3, 4]),
    ],
)
def test_a_bound_is_of_its_fields_type(
    deploy: Callable[..., Deployment], how: str, steps: list[int]
) -> None:
    app = deploy(main=APP)
    app.mutation("main:fill")
    assert app.query("main:found", how=how) == steps

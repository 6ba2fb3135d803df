"""Rows that are read, table by table: what charts of tables show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cupola.database.counted_transaction import CountedTransaction
from cupola.testing import Deployment

APP = """
    class Note(Table, name="notes", indexes={"by_rank": ["rank"]}):
        rank: float
"""


def test_rows_are_counted_as_they_are_read(write_app: Callable[..., Path]) -> None:
    with Deployment(write_app(schema=APP)) as app:
        ids = app.run(lambda ctx: [ctx.db.insert("notes", {"rank": float(n)}) for n in range(9)])
        node = app.backend.node
        number = node.committer.catalog.by_name["notes"].number
        node.transaction_type = CountedTransaction
        seen: list[Any] = []
        node.watchers.append(lambda log: seen.append(log.rows_read))

        def counted(work: Callable[[Any], object]) -> int:
            seen.clear()
            app.run(work)
            return int(seen[0][number])

        table = "notes"
        assert counted(lambda ctx: ctx.db.query(table).collect()) == 9
        assert counted(lambda ctx: ctx.db.query(table).take(3)) == 3
        assert counted(lambda ctx: ctx.db.query(table).order("desc").first()) == 1
        assert counted(lambda ctx: [ctx.db.get(each) for each in ids[:2]]) == 2
        assert counted(lambda ctx: next(iter(ctx.db.query(table)))) == 1

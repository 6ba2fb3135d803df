"""A pass that takes longer than a turn has for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cupola import MutationCtx, QueryCtx, mutation, query
from cupola.backend import CallRequest
from cupola.clock import ManualClock
from cupola.functions.app import App
from cupola.persistence.sqlite import SqlitePersistence
from cupola.testing import Deployment

from ..descriptors import no_descriptor_left

SLOW_S = 0.02  # more than a turn has for running queries again


def test_a_server_without_descriptors_shows_changes_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No snapshot can be held until the next turn, so all queries run in this one."""
    clock = ManualClock()

    def count(ctx: QueryCtx, of: str) -> str:
        clock.advance(SLOW_S)
        return f"{ctx.db.query('items').count()} {of}"

    def add(ctx: MutationCtx) -> None:
        ctx.db.insert("items", {})

    app = App({"m:count": query(count), "m:add": mutation(add)}, {})
    persistence = SqlitePersistence(str(tmp_path / "data.sqlite3"))
    with Deployment(app, clock=clock, persistence=persistence) as deployment:
        with no_descriptor_left():
            client = deployment.connect()
            live = [client.subscribe("m:count", of=of) for of in "abc"]
            deployment.mutation("m:add")
            deployment.settle()
        assert [each.value for each in live] == ["1 a", "1 b", "1 c"]
        assert "could not wait" in caplog.text
        deployment.mutation("m:add")
        deployment.settle()
        assert [each.value for each in live] == ["2 a", "2 b", "2 c"]
        assert deployment.backend.node.counters["passes_over_turns"] > 0


@pytest.mark.parametrize("sharing", [1, 3])
def test_a_long_pass_lets_go_of_what_it_has_shown(sharing: int) -> None:
    """Results may be large, and those of a pass are beside what the cache may hold."""
    clock = ManualClock()

    def texts(ctx: QueryCtx, of: int) -> str:
        clock.advance(SLOW_S)
        return f"{ctx.db.query('items').count()} {of}" * 200

    def add(ctx: MutationCtx) -> None:
        ctx.db.insert("items", {})

    app = App({"m:texts": query(texts), "m:add": mutation(add)}, {})
    with Deployment(app, clock=clock) as deployment:
        clients = [deployment.connect() for _ in range(100)]
        live = [
            client.subscribe("m:texts", of=number // sharing)
            for number, client in enumerate(clients)
        ]
        deployment.settle()
        deployment.backend.submit(CallRequest("mutation", "m:add", b"{}"), lambda result: None)
        passes = deployment.backend.passes
        held = [0]
        while deployment.backend._turn_requested:
            deployment.backend.turn()
            if passes._pass is not None:
                held.append(max(len(passes._pass._to_show), len(passes._pass._beginnings)))
        deployment.settle()
        assert len(held) > 100 / sharing - 10
        assert max(held) <= 20
        assert [each.value for each in live] == [
            f"1 {number // sharing}" * 200 for number in range(100)
        ]

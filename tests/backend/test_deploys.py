"""Code changes while live queries are being run again: everybody ends up with the new code."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from cupola import MutationCtx, QueryCtx, Table, mutation, query
from cupola.backend.calls import CallRequest, CallResult
from cupola.clock import ManualClock
from cupola.database import schema_push
from cupola.errors import DeveloperError
from cupola.functions.app import App
from cupola.functions.definitions import Function
from cupola.limits import DEFAULT_LIMITS
from cupola.testing import Deployment
from cupola.values import encode

SLOW_S = 0.02  # more than a turn has for running queries again


class Old(Table, name="items", indexes={"by_group": ["group"]}):
    group: str


class New(Table, name="items", indexes={"by_kind": ["group"]}):
    group: str


class World:
    def __init__(self, clock: ManualClock | None = None) -> None:
        self.clock = clock or ManualClock()
        self.app = Deployment(self.code(Old), clock=self.clock)

    def code(self, table: type[Table]) -> App:
        """An app that reads through the index its own schema has."""

        def count(ctx: QueryCtx, group: str) -> str:
            self.clock.advance(SLOW_S)
            (index,) = table.__cupola_table__.indexes
            items = ctx.db.query(table).with_index(index.name, group=group)
            return f"{len(items.collect())} through {index.name}"

        def add(ctx: MutationCtx, group: str) -> None:
            ctx.db.insert("items", {"group": group})

        functions: dict[str, Function[Any, Any]] = {"m:count": query(count), "m:add": mutation(add)}
        return App(functions, {"items": table})


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    with world.app:
        yield world


def test_a_deploy_ends_the_pass_that_stands_at_older_definitions(world: World) -> None:
    """New code must not run at a snapshot that lacks its indexes: the failure would stay."""
    client = world.app.connect()
    live = [client.subscribe("m:count", group=group) for group in "abc"]
    backend = world.app.backend
    for group in "abc":
        backend.submit(CallRequest("mutation", "m:add", encode({"group": group})), lambda _: None)
    backend.turn()  # all three are stale; one has run, at a snapshot that is held now
    assert len(backend.passes) == 2

    outcome: list[BaseException | None] = []
    world.app.app = new = world.code(New)
    backend.deploy(new, outcome.append)
    while not outcome:
        backend.turn()
    world.app.settle()

    assert outcome == [None]
    assert [subscription.value for subscription in live] == ["1 through by_kind"] * 3


class RestlessClock(ManualClock):
    """Each look takes some time, so that a push goes on over many turns."""

    def monotonic_ns(self) -> int:
        self.advance(0.003)
        return super().monotonic_ns()


def test_old_code_never_meets_the_new_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    """The moment that a schema is accepted its code runs, though rows of the indexes it drops may
    take long to delete."""
    monkeypatch.setattr(schema_push, "_DROP_BATCH", 1)
    world = World(RestlessClock())
    for _ in range(5):
        world.app.mutation("m:add", group="a")
    backend = world.app.backend
    answers: list[CallResult] = []
    outcome: list[BaseException | None] = []
    turns_after = 0
    backend.deploy(world.code(New), outcome.append)
    while backend.pushes:
        turns_after += bool(outcome)
        args = encode({"group": f"not asked before: {len(answers)}"})
        backend.submit(CallRequest("query", "m:count", args), answers.append)
        backend.turn()
    assert [answer.error_message for answer in answers if not answer.ok] == []
    assert turns_after > 1  # the new code ran while rows were still being deleted


def test_a_live_query_whose_bytes_were_dropped_runs_with_the_new_code() -> None:
    """Also where it cannot be found by its question, since another entry answers that."""
    version = 1

    def page(ctx: QueryCtx, name: str) -> str:
        return f"{name} {version}" + "x" * 1000

    code = App({"m:page": query(page)}, {})
    limits = dataclasses.replace(DEFAULT_LIMITS, query_cache_bytes_max=1)
    with Deployment(code, limits=limits) as app:
        client = app.connect()
        live = [client.subscribe("m:page", name=str(n)) for n in range(3)]
        cache = app.backend.node.cache
        for entry in list(cache._entries.values()):
            cache._unregister(entry)
        version = 2
        app.backend.deploy_now(code)
        app.settle()
        assert [subscription.value[:3] for subscription in live] == ["0 2", "1 2", "2 2"]


def test_a_query_that_ran_out_of_time_is_tried_again_for_whoever_asks_anew() -> None:
    """What it read is unknown, so no commit would ever run it again."""
    slow = [True]

    def spin(ctx: QueryCtx) -> str:
        while slow[0]:
            pass
        return "done"

    with Deployment(App({"m:spin": query(spin)}, {}), time_s=0.05) as app:
        client = app.connect()
        first = client.subscribe("m:spin")
        assert isinstance(first.error, DeveloperError)
        slow[0] = False
        assert app.query("m:spin") == "done"
        assert app.connect().subscribe("m:spin").value == "done"

"""Answers that the session keeps back for a Transition are gated like all others."""

from collections.abc import Iterator
from typing import Any

import pytest

from cupola import MutationCtx, QueryCtx, mutation, query
from cupola.backend.calls import CallRequest, CallResult
from cupola.clock import ManualClock
from cupola.errors import PersistenceError
from cupola.functions.app import App
from cupola.functions.definitions import Function
from cupola.persistence import MemoryPersistence
from cupola.testing import Deployment
from cupola.values import encode

SLOW_S = 0.02  # more than a turn has for running queries again


class World:
    """A deployment whose queries take time by the clock, so that passes span turns."""

    def __init__(self) -> None:
        self.log = MemoryPersistence()
        self.clock = ManualClock()
        functions: dict[str, Function[Any, Any]] = {
            "m:add": mutation(self._add),
            "m:count": query(self._count),
        }
        self.app = Deployment(App(functions, {}), persistence=self.log, clock=self.clock)

    @staticmethod
    def _add(ctx: MutationCtx, table: str) -> None:
        ctx.db.insert(table, {})

    def _count(self, ctx: QueryCtx, table: str) -> int:
        self.clock.advance(SLOW_S)
        return ctx.db.query(table).count()


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    with world.app:
        yield world


def add(table: str) -> CallRequest:
    return CallRequest("mutation", "m:add", encode({"table": table}))


def test_an_answer_that_waits_for_a_transition_is_durable_before_it_leaves(world: World) -> None:
    """An update runs over several turns; a mutation of its session commits meanwhile. The
    Transition, at the older timestamp, must not take the answer along."""
    ada = world.app.connect()
    for table in ("a", "b", "c"):
        ada.send_mutation("m:add", table=table)
    world.app.settle()
    for table in ("a", "b", "c"):
        query_id, effects = ada.session.subscribe("m:count", encode({"table": table}))
        ada._subscriptions[query_id] = ada._subscriptions.get(query_id) or _Ignored()
        ada.carry_out(effects)
    while ada.carry_to_server():
        pass
    world.app.backend.turn()  # the update has begun
    assert ada.connection is not None and not ada.connection.to_client

    world.log.delay_durability()
    ada.send_mutation("m:add", table="d")
    while ada.carry_to_server():
        pass
    world.app.backend.run_until_idle()

    assert not any(b"MutationResponse" in frame for frame in ada.connection.to_client)
    world.log.release_durability()
    world.app.backend.wake()
    world.app.backend.run_until_idle()
    assert any(b"MutationResponse" in frame for frame in ada.connection.to_client)


class _Ignored:
    def receive(self, result: object) -> None:
        pass


def test_a_write_that_fails_mid_group_leaves_nothing_behind(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The group never happened: its callers are told at once, and the next group publishes only
    its own commits."""
    app, log = world.app, world.log
    app.mutation("m:add", table="a")
    apply, calls = log.apply, []

    def fail_second(commit: Any) -> Any:
        calls.append(commit)
        if len(calls) == 2:
            log.rollback()
            raise PersistenceError("the disk is full")
        return apply(commit)

    monkeypatch.setattr(log, "apply", fail_second)
    answers: list[CallResult] = []
    for _ in range(3):
        app.backend.submit(add("a"), answers.append)
    app.backend.turn()

    assert [answer.ok for answer in answers] == [False, False]
    assert all(answer.ts <= log.head_ts for answer in answers)
    commits = app.backend.node.committer.commits
    app.settle()
    assert app.backend.node.committer.commits == commits + 1
    assert app.query("m:count", table="a") == 2


def test_watchers_hear_of_a_mutation_when_it_is_durable(world: World) -> None:
    """Log streams leave the process too; and a group that failed did not succeed."""
    app, log = world.app, world.log
    app.mutation("m:add", table="a")
    heard: list[str | None] = []
    app.backend.node.watchers.append(lambda execution: heard.append(execution.error_message))

    log.delay_durability()
    app.backend.submit(add("a"), lambda _: None)
    app.backend.turn()
    assert heard == []
    log.release_durability()
    app.settle()
    assert heard == [None]

    log.fail_next_append(PersistenceError("the disk is full"))
    app.backend.submit(add("a"), lambda _: None)
    app.settle()
    assert heard == [None, "the disk is full"]


def test_a_receiver_that_fails_keeps_nobody_waiting(world: World) -> None:
    """Results come out of one queue; the others in it are not to blame."""

    def fail(result: CallResult) -> None:
        raise ValueError("gone")

    answers: list[CallResult] = []
    world.app.backend.submit(add("a"), fail)
    world.app.backend.submit(add("a"), answers.append)
    world.app.settle()
    assert [answer.ok for answer in answers] == [True]
    assert world.app.backend.state == "ready"

"""Queries that met what is not there yet, and bounds on what waits."""

import dataclasses

from cupola import MutationCtx, QueryCtx, mutation, query
from cupola.backend.calls import CallRequest, CallResult
from cupola.errors import OverloadedError
from cupola.functions.app import App
from cupola.limits import DEFAULT_LIMITS
from cupola.testing import Deployment
from cupola.values import encode_id, new_internal_id

FIRST_TABLE = 10_001


def look(ctx: QueryCtx, id: str) -> bool:
    return ctx.db.get(id) is not None  # type: ignore[arg-type]


def add(ctx: MutationCtx) -> None:
    ctx.db.insert("things", {})


def code() -> App:
    return App({"m:look": query(look), "m:add": mutation(add)}, {})


def test_an_id_of_a_table_to_come_is_looked_at_again_when_it_has_come() -> None:
    """That no table has this number is something the query has read."""
    with Deployment(code()) as app:
        stranger = encode_id(FIRST_TABLE, new_internal_id(bytes(14), app.clock.now_ns()))
        live = app.connect().subscribe("m:look", id=stranger)
        assert live.error is not None
        app.mutation("m:add")
        assert live.next() is False


def test_batches_are_bounded_like_single_queries() -> None:
    limits = dataclasses.replace(DEFAULT_LIMITS, queued_calls_max=5)
    with Deployment(code(), limits=limits) as app:
        answers: list[list[CallResult]] = []
        batch = [CallRequest("query", "m:look", b'{"id": "x"}')] * 3
        app.backend.submit_batch(batch, answers.append)
        app.backend.submit_batch(batch, answers.append)
        assert [isinstance(result.error, OverloadedError) for result in answers[0]] == [True] * 3
        app.settle()
        assert len(answers) == 2
        assert len({result.ts for result in answers[1]}) == 1

"""Queries that met what is not there yet, and bounds on what waits."""

import asyncio
import dataclasses
from typing import Any

from cupola import MutationCtx, Page, PaginationOptions, QueryCtx, mutation, query
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


def test_a_path_that_is_none_gets_the_same_answer_each_time() -> None:
    """Its failure is about the request, and is not kept as a query's outcome."""
    with Deployment(code()) as app:
        answers: list[CallResult] = []
        for _ in range(2):
            app.backend.submit(CallRequest("query", "no path: at all:", b"{}"), answers.append)
            app.settle()
        first, second = answers
        assert first.error is not None
        assert type(first.error) is type(second.error)


def test_a_page_keeps_its_end_when_its_reader_signs_in_as_it_changes() -> None:
    """Else it would be counted anew, and overlap or leave a gap before the next page."""

    def page(ctx: QueryCtx, paginationOpts: PaginationOptions) -> Page[Any]:
        ctx.auth.get_user_identity()
        return ctx.db.query("things").paginate(paginationOpts)

    def clear(ctx: MutationCtx) -> None:
        found = ctx.db.query("things").first()
        ctx.db.delete(found["_id"])

    functions: dict[str, Any] = {
        "m:page": query(page),
        "m:add": mutation(add),
        "m:clear": mutation(clear),
    }
    with Deployment(App(functions, {})) as app:
        for _ in range(4):
            app.mutation("m:add")
        client = app.connect()
        live = client.subscribe("m:page", paginationOpts={"numItems": 2.0, "cursor": None})
        assert len(live.value.page) == 2
        admin = app.as_admin()
        token = app._token_of(admin._identity)
        app.backend.submit(CallRequest("mutation", "m:clear", b"{}"), lambda _: None)
        client.carry_out(client.session.authenticate(token))
        while client.carry_to_server():
            pass
        app.settle()
        assert len(live.value.page) == 1


def test_who_asks_in_a_loop_lets_writers_come_in() -> None:
    """Answers from the cache are there at once: a loop that only awaits them must still turn."""
    asked = 0

    async def until_seen(app: Deployment) -> None:
        nonlocal asked
        while not await app.call("m:seen"):
            asked += 1
            assert asked < 1_000

    async def write(app: Deployment) -> None:
        while asked < 3:
            await asyncio.sleep(0)
        await app.call("m:add")

    def seen(ctx: QueryCtx) -> bool:
        return ctx.db.query("things").first() is not None

    async def both(app: Deployment) -> None:
        await asyncio.gather(until_seen(app), write(app))

    with Deployment(App({"m:seen": query(seen), "m:add": mutation(add)}, {})) as app:
        asyncio.run(both(app))

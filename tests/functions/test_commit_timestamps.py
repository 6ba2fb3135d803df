"""A field that becomes the timestamp of the commit which wrote it."""

import pytest

from cupola.errors import CupolaError
from cupola.values import Int64, decode, encode

EVENTS = """
    from cupola import Int64, Range

    class Event(Table, name="events", indexes={"by_time": ["at"]}):
        at: Int64
        body: str

    @mutation
    def add(ctx: MutationCtx, body: str) -> Int64:
        ctx.db.insert(Event(at=ctx.db.commit_ts, body=body))
        return ctx.db.commit_ts

    @query
    def after(ctx: QueryCtx, at: Int64) -> list[str]:
        later = ctx.db.query(Event).with_index("by_time", at=Range(gt=at))
        return [event.body for event in later]

    @query
    def times(ctx: QueryCtx) -> list[Int64]:
        return [event.at for event in ctx.db.query(Event)]

    @query
    def snapshot(ctx: QueryCtx) -> Int64:
        return ctx.db.snapshot_ts

    @mutation
    def look(ctx: MutationCtx) -> list[str]:
        ctx.db.insert(Event(at=Int64(2**62), body="old"))
        id = ctx.db.insert(Event(at=ctx.db.commit_ts, body="new"))
        found = ctx.db.get(id)
        assert found is not None and found.at == ctx.db.commit_ts
        in_order = [event.body for event in ctx.db.query(Event).with_index("by_time")]
        return [*in_order, str(found.at)]

    @mutation
    def touch(ctx: MutationCtx, body: str) -> None:
        for event in ctx.db.query(Event):
            ctx.db.patch(event._id, at=ctx.db.commit_ts, body=body)

    @mutation
    def store(ctx: MutationCtx, at: Int64) -> Int64:
        ctx.db.insert(Event(at=at, body="given"))
        return at

    @mutation
    def nested(ctx: MutationCtx) -> Int64:
        mine = ctx.db.commit_ts
        returned = ctx.run_mutation(store, at=mine)
        assert returned == mine
        assert ctx.run_query(times) == [mine]
        return returned

    @mutation
    def add_up(ctx: MutationCtx) -> Int64:
        return ctx.db.commit_ts + 1

    @mutation
    def writes_nothing(ctx: MutationCtx) -> Int64:
        return ctx.db.commit_ts
"""


@pytest.fixture
def events(deploy):
    return deploy(main=EVENTS)


def newest_commit(deployment) -> int:
    return deployment.backend.status()["headTs"]


def test_the_field_and_the_answer_become_the_timestamp_of_the_commit(events):
    answer = events.mutation("main:add", body="one")
    assert answer == newest_commit(events)
    assert events.query("main:times") == [answer]


def test_later_commits_have_greater_ones(events):
    answers = [events.mutation("main:add", body=str(i)) for i in range(5)]
    assert answers == sorted(set(answers))
    assert events.query("main:after", at=Int64(answers[2])) == ["3", "4"]


def test_a_snapshot_is_on_the_same_clock(events):
    first = events.mutation("main:add", body="one")
    seen = events.query("main:snapshot")
    second = events.mutation("main:add", body="two")
    assert first <= seen < second


def test_until_then_it_sorts_above_all_others_and_reads_back_as_it_was_written(events):
    *in_order, text = events.mutation("main:look")
    assert in_order == ["old", "new"]
    assert text == "[unresolved commit timestamp]"


def test_a_patch_of_many_documents_gives_all_the_same(events):
    for body in ("one", "two"):
        events.mutation("main:add", body=body)
    events.mutation("main:touch", body="touched")
    assert events.query("main:times") == [newest_commit(events)] * 2


def test_nested_calls_hand_it_on(events):
    answer = events.mutation("main:nested")
    assert answer == newest_commit(events)
    assert events.query("main:times") == [answer]


def test_without_a_write_it_is_the_newest_commit_there_was(events):
    before = events.mutation("main:add", body="one")
    assert events.mutation("main:writes_nothing") == before


def test_it_is_no_number_yet(events):
    with pytest.raises(CupolaError) as refused:
        events.mutation("main:add_up")
    assert "This commit timestamp is unresolved" in refused.value.message
    assert events.query("main:times") == []


def test_clients_cannot_send_it(events):
    placeholder = {"$commitTs": None}
    with pytest.raises(CupolaError) as refused:
        events.mutation("main:store", at=placeholder)
    assert "`$commitTs` starts with `$`" in refused.value.message
    assert events.query("main:times") == []


def test_text_that_looks_like_it_stays_text(events):
    body = '{"$commitTs":null}'
    events.mutation("main:add", body=body)
    assert events.query("main:after", at=Int64(0)) == [body]
    assert decode(encode({"body": body})) == {"body": body}

"""Slow functions run in workers, and nobody else waits for them."""

import asyncio
import contextlib
import dataclasses
import functools
import os
import signal
import subprocess
import sys

import msgspec
import pytest

from cupola.backend import CallRequest
from cupola.limits import DEFAULT_LIMITS, Limits
from cupola.reactivity import QueryKey
from cupola.runtimes.python.messages import CallDone
from cupola.sync.client_session import Token
from cupola.values import decode

from ...descriptors import no_descriptor_left

BOUND_S = 0.5  # what others may wait at worst on a busy machine; in process the budget is 50 ms

ENDLESS = """
    @query
    def endless(ctx: QueryCtx) -> None:
        while True:
            pass

    @mutation
    def endless_mutation(ctx: MutationCtx) -> None:
        while True:
            pass
"""

APP = """
    import ctypes
    import os
    import re
    import time

    class Item(Table, name="items", indexes={"by_rank": ["rank"]}):
        rank: float

    class Counter(Table, name="counters", indexes={"by_name": ["name"]}):
        name: str
        value: int = 0

    def burn(steps: int) -> int:
        total = 0
        for number in range(steps):
            total += number & 3
        return total

    SLOW = 3_000_000

    @query
    def canary(ctx: QueryCtx, n: float) -> float:
        return n + 1

    @mutation
    def add(ctx: MutationCtx, rank: float) -> Id[Item]:
        return ctx.db.insert(Item(rank=rank))

    @query
    def ranks(ctx: QueryCtx) -> list[float]:
        return [item.rank for item in ctx.db.query(Item)]

    @query
    def slow_sum(ctx: QueryCtx) -> float:
        print("summing")
        burn(SLOW)
        return float(sum(item.rank for item in ctx.db.query(Item)))

    @query
    def slow_me(ctx: QueryCtx) -> str:
        burn(SLOW)
        identity = ctx.auth.get_user_identity()
        return "nobody" if identity is None else str(identity["subject"])

    @mutation
    def slow_add(ctx: MutationCtx, rank: float) -> Id[Item]:
        burn(SLOW)
        return ctx.db.insert(Item(rank=rank))

    @mutation
    def slow_add_and_fail(ctx: MutationCtx, rank: float) -> None:
        print("about to fail")
        ctx.db.insert(Item(rank=rank))
        burn(SLOW)
        raise ApplicationError({"rank": rank})

    @mutation
    def slow_first_table(ctx: MutationCtx) -> str:
        burn(SLOW)
        return ctx.db.insert("brand_new", {"x": 1.0})

    @query
    def count_of(ctx: QueryCtx, table: str) -> float:
        return float(ctx.db.query(table).count())

    def counter(ctx, name):
        found = ctx.db.query(Counter).with_index("by_name", name=name).unique()
        return found or ctx.db.get(ctx.db.insert(Counter(name=name)))

    @mutation
    def bump(ctx: MutationCtx, name: str) -> int:
        found = counter(ctx, name)
        ctx.db.patch(found._id, value=found.value + 1)
        return found.value + 1

    @mutation
    def slow_bump(ctx: MutationCtx, name: str) -> int:
        found = counter(ctx, name)
        burn(SLOW)
        ctx.db.patch(found._id, value=found.value + 1)
        return found.value + 1

    @query
    def value_of(ctx: QueryCtx, name: str) -> int:
        found = ctx.db.query(Counter).with_index("by_name", name=name).unique()
        return found.value if found else 0

    @query
    def slow_value_of(ctx: QueryCtx, name: str) -> int:
        burn(SLOW)
        found = ctx.db.query(Counter).with_index("by_name", name=name).unique()
        return found.value if found else 0
"""


async def canaries(server, until):
    """Quick calls of somebody else, one after the other, until a call is done."""
    calls = 0
    while not until.done():
        calls += 1
        assert await server.value("query", "main:canary", n=float(calls)) == calls + 1
        await asyncio.sleep(0.005)
    return calls


def test_slow_queries_and_mutations_succeed_and_nobody_waits_for_them(serve):
    async def story(server):
        adding = asyncio.ensure_future(server.call("mutation", "main:slow_add", rank=5.0))
        assert await canaries(server, adding) > 3
        assert adding.result().ok
        summing = asyncio.ensure_future(server.call("query", "main:slow_sum"))
        assert await canaries(server, summing) > 3
        assert summing.result().value == b"5.0"
        assert summing.result().log_lines == b"[\"[LOG] 'summing'\"]"
        assert await server.value("query", "main:ranks") == [5.0]
        assert server.worst_stall_s < BOUND_S, server.worst_stall_s

    serve(story, main=APP)


def test_a_slow_mutation_that_fails_writes_nothing_and_brings_its_data_and_logs(serve):
    async def story(server):
        result = await server.failure("mutation", "main:slow_add_and_fail", rank=3.0)
        assert result.error_data == b'{"rank":3.0}'
        assert result.log_lines == b"[\"[LOG] 'about to fail'\"]"
        assert "slow_add_and_fail (functions/main.py" in result.error_message
        assert await server.value("query", "main:ranks") == []

    serve(story, main=APP)


def test_a_table_can_come_into_being_in_a_worker(serve):
    async def story(server):
        assert await server.value("mutation", "main:slow_first_table")
        assert await server.value("query", "main:count_of", table="brand_new") == 1.0
        assert await server.value("mutation", "main:slow_first_table")
        assert await server.value("query", "main:count_of", table="brand_new") == 2.0

    serve(story, main=APP)


def test_a_mutation_that_always_loses_gets_its_turn(serve):
    """Quick writers of the same document would win for ever; no increment is lost."""
    limits = dataclasses.replace(DEFAULT_LIMITS, exclusive_turn_s=2.0, user_time_s=5.0)

    async def story(server):
        await server.value("mutation", "main:bump", name="a")
        slow = asyncio.ensure_future(server.call("mutation", "main:slow_bump", name="a"))
        bumps = 1
        while not slow.done():
            await server.value("mutation", "main:bump", name="a")
            bumps += 1
        assert slow.result().ok, slow.result().error_message
        assert await server.value("query", "main:value_of", name="a") == bumps + 1
        assert server.backend.status()["conflicts"] >= 3

    serve(story, limits, main=APP)


def test_slow_mutations_of_the_same_document_all_take_effect(serve):
    limits = dataclasses.replace(DEFAULT_LIMITS, exclusive_turn_s=2.0, user_time_s=5.0)

    async def story(server):
        calls = [server.value("mutation", "main:slow_bump", name="a") for _ in range(4)]
        assert sorted(await asyncio.gather(*calls)) == [1, 2, 3, 4]
        assert await server.value("query", "main:value_of", name="a") == 4

    serve(story, limits, main=APP)


def test_a_snapshot_ends_when_it_is_too_old(serve):
    """An operator may allow long calls, but an old snapshot keeps the log from being trimmed."""

    async def story(server):
        result = await server.failure("query", "main:endless")
        assert "maximum duration: 0.3s" in result.error_message
        assert result.error.code == "FunctionTimeout"

    serve(story, Limits(user_time_s=60, transaction_age_s=0.3), main=ENDLESS)


def test_a_client_whose_mutation_does_not_end_is_disconnected(serve):
    """It connects again and sends the mutation again, which takes effect once at most."""

    async def story(server):
        client = server.connect()
        answer = client.mutation("main:endless_mutation")
        await client.until(lambda: len(server.workers()) > 0)
        server.backend.tick()
        assert client.close_reason is None

        while client.close_reason is None:
            await asyncio.wait([answer], timeout=0.05)
            server.backend.tick()

        assert client.close_reason == "InternalServerError"

    serve(story, Limits(user_time_s=20, mutation_time_s=0.4), main=ENDLESS)


def test_a_mutation_sent_again_while_it_runs_takes_effect_once(serve):
    """The client lost its connection and cannot know; both answers are the same."""

    async def story(server):
        client = server.connect()
        answer = client.mutation("main:slow_bump", name="a")
        for _ in range(3):
            await asyncio.sleep(0.03)
            client.lose_connection()
            client.connect()
        result = await asyncio.wait_for(answer, 30)
        assert result.value == b"1.0"
        assert await server.value("query", "main:value_of", name="a") == 1
        assert (await asyncio.wait_for(client.mutation("main:bump", name="a"), 30)).value == b"2.0"

    serve(story, main=APP)


def test_mutations_of_one_client_keep_their_order_over_a_worker(serve):
    async def story(server):
        client = server.connect()
        answers = [
            client.mutation("main:slow_add", rank=1.0),
            client.mutation("main:add", rank=2.0),
            client.mutation("main:slow_add", rank=3.0),
        ]
        await asyncio.wait_for(asyncio.gather(*answers), 30)
        assert await server.value("query", "main:ranks") == [1.0, 2.0, 3.0]

    serve(story, main=APP)


def test_a_mutation_that_is_asked_as_a_query_fails_and_does_not_only_seem_to_happen(serve):
    """A worker takes it for what it is, and nobody commits what a query has written."""
    app = (
        APP
        + """
    @mutation
    def add_many(ctx: MutationCtx, count: int) -> Id[Item]:
        return ctx.db.insert(Item(rank=float(sum(range(count)))))
    """
    )

    async def story(server):
        wrong_kind = "Trying to execute main:add_many as query, but it is defined as mutation."
        failure = await server.failure("query", "main:add_many", count=3)
        assert wrong_kind in failure.error_message
        client = server.connect()
        query = client.subscribe("main:add_many", count=3)
        await client.until(lambda: client.newest(query) is not None)
        assert wrong_kind in client.newest(query)
        assert await server.value("query", "main:ranks") == []
        await server.value("mutation", "main:add_many", count=3)
        assert await server.value("query", "main:ranks") == [3.0]

    serve(story, main=app)


# ---------------------------------------------------------------- live queries


def test_a_live_slow_query_follows_the_data(serve):
    async def story(server):
        client = server.connect()
        total = client.subscribe("main:slow_sum")
        ranks = client.subscribe("main:ranks")
        await client.until(lambda: client.newest(total) == 0.0)
        await server.value("mutation", "main:add", rank=4.0)
        await client.until(lambda: client.newest(total) == 4.0)
        assert client.newest(ranks) == [4.0]
        await server.value("mutation", "main:slow_add", rank=2.0)
        await client.until(lambda: client.newest(total) == 6.0)

    serve(story, main=APP)


def test_a_failure_of_the_system_in_a_worker_is_shared_with_nobody(serve):
    """It says nothing about the query: whoever asks next has it tried again."""
    app = (
        APP
        + """
    @query
    def slow_disk(ctx: QueryCtx) -> None:
        burn(SLOW)
        raise PersistenceError("the disk does not answer")
    """
    )

    async def story(server):
        messages = []
        for _ in range(2):
            client = server.connect()
            query = client.subscribe("main:slow_disk")
            await client.until(lambda c=client, q=query: c.newest(q) is not None)
            messages.append(client.newest(query))
        first, second = messages
        assert "Request ID" in first and first != second  # each has a run of its own

    serve(story, main="    from cupola.errors import PersistenceError\n" + app)


@contextlib.asynccontextmanager
async def constant_writes(server):
    """Somebody bumps "a" meanwhile, again and again."""
    stop = asyncio.Event()

    async def write():
        while not stop.is_set():
            await server.value("mutation", "main:bump", name="a")
            await asyncio.sleep(0.002)

    writing = asyncio.create_task(write())
    yield
    stop.set()
    await writing


def test_a_live_slow_query_is_not_starved_by_constant_writes(serve):
    """Its subscribers see results of moments that have passed, each newer than the one before."""

    async def story(server):
        client = server.connect()
        value = client.subscribe("main:slow_value_of", name="a")
        await client.until(lambda: client.newest(value) == 0)
        async with constant_writes(server):
            await client.until(lambda: len(client.results[value]) >= 4)
        final = await server.value("query", "main:value_of", name="a")
        await client.until(lambda: client.newest(value) == final)
        seen = [float(result.value) for result in client.results[value]]
        assert seen == sorted(set(seen))
        assert server.worst_stall_s < BOUND_S, server.worst_stall_s

    serve(story, main=APP)


def test_a_session_with_a_slow_query_and_a_quick_one_is_not_starved_by_constant_writes(serve):
    """Each write touches both, and no result of one holds when that of the other comes."""

    async def story(server):
        client = server.connect()
        slow = client.subscribe("main:slow_value_of", name="a")
        quick = client.subscribe("main:value_of", name="a")
        await client.until(lambda: client.newest(slow) == client.newest(quick) == 0)
        async with constant_writes(server):
            await client.until(lambda: len(client.results[slow]) >= 3)
        final = await server.value("query", "main:value_of", name="a")
        await client.until(lambda: client.newest(slow) == final)
        seen = [float(result.value) for result in client.results[slow]]
        assert seen == sorted(set(seen))
        assert seen == [float(result.value) for result in client.results[quick]]

    serve(story, main=APP)


def test_results_that_do_not_fit_into_memory_together_are_shown_together_all_the_same(serve):
    """The cache keeps the bytes of the last alone, while the session waits for all three."""
    app = (
        APP
        + """
    @query
    def slow_text(ctx: QueryCtx, letter: str, count: int) -> str:
        return letter * sum(range(count))
    """
    )

    async def story(server):
        client = server.connect()
        queries = [client.subscribe("main:slow_text", letter=letter, count=50) for letter in "abc"]
        await client.until(lambda: all(client.newest(query) for query in queries))
        assert [client.newest(query)[0] for query in queries] == ["a", "b", "c"]

    serve(story, dataclasses.replace(DEFAULT_LIMITS, query_cache_bytes_max=2000), main=app)


def test_a_slow_query_that_looks_at_its_caller_is_answered_for_each(serve):
    async def story(server):
        clients = [server.connect() for _ in range(3)]
        queries = [client.subscribe("main:slow_me") for client in clients]
        clients[2]._carry_out(clients[2].session.authenticate(admin_token(server)))
        for client, query in zip(clients, queries, strict=True):
            await client.until(lambda client=client, query=query: bool(client.newest(query)))
            assert client.newest(query) == "nobody"

    serve(story, main=APP)


def admin_token(server):
    return Token("Admin", server.backend.admin_keys.issue())


# ---------------------------------------------------------------- reads at one timestamp

READS = """
    import os

    class Item(Table, name="items"):
        rank: float

    @mutation
    def add(ctx: MutationCtx, rank: float) -> None:
        ctx.db.insert(Item(rank=rank))

    @query
    def ranks(ctx: QueryCtx, steps: int) -> list[float]:
        sum(range(steps))  # may take long inside C: this runs in a worker
        return [item.rank for item in ctx.db.query(Item)]

    @query
    def count(ctx: QueryCtx) -> float:
        return float(ctx.db.query(Item).count())

    @query
    def mode(ctx: QueryCtx, steps: int) -> str:
        sum(range(steps))
        return os.environ["MODE"]
"""
LONG = Limits(user_time_s=20)  # however slow the machine is
RANKS = CallRequest("query", "main:ranks", b'{"steps":3}')


@contextlib.asynccontextmanager
async def a_worker_held_up(server):
    """One that has started; what it is sent in here it begins afterwards."""
    await server.value("query", "main:ranks", steps=1)
    (pid,) = server.workers()
    os.kill(pid, signal.SIGSTOP)
    yield
    os.kill(pid, signal.SIGCONT)


async def ask_a_worker(server, submit):
    """The answer to come, of what a worker has been sent."""
    answer = asyncio.get_running_loop().create_future()
    submit(answer.set_result)
    while not server.backend.mutations.offload._pool.paths()[0]:
        await asyncio.sleep(0)
    return answer


def test_a_read_at_a_timestamp_shows_nothing_newer(serve):
    """The worker opens its snapshot when it gets to it; there may have been commits until then."""

    async def story(server):
        await server.value("mutation", "main:add", rank=1.0)
        async with a_worker_held_up(server):
            request = dataclasses.replace(RANKS, at_ts=server.backend.node.head_ts)
            ask = functools.partial(server.backend.submit, request)
            answer = await ask_a_worker(server, ask)
            await server.value("mutation", "main:add", rank=2.0)
        assert (await answer).error.code == "OutOfRetention"
        request = dataclasses.replace(RANKS, at_ts=server.backend.node.head_ts)
        assert (await server.backend.call(request)).value == b"[1.0,2.0]"

    serve(story, LONG, main=READS)


def test_a_batch_is_of_one_timestamp_in_workers_too(serve):
    async def story(server):
        await server.value("mutation", "main:add", rank=1.0)
        async with a_worker_held_up(server):
            requests = [CallRequest("query", "main:count"), RANKS]
            ask = functools.partial(server.backend.submit_batch, requests)
            answer = await ask_a_worker(server, ask)
            await server.value("mutation", "main:add", rank=2.0)
        count, ranks = await answer
        assert (count.value, ranks.value) == (b"2.0", b"[1.0,2.0]")

    serve(story, LONG, main=READS)


def test_a_read_at_a_timestamp_is_answered_whatever_is_written_once_it_has_begun(serve):
    async def story(server):
        await server.value("mutation", "main:add", rank=1.0)
        node, offload = server.backend.node, server.backend.mutations.offload
        at_ts, answers = node.head_ts, []
        key = QueryKey("main:ranks", RANKS.args, None)
        job = offload.queries.job_for(dataclasses.replace(RANKS, at_ts=at_ts), key, answers.append)
        call = job.prepare().call
        items = node.committer.catalog.by_name["items"].primary.number
        await server.value("mutation", "main:add", rank=2.0)
        job.done(
            CallDone(
                call=call,
                ts=at_ts,
                value=b"[1.0]",
                failure=None,
                log_lines=[],
                intervals=[(items, 0, b"", b"", None)],
                writes=[],
                creation_time=0.0,
                identity_observed=False,
                journal=None,
            )
        )
        assert [answer.value for answer in answers] == [b"[1.0]"]

    serve(story, LONG, main=READS)


def test_a_batch_in_a_worker_is_answered_however_much_is_written(serve):
    """All at one snapshot; those that are refused are refused beside the others."""

    async def story(server):
        batch = [
            CallRequest("query", "main:count"),
            RANKS,
            CallRequest("query", "main:add", b'{"rank":1}'),
            CallRequest("query", "main:nowhere"),
        ]
        answers = asyncio.get_running_loop().create_future()
        server.backend.submit_batch(batch, answers.set_result)
        while not answers.done():
            await server.value("mutation", "main:add", rank=4.0)
        count, ranks, wrong_kind, missing = await answers
        assert count.ts == ranks.ts
        assert decode(count.value) == len(decode(ranks.value))
        assert "defined as mutation" in wrong_kind.error_message
        assert "Could not find public function for 'main:nowhere'" in missing.error_message

    serve(story, LONG, main=READS)


def test_a_query_of_a_batch_that_does_not_end_harms_itself_alone(serve):
    async def story(server):
        server.backend.mutations.offload.stalled = ["main:endless"]
        server.backend.mutations.offload.code_changed()
        batch = [CallRequest("query", "main:endless"), CallRequest("query", "main:count"), RANKS]
        answers = asyncio.get_running_loop().create_future()
        server.backend.submit_batch(batch, answers.set_result)
        endless, count, ranks = await answers
        assert "timed out" in endless.error_message
        assert (count.value, ranks.value) == (b"0.0", b"[]")

    limits = dataclasses.replace(DEFAULT_LIMITS, transaction_age_s=1.0)
    serve(story, limits, main=READS + ENDLESS)


def test_a_query_of_a_batch_that_takes_too_much_memory_harms_itself_alone(serve):
    app = (
        READS
        + """
    @query
    def greedy(ctx: QueryCtx, size: int) -> int:
        return len(b"x" * size)
"""
    )

    async def story(server):
        greedy = CallRequest("query", "main:greedy", b'{"size":111111111111}')
        answers = asyncio.get_running_loop().create_future()
        server.backend.submit_batch([RANKS, greedy], answers.set_result)
        ranks, failure = await answers
        assert ranks.value == b"[]"
        assert "used more memory than a function may" in failure.error_message

    serve(story, LONG, main=app)


# ---------------------------------------------------------------- a file that takes no commits

HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def held_by_another_program(path):
    """Its lock, which no group can begin beside."""
    command = [sys.executable, "-c", HOLD, path]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as holder:
        assert holder.stdout.readline() == b"held\n"
        yield
        holder.stdin.close()


def test_a_result_that_no_group_can_take_is_answered(serve):
    """As a mutation of the loop is; the loop does not try in vain as long as the lock lasts."""

    async def story(server):
        server.backend.mutations.offload.stalled = ["main:add"]
        server.backend.mutations.offload.code_changed()
        with held_by_another_program(server.backend.data_path):
            failure = await server.failure("mutation", "main:add", rank=1.0)
        assert "Another program holds a lock" in failure.error_message
        assert not server.backend.needs_turn
        await server.value("mutation", "main:add", rank=2.0)
        assert await server.value("query", "main:ranks") == [2.0]

    serve(story, main=APP)


# ---------------------------------------------------------------- workers that end


def test_a_call_whose_worker_was_killed_is_tried_once_more(serve):
    """From outside: the out-of-memory killer, an operator."""

    async def story(server):
        await server.value("query", "main:slow_sum")  # the function is known to be slow now
        call = asyncio.ensure_future(server.call("mutation", "main:slow_add", rank=1.0))
        while not any(w.job for w in server.backend.mutations.offload._pool._workers):
            await asyncio.sleep(0.002)
        for pid in server.workers():
            os.kill(pid, signal.SIGKILL)
        result = await call
        assert result.ok, result.error_message
        assert await server.value("query", "main:ranks") == [1.0]

    serve(story, main=APP)


def test_idle_workers_that_die_are_not_missed(serve):
    async def story(server):
        await server.value("query", "main:slow_sum")
        for pid in server.workers():
            os.kill(pid, signal.SIGKILL)
        assert await server.value("query", "main:slow_sum") == 0.0

    serve(story, main=APP)


def test_a_machine_without_room_for_another_worker_has_those_it_has(serve):
    """A call that finds them busy waits, as where there are as many as may be."""

    async def story(server):
        backend = server.backend
        async with a_worker_held_up(server):
            first = await ask_a_worker(server, functools.partial(backend.submit, RANKS))
            with no_descriptor_left():
                asked = CallRequest("query", "main:ranks", b'{"steps":4}')
                second = asyncio.ensure_future(backend.call(asked))
                await asyncio.sleep(0)
        assert (await first).value == b"[]"
        assert (await second).value == b"[]", (await second).error_message

    serve(story, LONG, main=READS)


def test_a_call_that_meets_only_dead_workers_is_not_blamed(serve):
    """The out-of-memory killer has ended them all while nobody looked; no call was running."""

    async def story(server):
        backend = server.backend
        asked = iter(range(10_000))
        workers = backend.mutations.offload._pool._workers
        while len(workers) < 2 or not all(each.is_idle and each._has_run for each in workers):
            several = [server.value("query", "main:ranks", steps=next(asked)) for _ in range(4)]
            await asyncio.gather(*several)
        for worker in workers:
            worker.process.process.kill()
            worker.process.process.wait()
        answers = [asyncio.get_running_loop().create_future() for _ in range(2)]
        for answer in answers:
            args = b'{"steps":%d}' % next(asked)
            backend.submit(CallRequest("query", "main:ranks", args), answer.set_result)
        for answer in answers:
            result = await answer
            assert result.value == b"[]", result.error_message

    serve(story, LONG, main=READS)


# ---------------------------------------------------------------- code that changes meanwhile


def test_code_to_come_that_cannot_be_loaded_fails_no_call_of_the_present_code(serve):
    """A worker tries it beforehand; calls that wait for one of theirs go on waiting."""

    async def story(server):
        backend = server.backend
        pool = backend.mutations.offload._pool
        pool._limits = dataclasses.replace(LONG, transaction_workers_max=1)
        async with a_worker_held_up(server):
            first = await ask_a_worker(server, functools.partial(backend.submit, RANKS))
            asked = CallRequest("query", "main:ranks", b'{"steps":4}')
            second = asyncio.ensure_future(backend.call(asked))
            sources = {"main.py": b"raise ValueError('not like this')"}
            pool.prepare(msgspec.structs.replace(pool._setup(), sources=sources), "next")
            await pool.wait_prepared("next")
        assert (await first).value == b"[]"
        assert (await second).value == b"[]", (await second).error_message

    serve(story, LONG, main=READS)


@pytest.mark.parametrize("kept", [True, False])
def test_a_code_change_while_a_slow_mutation_runs(serve, write_app, kept):
    """It commits or fails as a whole; the deployment goes on in either case."""
    changed = APP.replace("return n + 1", "return n + 2")
    if not kept:
        changed = changed.replace("def slow_add(", "def other_add(")

    async def story(server):
        await server.call("mutation", "main:slow_add", rank=0.0)
        call = asyncio.ensure_future(server.call("mutation", "main:slow_add", rank=1.0))
        await asyncio.sleep(0.03)
        write_app(folder=server.folder, main=changed)
        await server.deploy(server.folder)
        result = await call
        expected = [0.0, 1.0] if result.ok else [0.0]
        assert await server.value("query", "main:ranks") == expected
        assert await server.value("query", "main:canary", n=1.0) == 3.0
        assert server.backend.state == "ready"
        if kept:
            assert await server.value("mutation", "main:slow_add", rank=2.0)

    serve(story, main=APP)


def test_a_schema_change_while_a_slow_mutation_runs(serve, write_app):
    """It read the old schema, so it conflicts, and runs again under the new one."""
    changed = APP.replace(
        "rank: float\n", "rank: float\n        note: str | UnsetType = UNSET\n", 1
    )

    async def story(server):
        await server.call("mutation", "main:slow_add", rank=0.0)
        call = asyncio.ensure_future(server.call("mutation", "main:slow_add", rank=1.0))
        await asyncio.sleep(0.03)
        write_app(folder=server.folder, main=changed)
        await server.deploy(server.folder)
        assert (await call).ok
        assert await server.value("query", "main:ranks") == [0.0, 1.0]

    serve(story, main=APP)


def test_a_live_slow_query_shows_the_new_code_in_the_end(serve, write_app):
    """A result of the old code that comes back late is not taken for one of the new."""
    changed = APP.replace("return float(sum(", "return 100 + float(sum(")

    async def story(server):
        client = server.connect()
        total = client.subscribe("main:slow_sum")
        await client.until(lambda: client.newest(total) == 0.0)
        await server.value("mutation", "main:add", rank=1.0)
        await asyncio.sleep(0.03)
        write_app(folder=server.folder, main=changed)
        await server.deploy(server.folder)
        await client.until(lambda: client.newest(total) == 101.0)
        await asyncio.sleep(0.3)
        assert client.newest(total) == 101.0

    serve(story, main=APP)


def test_a_result_of_variables_as_they_were_is_given_to_nobody_later(serve):
    """The code is the same, so nothing but the variables tells that the result is old."""

    async def story(server):
        backend = server.backend
        backend.use(backend.app, {"MODE": "before"})
        client = server.connect()
        async with a_worker_held_up(server):
            asked = CallRequest("query", "main:mode", b'{"steps":3}')
            ask = functools.partial(backend.submit, asked)
            answer = await ask_a_worker(server, ask)
            mode = client.subscribe("main:mode", steps=2)
            while len(backend.mutations.offload) < 2:
                await asyncio.sleep(0)
            backend.use(backend.app, {"MODE": "after"})
        assert (await answer).value == b'"before"'
        await client.until(lambda: client.newest(mode) == "after")
        assert await server.value("query", "main:mode", steps=3) == "after"

    serve(story, LONG, main=READS)


def test_a_file_that_was_broken_after_the_push_does_not_break_slow_calls(serve, write_app):
    """What runs is the code that was accepted, in workers too."""

    async def story(server):
        write_app(folder=server.folder, main="this is no Python")
        assert await server.value("query", "main:canary", n=1.0) == 2.0
        assert await server.value("query", "main:slow_sum") == 0.0

    serve(story, main=APP)

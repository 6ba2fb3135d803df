"""What hostile or broken functions try. Each ends that call with its documented error; others, and
those that come after, go on."""

import asyncio
import json

import pytest

pytestmark = pytest.mark.node

TIMED_OUT = "Function execution timed out (maximum duration: 1s)"
NO_MEMORY = "maximum memory usage: 64 MB"


def works(server):
    """The server answers, and a call of JavaScript too."""
    document_id = server.mutation("messages:send", channel="general", body="alive")
    assert server.query("messages:get", id=document_id)["body"] == "alive"


@pytest.mark.parametrize("name", ["loop", "microtasks", "regex"])
def test_what_never_ends_is_ended(server, name):
    assert TIMED_OUT in server.failure("query", f"attacks:{name}")
    works(server)


def test_a_flood_of_syscalls_meets_a_limit_of_the_transaction(server):
    assert "index ranges read" in server.failure("query", "attacks:syscalls")
    works(server)


def test_a_flood_of_unawaited_writes_meets_a_limit(server):
    """The limit's error is of a promise that nobody holds; time ends it at last."""
    text = server.failure("mutation", "attacks:unawaitedFlood")
    assert TIMED_OUT in text or "Too many documents written" in text or NO_MEMORY in text
    assert server.query("messages:count") == 0
    works(server)


def test_deep_recursion_is_an_ordinary_error(server):
    text = server.failure("query", "attacks:recursion")
    assert text.startswith("Uncaught RangeError: Maximum call stack size exceeded")
    works(server)


def test_a_heap_bomb_ends_its_own_process(server):
    text = server.failure("query", "attacks:heap")
    assert NO_MEMORY in text or TIMED_OUT in text
    works(server)


def test_array_buffers_are_bounded_too(server):
    text = server.failure("query", "attacks:buffers")
    assert "Array buffer allocation failed" in text or NO_MEMORY in text
    works(server)


def test_a_huge_result_is_refused(server):
    assert "return value is too large" in server.failure("query", "attacks:hugeResult")
    works(server)


def test_huge_logs_are_cut(server):
    result = server.call("query", "attacks:hugeLog")
    lines = json.loads(result.log_lines)
    assert result.ok
    assert len(lines) == 256
    assert all(len(line) < 33_000 for line in lines)
    assert lines[0].endswith("(truncated due to length)")
    works(server)


def test_pollution_ends_with_its_call(server):
    """Whatever it does to the prototypes of its context, the next call has others."""
    server.call("query", "attacks:pollution")
    works(server)


def test_nothing_outside_the_context_is_in_reach(server):
    assert server.query("attacks:escape") == []


def test_others_are_answered_while_one_is_attacked(server):
    """One worker spins; the calls of other clients go to another."""
    server.query("messages:count")

    async def both():
        attack = asyncio.create_task(server.ask("query", "attacks:loop", {}))
        await asyncio.sleep(0)
        answers = [await server.ask("query", "messages:count", {}) for _ in range(3)]
        was_over = attack.done()
        return answers, was_over, await attack

    answers, was_over, attacked = server.run(both())

    assert all(answer.ok for answer in answers)
    assert not was_over
    assert TIMED_OUT in attacked.error_message


def test_a_call_whose_worker_dies_runs_on_another(server):
    """A crash of the worker is nobody's fault that a query or mutation could show."""

    async def kill_one():
        asked = asyncio.create_task(
            server.ask("mutation", "messages:send", {"channel": "general", "body": "after all"})
        )
        pool = server.backend.mutations.offload._pool
        while not any(worker.job for worker in pool._workers):
            await asyncio.sleep(0)
        next(worker for worker in pool._workers if worker.job).process.process.kill()
        return await asked

    result = server.run(kill_one())

    assert result.ok, result.error_message
    assert server.query("messages:all") == ["after all"]

"""Functions that loop, recurse, swallow memory or crash: they end, and everybody else goes on."""

import asyncio
import contextlib
import json
import re
import time

import pytest
import uvloop

from cupola.auth import ANONYMOUS
from cupola.backend import Backend
from cupola.backend.calls import CallRequest
from cupola.functions.app import load_app
from cupola.limits import Limits
from cupola.persistence.sqlite import SqlitePersistence
from cupola.values import decode

MiB = 2**20
BOUND_S = 2.0  # what the loop may stand still at worst, on a machine that is busy with other tests

APP = """
    import ctypes
    import os
    import re
    import sys

    @mutation
    def canary(ctx: MutationCtx) -> float:
        ctx.db.insert("canaries", {})
        return float(ctx.db.query("canaries").count())

    @query
    def written(ctx: QueryCtx) -> float:
        return float(ctx.db.query("victims").count())

    def mark(ctx):
        ctx.db.insert("victims", {"x": 1.0})

    @mutation
    def loop(ctx: MutationCtx) -> None:
        mark(ctx)
        while True: pass

    @mutation
    def stubborn(ctx: MutationCtx) -> None:
        mark(ctx)
        while True:
            try:
                while True: pass
            except BaseException:
                pass

    @mutation
    def long_c_call(ctx: MutationCtx) -> float:
        mark(ctx)
        return float(sum(range(10**13)))

    @mutation
    def regex(ctx: MutationCtx) -> bool:
        mark(ctx)
        return bool(re.match(r"(a+)+$", "a" * 40 + "b"))

    @mutation
    def scan(ctx: MutationCtx) -> None:
        mark(ctx)
        while True:
            ctx.db.query("victims").collect()

    @mutation
    def recursion(ctx: MutationCtx) -> None:
        mark(ctx)
        recursion(ctx)

    @mutation
    def nested(ctx: MutationCtx) -> None:
        mark(ctx)
        ctx.run_mutation("main:nested")

    @mutation
    def list_growth(ctx: MutationCtx) -> None:
        mark(ctx)
        found = []
        while True:
            found.append(bytes(100_000))

    @mutation
    def huge_bytes(ctx: MutationCtx) -> int:
        mark(ctx)
        return len(bytes(10**11))

    @mutation
    def huge_text(ctx: MutationCtx, n: int = 10**11) -> int:
        mark(ctx)
        return len("x" * n)

    @mutation
    def huge_number(ctx: MutationCtx) -> int:
        mark(ctx)
        return len(str(10 ** 10 ** 9))

    @mutation
    def exits(ctx: MutationCtx) -> None:
        mark(ctx)
        os._exit(1)

    @mutation
    def leaves(ctx: MutationCtx) -> None:
        mark(ctx)
        sys.exit(0)

    @mutation
    def crashes(ctx: MutationCtx) -> None:
        mark(ctx)
        ctypes.string_at(0)

    @mutation
    def huge_result(ctx: MutationCtx) -> list[str]:
        mark(ctx)
        return ["x" * 1_000_000] * 20

    @mutation
    def huge_log(ctx: MutationCtx) -> None:
        mark(ctx)
        for _ in range(2_000):
            print("x" * 1000)
        raise ApplicationError("enough")

    @mutation
    def many_reads(ctx: MutationCtx) -> None:
        mark(ctx)
        for number in range(10**9):
            ctx.db.query("victims").first()

    @mutation
    def many_writes(ctx: MutationCtx) -> None:
        for number in range(10**9):
            ctx.db.insert("victims", {"x": 1.0})

    @query
    def query_loop(ctx: QueryCtx) -> None:
        while True: pass
"""

TIMEOUT = "Function execution timed out"
CASES = {
    "loop": TIMEOUT,
    "stubborn": TIMEOUT,
    "long_c_call": TIMEOUT,
    "regex": TIMEOUT,
    "scan": "Too many index ranges read|" + TIMEOUT,
    "recursion": "RecursionError",
    "nested": "more than 8 levels deep",
    "list_growth": "used more memory than a function may",
    "huge_bytes": "used more memory than a function may",
    "huge_text": "used more memory than a function may",
    "huge_number": "used more memory than a function may|" + TIMEOUT,
    "exits": "cannot end the process",
    "leaves": "cannot end the process|SystemExit",
    "crashes": "ended its worker process twice",
    "huge_result": "the limit is",
    "huge_log": "enough|" + TIMEOUT,
    "many_reads": "Too many index ranges read|" + TIMEOUT,
    "many_writes": "Too many documents written|" + TIMEOUT,
}


@contextlib.asynccontextmanager
async def serving(folder, data, limits):
    backend = Backend(SqlitePersistence(str(data)), limits=limits)
    backend.use_workers(str(data))
    backend.deploy_now(load_app(folder))
    backend.attach(asyncio.get_running_loop())
    try:
        yield backend
    finally:
        await backend.close()


async def call(backend, kind, name, **args):
    request = CallRequest(kind, f"main:{name}", json.dumps(args).encode(), ANONYMOUS)
    return await asyncio.wait_for(backend.call(request), 30)


class Canaries:
    """Somebody else's mutations, one after the other, and the slowest of them."""

    def __init__(self, backend):
        self.backend = backend
        self.sung = 0
        self.worst_s = 0.0
        self.is_heard = True

    async def sing(self):
        while self.is_heard:
            started = time.perf_counter()
            result = await call(self.backend, "mutation", "canary")
            assert result.ok, result.error_message
            self.worst_s = max(self.worst_s, time.perf_counter() - started)
            self.sung += 1
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("group", range(4))
def test_runaway_functions_end_with_their_error_and_nobody_else_notices(
    write_app, tmp_path, group, record_property
):
    """Each case: its documented error, nothing written, others served meanwhile, the next call
    works."""
    limits = Limits(worker_memory_bytes_max=96 * MiB)
    folder = write_app(main=APP)

    async def story():
        async with serving(folder, tmp_path / "data.sqlite3", limits) as backend:
            await call(backend, "mutation", "canary")
            for name, told in list(CASES.items())[group::4]:
                canaries = Canaries(backend)
                singing = asyncio.create_task(canaries.sing())
                result = await call(backend, "mutation", name)
                canaries.is_heard = False  # no cancellation: `wait_for` may swallow it before 3.12
                await singing
                record_property(f"worst_wait_ms_{name}", round(canaries.worst_s * 1000))
                assert not result.ok, name
                assert re.search(told, result.error_message), (name, result.error_message)
                assert len(result.log_lines) < 2 * MiB
                assert canaries.worst_s < BOUND_S, (name, canaries.worst_s)
                written = await call(backend, "query", "written")
                assert written.ok, (name, written.error_message)
                assert decode(written.value) == 0.0, name
                assert (await call(backend, "mutation", "canary")).ok
                assert backend.state == "ready"

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(story())

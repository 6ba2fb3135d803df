"""Actions run in a process of their own, many at a time, and reach the data through calls."""

import asyncio
import os
import signal

from cupola.values import decode

APP = """
    import asyncio
    import logging
    import os
    import sys
    import time

    @query
    def count(ctx: QueryCtx) -> float:
        return float(ctx.db.query("notes").count())

    @mutation
    def add(ctx: MutationCtx, text: str) -> str:
        return ctx.db.insert("notes", {"text": text})

    @mutation
    def refuse(ctx: MutationCtx) -> None:
        raise ApplicationError({"code": "Full"})

    @internal_query
    def secret(ctx: QueryCtx) -> float:
        return 42.0

    @action
    async def add_some(ctx: ActionCtx, n: int) -> float:
        for number in range(n):
            await ctx.run_mutation(add, text=str(number))
            await asyncio.sleep(0.001)
        return await ctx.run_query("main:count")

    @action
    async def inner(ctx: ActionCtx) -> float:
        return await ctx.run_query(secret)

    @action
    async def outer(ctx: ActionCtx) -> float:
        return 1 + await ctx.run_action(inner)

    @action
    async def waits(ctx: ActionCtx, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "waited"

    @action
    async def blocks(ctx: ActionCtx, seconds: float) -> str:
        time.sleep(seconds)
        return "blocked"

    @action
    async def passes_on(ctx: ActionCtx) -> None:
        await ctx.run_mutation(refuse)

    @action
    async def catches(ctx: ActionCtx) -> dict[str, str]:
        try:
            await ctx.run_mutation(refuse)
        except ApplicationError as error:
            return error.data
        return {}

    @action
    async def unknown(ctx: ActionCtx) -> None:
        await ctx.run_query("main:nothing")

    @action
    async def wrong_kind(ctx: ActionCtx) -> None:
        await ctx.run_mutation("main:count")

    @action
    async def speaks(ctx: ActionCtx) -> None:
        print("printed", 1)
        logging.warning("warned")
        print("lone \\ud800")
        await asyncio.to_thread(print, "from a thread")
        print("a", "b", sep="-", file=sys.stderr)
        logging.log(25, "of a level between")
        try:
            raise ValueError("oh")
        except ValueError:
            logging.exception("went wrong")

    @action
    async def cancelled(ctx: ActionCtx) -> None:
        task = asyncio.create_task(asyncio.sleep(60))
        task.cancel()
        await task

    @action
    async def leaves(ctx: ActionCtx) -> None:
        raise SystemExit(0)

    @action
    async def interrupted(ctx: ActionCtx) -> None:
        raise KeyboardInterrupt

    @action
    async def dies(ctx: ActionCtx) -> None:
        await ctx.run_mutation(add, text="before")
        os._exit(3)

    @action
    async def strange_result(ctx: ActionCtx):
        return {1, 2}

    @action
    async def pid(ctx: ActionCtx) -> float:
        return float(os.getpid())

    @action
    async def bad_arguments(ctx: ActionCtx) -> None:
        await ctx.run_mutation(add, text={1, 2})
"""


def test_many_actions_at_once(serve):
    """They wait together; and queries are answered meanwhile."""

    async def story(server):
        actions = [server.value("action", "main:waits", seconds=0.3) for _ in range(200)]
        waiting = asyncio.gather(*actions)
        assert await server.value("query", "main:count") == 0.0
        assert await waiting == ["waited"] * 200
        assert sum(await asyncio.gather(*[server.value("action", "main:add_some", n=5)] * 1)) == 5.0

    serve(story, main=APP)


def test_an_action_that_blocks_stops_no_query(serve):
    async def story(server):
        blocking = asyncio.ensure_future(server.value("action", "main:blocks", seconds=0.5))
        calls = 0
        while not blocking.done():
            assert await server.value("query", "main:count") == 0.0
            calls += 1
            await asyncio.sleep(0.005)
        assert blocking.result() == "blocked"
        assert calls > 10

    serve(story, main=APP)


def test_actions_call_functions_of_all_kinds(serve):
    """Internal ones too; what a mutation wrote is there for the query after it."""

    async def story(server):
        assert await server.value("action", "main:add_some", n=3) == 3.0
        assert await server.value("action", "main:outer") == 43.0

    serve(story, main=APP)


def test_errors_cross_the_processes_with_their_data(serve):
    async def story(server):
        passed_on = await server.failure("action", "main:passes_on")
        assert passed_on.error_data == b'{"code":"Full"}'
        assert await server.value("action", "main:catches") == {"code": "Full"}
        unknown = await server.failure("action", "main:unknown")
        assert "main:nothing" in unknown.error_message
        wrong = await server.failure("action", "main:wrong_kind")
        assert "main:count" in wrong.error_message
        strange = await server.failure("action", "main:strange_result")
        assert "set" in strange.error_message
        arguments = await server.failure("action", "main:bad_arguments")
        assert "set" in arguments.error_message
        assert await server.value("action", "main:add_some", n=1) == 1.0

    serve(story, main=APP)


def test_an_actions_output_becomes_its_log_lines(serve):
    async def story(server):
        result = await server.call("action", "main:speaks")
        assert result.ok, result.error_message
        lines = decode(result.log_lines)
        assert lines[0] == "[LOG] 'printed' 1"
        assert lines[1].startswith("[WARN]")
        assert "warned" in lines[1]
        assert "from a thread" in lines[3]
        assert lines[4:6] == ["[ERROR] 'a'-'b'", "[INFO] of a level between"]
        assert lines[6].startswith("[ERROR] went wrong\nTraceback")
        assert lines[6].endswith("ValueError: oh")

    serve(story, main=APP)


def test_an_action_that_ends_strangely_is_answered_and_its_worker_goes_on(serve):
    """A task that was cancelled, an exit, an interrupt: none may leave its caller waiting."""

    async def story(server):
        first = await server.value("action", "main:pid")
        for name, told in [
            ("cancelled", "CancelledError"),
            ("leaves", "SystemExit"),
            ("interrupted", "KeyboardInterrupt"),
        ]:
            result = await server.failure("action", f"main:{name}")
            assert told in result.error_message, result.error_message
        assert await server.value("action", "main:pid") == first
        assert server.backend.status()["runningActions"] == 0

    serve(story, main=APP)


def test_a_worker_that_dies_fails_its_actions_and_the_next_starts_another(serve):
    async def story(server):
        pid = int(await server.value("action", "main:pid"))
        waiting = asyncio.ensure_future(server.call("action", "main:waits", seconds=60))
        died = await server.failure("action", "main:dies")
        assert "ended unexpectedly" in died.error_message
        assert "ended unexpectedly" in (await waiting).error_message
        assert await server.value("query", "main:count") == 1.0
        again = int(await server.value("action", "main:pid"))
        assert again != pid
        waiting = asyncio.ensure_future(server.call("action", "main:waits", seconds=60))
        await asyncio.sleep(0.02)
        os.kill(again, signal.SIGKILL)
        assert "ended unexpectedly" in (await waiting).error_message
        assert await server.value("action", "main:add_some", n=1) == 2.0

    serve(story, main=APP)


def test_an_action_of_the_old_code_ends_while_new_ones_run_the_new(serve, write_app):
    async def story(server):
        old = asyncio.ensure_future(server.call("action", "main:waits", seconds=0.5))
        await server.value("action", "main:pid")
        write_app(folder=server.folder, main=APP.replace('return "waited"', 'return "new"'))
        await server.deploy(server.folder)
        assert await server.value("action", "main:waits", seconds=0.0) == "new"
        assert (await old).value == b'"waited"'

    serve(story, main=APP)

"""What a push means for the workers: other code, and no wait for it."""

import asyncio
import os
import signal
from dataclasses import replace

import msgspec
import pytest

from cupola.functions.javascript import PushedCode
from cupola.limits import DEFAULT_LIMITS

from .conftest import Server

pytestmark = pytest.mark.node


@pytest.fixture
def own(code, tmp_path):
    server = Server(code, tmp_path / "data.sqlite3")
    yield server
    server.close()


def with_greeting(code: PushedCode, greeting: str) -> PushedCode:
    bundle = msgspec.structs.replace(code.bundle, environment={"GREETING": greeting})
    return PushedCode(bundle, code.analysis)


def test_the_next_call_runs_the_new_code(own, code):
    assert own.query("messages:environment")[0] == "hello"
    own.backend.use(own.backend.app.with_javascript(with_greeting(code, "bye")))
    assert own.query("messages:environment")[0] == "bye"
    assert own.action("outside:environment")[0] == "bye"


def test_code_that_was_announced_finds_its_worker_ready(own, code):
    own.query("messages:environment")
    app = own.backend.app.with_javascript(with_greeting(code, "bye"))
    pool = own.backend.mutations.offload._pool

    async def announced():
        own.backend.prepare(app)
        _, worker = pool._prepared
        while not worker.process.is_ready:
            await asyncio.sleep(0.001)
        own.backend.use(app)
        return worker

    worker = own.run(announced())

    assert worker in pool._workers and worker.process.is_ready  # it may run a cron job already
    assert own.query("messages:environment")[0] == "bye"


def test_a_worker_for_code_that_never_comes_ends(own, code):
    async def withdrawn():
        own.backend.prepare(own.backend.app.with_javascript(with_greeting(code, "one")))
        pool = own.backend.mutations.offload._pool
        _, worker = pool._prepared
        own.backend.use(own.backend.app.with_javascript(with_greeting(code, "two")))
        return worker

    worker = own.run(withdrawn())

    assert not worker.process.is_open
    assert own.query("messages:environment")[0] == "two"


def test_no_call_is_lost_while_the_code_changes(own, code):
    async def story():
        calls = []
        for number in range(6):
            calls += [
                asyncio.create_task(
                    own.ask("mutation", "messages:send", {"channel": "a", "body": str(number)})
                )
                for _ in range(3)
            ]
            await asyncio.sleep(0)
            own.backend.use(own.backend.app.with_javascript(with_greeting(code, str(number))))
        return await asyncio.gather(*calls)

    results = own.run(story())

    assert all(result.ok for result in results), [r.error_message for r in results]
    assert own.query("messages:count") == 18


def test_a_process_that_waits_for_a_push_loads_its_code(own, code):
    """It was started before there was any; the push waits until it has loaded what comes."""
    app = own.backend.app.with_javascript(with_greeting(code, "bye"))
    pool = own.backend.mutations.offload._pool

    async def pushed():
        own.backend.expect_push()
        blank = pool._blank
        own.backend.prepare(app)
        await own.backend.wait_prepared(app)
        own.backend.use(app)
        return blank

    worker = own.run(pushed())

    assert worker in pool._workers and worker.process.is_ready  # it may run a cron job already
    assert own.query("messages:environment")[0] == "bye"


def test_a_process_that_died_while_it_waited_is_not_waited_for(own, code):
    """Neither by the push nor by the calls after it."""
    app = own.backend.app.with_javascript(with_greeting(code, "bye"))
    pool = own.backend.mutations.offload._pool

    async def pushed():
        own.backend.expect_push()
        blank = pool._blank
        os.kill(blank.process.pid, signal.SIGKILL)
        blank.process.process.wait()  # and no turn of the loop, which would tell
        own.backend.prepare(app)
        await own.backend.wait_prepared(app)
        own.backend.use(app)
        return blank

    assert own.run(pushed()) not in pool._workers
    assert own.query("messages:environment")[0] == "bye"


def test_code_that_cannot_be_loaded_fails_no_call_of_the_code_that_runs(code, tmp_path):
    limits = replace(DEFAULT_LIMITS, transaction_workers_max=1, user_time_s=20.0)
    own = Server(code, tmp_path / "data.sqlite3", limits=limits)
    pool = own.backend.mutations.offload._pool
    broken = msgspec.structs.replace(pool._setup(), sources={"broken.py": b"import nothing_such"})

    async def story():
        calls = [
            asyncio.create_task(own.ask("query", path, {}))
            for path in ("attacks:loop", "messages:all")
        ]
        pool.prepare(broken, "to come")
        _, worker = pool._prepared
        await worker.started.wait()
        paths = pool.paths()
        for call in calls:
            call.cancel()
        return paths

    own.query("messages:count")
    assert own.run(story()) == (["attacks:loop"], ["messages:all"])
    own.close()


def test_a_process_that_waited_for_no_push_ends(own):
    pool = own.backend.mutations.offload._pool

    async def idle():
        own.backend.expect_push()
        blank = pool._blank
        pool._forget_blank()
        return blank

    assert own.run(idle()).process.process.returncode is not None
    assert pool._blank is None


def test_where_actions_run_they_find_their_worker_ready_too(own, code):
    assert own.action("outside:environment")[0] == "hello"
    app = own.backend.app.with_javascript(with_greeting(code, "bye"))

    async def pushed():
        own.backend.prepare(app)
        worker = own.backend.actions._prepared
        own.backend.use(app)
        return worker

    worker = own.run(pushed())

    assert own.action("outside:environment")[0] == "bye"
    assert own.backend.actions._current is worker

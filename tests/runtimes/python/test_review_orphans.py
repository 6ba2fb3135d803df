"""No worker outlives its engine, whatever it is doing."""

import os
import signal
import subprocess
import sys
import textwrap

ENGINE = textwrap.dedent("""
    import asyncio, os, sys
    from cupola.limits import DEFAULT_LIMITS
    from cupola.runtimes.python.messages import Setup, limit_fields
    from cupola.runtimes.python.worker_process import WorkerProcess

    async def main():
        worker = WorkerProcess("spinning", SETUP, asyncio.get_running_loop(), print, lambda: None)
        print(worker.pid, flush=True)
        await asyncio.sleep(60)

    class Nothing: pass
    import cupola.runtimes.python.worker_process as module
    module.frame = lambda message: b"x"
    SETUP = Nothing()
    asyncio.run(main())
""")

SPINNING = textwrap.dedent("""
    import sys
    from cupola.runtimes.python.lifeline import die_with_parent
    die_with_parent(int(sys.argv[2]))
    print("spinning", flush=True)
    while True:
        pass
""")


def test_a_worker_that_never_looks_up_ends_with_its_engine(tmp_path):
    """The engine was killed; nobody is left to end a call that runs for ever."""
    (tmp_path / "spinning.py").write_text(SPINNING)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    engine = subprocess.Popen(
        [sys.executable, "-c", ENGINE], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert engine.stdout is not None
    pid = int(engine.stdout.readline())
    assert engine.stdout.readline() == "spinning\n"
    assert os.getpgid(pid) != os.getpgid(engine.pid)  # Ctrl-C does not reach it
    engine.send_signal(signal.SIGKILL)
    engine.wait()
    assert engine.stdout.read() == ""  # the pipe is closed by its last holder: the worker


def test_without_room_for_a_process_calls_are_told_so(monkeypatch):
    """And neither turns nor counters are upset."""
    import asyncio
    import errno

    from cupola.errors import OperatorError
    from cupola.limits import DEFAULT_LIMITS
    from cupola.runtimes.python import worker_process
    from cupola.runtimes.python.messages import Setup
    from cupola.runtimes.python.worker_pool import Job, WorkerPool

    def no_room(*arguments, **options):
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    async def main():
        monkeypatch.setattr(worker_process.subprocess, "Popen", no_room)
        loop = asyncio.get_running_loop()
        setup = Setup("", {}, "", b"", {}, {})
        pool = WorkerPool(lambda: setup, DEFAULT_LIMITS, loop, lambda: True)
        pool.submit(Job("m:f", lambda: None, outcomes.append))

    outcomes = []
    asyncio.run(main())
    assert isinstance(outcomes[0], OperatorError)


def test_an_app_that_ends_its_workers_at_import_fails_its_calls(monkeypatch):
    """Rather than start another, for ever."""
    import asyncio

    from cupola.limits import DEFAULT_LIMITS
    from cupola.runtimes.python import worker_pool
    from cupola.runtimes.python.messages import Setup, limit_fields
    from cupola.runtimes.python.worker_pool import Job, WorkerPool

    async def main():
        monkeypatch.setattr(worker_pool, "MODULE", "no_such_module")
        setup = Setup("", {}, "", b"", limit_fields(DEFAULT_LIMITS), {})
        loop = asyncio.get_running_loop()
        outcome = loop.create_future()
        pool = WorkerPool(lambda: setup, DEFAULT_LIMITS, loop, lambda: True)
        pool.submit(Job("m:f", lambda: None, outcome.set_result))
        assert (await asyncio.wait_for(outcome, 20)).code == "WorkerCrashed"

        outcomes = []
        for _ in range(5):  # while it rests, nothing is started for those who come
            pool.submit(Job("m:f", lambda: None, outcomes.append))
        assert [error.code for error in outcomes] == ["WorkerCrashed"] * 5
        assert pool._workers == []

        pool.restart()  # other code: it may be tried at once
        pool.submit(Job("m:f", lambda: None, outcomes.append))
        assert len(pool._workers) == 1
        pool.close()

    asyncio.run(main())

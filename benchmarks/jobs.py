"""Scheduled functions per second: how many are scheduled, and how many run, durably.

    python -m benchmarks.jobs [count]

The engine without sockets, on a SQLite file in a temporary folder. Mutations insert one document
each; actions do nothing, in a worker process. A wait is over when the last job's end is durable.
Two rates each: by the clock, and by the CPU time of the engine's process, for machines that are
shared.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from cupola.auth import ANONYMOUS
from cupola.backend import Backend, CallRequest
from cupola.limits import Limits
from cupola.persistence.sqlite import SqlitePersistence

APP = Path(__file__).parent / "jobs_app"
AHEAD = 64


async def call(backend: Backend, **args: object) -> None:
    body = json.dumps(args).encode()
    result = await backend.call(CallRequest("mutation", "jobs:schedule", body, ANONYMOUS))
    assert result.ok, result.error_message


class Rates:
    """How many of something per second, by the clock and by CPU time."""

    def __init__(self) -> None:
        self._started = time.perf_counter(), time.process_time()

    def shown(self, count: int) -> str:
        wall, cpu = self._started
        per_s, per_cpu_s = (
            count / (time.perf_counter() - wall),
            count / (time.process_time() - cpu),
        )
        return f"{per_s:8,.0f} /s, {per_cpu_s:8,.0f} per CPU second"


async def schedule(backend: Backend, count: int, delay: float, function: str) -> str:
    """One job per mutation, some mutations at a time."""
    rates = Rates()
    left = iter(range(count))

    async def client() -> None:
        for _ in left:
            await call(backend, count=1, delay=delay, function=function)

    await asyncio.gather(*(client() for _ in range(AHEAD)))
    return rates.shown(count)


async def run(backend: Backend, count: int, function: str) -> str:
    """So many that are due at once."""
    begun, due = backend.scheduler.begun, time.monotonic() + 5 + count / 2000
    for _ in range(count // 1000):
        await call(backend, count=1000, delay=due - time.monotonic(), function=function)
    assert backend.scheduler.begun == begun, "this machine is too slow for so many"
    while backend.scheduler.begun == begun:
        await asyncio.sleep(0.0005)
    rates = Rates()
    while backend.scheduler.begun < begun + count or backend.scheduler.running:
        await asyncio.sleep(0.001)
    head = backend.node.head_ts
    while backend.newest_durable_ts() < head:
        await asyncio.sleep(0.0005)
    return rates.shown(count)


async def latency(backend: Backend, count: int) -> list[float]:
    """Seconds from the call of a mutation until the job it schedules for now has run."""
    times = []
    for _ in range(count):
        begun, started = backend.scheduler.begun, time.perf_counter()
        await call(backend, count=1, delay=0.0, function="jobs:run")
        while backend.scheduler.begun == begun or backend.scheduler.running:
            await asyncio.sleep(0)
        times.append(time.perf_counter() - started)
    return sorted(times)


async def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "data.sqlite3")
        backend = Backend(SqlitePersistence(path), limits=Limits(in_process_time_s=2.0))
        backend.use_workers(path)
        backend.load(APP)
        backend.attach(asyncio.get_running_loop())
        rate = await schedule(backend, count, 86_400.0, "jobs:run")
        print(f"scheduled, one per mutation: {rate}")
        print(f"mutations run:               {await run(backend, count, 'jobs:run')}")
        actions = max(1000, count // 10 // 1000 * 1000)
        print(f"actions run:                 {await run(backend, actions, 'jobs:act')}")
        times = await latency(backend, 300)
        p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
        print(f"call to end of job, delay 0: p50 {p50 * 1e3:.2f} ms, p99 {p99 * 1e3:.2f} ms")
        await backend.close()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000))

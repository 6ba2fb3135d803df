"""Work of some length on a file of this deployment, in a process of its own.

A worker is a module with a `main`. Each line that it prints is news of how far it is; the last one
is what it has found. Its first argument is the deployment's limits, which it keeps to as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Final

from cupola.clock import Clock, SystemClock
from cupola.limits import Limits
from cupola.values import use_limits

_LINE_BYTES_MAX: Final = 64 * 2**20  # what an import of thousands of tables would do
_NEWS_EVERY_NS: Final = 10**9

News = Callable[[str], Awaitable[None]]


async def run_worker(
    module: str, limits: Limits, *arguments: str, news: News | None = None
) -> bytes | None:
    """Run `python -m module LIMITS arguments` to its end; kill it if the caller is cancelled.

    Returns: the last line it printed; None if it failed, whose words are in the server's log.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        json.dumps(dataclasses.asdict(limits)),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        limit=_LINE_BYTES_MAX,
    )
    assert process.stdout is not None
    last = b""
    try:
        while line := await process.stdout.readline():
            if last and news is not None:
                await news(last.decode().rstrip("\n"))
            last = line
        code = await process.wait()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        raise
    return last.rstrip(b"\n") if code == 0 else None


def worker_arguments() -> list[str]:
    """What a worker was called with, behind the limits, which are in force from now on."""
    limits, *arguments = sys.argv[1:]
    use_limits(Limits(**json.loads(limits)))
    return arguments


class Progress:
    """A worker's news: some text, printed no more than once a second."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._next_ns = 0

    def tell(self, text: Callable[[], str]) -> None:
        now_ns = self._clock.monotonic_ns()
        if now_ns >= self._next_ns:
            self._next_ns = now_ns + _NEWS_EVERY_NS
            print(text(), flush=True)

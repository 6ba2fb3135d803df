"""What a bench needs of the system it measures, whichever that is."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from benchmarks.measure import Profiler

Args = Mapping[str, Any]
OnResult = Callable[[bytes], None]

ALL_BENCHES = frozenset({"b1", "b2", "b3", "b4", "b5", "b5ws", "b6", "b7", "b8"})


class PeerUnavailableError(Exception):
    """The peer cannot run on this machine; the message says what to install."""


class Client(Protocol):
    """One user's connection. The functions and their arguments are those of `benchmarks/app`."""

    @property
    def received_bytes(self) -> int:
        """Payload bytes received over the live connection so far."""

    async def subscribe(self, function: str, args: Args, on_result: OnResult) -> None:
        """Call `on_result` with the raw payload of each result; returns after the first."""

    async def mutate(self, function: str, args: Args) -> None:
        """Returns when the server has acknowledged."""

    async def query(self, function: str, args: Args) -> bytes:
        """One read over HTTP."""

    async def query_live(self, function: str, args: Args) -> None:
        """One read over the live connection: drops the query read before, asks the next."""

    async def close(self) -> None: ...


class Peer(Protocol):
    """A system under measurement: how to start it, and how to connect a user."""

    name: str
    durability: str
    notes: str
    benches: frozenset[str]
    clients_max: Mapping[str, int]
    """The largest size of a bench that finishes within minutes; absent: any."""
    pids: list[int]
    profiler: Profiler | None

    async def start(self, *, fresh: bool = True, wait: bool = True) -> None:
        """Start the server. `fresh`: without data; `wait`: return when it answers."""

    async def stop(self) -> None: ...

    async def connect(self) -> Client: ...


async def wait_answering(peer: Peer, process: subprocess.Popen[bytes], limit_s: float = 30) -> None:
    """Return once the server answers a query.

    Raises:
        RuntimeError: The process ended, or did not answer in time.
    """
    deadline = time.perf_counter() + limit_s
    while process.poll() is None and time.perf_counter() < deadline:
        try:
            client = await peer.connect()
            await client.query("messages:list", {"channel": "up"})
            await client.close()
            return
        except Exception:  # refused, reset, half an answer: not up yet, whatever the form
            await asyncio.sleep(0.02)
    raise RuntimeError(f"{peer.name} did not answer in {limit_s} s (exit code {process.poll()})")


def stop_process(process: subprocess.Popen[bytes] | None) -> None:
    if process is None:
        return
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

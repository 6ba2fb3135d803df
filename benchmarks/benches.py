"""The eight benches. Each takes a running peer and returns its figures.

Payloads are searched for a marker as raw bytes: the load generator never parses a result.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from benchmarks.measure import Meter, latency, memory_mib
from benchmarks.peers import Client, Peer

Figures = dict[str, Any]
now = time.perf_counter

BODY = "x" * 100
_markers = itertools.count(1)


def new_marker() -> str:
    """A text that occurs in no other message."""
    return f"mk{os.getpid()}x{next(_markers):07d}z"


class Watch:
    """Waits until a marker has been seen by all of `n` subscribers, each counted once."""

    def __init__(self) -> None:
        self._marker = b"\0never"
        self._seen: set[int] = set()
        self._missing = 0
        self._all: asyncio.Future[float] | None = None
        self.first_at = 0.0

    def expect(self, marker: str, n: int) -> asyncio.Future[float]:
        """Resolves to the time at which the last subscriber saw the marker."""
        self._marker, self._missing, self._seen = marker.encode(), n, set()
        self._all = asyncio.get_running_loop().create_future()
        return self._all

    def subscriber(self, i: int) -> Callable[[bytes], None]:
        def on_result(payload: bytes) -> None:
            if self._marker not in payload or i in self._seen:
                return
            at = now()
            if not self._seen:
                self.first_at = at
            self._seen.add(i)
            self._missing -= 1
            if self._missing == 0 and self._all and not self._all.done():
                self._all.set_result(at)

        return on_result


async def many(n: int, make: Callable[[int], Awaitable[Any]], *, at_a_time: int = 64) -> list[Any]:
    """`[await make(0), ..., await make(n - 1)]`, `at_a_time` of them concurrently."""
    results: list[Any] = [None] * n
    indexes = iter(range(n))

    async def work() -> None:
        for i in indexes:
            results[i] = await make(i)

    await asyncio.gather(*[work() for _ in range(min(at_a_time, n))])
    return results


async def close_all(clients: Sequence[Client]) -> None:
    await many(len(clients), lambda i: clients[i].close(), at_a_time=128)


async def _connect_subscribed(peer: Peer, channel: str, watch: Watch, i: int) -> Client:
    client = await peer.connect()
    await client.subscribe("messages:list", {"channel": channel}, watch.subscriber(i))
    return client


async def b1(peer: Peer, writes: int = 400, warm_up: int = 50) -> Figures:
    """One writer, one subscriber: from a write issued to its sight on the other side."""
    channel, watch = f"b1-{new_marker()}", Watch()
    writer = await peer.connect()
    await writer.mutate("messages:seed", {"channel": channel, "count": 50, "body": BODY})
    reader = await _connect_subscribed(peer, channel, watch, 0)
    seen: list[float] = []
    both: list[float] = []

    async def write_once() -> None:
        marker = new_marker()
        arrival, start = watch.expect(marker, 1), now()
        args = {"channel": channel, "body": marker + BODY}
        acknowledged = asyncio.ensure_future(writer.mutate("messages:send", args))
        seen.append(await asyncio.wait_for(arrival, 10) - start)
        await acknowledged
        both.append(now() - start)

    for _ in range(warm_up):
        await write_once()
    seen.clear(), both.clear()
    with Meter(peer) as meter:
        for _ in range(writes):
            await write_once()
    await close_all([writer, reader])
    return {"latency": latency(seen), "acknowledged_too": latency(both), "noise": meter.noise()}


async def b2(peer: Peer, n: int = 1000, writes: int = 0) -> Figures:
    """One channel with `n` subscribers: what each delivery of a change costs."""
    writes = writes or (100 if n <= 100 else 30 if n <= 1000 else 10)
    channel, watch = f"b2-{new_marker()}", Watch()
    writer = await peer.connect()
    await writer.mutate("messages:seed", {"channel": channel, "count": 50, "body": BODY})
    start = now()
    readers = await many(n, lambda i: _connect_subscribed(peer, channel, watch, i))
    setup_s = now() - start
    received = sum(reader.received_bytes for reader in readers)
    to_all, to_first = [], []
    with Meter(peer) as meter:
        for _ in range(writes):
            marker = new_marker()
            arrival, start = watch.expect(marker, n), now()
            await writer.mutate("messages:send", {"channel": channel, "body": marker + BODY})
            to_all.append(await asyncio.wait_for(arrival, 60) - start)
            to_first.append(watch.first_at - start)
    received = sum(reader.received_bytes for reader in readers) - received
    figures = {
        "setup_s": round(setup_s, 2),
        "all_have_it": latency(to_all),
        "first_has_it": latency(to_first),
        "deliveries_per_s": round(n / (latency(to_all)["p50_ms"] / 1e3)),
        "server_cpu_us_per_delivery": round(meter.server_cpu_s / writes / n * 1e6, 1),
        "bytes_per_delivery": round(received / writes / n),
        "server_mem_mib": memory_mib(peer.pids),
        "noise": meter.noise(),
    }
    await close_all([*readers, writer])
    return figures


async def b3(peer: Peer, n: int = 1000, writes: int = 2000, warm_up: int = 50) -> Figures:
    """`n` channels with a subscriber each: what a write costs, however many others are live."""
    tag, watch, chosen = new_marker(), Watch(), random.Random(1)
    writer = await peer.connect()
    memory_before, start = memory_mib(peer.pids), now()
    readers = await many(n, lambda i: _connect_subscribed(peer, f"b3-{tag}-{i}", watch, i))
    setup_s, memory_after = now() - start, memory_mib(peer.pids)
    delays: list[float] = []

    async def write_once() -> None:
        marker = new_marker()
        arrival, start = watch.expect(marker, 1), now()
        args = {"channel": f"b3-{tag}-{chosen.randrange(n)}", "body": marker + BODY}
        await writer.mutate("messages:send", args)
        delays.append(await asyncio.wait_for(arrival, 20) - start)

    for _ in range(warm_up):
        await write_once()
    delays.clear()
    limit = now() + 20  # a peer that needs tens of milliseconds per write makes fewer of them
    with Meter(peer) as meter:
        while len(delays) < writes and now() < limit:
            await write_once()
    await close_all([*readers, writer])
    return {
        "setup_s": round(setup_s, 2),
        "latency": latency(delays),
        "server_cpu_ms_per_write": round(meter.server_cpu_s / len(delays) * 1e3, 3),
        "server_mem_mib": memory_after,
        "kib_per_subscription": round((memory_after - memory_before) * 1024 / n, 1),
        "noise": meter.noise(),
    }


async def _hammer(
    peer: Peer,
    clients: Sequence[Client],
    seconds: float,
    call: Callable[[int, int], Awaitable[Any]],
) -> Figures:
    """Each client calls again as soon as it is answered; `call(client number, call number)`."""
    delays: list[float] = []
    errors: list[str] = []

    async def work(i: int) -> None:
        for j in itertools.count():
            start = now()
            if start > end:
                return
            try:
                await call(i, j)
                delays.append(now() - start)
            except Exception as error:  # counted and shown: a bench with errors is no result
                errors.append(repr(error)[:200])

    with Meter(peer) as meter:
        end = now() + seconds
        await asyncio.gather(*[work(i) for i in range(len(clients))])
    return {
        "per_s": round(len(delays) / meter.wall_s),
        "per_server_cpu_s": meter.per_cpu_second(len(delays)),
        "errors": len(errors),
        "error_sample": errors[:1],
        "latency": latency(delays) if delays else None,
        "noise": meter.noise(),
    }


async def b4(peer: Peer, clients: int = 32, seconds: float = 4) -> Figures:
    """Read, modify, write: on a counter per client, and all on one."""
    users = await many(clients, lambda i: peer.connect())
    tag, figures = new_marker(), {}
    names = {
        "uncontended": [f"{tag}-{i}" for i in range(clients)],
        "contended": [f"{tag}-one"] * clients,
    }
    for kind, name in names.items():
        for one in dict.fromkeys(name):
            await users[0].mutate("counters:increment", {"name": one})
        figures[kind] = await _hammer(
            peer,
            users,
            seconds,
            lambda i, j, name=name: users[i].mutate("counters:increment", {"name": name[i]}),
        )
    await close_all(users)
    return figures


async def b5(peer: Peer, clients: int = 32, seconds: float = 4, channels: int = 500) -> Figures:
    """Reads of the last fifty messages: of one channel and of many, by HTTP and by WebSocket."""
    users = await many(clients, lambda i: peer.connect())
    tag = new_marker()

    async def seed(i: int) -> None:
        args = {"channel": f"{tag}-{i}", "count": 50, "body": BODY}
        await users[i % clients].mutate("messages:seed", args)

    def channel(i: int, j: int) -> dict[str, str]:
        return {"channel": f"{tag}-{(i * 7919 + j * 31) % channels}"}

    await many(channels, seed, at_a_time=8)
    one = {"channel": f"{tag}-0"}
    calls: dict[str, Callable[[int, int], Awaitable[Any]]] = {
        "identical": lambda i, j: users[i].query("messages:list", one),
        "distinct": lambda i, j: users[i].query("messages:list", channel(i, j)),
    }
    if "b5ws" in peer.benches:
        calls |= {
            "live_identical": lambda i, j: users[i].query_live("messages:list", one),
            "live_distinct": lambda i, j: users[i].query_live("messages:list", channel(i, j)),
        }
    figures = {kind: await _hammer(peer, users, seconds, call) for kind, call in calls.items()}
    await close_all(users)
    return figures


async def b6(peer: Peer, updates: int = 100) -> Figures:
    """One document of a live result of a hundred changes: what crosses the wire for it."""
    figures: Figures = {}
    for size in (100, 1000):
        group, watch = f"b6-{new_marker()}", Watch()
        writer, reader = await peer.connect(), await peer.connect()
        await writer.mutate("docs:seed", {"group": group, "count": 100, "size": size})
        await reader.subscribe("docs:list", {"group": group}, watch.subscriber(0))
        first, delays = reader.received_bytes, []
        with Meter(peer) as meter:
            for i in range(updates):
                marker = new_marker()
                args = {"group": group, "i": (i * 37) % 100, "body": marker.ljust(size, "y")}
                arrival, start = watch.expect(marker, 1), now()
                await writer.mutate("docs:touch", args)
                delays.append(await asyncio.wait_for(arrival, 10) - start)
        figures[f"100x{size}B"] = {
            "first_result_bytes": first,
            "bytes_per_update": round((reader.received_bytes - first) / updates),
            "latency": latency(delays),
            "noise": meter.noise(),
        }
        await close_all([writer, reader])
    return figures


async def b7(peer: Peer, n: int = 100_000, batch: int = 200, limit_s: float = 300) -> Figures:
    """`n` documents, then index ranges of a hundred at random places."""
    users = await many(8, lambda i: peer.connect())
    memory_before, start, done = memory_mib(peer.pids), now(), 0

    async def insert(i: int) -> None:
        nonlocal done
        if now() - start < limit_s:
            args = {"start": i * batch, "count": batch, "body": BODY}
            await users[i % len(users)].mutate("items:insertMany", args)
            done += batch

    with Meter(peer) as inserting:
        await many(n // batch, insert, at_a_time=len(users))
    chosen, delays = random.Random(2), []
    with Meter(peer) as meter:
        for _ in range(1000):
            args = {"lo": chosen.randrange(max(1, done - 100)), "n": 100}
            asked = now()
            await users[0].query("items:range", args)
            delays.append(now() - asked)
    figures = {
        "documents": done,
        "asked": n,
        "insert_docs_per_s": round(done / inserting.wall_s),
        "insert_docs_per_server_cpu_s": inserting.per_cpu_second(done),
        "range100": latency(delays),
        "server_mem_mib_before": memory_before,
        "server_mem_mib": memory_mib(peer.pids),
        "noise": meter.noise(),
    }
    await close_all(users)
    return figures


async def b8(peer: Peer) -> Figures:
    """Restart on the same data: process start to first answer, first calls, and memory at rest."""
    await peer.stop()
    start = now()
    await peer.start(fresh=False, wait=False)
    client = await _first_answered(peer, start + 60)
    started_s, calls = now() - start, []
    for _ in range(3):
        called = now()
        await client.mutate("counters:increment", {"name": "b8"})
        calls.append(round((now() - called) * 1e3, 3))
    await client.close()
    await asyncio.sleep(1)  # at rest: what it does once after the start is done
    return {
        "start_to_first_query_ms": round(started_s * 1e3, 1),
        "mutation_calls_ms": calls,
        "idle_mem_mib": memory_mib(peer.pids),
    }


async def _first_answered(peer: Peer, deadline: float) -> Client:
    while True:
        try:
            client = await peer.connect()
            await client.query("messages:list", {"channel": "b8"})
            return client
        except Exception:  # not up yet, in whatever form; the deadline ends it
            if now() > deadline:
                raise
            await asyncio.sleep(0.005)


Bench = Callable[..., Awaitable[Figures]]
BENCHES: dict[str, Bench] = {
    "b1": b1,
    "b2": b2,
    "b3": b3,
    "b4": b4,
    "b5": b5,
    "b6": b6,
    "b7": b7,
    "b8": b8,
}
SIZES: dict[str, dict[str, list[int]]] = {
    "quick": {"b2": [100], "b3": [100, 1000], "b7": [20_000]},
    "usual": {"b2": [100, 1000, 5000], "b3": [100, 1000, 10_000], "b7": [100_000]},
    "full": {"b2": [100, 1000, 5000], "b3": [100, 1000, 5000, 10_000], "b7": [1_000_000]},
}

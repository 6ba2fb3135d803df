"""What is measured: latency, CPU and memory of the whole process tree, and the machine's noise."""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import psutil

LOADGEN_BOUND = 0.85  # of a core: above it, the generator and not the server sets the pace


class Measured(Protocol):
    """What a Meter needs of a peer: its root processes, and who profiles them, if anyone."""

    pids: list[int]
    profiler: Profiler | None


class Profiler(Protocol):
    def start(self) -> None: ...

    def stop(self) -> None: ...


def process_tree(pids: Iterable[int]) -> list[psutil.Process]:
    """The processes and all their descendants, as far as they still live."""
    found: dict[int, psutil.Process] = {}
    for pid in pids:
        try:
            root = psutil.Process(pid)
            for process in (root, *root.children(recursive=True)):
                found[process.pid] = process
        except psutil.Error:
            continue
    return list(found.values())


def cpu_seconds(pids: Iterable[int]) -> tuple[float, float]:
    """Seconds in user and in kernel mode of the process trees."""
    user = system = 0.0
    for process in process_tree(pids):
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        user += times.user
        system += times.system
    return user, system


def memory_mib(pids: Iterable[int]) -> float:
    """Proportional set size of the process trees: shared pages are counted once."""
    total = 0
    for process in process_tree(pids):
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return round(total / 2**20, 1)


def _machine_busy_seconds() -> float:
    times = psutil.cpu_times()
    return sum(getattr(times, name) for name in ("user", "nice", "system", "irq", "softirq"))


class Meter:
    """Wraps the part of a bench that counts: `with Meter(peer) as meter: ...`."""

    def __init__(self, peer: Measured) -> None:
        self._peer = peer

    def __enter__(self) -> Self:
        if self._peer.profiler:
            self._peer.profiler.start()
        self._server = cpu_seconds(self._peer.pids)
        self._generator = sum(psutil.Process().cpu_times()[:2])
        self._machine = _machine_busy_seconds()
        self._start = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.wall_s = time.perf_counter() - self._start
        user, system = cpu_seconds(self._peer.pids)
        self.server_user_s = user - self._server[0]
        self.server_kernel_s = system - self._server[1]
        self.server_cpu_s = self.server_user_s + self.server_kernel_s
        self._generator_s = sum(psutil.Process().cpu_times()[:2]) - self._generator
        busy = _machine_busy_seconds() - self._machine
        self._other_s = max(0.0, busy - self.server_cpu_s - self._generator_s)
        if self._peer.profiler:
            self._peer.profiler.stop()

    def noise(self) -> dict[str, Any]:
        """Cores used by the server, the generator and everything else, while it counted."""
        generator = self._generator_s / self.wall_s
        kernel = self.server_kernel_s / self.server_cpu_s if self.server_cpu_s else 0.0
        return {
            "wall_s": round(self.wall_s, 2),
            "server_cpu_cores": round(self.server_cpu_s / self.wall_s, 3),
            "server_kernel_share": round(kernel, 2),
            "loadgen_cpu_cores": round(generator, 2),
            "other_cpu_cores": round(self._other_s / self.wall_s, 2),
            "loadgen_bound": generator > LOADGEN_BOUND,
        }

    def per_cpu_second(self, count: int) -> int | None:
        return round(count / self.server_cpu_s) if self.server_cpu_s else None


def percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(percent / 100 * (len(ordered) - 1)))]


def latency(seconds: Sequence[float]) -> dict[str, float]:
    """Percentiles in milliseconds."""
    values = [second * 1e3 for second in seconds]
    return {
        "n": len(values),
        "p50_ms": round(percentile(values, 50), 3),
        "p90_ms": round(percentile(values, 90), 3),
        "p99_ms": round(percentile(values, 99), 3),
        "max_ms": round(max(values), 2),
        "mean_ms": round(statistics.fmean(values), 3),
    }


def fdatasync_us(folder: Path) -> int:
    """Median of a hundred durable appends of 4 KiB in the folder the servers write to."""
    spent = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for i in range(100):
            os.pwrite(file.fileno(), b"x" * 4096, 4096 * i)
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            spent.append((time.perf_counter() - start) * 1e6)
    return round(statistics.median(spent))


async def wait_quiet(limit_s: float, level_cores: float = 0.25) -> float:
    """Wait, at most `limit_s`, until the machine is quiet; the cores that were in use last."""
    deadline = time.perf_counter() + limit_s
    while True:
        busy, start = _machine_busy_seconds(), time.perf_counter()
        await asyncio.sleep(0.7)
        used = (_machine_busy_seconds() - busy) / (time.perf_counter() - start)
        if used < level_cores or time.perf_counter() > deadline:
            return round(used, 2)

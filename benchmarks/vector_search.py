"""Vector searches: time, recall against brute force, and memory.

    python -m benchmarks.vector_search [count]

The engine without sockets, on a SQLite file in a temporary folder, with its vector worker. Vectors
of 256 dimensions around 200 centres, as embeddings have. "engine" is a search as an action's
syscall asks for it, until its answer leaves; "action" is a Python action that does nothing else,
from call to result. Brute force is numpy's product of float64.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import uvloop

from cupola.auth import ANONYMOUS
from cupola.backend import Backend, CallRequest
from cupola.backend.calls import CallResult
from cupola.backend.vector_workers import VectorWorkers
from cupola.limits import Limits
from cupola.persistence.sqlite import SqlitePersistence
from cupola.runtimes.vector_worker import SAVED

APP = Path(__file__).parent / "vectors_app"
DIMENSIONS, LIMIT, SEARCHES = 256, 64, 200


def shown(times: list[float]) -> str:
    times = sorted(times)
    p50, p95 = times[len(times) // 2], times[len(times) * 95 // 100]
    return f"p50 {p50 * 1e3:6.2f} ms, p95 {p95 * 1e3:6.2f} ms"


async def ask(backend: Backend, plot: list[float], expressions: Any = None) -> list[str]:
    query = {"indexName": "movies.by_plot", "vector": plot, "limit": LIMIT}
    found: asyncio.Future[CallResult] = asyncio.get_running_loop().create_future()
    asked = msgspec.json.encode({**query, "expressions": expressions})
    backend.vectors.submit(asked, found.set_result)
    result = await found
    assert result.value is not None, result.error_message
    return [match["_id"] for match in json.loads(result.value)["results"]]


async def call(backend: Backend, kind: Any, path: str, args: Any) -> bytes:
    result = await backend.call(CallRequest(kind, path, msgspec.json.encode(args), ANONYMOUS))
    assert result.value is not None, result.error_message
    return result.value


def equal(field: str, value: float) -> dict[str, Any]:
    return {"$eq": [{"$field": field}, {"$literal": value}]}


class Bench:
    """A deployment filled with `count` vectors, and the plain answers."""

    def __init__(self, backend: Backend, count: int) -> None:
        generator = np.random.default_rng(4711)
        centres = generator.standard_normal((200, DIMENSIONS))

        def near(many: int) -> Any:
            noise = 0.7 * generator.standard_normal((many, DIMENSIONS))
            return centres[generator.integers(0, 200, many)] + noise

        self.backend = backend
        self.vectors = near(count)
        self.asked = near(SEARCHES)
        self.ids: list[str] = []

    async def fill(self) -> None:
        started, many = time.perf_counter(), 100
        for start in range(0, len(self.vectors), many):
            plots = self.vectors[start : start + many].tolist()
            await call(self.backend, "mutation", "movies:add", {"start": start, "plots": plots})
        print(f"written: {len(self.vectors) / (time.perf_counter() - started):,.0f} documents/s")

    async def start(self, saved: Path | None) -> None:
        """A new worker, from what another saved, or from the documents if that is taken away."""
        vectors = self.backend.vectors
        assert isinstance(vectors, VectorWorkers)
        vectors.close()
        if saved is not None:
            shutil.rmtree(saved, ignore_errors=True)
        started = time.perf_counter()
        await ask(self.backend, self.asked[0].tolist())
        source = "the documents" if saved is not None else "what was saved"
        print(f"first answer of a new worker, from {source}: {time.perf_counter() - started:.2f} s")
        worker = vectors._worker
        assert worker is not None
        per_vector, resident = vectors.size_bytes / len(self.vectors), worker.memory_bytes()
        print(f"memory: {per_vector:,.0f} B per vector, {resident / 2**20:,.0f} MiB the worker")

    async def search(self, name: str, expressions: Any, among: Any) -> None:
        directions = self.vectors / np.linalg.norm(self.vectors, axis=1)[:, None]
        rows = np.flatnonzero(among)
        times, recall = [], 0.0
        for asked in self.asked:
            plot = asked.tolist()
            started = time.perf_counter()
            found = await ask(self.backend, plot, expressions)
            times.append(time.perf_counter() - started)
            best = rows[np.argsort(-(directions[rows] @ asked))[:LIMIT]]
            wanted = {self.ids[row] for row in best}
            recall += len(wanted & set(found)) / len(wanted) / len(self.asked)
        print(f"{name:28} {shown(times)}, recall {recall:.4f}")

    async def actions(self) -> None:
        times = []
        for asked in self.asked:
            started = time.perf_counter()
            await call(self.backend, "action", "movies:nearest", {"plot": asked.tolist()})
            times.append(time.perf_counter() - started)
        print(f"{'action':28} {shown(times)}")

    def read_ids(self) -> None:
        """Ids by number, to compare with."""
        backend = self.backend
        primary = backend.node.committer.catalog.by_name["movies"].primary.number
        found: dict[int, str] = {}
        start = b""
        reader = backend.node.persistence.reader
        while rows := reader.scan(primary, start, None, descending=False, limit=1000):
            for _, _, body in rows:
                document = json.loads(body)
                found[int(document["number"])] = document["_id"]
            start = rows[-1][0] + b"\0"
        self.ids = [found[number] for number in range(len(found))]


async def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "data.sqlite3")
        limits = Limits(in_process_time_s=5.0, vector_search_time_s=600.0)
        backend = Backend(SqlitePersistence(path), limits=limits)
        backend.use_workers(path)
        backend.load(APP)
        backend.attach(asyncio.get_running_loop())
        bench = Bench(backend, count)
        await bench.fill()
        bench.read_ids()
        saved = Path(path + SAVED)
        await bench.start(saved)
        while not list(saved.glob("*.vectors")):
            await asyncio.sleep(0.01)
        await bench.start(None)
        numbers = np.arange(count)
        tenth = {"$or": [equal("genre", genre) for genre in range(10)]}
        half = {"$or": [equal("genre", genre) for genre in range(50)]}
        await bench.search("engine, all", None, numbers >= 0)
        await bench.search("engine, half by a filter", half, numbers % 100 < 50)
        await bench.search("engine, a tenth by a filter", tenth, numbers % 100 < 10)
        await bench.search("engine, a hundredth", equal("genre", 7), numbers % 100 == 7)
        await bench.actions()
        await backend.close()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000))

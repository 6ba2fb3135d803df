"""Text searches: time from call to result, and what indexing costs.

    python -m benchmarks.text_search [--rows 100000]

The engine without sockets, on a SQLite file in a temporary folder, with its text worker. Texts of 5
to 50 words out of 30,000, the nth of them 1/n as often as the first. Queries take the ten best;
each is asked once, so none comes from the cache. "While writing" is with 20 texts more before each.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from cupola.auth import ANONYMOUS
from cupola.backend import Backend, CallRequest
from cupola.limits import Limits
from cupola.persistence.sqlite import SqlitePersistence

APP = Path(__file__).parent / "text_app"
VOCABULARY, SEARCHES, LIMIT = 30_000, 300, 10


class Texts:
    """Words as a language has them: a few are everywhere, most are rare."""

    def __init__(self) -> None:
        self._random = random.Random(4711)
        letters = "abcdefghijklmnopqrstuvwxyz"
        self.words = [
            "".join(self._random.choices(letters, k=self._random.randint(3, 9)))
            for _ in range(VOCABULARY)
        ]
        self._weights = list(itertools.accumulate(1 / n for n in range(1, VOCABULARY + 1)))

    def text(self, low: int, high: int) -> str:
        count = self._random.randint(low, high)
        return " ".join(self._random.choices(self.words, cum_weights=self._weights, k=count))

    def beginning(self) -> str:
        """What somebody has typed so far."""
        return f"{self.text(0, 2)} {self.text(1, 1)[: self._random.randint(1, 4)]}"

    def common(self) -> str:
        return " ".join(self._random.sample(self.words[:20], 3))


def shown(times: list[float]) -> str:
    times = sorted(times)
    p50, p95 = times[len(times) // 2], times[len(times) * 95 // 100]
    return f"p50 {p50 * 1e3:6.2f} ms, p95 {p95 * 1e3:6.2f} ms, longest {times[-1] * 1e3:6.2f} ms"


async def call(backend: Backend, kind: Any, path: str, args: Any) -> bytes:
    result = await backend.call(CallRequest(kind, path, msgspec.json.encode(args), ANONYMOUS))
    assert result.value is not None, result.error_message
    return result.value


async def fill(backend: Backend, texts: Texts, rows: int) -> None:
    started = time.perf_counter()
    for start in range(0, rows, 500):
        bodies = [texts.text(5, 50) for _ in range(min(500, rows - start))]
        await call(backend, "mutation", "notes:add", {"start": start, "bodies": bodies})
    written = time.perf_counter()
    await until_indexed(backend)
    print(f"written: {rows / (written - started):,.0f} documents/s", end="; ")
    print(f"in the index {time.perf_counter() - written:.1f} s later")


async def until_indexed(backend: Backend) -> None:
    texts = backend.workers.texts
    assert texts is not None
    newest = backend.node.persistence.reader.newest_version()
    while not texts._kept or min(each.version for each in texts._kept.values()) < newest:
        await asyncio.sleep(0.05)


async def search(backend: Backend, name: str, asked: list[dict[str, Any]], texts: Texts) -> None:
    times, found = [], 0
    for args in asked:
        if name.endswith("while writing"):
            bodies = [texts.text(5, 50) for _ in range(20)]
            await call(backend, "mutation", "notes:add", {"start": 0, "bodies": bodies})
        started = time.perf_counter()
        value = await call(backend, "query", "notes:search", {"n": LIMIT, **args})
        times.append(time.perf_counter() - started)
        found += len(msgspec.json.decode(value))
    print(f"{name:34} {shown(times)}, {found / len(asked):.1f} found")


async def main(rows: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "data.sqlite3")
        limits = Limits(in_process_time_s=1.0)
        backend = Backend(SqlitePersistence(file, limits), limits=limits)
        backend.use_workers(file)
        backend.load(APP)
        backend.attach(asyncio.get_running_loop())
        texts = Texts()
        await fill(backend, texts, rows)
        one_to_three = [{"text": texts.text(1, 3)} for _ in range(SEARCHES)]
        await search(backend, "1 to 3 words", one_to_three, texts)
        typed = [{"text": texts.beginning()} for _ in range(SEARCHES)]
        await search(backend, "while somebody types", typed, texts)
        filtered = [{"text": texts.text(1, 3), "room": f"room {n % 100}"} for n in range(SEARCHES)]
        await search(backend, "1 to 3 words, one filter", filtered, texts)
        common = [{"text": texts.common(), "n": LIMIT + n % 7} for n in range(100)]
        await search(backend, "three of the 20 commonest words", common, texts)
        again = [{"text": texts.text(1, 3)} for _ in range(SEARCHES)]
        await search(backend, "1 to 3 words, while writing", again, texts)
        worker = backend.workers.texts._worker if backend.workers.texts is not None else None
        size = sum(each.stat().st_size for each in Path(file + "-text").rglob("*"))
        memory = worker.memory_bytes() / 2**20 if worker is not None else 0.0
        print(f"files: {size / rows:,.0f} B per document; memory of the worker {memory:,.0f} MiB")
        await backend.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    uvloop.run(main(parser.parse_args().rows))

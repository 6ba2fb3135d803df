"""The engine's side of vector searches: bounds, durability, and a worker that fails."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from cupola.auth import ANONYMOUS
from cupola.backend import Backend, CallRequest
from cupola.backend import vector_workers as engine_side
from cupola.backend.calls import CallResult
from cupola.backend.vector_workers import VectorWorkers
from cupola.errors import CupolaError
from cupola.functions.app import load_app
from cupola.persistence import MemoryPersistence

from .serving import serving

MOVIES = """
class Movie(Table, name="movies", indexes={"by_plot": VectorIndex("plot", dimensions=2)}):
    plot: list[float]

@mutation
def add(ctx: MutationCtx, plot: list[float]) -> str:
    return ctx.db.insert(Movie(plot=plot))

@query
def count(ctx: QueryCtx) -> int:
    return len(ctx.db.query(Movie).collect())
"""
SEARCH = json.dumps({"indexName": "movies.by_plot", "vector": [1.0, 0.0]}).encode()


async def add(backend: Backend, *plot: float) -> str:
    args = json.dumps({"plot": plot}).encode()
    result = await backend.call(CallRequest("mutation", "movies:add", args, ANONYMOUS))
    assert result.value is not None
    return str(json.loads(result.value))


def ask(backend: Backend) -> asyncio.Future[CallResult]:
    found: asyncio.Future[CallResult] = asyncio.get_running_loop().create_future()
    backend.vectors.submit(SEARCH, found.set_result)
    return found


async def search(backend: Backend) -> list[str]:
    result = await ask(backend)
    assert result.value is not None, result.error_message
    return [match["_id"] for match in json.loads(result.value)["results"]]


@pytest.fixture
def run(tmp_path: Path, write_app: Callable[..., Path]) -> Callable[..., None]:
    """Runs a story with a deployment."""
    app = write_app(movies=MOVIES)

    def run(story: Callable[[Backend], Awaitable[None]], **limits: Any) -> None:
        async def all_of_it() -> None:
            async with serving(tmp_path, app, **limits) as backend:
                await story(backend)

        asyncio.run(all_of_it())

    return run


def test_searches_under_way_are_bounded(run: Callable[..., None]) -> None:
    """One more is refused with an error that names the bound; those under way are answered."""

    async def story(backend: Backend) -> None:
        movie = await add(backend, 1.0, 1.0)
        asked = [ask(backend) for _ in range(3)]
        with pytest.raises(CupolaError, match="vector_searches_waiting_max") as raised:
            ask(backend)
        assert raised.value.code == "TooManyVectorSearches"
        for each in asked:
            result = await each
            assert result.value is not None and movie.encode() in result.value
        assert await search(backend) == [movie]

    run(story, vector_searches_waiting_max=3)


def test_no_snapshot_is_opened_while_the_log_has_to_shrink(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else readers that overlap keep the write-ahead log growing."""

    async def story(backend: Backend) -> None:
        movie = await add(backend, 1.0, 1.0)
        assert await search(backend) == [movie]
        held = [True]
        monkeypatch.setattr(
            type(backend.node.persistence), "holding_snapshots", lambda self: held[0]
        )
        asked = ask(backend)
        vectors = backend.vectors
        assert isinstance(vectors, VectorWorkers)
        assert len(vectors._unsent) == 1
        vectors._send_all()
        assert len(vectors._unsent) == 1
        held[0] = False
        assert (await asked).ok

    run(story)


def test_a_worker_that_cannot_live_fails_searches_and_nothing_else(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Typed errors, and after a few tries no more of them for a while; calls and pushes go on."""
    monkeypatch.setattr(engine_side, "MODULE", "cupola.runtimes.no_such_module")

    async def story(backend: Backend) -> None:
        await add(backend, 1.0, 1.0)
        vectors = backend.vectors
        assert isinstance(vectors, VectorWorkers)
        while vectors._failed_starts < 3:  # a busy machine may be too slow to start one in time
            result = await ask(backend)
            assert isinstance(result.error, CupolaError)
            assert result.error.code == "VectorIndexesUnavailable"
        with pytest.raises(CupolaError, match="again and again"):
            ask(backend)
        index = backend.node.committer.catalog.by_name["movies"].searches["by_plot"]
        assert backend.vectors.is_built(index), "a push does not wait for ever"
        counted = await backend.call(CallRequest("query", "movies:count", b"{}", ANONYMOUS))
        assert counted.value == b"1.0"

    run(story)


def test_an_index_of_a_push_is_built_before_it_is_used(
    run: Callable[..., None], write_app: Callable[..., Path]
) -> None:
    """Documents of before are found by the first search after the push."""

    async def story(backend: Backend) -> None:
        ids = [await add(backend, 1.0, float(n)) for n in range(600)]
        more = MOVIES.replace(
            "dimensions=2)",
            'dimensions=2), "again": VectorIndex("plot", dimensions=2, filters=["plot"])',
        )
        pushed: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        backend.deploy(load_app(write_app(movies=more)), pushed.set_result)
        assert await pushed is None

        vectors = backend.vectors
        assert isinstance(vectors, VectorWorkers)
        index = backend.node.committer.catalog.by_name["movies"].searches["again"]
        assert vectors.is_built(index) and vectors.progress(index) == (600, 600)
        assert (await search(backend))[0] == ids[0]
        assert vectors.size_bytes > 600 * 8

    run(story)


def test_a_staged_index_is_built_though_nobody_waits(
    run: Callable[..., None], write_app: Callable[..., Path]
) -> None:
    """So that the push which enables it later is done at once."""

    async def story(backend: Backend) -> None:
        await add(backend, 1.0, 1.0)
        staged = '"again": VectorIndex("plot", dimensions=2, filters=["plot"], staged=True)'
        more = MOVIES.replace("dimensions=2)", f"dimensions=2), {staged}")
        pushed: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        backend.deploy(load_app(write_app(movies=more)), pushed.set_result)
        assert await pushed is None
        index = backend.node.committer.catalog.by_name["movies"].searches["again"]
        async with asyncio.timeout(20):
            while backend.vectors.progress(index) != (1, 1):
                await asyncio.sleep(0.01)
        assert index.state == "staged" and backend.vectors.is_built(index)

    run(story)


def test_an_idle_worker_ends_and_the_next_search_starts_another(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_side, "_IDLE_S", 0.3)

    async def story(backend: Backend) -> None:
        movie = await add(backend, 1.0, 1.0)
        assert await search(backend) == [movie]
        vectors = backend.vectors
        assert isinstance(vectors, VectorWorkers)
        async with asyncio.timeout(20):
            while vectors._worker is not None:
                await asyncio.sleep(0.02)
        assert vectors.size_bytes == 0
        assert await search(backend) == [movie]

    run(story)


def test_what_a_search_shows_is_durable_before_it_is_told(write_app: Callable[..., Path]) -> None:
    """A power cut must not take back what an action has seen."""

    async def story() -> None:
        persistence = MemoryPersistence()
        backend = Backend(persistence)
        backend.load(write_app(movies=MOVIES))
        backend.attach(asyncio.get_running_loop())
        await add(backend, 1.0, 1.0)
        persistence.delay_durability()
        adding = asyncio.ensure_future(add(backend, 1.0, 0.0))
        async with asyncio.timeout(20):
            while not len(backend.node.outbox):
                await asyncio.sleep(0)
        asked = ask(backend)
        await asyncio.sleep(0)
        assert not asked.done() and not adding.done()

        persistence.release_durability()
        backend.wake()

        result = await asked
        assert result.value is not None
        assert json.loads(result.value)["results"][0]["_id"] == await adding
        await backend.close()

    asyncio.run(story())


def test_who_does_not_search_vectors_does_not_load_numpy() -> None:
    """A fifth of a second and 20 MB that only the vector worker needs."""
    script = "import sys, cupola.cli.serve, cupola.server.serve, cupola.backend.vector_workers"
    loaded = "assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", f"{script}; {loaded}"], check=True)


def test_a_server_with_many_connections_can_start_a_worker(run: Callable[..., None]) -> None:
    """Its end of the socket then has a number that `select` does not know."""

    async def story(backend: Backend) -> None:
        movie = await add(backend, 1.0, 1.0)
        assert await search(backend) == [movie]

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        while stack.enter_context(open(os.devnull)).fileno() < 1100:
            pass
        run(story)

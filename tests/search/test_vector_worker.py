"""The vector worker of a real server: started when needed, killed, and never behind."""

from __future__ import annotations

import http.client
import json
import os
import random
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ..served import Server, until
from .vector_world import similarity

KILLS = int(os.environ.get("CUPOLA_TEST_KILLS", "4"))

MOVIES = """
import json
from collections.abc import Sequence
from typing import Any
from cupola import ActionCtx, HttpCtx, MutationCtx, QueryCtx, Request, Response, Table, VectorIndex
from cupola import action, http_action, mutation, query

class Movie(Table, name="movies", indexes={
    "by_plot": VectorIndex("plot", dimensions=4, filters=["genre"]),
    "by_name": ["name"],
}):
    name: str
    plot: list[float]
    genre: str

@mutation
def put(ctx: MutationCtx, name: str, plot: list[float], genre: str) -> None:
    old = ctx.db.query(Movie).with_index("by_name", name=name).first()
    if old is None:
        ctx.db.insert(Movie(name=name, plot=plot, genre=genre))
    else:
        ctx.db.patch(old._id, plot=plot, genre=genre)

@mutation
def fill(ctx: MutationCtx, start: int, count: int) -> None:
    for n in range(start, start + count):
        ctx.db.insert(Movie(name=f"m{n}", plot=[1.0, n / 1000, 0.0, 0.0], genre="filled"))

@mutation
def remove(ctx: MutationCtx, name: str) -> None:
    old = ctx.db.query(Movie).with_index("by_name", name=name).first()
    if old is not None:
        ctx.db.delete(old._id)

@query
def all(ctx: QueryCtx) -> Sequence[Movie]:
    return ctx.db.query(Movie).collect()

@action
async def nearest(ctx: ActionCtx, plot: list[float], genre: str | None = None) -> Any:
    filter = (lambda q: q.eq("genre", genre)) if genre else None
    return await ctx.vector_search(Movie, "by_plot", plot, limit=256, filter=filter)

@action
async def put_and_find(ctx: ActionCtx, name: str, plot: list[float]) -> Any:
    await ctx.run_mutation(put, name=name, plot=plot, genre="new")
    return await ctx.vector_search("movies", "by_plot", plot, limit=1)

@http_action("GET", "/first")
async def first(ctx: HttpCtx, request: Request) -> Response:
    found = await ctx.vector_search(Movie, "by_plot", [1.0, 0.0, 0.0, 0.0], limit=1)
    return Response(json.dumps(found))
"""


@pytest.fixture
def server(write_app: Callable[..., Path]) -> Iterator[Server]:
    server = Server(write_app(movies=MOVIES))
    yield server
    server.kill()


def check(server: Server, plot: list[float], genre: str | None = None) -> int:
    """A search, while nobody writes, finds what all documents say. Returns how many they are."""
    documents = server.call("query", "movies:all")
    expected = {
        each["_id"]: similarity(each["plot"], plot)
        for each in documents
        if genre in (None, each["genre"])
    }
    found = server.call("action", "movies:nearest", plot=plot, genre=genre)
    scores = {match["_id"]: match["_score"] for match in found}
    assert len(scores) == min(256, len(expected))
    assert scores == pytest.approx({name: expected[name] for name in scores}, abs=1e-5)
    left_out = [score for name, score in expected.items() if name not in scores]
    assert not left_out or max(left_out) <= min(scores.values()) + 1e-5
    return len(documents)


def test_a_search_sees_every_commit_before_it(server: Server) -> None:
    """Also that of the same action a moment ago: the index has no lag that anyone could see."""
    for n in range(30):
        plot = [1.0, float(n), 0.5, 0.0]
        (found,) = server.call("action", "movies:put_and_find", name=f"movie {n}", plot=plot)
        assert found["_score"] == pytest.approx(1.0)
    check(server, [1.0, 1.0, 1.0, 1.0], "new")
    with urllib.request.urlopen(f"{server.url}/http/first") as response:
        (first,) = json.load(response)
    assert first["_score"] == pytest.approx(similarity([1.0, 0.0, 0.5, 0.0], [1.0, 0.0, 0.0, 0.0]))


def test_a_killed_worker_is_started_again_by_the_next_search(server: Server) -> None:
    """What was asked of it fails with a typed error, or is asked of the next; all else goes on."""
    server.call("mutation", "movies:fill", start=0, count=300)
    check(server, [1.0, 0.2, 0.0, 0.0])
    worker = server.vector_worker()
    assert worker is not None
    worker.kill()
    until(lambda: server.vector_worker() is None)

    server.call("mutation", "movies:put", name="m3", plot=[0.0, 0.0, 0.0, 1.0], genre="late")

    check(server, [0.0, 0.0, 0.1, 1.0], "late")
    again = server.vector_worker()
    assert again is not None and again.pid != worker.pid


def test_a_worker_that_hangs_fails_searches_and_nothing_else(tmp_path: Path) -> None:
    """The searches get a typed error in time; then it is ended, and the next search is answered."""
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "movies.py").write_text(MOVIES)
    server = Server(tmp_path, "--limit", "vector_search_time_s=1")
    try:
        plot = [1.0, 0.0, 0.0, 0.0]
        until(lambda: server.try_call("action", "movies:nearest", plot=plot)["status"] == "success")
        worker = server.vector_worker()
        assert worker is not None
        worker.suspend()
        answer = server.try_call("action", "movies:nearest", plot=[1.0, 0.0, 0.0, 0.0])
        assert "did not answer in time" in answer["errorMessage"]
        server.call("mutation", "movies:put", name="a", plot=[1.0, 0.0, 0.0, 0.0], genre="b")
        until(lambda: not worker.is_running())

        until(lambda: server.try_call("action", "movies:nearest", plot=plot)["status"] == "success")
        assert check(server, [1.0, 0.0, 0.0, 0.0]) == 1
    finally:
        server.kill()


@pytest.mark.timeout(60 + 60 * KILLS)
def test_after_kill_9_a_search_finds_what_the_database_holds(server: Server) -> None:
    """Whatever was saved, half saved or not saved of the index: the log knows."""
    chance = random.Random(4711)
    server.call("mutation", "movies:fill", start=0, count=1500)  # enough to be saved
    check(server, [1.0, 0.5, 0.0, 0.0])
    until(lambda: list(server.data.glob("data.sqlite3-vectors/*.vectors")))
    for _ in range(KILLS):
        writers = [threading.Thread(target=_write, args=(server, chance.random())) for _ in "ab"]
        for writer in writers:
            writer.start()
        server.call("action", "movies:nearest", plot=[1.0, 0.0, 0.0, 0.0])
        threading.Event().wait(chance.random())
        server.kill()
        for writer in writers:
            writer.join()
        server.start()

        plot = [chance.uniform(-1, 1) for _ in range(4)]
        assert check(server, plot) > 1000
        check(server, plot, "written")


def _write(server: Server, seed: float) -> None:
    """Until the server is gone."""
    chance = random.Random(seed)
    try:
        while True:
            name = f"m{chance.randrange(1500)}"
            plot: Any = [chance.uniform(-1, 1) for _ in range(4)]
            if chance.random() < 0.2:
                server.try_call("mutation", "movies:remove", name=name)
            else:
                server.try_call("mutation", "movies:put", name=name, plot=plot, genre="written")
    except (OSError, ValueError, http.client.HTTPException):
        return

"""The text worker of a real server: it follows the log, and may die at any moment."""

from __future__ import annotations

import json
import os
import random
import shutil
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tantivy

from cupola.search.text_files import Position, TextWriter

from ..served import Server, until

KILLS = int(os.environ.get("CUPOLA_TEST_KILLS", "4"))

NOTES = """
import re
from typing import Any
from cupola import Id, MutationCtx, QueryCtx, Table, TextIndex, mutation, query

class Note(Table, name="notes", indexes={"search_body": TextIndex("body", filters=["author"])}):
    body: str
    author: str

@mutation
def add(ctx: MutationCtx, bodies: list[str], author: str = "ada") -> list[str]:
    return [ctx.db.insert(Note(body=body, author=author)) for body in bodies]

@mutation
def change(ctx: MutationCtx, old: str, new: str) -> None:
    for note in ctx.db.query(Note).filter(lambda note: note.body == old).collect():
        ctx.db.patch(note._id, body=new)

@mutation
def remove(ctx: MutationCtx, body: str) -> None:
    for note in ctx.db.query(Note).filter(lambda note: note.body == body).collect():
        ctx.db.delete(note._id)

@query
def all(ctx: QueryCtx) -> list[str]:
    return sorted(note.body for note in ctx.db.query(Note).collect())

@query
def search(ctx: QueryCtx, text: str) -> list[str]:
    found = ctx.db.query(Note).with_search_index("search_body", body=text).collect()
    return sorted(note.body for note in found)

@query
def search_in_worker(ctx: QueryCtx, text: str) -> list[str]:
    re.search(r"(a|aa)+$", text)  # may take long inside C: this runs in a worker
    return search.handler(ctx, text)

@mutation
def add_and_search_in_worker(ctx: MutationCtx, body: str) -> list[str]:
    re.search(r"(a|aa)+$", body)
    ctx.db.insert(Note(body=body, author="ada"))
    found = ctx.db.query(Note).with_search_index("search_body", body="late").collect()
    return sorted((note.body for note in found), reverse=True)
"""


@pytest.fixture
def server(write_app: Callable[..., Path]) -> Iterator[Server]:
    server = Server(write_app(notes=NOTES))
    yield server
    server.kill()


def check(server: Server, word: str) -> int:
    """A search finds just what all documents say. Returns how many."""
    expected = [body for body in server.call("query", "notes:all") if word in body.split()]
    assert server.call("query", "notes:search", text=word) == expected
    return len(expected)


def documents_in_files(server: Server) -> int:
    """Without the one that says how far the files are; -1 while there are none."""
    (folder,) = [*server.data.glob("*-text/*"), None][:1]
    try:
        return tantivy.Index.open(str(folder)).searcher().num_docs - 1
    except ValueError:
        return -1


def add(server: Server, word: str, count: int) -> None:
    server.call("mutation", "notes:add", bodies=[f"{word} number{n}" for n in range(count)])


def test_the_files_follow_the_log(server: Server) -> None:
    add(server, "note", 300)
    assert check(server, "note") == 300
    until(lambda: documents_in_files(server) == 300)
    assert check(server, "note") == 300
    server.call("mutation", "notes:change", old="note number7", new="done")
    server.call("mutation", "notes:remove", body="note number8")
    assert check(server, "note") == 298
    assert check(server, "done") == 1


def test_a_transaction_worker_searches_like_the_engine(server: Server) -> None:
    """It reads the files itself, and keeps what came after them itself."""
    add(server, "early", 50)
    until(lambda: documents_in_files(server) == 50)
    for _ in range(3):
        add(server, "late", 1)
        for word in ("early", "late", "number"):
            expected = server.call("query", "notes:search", text=word)
            assert server.call("query", "notes:search_in_worker", text=word) == expected
    found = server.call("mutation", "notes:add_and_search_in_worker", body="late indeed")
    assert found == [*["late number0"] * 3, "late indeed"]


def test_the_index_is_built_before_its_code_serves(server: Server) -> None:
    """A restart with a new index on data that was there before."""
    add(server, "note", 700)
    server.kill()
    module = server.app / "functions" / "notes.py"
    module.write_text(NOTES.replace('filters=["author"]', "filters=[]"))
    server.start()
    assert check(server, "note") == 700
    until(lambda: len(list(server.data.glob("*-text/*"))) == 1)  # the old one goes
    assert documents_in_files(server) == 700


def test_a_server_starts_though_its_index_cannot_be_written(server: Server) -> None:
    """Only searches fail, until the files can be written."""
    add(server, "note", 3)
    server.kill()
    shutil.rmtree(next(server.data.glob("*-text")))
    blocked = server.data / "data.sqlite3-text"
    blocked.write_text("no folder")
    module = server.app / "functions" / "notes.py"
    module.write_text(NOTES.replace('filters=["author"]', "filters=[]"))
    server.start()
    add(server, "note", 1)
    assert len(server.call("query", "notes:all")) == 4
    blocked.unlink()
    add(server, "note", 1)
    until(lambda: documents_in_files(server) == 5)
    assert check(server, "note") == 5


def test_a_killed_worker_is_started_again(server: Server) -> None:
    """Searches do not notice."""
    add(server, "note", 20)
    until(lambda: documents_in_files(server) == 20)
    for round_ in range(1, 3):
        worker = server.text_worker()
        assert worker is not None
        worker.kill()
        add(server, "note", 20)
        assert check(server, "note") == 20 * (round_ + 1)
        until(lambda: documents_in_files(server) == 20 * (round_ + 1))  # noqa: B023


@pytest.mark.parametrize("harm", ["gone", "damaged", "of another log"])
def test_files_that_cannot_be_used_are_built_anew(server: Server, harm: str) -> None:
    """Until then searches, and nothing else, may fail with a typed error."""
    add(server, "note", 100)
    until(lambda: documents_in_files(server) == 100)
    worker = server.text_worker()
    assert worker is not None
    server.kill()
    worker.wait()
    (folder,) = server.data.glob("*-text/*")
    if harm == "gone":
        shutil.rmtree(folder)
    elif harm == "damaged":
        for file in folder.iterdir():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    else:
        shutil.rmtree(folder)
        writer = TextWriter(folder)
        writer.commit(Position(100, 1))
        writer.close()
    server.start()
    add(server, "note", 1)

    def is_found() -> bool:
        try:
            answer = server.try_call("query", "notes:search", text="note")
        except urllib.error.HTTPError as error:
            assert json.load(error)["code"] == "SearchIndexesUnavailable"
            return False
        assert answer["status"] == "success"
        return True

    until(is_found)
    assert check(server, "note") == 101
    until(lambda: documents_in_files(server) == 101)
    assert check(server, "note") == 101


def test_kill_after_kill_searches_find_what_is_there(server: Server) -> None:
    """The server and its workers are killed in the midst of writing and indexing."""
    random_ = random.Random(os.environ.get("CUPOLA_TEST_SEED", "1"))
    for kill in range(KILLS):
        for step in range(random_.randrange(3, 12)):
            match random_.randrange(4):
                case 0:
                    server.call("mutation", "notes:remove", body=f"word number{step}")
                case 1:
                    server.call(
                        "mutation", "notes:change", old=f"word number{step}", new=f"other {kill}"
                    )
                case _:
                    add(server, "word", random_.randrange(1, 60))
            if random_.random() < 0.3:
                check(server, "word")
        server.kill()
        server.start()
        assert check(server, "word") >= 0
        check(server, "other")

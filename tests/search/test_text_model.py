"""Text searches against a model that looks at every document: the same ones, in a sane order."""

from __future__ import annotations

import itertools
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cupola.clock import ManualClock
from cupola.database.committer import Committer
from cupola.database.load import load_catalog
from cupola.database.ranges import EVERYTHING
from cupola.database.schema_push import SchemaPush
from cupola.database.text_keys import words_of
from cupola.database.transaction import Transaction
from cupola.database.writes import IdSource
from cupola.limits import Limits
from cupola.persistence import CommitRecord, Persistence, Snapshot
from cupola.persistence.sqlite import SqlitePersistence
from cupola.schema import ANY, SchemaDefinition, TableDefinition, TextIndexDefinition
from cupola.search.text_indexer import TextIndexer
from cupola.search.text_indexes import TextIndexes
from cupola.search.text_query import text_query
from cupola.search.text_search import TextScan

WORDS = ["fox", "foxes", "hare", "über"]
LIMITS = Limits()

texts = st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join)
documents = st.fixed_dictionaries(
    {"body": st.one_of(texts, texts, st.none()), "author": st.sampled_from(["ada", "bob"])}
)
searches = st.tuples(
    st.lists(st.sampled_from([*WORDS, "f", "ha", "none"]), min_size=1, max_size=3),
    st.sampled_from([None, None, "ada", "eve"]),
)
which = st.integers(0, 3)
steps = st.one_of(
    st.tuples(st.just("insert"), documents),
    st.tuples(st.just("patch"), which, documents),
    st.tuples(st.just("delete"), which),
    st.tuples(st.just("index"), st.integers(1, 3)),
    st.tuples(st.just("own writes"), which, documents),
    st.tuples(st.just("roll back"), documents),
    st.tuples(st.just("pin")),
)


class World:
    """A log, files that follow it some way behind, and two processes' ways of searching."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(seed=1)
        self.log: Persistence = SqlitePersistence(str(folder / "data.sqlite3"), LIMITS)
        self.committer = Committer(self.log, load_catalog(self.log.reader), self.clock)
        self.root = folder / "text"
        index = TextIndexDefinition("search", "body", ("author",))
        schema = SchemaDefinition.of([TableDefinition("notes", ANY, searches=(index,))])
        push = SchemaPush(schema, self.committer, self.log, self.clock, lambda published: None)
        for _ in push.steps():
            pass
        self.indexer = TextIndexer(self.root)
        newest = lambda read: read(self.log.reader)  # noqa: E731
        self.engine = TextIndexes(LIMITS, self.root, newest, lambda: self.log.head_ts)
        self.worker = TextIndexes(LIMITS, self.root, newest)
        self.memory = TextIndexes(LIMITS, None, None, lambda: self.log.head_ts)
        self.ids: list[str] = []
        self.pinned: Snapshot | None = None
        self._seeds = 0

    def transaction(self, reader: Any = None) -> Transaction:
        self._seeds += 1
        self.clock.advance(0.001)
        return Transaction(
            reader or self.log.reader,
            self.committer.group_catalog,
            self.log.head_ts,
            ids=IdSource(self._seeds.to_bytes(16, "big"), self.clock.now_ns()),
            creation_time=self.committer.next_creation_time(),
        )

    def write(self, work: Callable[[Transaction], Any]) -> Any:
        transaction = self.transaction()
        result = work(transaction)
        self.committer.begin_group()
        self._apply(transaction)
        self.committer.append_group()
        return result

    def _apply(self, transaction: Transaction) -> None:
        record = CommitRecord(function="test")
        time = transaction.creation_time
        self.committer.apply(transaction.writes(), record, creation_time=time)

    # ---------------------------------------------------------------- what a test does

    def insert(self, fields: dict[str, Any]) -> None:
        self.ids.append(self.write(lambda t: t.insert("notes", fields)))

    def patch(self, which: int, fields: dict[str, Any]) -> None:
        if self.ids:
            self.write(lambda t: t.patch(self.ids[which % len(self.ids)], fields))

    def delete(self, which: int) -> None:
        if self.ids:
            self.write(lambda t: t.delete(self.ids.pop(which % len(self.ids))))

    def index(self, slices: int) -> None:
        self.log.wait_durable()
        for _ in range(slices):
            self.indexer.step(self.log.reader, self.log.durable_ts)

    def pin(self) -> None:
        if self.pinned is not None:
            self.pinned.close()
        self.pinned = self.log.open_snapshot()

    def roll_back(self, fields: dict[str, Any], search: Any) -> None:
        """A group in which others see what is then undone."""
        transaction = self.transaction()
        transaction.insert("notes", fields)
        self.committer.begin_group()
        self._apply(transaction)
        self.check(self.transaction(), search, in_group=True)
        self.committer.abandon_group()
        self.check(self.transaction(), search)

    def search_beside_own_writes(self, which: int, fields: dict[str, Any], search: Any) -> None:
        transaction = self.transaction()
        transaction.insert("notes", fields)
        self.check(transaction, search)
        if self.ids:
            transaction.patch(self.ids[which % len(self.ids)], fields)
            self.check(transaction, search)
            transaction.delete(self.ids[(which + 1) % len(self.ids)])
            self.check(transaction, search)

    # ---------------------------------------------------------------- what must hold

    def check(self, transaction: Transaction, search: Any, *, in_group: bool = False) -> None:
        """Each way of searching finds what a look at every document finds."""
        words, author = search
        table = transaction.table("notes")
        assert table is not None
        rows = transaction.scan(table.index("by_creation_time"), EVERYTHING)
        stored = [document.value for _, document in rows]
        expected = {d["_id"] for d in stored if matches(d, words, author)}
        for indexes in (self.engine, self.memory, *(() if in_group else (self.worker,))):
            found = self.find(indexes, transaction, words, author)
            assert [d["_id"] for d in found if d["_id"] not in expected] == []
            assert {d["_id"] for d in found} == expected and len(found) == len(expected)
            for body in {d["body"] for d in found}:
                times = [d["_creationTime"] for d in found if d["body"] == body]
                assert times == sorted(times, reverse=True), "the newest of equals comes first"
            first = self.find(indexes, transaction, words, author, 2)
            assert [d["_id"] for d in first] == [d["_id"] for d in found[:2]]

    def check_order(self, search: Any) -> None:
        """Where everything is in memory, relevance is BM25 over all documents."""
        words, author = search
        transaction = self.transaction()
        table = transaction.table("notes")
        assert table is not None
        rows = transaction.scan(table.index("by_creation_time"), EVERYTHING)
        bodies = [words_in(document.value) for _, document in rows]
        memory = TextIndexes(LIMITS)
        found = self.find(memory, transaction, words, author)
        scores = [naive_score(words_in(d), words, [b for b in bodies if b]) for d in found]
        assert all(a >= b - 1e-3 for a, b in itertools.pairwise(scores)), scores

    def find(
        self,
        indexes: TextIndexes,
        transaction: Transaction,
        words: list[str],
        author: str | None,
        count: int | None = None,
    ) -> list[Any]:
        table = transaction.table("notes")
        assert table is not None
        index = table.text_index("search")
        filters = [] if author is None else [("author", author)]
        query = text_query("notes", index, [("body", " ".join(words))], filters, LIMITS)
        scan = TextScan(indexes, transaction, table, index, query, LIMITS, count)
        return [row.value for row in itertools.islice(scan, count)]

    def close(self) -> None:
        if self.pinned is not None:
            self.pinned.close()
        self.indexer.close()
        self.log.close()


def words_in(document: Any) -> list[str]:
    body = document["body"]
    return body.split() if isinstance(body, str) else []


def matches(document: Any, words: list[str], author: str | None) -> bool:
    has = words_in(document)
    return author in (None, document["author"]) and any(
        word in words or word.startswith(words[-1]) for word in has
    )


def naive_score(body: list[str], words: list[str], bodies: list[list[str]]) -> float:
    """BM25, and the rarity of the last word's beginning."""

    def rarity(having: int) -> float:
        return math.log(1 + (len(bodies) - having + 0.5) / (having + 0.5))

    average = sum(map(len, bodies)) / len(bodies)
    score = 0.0
    for word in set(words):
        count = body.count(word)
        norm = 1.2 * (1 - 0.75 + 0.75 * len(body) / average)
        score += rarity(sum(word in b for b in bodies)) * 2.2 * count / (count + norm)
    if any(word.startswith(words[-1]) for word in body):
        score += rarity(sum(any(w.startswith(words[-1]) for w in b) for b in bodies))
    return score


@pytest.fixture(scope="module")
def files_folder() -> Iterator[Path]:
    """In memory where there is such a folder: hundreds of indexes are made."""
    shared = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=shared if shared.is_dir() else None))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(steps, searches), min_size=15, max_size=40))
def test_a_search_finds_what_a_look_at_every_document_finds(
    files_folder: Path, history: list[Any]
) -> None:
    """However far the files are behind: at the head, at an older snapshot, beside own writes, in
    an open group and after it was undone.
    """
    world = World(Path(tempfile.mkdtemp(dir=files_folder)))
    try:
        for step, search in history:
            match step:
                case ("insert", fields):
                    world.insert(fields)
                case ("patch", which, fields):
                    world.patch(which, fields)
                case ("delete", which):
                    world.delete(which)
                case ("index", slices):
                    world.index(slices)
                case ("own writes", which, fields):
                    world.search_beside_own_writes(which, fields, search)
                case ("roll back", fields):
                    world.roll_back(fields, search)
                case ("pin",):
                    world.pin()
            for each in (search, (["fox"], None)):
                world.check(world.transaction(), each)
                if world.pinned is not None:
                    world.check(world.transaction(world.pinned), each)
            world.check_order(search)
    finally:
        world.close()


def test_a_snapshot_older_than_the_files_is_searched_as_it_is(files_folder: Path) -> None:
    """Neither what the files learned since shows, nor what was written since they were made."""
    world = World(Path(tempfile.mkdtemp(dir=files_folder)))
    search = (["fox"], None)
    for _ in range(3):
        world.insert({"body": "fox", "author": "ada"})
    world.pin()
    world.patch(0, {"body": "hare", "author": "ada"})
    world.index(3)
    world.patch(1, {"body": "hare", "author": "ada"})
    world.insert({"body": "fox", "author": "bob"})
    world.check(world.transaction(), search)
    assert world.pinned is not None
    world.check(world.transaction(world.pinned), search)
    assert len(world.find(world.engine, world.transaction(world.pinned), ["fox"], None)) == 3
    world.close()


@given(st.text())
def test_words_are_short_lowercase_runs_of_letters_and_digits(text: str) -> None:
    for word in words_of(text):
        assert 0 < len(word) <= 32
        assert word == word.lower() or not text.isascii()
        assert not set(word) & set(" .,!?_-\n\t")
    assert words_of(text + " ") == words_of(text)
    assert [*words_of(text), "fox"] == words_of(text + " FOX")

"""How the files of text indexes follow the log."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cupola.database.schema_push import SchemaPush
from cupola.database.transaction import Transaction
from cupola.schema import ANY, SchemaDefinition, TableDefinition, TextIndexDefinition
from cupola.search import text_indexer
from cupola.search.text_files import TextReader, TextWriter
from cupola.search.text_indexer import Progress, TextIndexer
from cupola.search.text_indexes import TextIndexes
from cupola.search.text_query import TextQuery
from cupola.search.text_search import TextScan
from cupola.values import qualified

from .test_text_model import LIMITS, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


def fox(world: World) -> str:
    world.insert({"body": "fox", "author": "ada"})
    return world.ids[-1]


def files(world: World) -> list[Path]:
    return sorted(world.root.iterdir())


def progress(world: World) -> Progress:
    (found,) = world.indexer.progress().values()
    return found


def test_files_never_hold_what_a_power_cut_could_take_back(world: World) -> None:
    fox(world)
    world.index(3)
    synced_ts, version = world.log.head_ts, world.log.reader.newest_version()
    fox(world)
    while not world.indexer.step(world.log.reader, synced_ts):
        pass
    assert TextReader(files(world)[0]).view.position == (version, synced_ts)
    assert len(world.find(world.engine, world.transaction(), ["fox"], None)) == 2
    world.index(1)
    assert progress(world).version == version + 1


def test_a_new_index_waits_for_the_log_to_be_synced(world: World) -> None:
    """It was read at the head, so it stands for nothing before."""
    before = world.log.head_ts
    fox(world)
    for _ in range(4):
        world.indexer.step(world.log.reader, before)
    assert not progress(world).is_built
    world.index(1)
    assert progress(world) == Progress(True, world.log.reader.newest_version(), 1, 1)


def test_what_is_written_while_an_index_is_built_is_in_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_indexer, "_SLICE", 2)
    for _ in range(5):
        fox(world)
    world.index(1)
    world.patch(0, {"body": "hare", "author": "ada"})
    world.delete(1)
    world.patch(2, {"body": "hare", "author": "ada"})
    fox(world)
    world.index(10)
    view, table = TextReader(files(world)[0]).view, world.transaction().table("notes")
    assert table is not None
    for word, count in (("fox", 3), ("hare", 2)):
        found = view.best(table.number, TextQuery((word,), word, ()), 1.0, 100)
        assert len(found.candidates) == count
    world.check(world.transaction(), (["fox"], None))


def test_an_index_is_built_though_much_is_written_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has work until it knows all that is synced, however much it has not committed yet."""
    monkeypatch.setattr(text_indexer, "_SLICE", 2)
    monkeypatch.setattr(text_indexer, "_UNCOMMITTED_MAX", 4)
    for _ in range(20):
        fox(world)
    world.index(1)
    for number in range(20):
        world.patch(number, {"body": "hare", "author": "ada"})
    world.log.wait_durable()
    while not world.indexer.step(world.log.reader, world.log.durable_ts):
        pass
    assert progress(world) == Progress(True, world.log.reader.newest_version(), 20, 20)
    world.check(world.transaction(), (["hare"], None))


def test_an_index_of_a_quiet_table_keeps_up_with_the_log(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a search would have to look through all that was written to other tables."""
    monkeypatch.setattr(text_indexer, "_IDLE_VERSIONS_MAX", 5)
    fox(world)
    world.index(3)
    version = progress(world).version
    for number in range(4):  # and the table itself
        world.write(lambda t, n=number: t.insert("others", {"n": float(n)}))
    world.index(1)
    assert progress(world).version == version
    world.write(lambda t: t.insert("others", {"n": 5.0}))
    world.index(1)
    assert progress(world).version == world.log.reader.newest_version()
    world.check(world.transaction(), (["fox"], None))


@pytest.mark.parametrize(("equal", "others"), [(200, 100), (100, 700), (600, 100)])
def test_the_first_ones_are_the_first_of_all(world: World, equal: int, others: int) -> None:
    """Pages are positions in one order, however many are asked for: of equally relevant documents
    the newest come first, though all newer ones be less relevant.
    """
    for body, count in (("fox hare", equal // 2), ("fox", equal), ("fox hare hare hare", others)):
        fields = {"body": body, "author": "ada"}
        world.write(lambda t, f=fields, n=count: [t.insert("notes", f) for _ in range(n)])
    while not world.indexer.step(world.log.reader, world.log.head_ts):
        pass
    world.log.wait_durable()
    transaction = world.transaction()
    every = world.find(world.engine, transaction, ["fox"], None)
    assert len(every) == equal // 2 + equal + others
    for count in (1, 2, 20, 60, 101, equal, equal + 3):
        assert world.find(world.engine, transaction, ["fox"], None, count) == every[:count], count


def test_an_index_that_is_dropped_leaves_nothing(world: World) -> None:
    fox(world)
    world.index(3)
    (old,) = files(world)
    for searches in ((TextIndexDefinition("search", "author"),), ()):
        schema = SchemaDefinition.of([TableDefinition("notes", ANY, searches=searches)])
        push = SchemaPush(schema, world.committer, world.log, world.clock, lambda published: None)
        for _ in push.steps():
            pass
        world.index(3)
        assert not old.exists()
        assert world.root.exists() is bool(searches)


@pytest.mark.parametrize("component", ["", "shop"])
def test_a_table_gets_another_number(world: World, component: str) -> None:
    """As an import gives it one: what the table had before is gone, what comes has other ids."""
    name = qualified(component, "goods")
    table = TableDefinition(name, ANY, searches=(TextIndexDefinition("search", "body"),))
    schema = SchemaDefinition.of([table])
    push = SchemaPush(schema, world.committer, world.log, world.clock, lambda published: None)
    for _ in push.steps():
        pass

    def insert(transaction: Transaction) -> str:
        with transaction.within(component):
            return transaction.insert("goods", {"body": "fox"})

    def delete(transaction: Transaction) -> None:
        with transaction.within(component):
            transaction.delete(ids[0])

    def found(indexes: TextIndexes) -> list[str]:
        transaction = world.transaction()
        goods = transaction.catalog.by_name[name]
        index = goods.text_index("search")
        fox = TextQuery(("fox",), "fox", ())
        scan = TextScan(indexes, transaction, goods, index, fox, LIMITS)
        return [str(document.value["_id"]) for document in scan]

    ids = [world.write(insert)]
    world.index(4)
    assert found(world.engine) == found(world.worker) == ids
    world.write(delete)
    world.write(lambda transaction: transaction.renumber({name: 12_345}))
    ids.append(world.write(insert))
    world.index(4)
    for _ in range(2):  # beside the files of before, and from the newest
        assert found(world.engine) == found(world.worker) == ids[1:]


def test_more_indexes_than_may_be_open_are_all_built(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after the other; what is built is opened again only when its table is written."""
    monkeypatch.setattr(text_indexer, "_WRITERS_MAX", 2)
    fox(world)
    indexes = tuple(TextIndexDefinition(f"search{n}", f"body{n}") for n in range(5))
    schema = SchemaDefinition.of([TableDefinition("notes", ANY, searches=indexes)])
    push = SchemaPush(schema, world.committer, world.log, world.clock, lambda published: None)
    for _ in push.steps():
        pass
    world.index(30)
    assert [each.is_built for each in world.indexer.progress().values()] == [True] * 5
    fox(world)
    world.index(3)
    versions = {each.version for each in world.indexer.progress().values()}
    assert versions == {world.log.reader.newest_version()}


def test_who_does_not_search_does_not_load_the_engine() -> None:
    """A server's start and memory are measured."""
    modules = "cupola.backend.backend, cupola.backend.text_workers, cupola.server.serve"
    look = f"import sys, {modules}; sys.exit('tantivy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], check=False).returncode == 0


def test_files_that_somebody_else_writes_are_left_alone_until_he_is_done(world: World) -> None:
    """The worker before this one may still be ending. Its index fails; it is tried again."""
    fox(world)
    world.index(3)
    fox(world)
    world.indexer.close()
    (folder,) = files(world)
    other = TextWriter(folder)
    world.indexer = TextIndexer(world.root)
    assert not world.indexer.step(world.log.reader, world.log.durable_ts)
    (why,) = world.indexer.failures.values()
    assert "Lock" in why
    world.check(world.transaction(), (["fox"], None))
    other.close()
    world.index(3)
    assert world.indexer.failures == {}
    assert progress(world).version == world.log.reader.newest_version()

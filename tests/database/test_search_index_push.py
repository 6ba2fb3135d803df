"""Indexes for text and vectors in a push: built elsewhere, waited for, and then in force."""

from __future__ import annotations

import pytest

from cupola.clock import ManualClock
from cupola.database.catalog import INDEXES, TableInfo
from cupola.database.committer import Committer
from cupola.database.load import load_catalog
from cupola.database.schema_push import SchemaPush
from cupola.database.search_indexes import SearchIndex
from cupola.errors import DatabaseUseError
from cupola.persistence import MemoryPersistence
from cupola.schema import (
    ANY,
    IndexDefinition,
    SchemaDefinition,
    TableDefinition,
    TextIndexDefinition,
    VectorIndexDefinition,
)


class Builds:
    """Whoever builds indexes, told by the test which are done."""

    def __init__(self) -> None:
        self.built: set[str] = set()

    def is_built(self, index: SearchIndex) -> bool:
        return index.name in self.built

    def progress(self, index: SearchIndex) -> tuple[int, int]:
        return (1, 1) if self.is_built(index) else (0, 1)


class Deployment:
    def __init__(self) -> None:
        self.persistence = MemoryPersistence()
        self.clock = ManualClock(seed=1)
        self.committer = Committer(
            self.persistence, load_catalog(self.persistence.reader), self.clock
        )
        self.builds = Builds()

    def push(self, *searches, indexes=()) -> SchemaPush:
        table = TableDefinition("notes", ANY, tuple(indexes), searches)
        return SchemaPush(
            SchemaDefinition.of([table]),
            self.committer,
            self.persistence,
            self.clock,
            lambda published: None,
            self.builds,
        )

    def accept(self, *searches, indexes=()) -> None:
        for _ in self.push(*searches, indexes=indexes).steps():
            pass

    @property
    def table(self) -> TableInfo:
        return self.committer.catalog.by_name["notes"]


@pytest.fixture
def deployment() -> Deployment:
    return Deployment()


TEXT = TextIndexDefinition("search_body", "body", ("author",))
VECTOR = VectorIndexDefinition("by_embedding", "embedding", 3, ("author",))


def test_a_push_waits_until_its_search_indexes_are_built(deployment: Deployment) -> None:
    push = deployment.push(TEXT, VECTOR)
    steps = push.steps()
    for _ in range(10):
        next(steps)
    assert push.is_waiting
    assert push.progress() == (0, 2)
    with pytest.raises(DatabaseUseError, match="still being built"):
        deployment.table.text_index("search_body")

    deployment.builds.built.add("search_body")
    next(steps)
    assert push.progress() == (1, 2)
    deployment.builds.built.add("by_embedding")
    assert not push.is_waiting
    for _ in steps:
        pass

    assert push.is_accepted
    assert deployment.table.text_index("search_body").definition == TEXT
    assert deployment.table.vector_index("by_embedding").definition == VECTOR


def test_a_staged_index_is_not_waited_for_and_refuses_searches(deployment: Deployment) -> None:
    """The push returns at once; enabling it later waits for what is still missing."""
    staged = TextIndexDefinition("search_body", "body", ("author",), staged=True)
    deployment.accept(staged)
    number = deployment.table.searches["search_body"].number
    with pytest.raises(DatabaseUseError, match="staged") as caught:
        deployment.table.text_index("search_body")
    assert caught.value.code == "IndexNotReady"

    push = deployment.push(TEXT)
    steps = push.steps()
    next(steps)
    next(steps)
    assert push.is_waiting
    deployment.builds.built.add("search_body")
    for _ in steps:
        pass
    assert deployment.table.text_index("search_body").number == number


def test_a_changed_index_is_built_beside_the_one_that_serves(deployment: Deployment) -> None:
    deployment.builds.built.add("search_body")
    deployment.accept(TEXT)
    old = deployment.table.text_index("search_body")

    steps = deployment.push(TextIndexDefinition("search_body", "title")).steps()
    next(steps)
    assert deployment.table.text_index("search_body").number == old.number
    for _ in steps:
        pass
    new = deployment.table.text_index("search_body")
    assert new.definition.field == "title"
    assert new.document_id != old.document_id
    assert list(deployment.table.searches) == ["search_body"]


def test_an_index_that_is_no_longer_declared_is_forgotten(deployment: Deployment) -> None:
    deployment.builds.built |= {"search_body", "by_embedding"}
    deployment.accept(TEXT, VECTOR)
    deployment.accept(VECTOR)
    assert list(deployment.table.searches) == ["by_embedding"]
    deployment.accept()
    assert deployment.committer.catalog.documents(INDEXES) == {}


def test_a_name_may_go_from_one_kind_of_index_to_another(deployment: Deployment) -> None:
    deployment.builds.built.add("by_body")
    deployment.accept(indexes=[IndexDefinition("by_body", ("body",))])
    deployment.accept(TextIndexDefinition("by_body", "body"))
    assert deployment.table.text_index("by_body")
    with pytest.raises(DatabaseUseError, match="with_search_index"):
        deployment.table.index("by_body")
    with pytest.raises(DatabaseUseError, match="has no vector index `by_body`; it has none"):
        deployment.table.vector_index("by_body")


def test_a_push_that_was_killed_is_cleaned_up_by_the_next(deployment: Deployment) -> None:
    next(deployment.push(TEXT).steps())
    deployment.builds.built.add("by_embedding")
    deployment.accept(VECTOR)
    assert [i.name for i in deployment.table.searches.values()] == ["by_embedding"]
    assert len(deployment.committer.catalog.documents(INDEXES)) == 1

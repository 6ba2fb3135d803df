"""Movies with a vector each, written by ordinary transactions, and the plain answer to a search."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from cupola.clock import ManualClock
from cupola.database.committer import Committer
from cupola.database.load import load_catalog
from cupola.database.schema_push import SchemaPush
from cupola.database.search_indexes import SearchIndex
from cupola.database.system_commits import commit_now
from cupola.database.transaction import Transaction
from cupola.persistence import Persistence
from cupola.schema import ANY, SchemaDefinition, TableDefinition, VectorIndexDefinition
from cupola.search.vector_index import Condition, Hit
from cupola.search.vector_indexes import VectorIndexes
from cupola.search.vector_query import filter_value
from cupola.values import UNSET

BY_PLOT = VectorIndexDefinition("by_plot", "about.plot", 3, ("genre", "year"))


def similarity(a: Sequence[float], b: Sequence[float]) -> float:
    """Cosine similarity in plain arithmetic; 0 where one of them has no direction."""
    lengths = math.hypot(*a) * math.hypot(*b)
    return sum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 0.0


class Movies:
    """A database with the table `movies`."""

    def __init__(self, persistence: Persistence, *indexes: VectorIndexDefinition) -> None:
        self.persistence = persistence
        self.clock = ManualClock(seed=1)
        self.committer = Committer(persistence, load_catalog(persistence.reader), self.clock)
        self.documents: dict[str, Mapping[str, Any]] = {}
        if indexes:
            self.declare(*indexes)

    def declare(self, *indexes: VectorIndexDefinition) -> None:
        schema = SchemaDefinition.of([TableDefinition("movies", ANY, (), indexes)])
        push = SchemaPush(
            schema, self.committer, self.persistence, self.clock, lambda published: None
        )
        for _ in push.steps():
            pass

    def index(self, name: str = "by_plot") -> SearchIndex:
        return self.committer.catalog.by_name["movies"].searches[name]

    def commit(self, *works: Callable[[Transaction], Any]) -> list[Any]:
        """Run each of `works` in one transaction; their results."""
        results: list[Any] = []

        def work(transaction: Transaction) -> None:
            results.extend(each(transaction) for each in works)

        commit_now(
            self.committer, self.persistence, self.clock, lambda published: None, "test", work
        )
        return results

    def add(self, *movies: Mapping[str, Any]) -> list[str]:
        ids = self.commit(*(partial(_insert, fields=movie) for movie in movies))
        self.documents.update(zip(ids, movies, strict=True))
        return ids

    def change(self, movie: str, fields: Mapping[str, Any]) -> None:
        self.commit(lambda transaction: transaction.patch(movie, fields))
        changed = {**self.documents[movie], **fields}
        self.documents[movie] = {k: v for k, v in changed.items() if v is not UNSET}

    def remove(self, movie: str) -> None:
        self.commit(lambda transaction: transaction.delete(movie))
        del self.documents[movie]

    def expected(
        self, vector: Sequence[float], filters: Iterable[tuple[str, Any]] = ()
    ) -> dict[str, float]:
        """The score of each movie that a search without a limit has to find."""
        filters = list(filters)
        found = {}
        for movie, fields in self.documents.items():
            plot = fields.get("about", {}).get("plot")
            if plot is not None and (
                not filters or any(fields.get(name, UNSET) == value for name, value in filters)
            ):
                found[movie] = similarity(plot, vector)
        return found


def _insert(transaction: Transaction, fields: Mapping[str, Any]) -> str:
    return transaction.insert("movies", fields)


def movie(plot: Sequence[float] | None, **fields: Any) -> dict[str, Any]:
    return {**fields, **({} if plot is None else {"about": {"plot": list(plot)}})}


def catch_up(indexes: VectorIndexes, movies: Movies) -> None:
    """Step until nothing is left to do."""
    while not (indexes.step(movies.persistence.reader) and indexes.is_idle):
        pass


def search(
    indexes: VectorIndexes,
    movies: Movies,
    vector: Sequence[float],
    limit: int = 256,
    filters: Iterable[tuple[str, Any]] = (),
) -> list[Hit] | None:
    index = movies.index()
    fields = list(index.definition.filters)
    conditions = [Condition(fields.index(name), filter_value(value)) for name, value in filters]
    return indexes.search(index.document_id, vector, limit, conditions)

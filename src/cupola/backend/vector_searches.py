"""Vector searches of actions: what they ask is checked here, and answered by whoever keeps the
indexes. A failure there is a failure of searches and of nothing else.

In tests and notebooks that is this process (`InlineVectors`); where there is a database file it is
a worker (`VectorWorkers`). Either answers at one timestamp, and the answer leaves when that is
durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

import msgspec

from cupola.backend.answers import deliver
from cupola.backend.calls import CallResult, Done
from cupola.database.catalog import Catalog
from cupola.database.search_indexes import SearchBuilds, SearchIndex
from cupola.errors import DatabaseUseError, OverloadedError
from cupola.limits import Limits
from cupola.search.vector_query import VectorQuery, vector_query

if TYPE_CHECKING:
    from cupola.backend.backend import Backend
    from cupola.search.vector_indexes import VectorIndexes


class VectorSearches(Protocol):
    """Who carries out vector searches, and builds their indexes (`SearchBuilds`)."""

    @property
    def waiting(self) -> int:
        """How many searches are under way."""
        ...

    @property
    def size_bytes(self) -> int:
        """What the indexes take in memory, roughly."""
        ...

    def submit(self, asked: bytes, done: Done) -> None:
        """Search. `asked`: JSON, see `search.vector_query`. `done` is called once, on this thread,
        with `{"results": [{"_id", "_score"}, ...]}`, when the commits that it shows are durable.

        Raises:
            DatabaseUseError, LimitError: The search makes no sense.
            OverloadedError: The index is too large, or too many searches are under way.
        """
        ...

    def is_built(self, index: SearchIndex) -> bool: ...

    def progress(self, index: SearchIndex) -> tuple[int, int]: ...

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Work in the background from now on."""
        ...

    def close(self) -> None: ...


class InlineVectors:
    """All of it in this process, when it is asked for."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._indexes: VectorIndexes | None = None
        self.waiting = 0

    @property
    def size_bytes(self) -> int:
        return self._indexes.size_bytes if self._indexes is not None else 0

    def submit(self, asked: bytes, done: Done) -> None:
        from cupola.search.vector_index import Condition

        node = self._backend.node
        query = read_query(asked, node.committer.catalog, self._backend.limits)
        indexes = self._up_to_date()
        conditions = [Condition(field, value) for field, value in query.conditions]
        hits = indexes.search(query.index.document_id, query.vector, query.limit, conditions)
        if hits is None:
            raise too_large(self._backend, query.index)
        deliver(node, answer(hits, node.persistence.head_ts), done)

    def _up_to_date(self) -> VectorIndexes:
        if self._indexes is None:
            from cupola.search.vector_indexes import VectorIndexes

            self._indexes = VectorIndexes(None, self._backend.limits.vector_index_bytes_max)
        reader = self._backend.node.persistence.reader
        while not (self._indexes.step(reader) and self._indexes.is_idle):
            pass
        return self._indexes

    def is_built(self, index: SearchIndex) -> bool:
        return True  # by the next search at the latest

    def progress(self, index: SearchIndex) -> tuple[int, int]:
        return 0, 0

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing happens in the background."""

    def close(self) -> None:
        """Nothing to let go of."""


class SearchIndexBuilds:
    """`SearchBuilds` for indexes of both kinds."""

    def __init__(self, text: SearchBuilds, vectors: SearchBuilds) -> None:
        self._text = text
        self._vectors = vectors

    def is_built(self, index: SearchIndex) -> bool:
        return self._for(index).is_built(index)

    def progress(self, index: SearchIndex) -> tuple[int, int]:
        return self._for(index).progress(index)

    def _for(self, index: SearchIndex) -> SearchBuilds:
        return self._text if index.is_text else self._vectors


def read_query(asked: bytes, catalog: Catalog, limits: Limits) -> VectorQuery:
    """Raises: as `VectorSearches.submit`."""
    try:
        tree = msgspec.json.decode(asked)
    except msgspec.DecodeError:
        raise DatabaseUseError(
            "This is no vector search: it is no JSON.", code="InvalidVectorSearch"
        ) from None
    return vector_query(tree, catalog, limits)


def answer(hits: Iterable[tuple[str, float]], ts: int) -> CallResult:
    """What was found, as whoever asked receives it."""
    results = [{"_id": document_id, "_score": score} for document_id, score in hits]
    return CallResult(True, msgspec.json.encode({"results": results}), b"[]", ts)


def name_of(backend: Backend, index: SearchIndex) -> str:
    table = backend.node.committer.catalog.by_number.get(index.table)
    return f"{table.name}.{index.name}" if table is not None else index.name


def too_large(backend: Backend, index: SearchIndex) -> OverloadedError:
    limit = backend.limits.vector_index_bytes_max
    return OverloadedError(
        f"Vector index `{name_of(backend, index)}` does not fit into the {limit} bytes that all "
        "vector indexes may take (vector_index_bytes_max); raise that and start again.",
        code="VectorIndexTooLarge",
    )

"""Storing what a stream brings, in transactions between which others go on."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from cupola.backend import Backend
from cupola.database.system_commits import Work
from cupola.database.transaction import Transaction
from cupola.deploy.import_works import deletions
from cupola.deploy.streaming.records import Records, works_of
from cupola.deploy.system_calls import commit_all
from cupola.errors import BadRequestError
from cupola.system.events import Metadata, note

_NAME = "_system:streaming_import"


class StreamingImport:
    """Of one deployment. Belongs to the thread of its backend."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def store(self, records: Records) -> None:
        """Returns when all is durable. Raises: CupolaError: A record cannot be stored; those before
        it are, or none if it could be seen before.
        """
        await commit_all(self._backend, _NAME, works_of(records))

    async def clear(self, tables: Iterable[str]) -> None:
        """Empty these tables; one that does not exist is empty.

        Raises:
            BadRequestError: One is the system's.
        """
        names = list(tables)
        for name in names:
            if name.startswith("_"):
                raise BadRequestError(f"`{name}` is the system's.", code="InvalidTableName")
        metadata: Metadata = {"table_names": names}

        def told(transaction: Transaction) -> None:
            note(transaction, self._backend.limits, "clear_tables", metadata)

        await commit_all(self._backend, _NAME, itertools.chain(_all(names), [told]))


def _all(names: list[str]) -> Iterator[Work]:
    for name in names:
        yield from deletions(name)

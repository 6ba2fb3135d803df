"""Text searches inside a transaction: what a function sees, and what it has read."""

from __future__ import annotations

from cupola.database.catalog import TableInfo
from cupola.database.documents import StoredDocument
from cupola.database.read_set import RangeRead
from cupola.database.search_indexes import SearchIndex
from cupola.database.transaction import Transaction
from cupola.errors import LimitError
from cupola.limits import Limits
from cupola.search.text_indexes import Match, TextIndexes
from cupola.search.text_query import TextQuery
from cupola.values import encode_key

_FIRST_MIN = 16


class TextScan:
    """The documents that a search finds, the most relevant first, each read when it is asked for.

    After a write of its own the function sees the rest as it is then: what it has not been given
    yet is searched anew.
    """

    def __init__(
        self,
        indexes: TextIndexes,
        transaction: Transaction,
        table: TableInfo,
        index: SearchIndex,
        query: TextQuery | None,
        limits: Limits,
        expect: int | None = None,
    ) -> None:
        """`query` None finds nothing. `expect`: how many documents will likely be asked for; None:
        all there are.
        """
        self._indexes = indexes
        self._transaction = transaction
        self._table = table
        self._index = index
        self._query = query
        self._most = limits.search_results_max
        self._expect = self._most + 1 if expect is None else min(expect, self._most + 1)
        self._given: dict[str, None] = {}
        self._waiting: list[Match] = []  # the next one last
        self._is_all = True
        self._state = -1  # what the transaction had written when it was searched
        if query is not None:
            transaction.usage.range()
            for index_number, fields, prefix, start, end in query.reads(index):
                read = RangeRead(index_number, fields, prefix, start, end, False)
                read.exhausted()
                transaction.read_set.add_range(read)

    def __iter__(self) -> TextScan:
        return self

    def __next__(self) -> StoredDocument:
        """
        Raises:
            LimitError: The search finds more than may be read.
            SearchFilesError: The index cannot be used now.
        """
        while True:
            match = self._next_match()
            document = self._read(match)
            if document is not None:
                self._transaction.usage.read(len(document.body))
                return document

    def skip(self, count: int) -> int:
        """Pass over so many documents without reading them. Returns how many there were."""
        for skipped in range(count):
            try:
                self._next_match()
            except StopIteration:
                return skipped
        return count

    def take_back(self, document_ids: list[str]) -> None:
        """These were given, but nobody has looked at them: they come again, as they are then."""
        for document_id in document_ids:
            self._given.pop(document_id, None)
        self._state = -1

    def _next_match(self) -> Match:
        if self._query is None:
            raise StopIteration
        if self._state != self._transaction.write_count:
            self._search(max(_FIRST_MIN, self._expect) + len(self._given))
        while not self._waiting and not self._is_all:
            self._search(self._most + 1 + len(self._given))
        if not self._waiting:
            raise StopIteration
        if len(self._given) >= self._most:
            raise LimitError(
                f"A search reads at most {self._most} documents, and this one with "
                f"`{self._table.name}.{self._index.name}` finds more. Take fewer, add words or "
                "filters, or paginate.",
                code="SearchQueryScannedTooManyDocuments",
            )
        match = self._waiting.pop()
        self._given[match.id] = None
        return match

    def _search(self, count: int) -> None:
        assert self._query is not None
        transaction = self._transaction
        own = transaction.written_to(self._table.number)
        found, self._is_all = self._indexes.find(
            transaction.reader, self._index, self._query, own, count
        )
        self._waiting = [match for match in reversed(found) if match.id not in self._given]
        self._is_all = self._is_all or count > self._most + len(self._given)
        self._state = transaction.write_count

    def _read(self, match: Match) -> StoredDocument | None:
        """The document as it was found; None: the files know of a version that is none."""
        if match.version is None:
            return self._transaction.written_to(self._table.number)[match.id]
        row = self._transaction.reader.get(self._table.primary.number, encode_key(match.id))
        if row is None or row[1] != match.version:
            return None
        return StoredDocument(row[1], row[2])

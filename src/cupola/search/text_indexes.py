"""The text indexes of a deployment, as one process searches them.

Theory: the files of an index stand for one version of the log, the *base*. A transaction reads at
another, nearly always a later one. What was written between the two is kept in memory beside the
files, brought up to date before each search, and thrown away when newer files appear. So a search
finds what the transaction's snapshot holds, exactly:

    documents that the files find, but for those written since
  + of those written since, the ones that match as the snapshot has them
  + of those that the transaction itself wrote, the ones that match

Memory knows the log up to `_through`. Whatever lies between there and the snapshot, on either side,
is *unsettled*: commits of an open group, which may yet be undone; or, for a snapshot that is older,
commits that it must not see. Those documents are few, and are looked at one by one.

Only how common words are is the files' own knowledge: relevance may lag behind by what was written
since. Where there are no files (a deployment in memory), everything is kept beside none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from cupola.database.catalog import primary_index_id
from cupola.database.documents import StoredDocument
from cupola.database.search_indexes import SearchIndex
from cupola.limits import Limits
from cupola.persistence import LoggedVersion, Reader
from cupola.search.places import text_files_of
from cupola.search.text_files import (
    Candidate,
    Position,
    SearchFilesError,
    TextReader,
    order_of,
    rounded,
)
from cupola.search.text_memory import Scorer, Statistics, TextEntry, TextMemory, text_entry
from cupola.search.text_query import TextQuery
from cupola.values import decode_canonical, encode_key

_SLICE: Final = 500  # versions read at once; bodies have a megabyte at most
_WINDOW: Final = 20_000  # versions that are looked through for those
_WINDOWS_MAX: Final = 50  # behind by more than so many, an index does not serve
_OPEN_MAX: Final = 64
_WORDS_EACH: Final = 100  # different ones of a document: some take more room, on average

T = TypeVar("T")
ReadLog = Callable[[Callable[[Reader], Any]], Any]
"""Calls what it is given with the newest reader of the log, and returns what that returns."""
OwnWrites = Mapping[str, StoredDocument | None]
"""What a transaction wrote to a table, by document id; None: it deleted the document."""


class Match(NamedTuple):
    """A document that a search has found. `version` None: the transaction's own."""

    id: str
    version: int | None


class Matches(NamedTuple):
    """The best, in order; `is_all`: there are no others."""

    found: list[Match]
    is_all: bool


_Ranked = tuple[float, int, Match]


def position_at(reader: Reader, ts: int) -> Position:
    """The newest version that was committed at `ts` or before."""
    version = reader.version_at(ts)
    return Position(version, reader.version_ts(version) or 0)


class TextIndexes:
    """See the module's docstring. `root`: where the files are; None: there are none.

    `log` reads from the newest log, which may be ahead of a transaction's. `head_ts`: when the
    newest commit was made that cannot be undone; None: a transaction sees no others.
    """

    def __init__(
        self,
        limits: Limits,
        root: Path | None = None,
        log: ReadLog | None = None,
        head_ts: Callable[[], int] | None = None,
    ) -> None:
        self._limits = limits
        self._root = root
        self._log = log
        self._head_ts = head_ts
        self._indexes: dict[str, _TextIndex] = {}

    def find(
        self, reader: Reader, index: SearchIndex, query: TextQuery, own: OwnWrites, count: int
    ) -> Matches:
        """The `count` most relevant documents that the snapshot of `reader` and the transaction's
        own writes hold.

        Raises:
            SearchFilesError: The index is too far behind, or its files are damaged.
        """
        found = self._indexes.get(index.document_id)
        if found is None or _numbers(found.index) != _numbers(index):
            folder = text_files_of(self._root, index) if self._root is not None else None
            found = _TextIndex(index, folder, self._limits, self._log, self._head_ts)
            self._forget_predecessors(index)
            self._indexes[index.document_id] = found
        try:
            return found.find(reader, query, own, count)
        except SearchFilesError:
            del self._indexes[index.document_id]  # the files may have been replaced
            raise

    def _forget_predecessors(self, index: SearchIndex) -> None:
        """Those that this one has replaced, and of too many those that were opened first."""
        for document_id, known in list(self._indexes.items()):
            is_replaced = (known.index.table, known.index.name) == (index.table, index.name)
            if is_replaced or len(self._indexes) >= _OPEN_MAX:
                del self._indexes[document_id]


class _TextIndex:
    """One index: its files, and beside them what was written since."""

    def __init__(
        self,
        index: SearchIndex,
        folder: Path | None,
        limits: Limits,
        log: ReadLog | None,
        head_ts: Callable[[], int] | None,
    ) -> None:
        self.index = index
        self._folder = folder
        self._limits = limits
        self._log = log
        self._head_ts = head_ts
        self._words_max = _WORDS_EACH * limits.search_changes_max
        self._files: TextReader | None = None
        self._restart(Position(0, 0))

    def _restart(self, base: Position) -> None:
        self._base = base.version
        self._through = base.version
        self._memory = TextMemory()
        self._latest: dict[str, int] = {}  # document id -> its newest version here

    # ---------------------------------------------------------------- searching

    def find(self, reader: Reader, query: TextQuery, own: OwnWrites, count: int) -> Matches:
        version = reader.newest_version()
        self._open(reader)
        if version > self._through:
            settled = version
            if self._head_ts is not None:
                settled = position_at(reader, self._head_ts()).version
            self._follow(reader, settled)
        unsettled = self._unsettled(reader, version)
        statistics: Statistics = self._memory
        if self._files is not None and self._files.view.documents:
            statistics = self._files.view
        scorer = Scorer(query, statistics)
        ranked = [
            _rank(scorer.score(entry), order_of(entry.created), entry.id, found_version)
            for entry, found_version in self._beside(reader, query, own, unsettled)
        ]
        hidden = {*unsettled, *own, *self._latest}
        is_all = True
        if self._files is not None:
            kept, is_all = self._in_files(query, scorer, hidden, count)
            ranked += kept
        ranked.sort()
        return Matches([match for _, _, match in ranked[:count]], is_all and len(ranked) <= count)

    def _beside(
        self, reader: Reader, query: TextQuery, own: OwnWrites, unsettled: set[str]
    ) -> Iterable[tuple[TextEntry, int | None]]:
        """Matching documents that the files do not know, or not as they are now."""
        for document in own.values():
            if document is not None:
                entry = text_entry(self.index, document.value)
                if entry is not None and entry.matches(query):
                    yield entry, None
        for document_id in unsettled.difference(own):
            row = reader.get(primary_index_id(self.index.table), encode_key(document_id))
            entry = _entry_of(self.index, row[2]) if row is not None else None
            if row is not None and entry is not None and entry.matches(query):
                yield entry, row[1]
        for entry in self._memory.find(query):
            if entry.id not in own and entry.id not in unsettled:
                yield entry, self._latest[entry.id]

    def _in_files(
        self, query: TextQuery, scorer: Scorer, hidden: set[str], count: int
    ) -> tuple[list[_Ranked], bool]:
        assert self._files is not None
        ids = self.index.id_number or self.index.table
        wanted = count + min(len(hidden), count)
        while True:
            found = self._files.view.best(ids, query, scorer.prefix_score, wanted)
            kept = [each for each in found.candidates if each.id not in hidden]
            if found.is_all or len(kept) >= count:
                return [_ranked(each) for each in kept], found.is_all
            wanted *= 2

    # ---------------------------------------------------------------- following the log

    def _open(self, reader: Reader) -> None:
        """The newest files there are; memory begins anew at their version."""
        if self._folder is None:
            return
        if self._files is None:
            try:
                self._files = TextReader(self._folder)
            except FileNotFoundError:
                return  # nothing is written yet
        elif not self._latest or not self._files.refresh():
            return
        position = self._files.view.position
        if position.version and self._in_log(reader, _ts_of(position)) != position.ts:
            raise SearchFilesError(
                f"The files of search index `{self.index.name}` are of another log; they are being "
                "built anew."
            )
        self._restart(position)

    def _follow(self, reader: Reader, through: int) -> None:
        """Take what was written up to a version into memory."""
        for change in self._changes(reader, self._through, through):
            entry = _entry_of(self.index, change.body) if change.body is not None else None
            self._memory.put(change.id, entry)
            self._latest[change.id] = change.version
            if self._folder is not None and self._memory.size > self._words_max:
                raise self._behind(through - self._base)
        self._through = max(self._through, through)

    def _unsettled(self, reader: Reader, version: int) -> set[str]:
        if version > self._through:
            return self._ids(reader, self._through, version)
        if version < self._base:
            since = self._in_log(reader, lambda log: self._ids(log, version, self._base))
            return since.union(self._latest)
        if version < self._through:
            return {name for name, latest in self._latest.items() if latest > version}
        return set()

    def _in_log(self, reader: Reader, read: Callable[[Reader], T]) -> T:
        """Read from the newest log there is, which may be ahead of `reader`."""
        return read(reader) if self._log is None else self._log(read)

    def _ids(self, reader: Reader, after: int, through: int) -> set[str]:
        return {change.id for change in self._changes(reader, after, through)}

    def _changes(self, reader: Reader, after: int, through: int) -> Iterable[LoggedVersion]:
        """The log between two versions, as far as it is about the table.

        Raises:
            SearchFilesError: It is too long: the files have fallen behind.
        """
        tables = (self.index.table,)
        most = self._limits.search_changes_max if self._folder is not None else None
        if most is not None and through - after > _WINDOW * _WINDOWS_MAX:
            raise self._behind(through - after)
        count = 0
        while after < through:
            end = min(through, after + _WINDOW)
            found = reader.changes(tables, after, end, limit=_SLICE)
            count += len(found)
            if most is not None and count + len(self._latest) > most:
                raise self._behind(through - self._base)
            yield from found
            after = found[-1].version if len(found) == _SLICE else end

    def _behind(self, versions: int) -> SearchFilesError:
        return SearchFilesError(
            f"Search index `{self.index.name}` is {versions} versions behind the newest documents "
            "and catches up; try again soon."
        )


def _numbers(index: SearchIndex) -> tuple[int, int]:
    """What an import changes: in a component only what ids carry."""
    return index.table, index.id_number


def _ts_of(position: Position) -> Callable[[Reader], int | None]:
    return lambda log: log.version_ts(position.version)


def _entry_of(index: SearchIndex, body: bytes) -> TextEntry | None:
    document = decode_canonical(body)
    assert isinstance(document, dict)
    return text_entry(index, document)


def _rank(score: float, order: int, document_id: str, version: int | None) -> _Ranked:
    """Sorts the most relevant first, of equals the newest, and finally by id."""
    return -rounded(score), -order, Match(document_id, version)


def _ranked(candidate: Candidate) -> _Ranked:
    return _rank(candidate.score, candidate.order, candidate.id, candidate.version)

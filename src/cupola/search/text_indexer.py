"""Brings the files of text indexes up to date with the log.

`step` does one bounded slice of work on one snapshot. An index that has no files yet begins at the
log's version of that moment; page by page the documents that are there are added, each as the
snapshot of that step has it, and then what was written since, which replaces them. Only then are
the files committed for the first time. Killed before that, it begins again.

Files never show what a power cut could take back: they are committed at versions that the log has
synced. Files of another log, or damaged ones, are thrown away and built anew.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from pathlib import Path
from typing import Final

from cupola.database.catalog import primary_index_id
from cupola.database.load import CatalogLoader
from cupola.database.search_indexes import SearchIndex
from cupola.persistence import Reader
from cupola.search.places import text_files_of
from cupola.search.text_files import Position, SearchFilesError, TextWriter, delete_files
from cupola.search.text_indexes import position_at
from cupola.search.text_memory import text_entry
from cupola.values import decode_canonical

_LOG = logging.getLogger("cupola.search")
_SLICE: Final = 256  # versions or documents; bodies have a megabyte at most
_WINDOW: Final = 20_000  # versions that are looked through for those
_UNCOMMITTED_MAX: Final = 20_000
_IDLE_VERSIONS_MAX: Final = 5000  # of other tables, before an index notes that it knows them
_WRITERS_MAX: Final = 8


@dataclasses.dataclass(slots=True)
class Progress:
    """How far an index is: the version of the log that its files stand for, if they are built, and
    documents added, of how many there are.
    """

    is_built: bool
    version: int
    seen: int
    total: int


@dataclasses.dataclass(slots=True)
class _Build:
    """`cursor`: the key from which on documents are still to be added; None: they all are.
    `seen_version`: the newest version that one of them may be.
    """

    cursor: bytes | None = b""
    seen_version: int = 0


class _IndexWriter:
    """One index, with its writer open."""

    def __init__(self, index: SearchIndex, root: Path, reader: Reader, through: Position) -> None:
        self.index = index
        self._folder = text_files_of(root, index)
        self._build: _Build | None = None
        self._uncommitted = 0
        self._seen = 0
        self._total = reader.count(primary_index_id(index.table), b"", None, limit=1 << 40)
        try:
            self._writer = TextWriter(self._folder)
            position = self._writer.position()
        except SearchFilesError as error:
            if "Lock" in error.message:  # the process before this one is still ending
                raise
            _LOG.warning("Search index `%s` is built anew: %s", index.name, error.message)
            position = self._begin_anew()
        if position.version and reader.version_ts(position.version) != position.ts:
            self._writer.close()
            position = self._begin_anew()
        self._version = self._committed = position.version
        if position.version == 0:
            self._build = _Build()
            self._version = through.version
        else:
            self._seen = self._total

    def _begin_anew(self) -> Position:
        delete_files(self._folder)
        self._writer = TextWriter(self._folder)
        return Position(0, 0)

    @property
    def progress(self) -> Progress:
        return Progress(self._build is None, self._committed, self._seen, self._total)

    def step(self, reader: Reader, through: Position) -> bool:
        """A slice of work, up to a synced position. Returns whether nothing is left to do."""
        build = self._build
        if build is not None and build.cursor is not None:
            self._add_page(reader, build)
            return False
        if self._version < through.version:
            self._follow(reader, through.version)
            if self._version < through.version and self._uncommitted < _UNCOMMITTED_MAX:
                return False
        if build is not None and self._version < build.seen_version:
            return self._version >= through.version  # and then once the log is synced so far
        self._commit(reader)
        return self._version >= through.version

    def _add_page(self, reader: Reader, build: _Build) -> None:
        assert build.cursor is not None
        build.seen_version = reader.newest_version()
        rows = reader.scan(
            primary_index_id(self.index.table), build.cursor, None, descending=False, limit=_SLICE
        )
        for _, version, body in rows:
            self._put(version, body)
        self._seen += len(rows)
        build.cursor = rows[-1][0] + b"\0" if len(rows) == _SLICE else None

    def _follow(self, reader: Reader, through: int) -> None:
        end = min(through, self._version + _WINDOW)
        changes = reader.changes((self.index.table,), self._version, end, limit=_SLICE)
        for change in changes:
            self._writer.remove(change.id)
            if change.body is not None:
                self._put(change.version, change.body)
        self._uncommitted += len(changes)
        self._version = changes[-1].version if len(changes) == _SLICE else end

    def _put(self, version: int, body: bytes) -> None:
        document = decode_canonical(body)
        assert isinstance(document, dict)
        entry = text_entry(self.index, document)
        if entry is not None:
            self._writer.put(version, entry)

    def _commit(self, reader: Reader) -> None:
        is_due = self._uncommitted or self._version - self._committed > _IDLE_VERSIONS_MAX
        ts = reader.version_ts(self._version)
        if ts is None or not (is_due or self._build is not None):
            return
        self._writer.commit(Position(self._version, ts))
        self._committed = self._version
        self._uncommitted = 0
        if self._build is not None:
            self._build = None
            self._seen = self._total

    def close(self) -> None:
        with contextlib.suppress(SearchFilesError):
            self._writer.close()


class TextIndexer:
    """All text indexes of a deployment. `root`: the folder of their files."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._catalogs = CatalogLoader()
        self._writers: dict[str, _IndexWriter] = {}
        self._kept: dict[str, Progress] = {}
        self.failures: dict[str, str] = {}
        """Indexes whose files could not be read or written in the last step, and why."""

    def progress(self) -> dict[str, Progress]:
        """By the id of the index's document."""
        return dict(self._kept)

    def step(self, reader: Reader, synced_ts: int) -> bool:
        """A slice of work for each index; of those that have no files yet, for one at a time.
        `synced_ts`: what is not newer survives a power cut. Returns whether nothing is left to do.
        """
        declared = self._declared(reader)
        through = position_at(reader, synced_ts)
        is_done, is_building = True, False
        for name, index in declared.items():
            is_built = name in self._kept and self._kept[name].is_built
            if (is_building and not is_built) or self._is_current(name, index, reader, through):
                is_done = is_done and is_built
                continue
            try:
                writer = self._writer(index, reader, through)
                is_done = writer.step(reader, through) and is_done
                self._kept[name] = writer.progress
                is_building = is_building or not writer.progress.is_built
                self.failures.pop(name, None)
            except SearchFilesError as error:
                if self.failures.get(name) != error.message:
                    _LOG.warning("`%s` is not brought up to date: %s", index.name, error.message)
                self.failures[name] = error.message
                self._writers.pop(name, None)  # its files stay as they were committed last
                is_done = False
        return is_done

    def _is_current(self, name: str, index: SearchIndex, reader: Reader, through: Position) -> bool:
        """Whether an index need not be opened: nothing in its table was written."""
        kept = self._kept.get(name)
        if kept is None or not kept.is_built or name in self._writers:
            return False
        behind = through.version - kept.version
        if behind <= 0:
            return True
        tables = (index.table,)
        return behind <= _IDLE_VERSIONS_MAX and not reader.changes(
            tables, kept.version, through.version, limit=1
        )

    def _declared(self, reader: Reader) -> dict[str, SearchIndex]:
        catalog = self._catalogs.load(reader, reader.newest_ts())
        declared = {
            index.document_id: index for _, index in catalog.searches.values() if index.is_text
        }
        for name in [*self._writers.keys() - declared.keys(), *self._kept.keys() - declared.keys()]:
            if (writer := self._writers.pop(name, None)) is not None:
                writer.close()
            self._kept.pop(name, None)
            self.failures.pop(name, None)
        folders = {text_files_of(self._root, index) for index in declared.values()}
        if self._root.is_dir():
            for folder in self._root.iterdir():
                if folder not in folders:
                    delete_files(folder)
            if not folders:
                delete_files(self._root)
        return declared

    def _writer(self, index: SearchIndex, reader: Reader, through: Position) -> _IndexWriter:
        """The writer of an index; only so many are open at a time."""
        name = index.document_id
        writer = self._writers.pop(name, None)
        if writer is not None and writer.index.table != index.table:
            writer.close()
            writer = None
        if writer is None:
            writer = _IndexWriter(index, self._root, reader, through)
        self._writers[name] = writer  # the last one is the one used last
        while len(self._writers) > _WRITERS_MAX:
            oldest = next(iter(self._writers))
            self._writers.pop(oldest).close()
        return writer

    def close(self) -> None:
        """Let go; what is not committed is read from the log again."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

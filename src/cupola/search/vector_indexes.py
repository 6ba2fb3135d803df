"""All vector indexes of a deployment, kept in step with its log.

`step` does one bounded slice of work on one snapshot: first the log since the last slice; then,
once everything up to the snapshot is in, a page of documents that were there before an index was.
A search finds what the snapshot of the last step held, neither more nor less, if that step had
nothing left to read.

Whoever owns this decides when to step: a process of its own, or, for a database in memory, the
search itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from cupola.database.catalog import INDEXES, TABLES, primary_index_id
from cupola.database.load import load_catalog
from cupola.database.search_indexes import SearchIndex
from cupola.persistence import Reader
from cupola.schema import VectorIndexDefinition
from cupola.search import vector_files
from cupola.search.vector_index import Condition, Floats, Hit, VectorIndex, unit
from cupola.search.vector_query import filter_value
from cupola.values import UNSET, decode_tree, table_number_of

_SLICE: Final = 256  # versions or documents; bodies have a megabyte at most
_WINDOW: Final = 20_000  # versions that are looked through for those
_DEFINITIONS: Final = frozenset({TABLES, INDEXES})
_SAVE_SHARE: Final = 0.1
_SAVE_CHANGES_MIN: Final = 1000


@dataclasses.dataclass(slots=True)
class _Kept:
    """One index and how far it is. `cursor`: the key from which on documents are still to be read;
    None: they all have been.
    """

    info: SearchIndex
    vectors: VectorIndex
    cursor: bytes | None = b""
    seen: int = 0
    total: int = 0
    unsaved: int = 0
    is_too_large: bool = False

    @property
    def filters(self) -> list[str]:
        return list(self.info.definition.filters)


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """How far an index is built: documents looked at, of how many. `is_too_large`: it is not in
    memory, since it does not fit there.
    """

    is_built: bool
    is_too_large: bool
    seen: int
    total: int


class VectorIndexes:
    """See the module's docstring. `folder`: where they are saved; None: nowhere."""

    def __init__(self, folder: Path | None, bytes_max: int) -> None:
        self._folder = folder
        self._bytes_max = bytes_max
        self._indexes: dict[str, _Kept] = {}  # by the id of the index's document
        self._version: int | None = None  # of the log, up to which all changes are in
        self._ts = 0

    def progress(self) -> dict[str, Progress]:
        """By the id of the index's document."""
        return {
            name: Progress(kept.cursor is None, kept.is_too_large, kept.seen, kept.total)
            for name, kept in self._indexes.items()
        }

    @property
    def size_bytes(self) -> int:
        return sum(kept.vectors.size_bytes for kept in self._indexes.values())

    # ---------------------------------------------------------------- keeping up

    def step(self, reader: Reader) -> bool:
        """A slice of work. Returns whether all changes up to this snapshot are in: then the indexes
        that are built may be searched.
        """
        if self._version is None:
            self._begin(reader)
        assert self._version is not None
        newest = reader.newest_version()
        if self._version < newest:
            self._version = self._apply(reader, self._version, newest)
            self._ts = reader.version_ts(self._version) or 0
        if self._version < newest:
            return False
        kept = next((k for k in self._indexes.values() if k.cursor is not None), None)
        if kept is not None:
            self._read_page(reader, kept)
        return True

    @property
    def is_idle(self) -> bool:
        """Whether all documents of before have been read."""
        return all(kept.cursor is None for kept in self._indexes.values())

    def _begin(self, reader: Reader) -> None:
        """Start from what is saved, as far as the log knows it, else from the documents."""
        self._version = reader.newest_version()
        self._declare(reader)
        if self._folder is None:
            return
        vector_files.remove_others(self._folder, set(self._indexes))
        for name, kept in self._indexes.items():
            found = vector_files.load(self._folder, name, kept.vectors.dimensions, kept.filters)
            if found is None or not _is_of_table(kept.info, found[1].ids):
                continue
            if reader.version_ts(found[1].version) == found[1].ts:
                kept.vectors, kept.cursor = found[0], None
                kept.seen = kept.total = len(found[0])
                # What one of them has already is applied to it again, in order: no harm is done.
                self._version = min(self._version, found[1].version)
        self._ts = reader.version_ts(self._version) or 0
        self._bound(self._indexes.values())

    def _declare(self, reader: Reader) -> None:
        """Take over which indexes there are."""
        declared = {
            info.document_id: info
            for _, info in load_catalog(reader).searches.values()
            if isinstance(info.definition, VectorIndexDefinition)
        }
        for name in self._indexes.keys() - declared.keys():
            del self._indexes[name]
            if self._folder is not None:
                vector_files.path_of(self._folder, name).unlink(missing_ok=True)
        for name, info in declared.items():
            known = self._indexes.get(name)
            if known is not None and known.info.table == info.table:
                known.info = info
                continue  # under another number the table has other documents
            assert isinstance(info.definition, VectorIndexDefinition)
            total = reader.count(primary_index_id(info.table), b"", None, limit=1 << 40)
            empty = VectorIndex(info.definition.dimensions, len(info.definition.filters))
            self._indexes[name] = _Kept(info, empty, total=total)

    def _apply(self, reader: Reader, after: int, newest: int) -> int:
        """A slice of the log. Returns the version up to which it goes."""
        tables = {kept.info.table for kept in self._indexes.values()} | _DEFINITIONS
        through = min(newest, after + _WINDOW)
        changes = reader.changes(tables, after, through, limit=_SLICE)
        if any(change.table in _DEFINITIONS for change in changes):
            self._declare(reader)
        touched = {change.table for change in changes}
        for kept in self._indexes.values():
            if kept.info.table in touched and not kept.is_too_large:
                for change in changes:
                    if change.table == kept.info.table:
                        _update(kept, change.id, change.body)
        self._bound([k for k in self._indexes.values() if k.info.table in touched])
        return changes[-1].version if len(changes) == _SLICE else through

    def _read_page(self, reader: Reader, kept: _Kept) -> None:
        """Documents that were there before the index, in the order of their ids."""
        assert kept.cursor is not None
        primary = primary_index_id(kept.info.table)
        rows = reader.scan(primary, kept.cursor, None, descending=False, limit=_SLICE)
        for _, _, body in rows:
            _update(kept, orjson.loads(body)["_id"], body)
        kept.seen += len(rows)
        kept.cursor = rows[-1][0] + b"\0" if len(rows) == _SLICE else None
        kept.total = max(kept.total, kept.seen)
        self._bound([kept])

    def _bound(self, grown: Collection[_Kept]) -> None:
        """Past the bound of memory, give up what has grown: an index being built before others."""
        while grown and self.size_bytes > self._bytes_max:
            victim = max(grown, key=lambda kept: (kept.cursor is not None, kept.vectors.size_bytes))
            if victim.is_too_large:
                return
            victim.is_too_large, victim.cursor, victim.unsaved = True, None, 0
            victim.vectors = VectorIndex(victim.vectors.dimensions, len(victim.filters))
            if self._folder is not None:
                path = vector_files.path_of(self._folder, victim.info.document_id)
                path.unlink(missing_ok=True)

    # ---------------------------------------------------------------- searching

    def search(
        self, index: str, vector: Sequence[float], limit: int, conditions: Sequence[Condition]
    ) -> list[Hit] | None:
        """The nearest documents of the last step's snapshot; None: the index is not built.

        `index`: the id of its document.
        """
        kept = self._indexes.get(index)
        if kept is None or kept.cursor is not None or kept.is_too_large:
            return None
        direction = unit(vector)
        assert direction is not None, "it has been checked"
        return kept.vectors.search(direction, limit, conditions) if limit else []

    def is_being_built(self, index: str) -> bool:
        kept = self._indexes.get(index)
        return kept is not None and kept.cursor is not None

    # ---------------------------------------------------------------- saving

    @property
    def wants_saving(self) -> bool:
        """Whether much has changed since it was saved."""
        return self._folder is not None and any(map(_is_save_due, self._indexes.values()))

    def save_due(self) -> None:
        """Save what has changed much since it was saved. Takes about a second per gigabyte.

        Raises:
            PersistenceError: It cannot be written now.
        """
        if self._folder is None or self._version is None:
            return
        for name, kept in self._indexes.items():
            if _is_save_due(kept):
                at = self._version, self._ts
                vector_files.save(self._folder, kept.vectors, name, kept.filters, at)
                kept.unsaved = 0


def _is_of_table(info: SearchIndex, document_ids: Sequence[str]) -> bool:
    """Whether documents are of the index's table, as it is numbered now: all are, or none."""
    number = info.id_number or info.table
    return not document_ids or table_number_of(document_ids[0]) == number


def _is_save_due(kept: _Kept) -> bool:
    much = max(_SAVE_CHANGES_MIN, int(len(kept.vectors) * _SAVE_SHARE))
    return kept.cursor is None and not kept.is_too_large and kept.unsaved >= much


def _update(kept: _Kept, document_id: str, body: bytes | None) -> None:
    found = None if body is None else _entry(kept.info, orjson.loads(body))
    if found is not None:
        kept.vectors.put(document_id, *found)
    elif document_id in kept.vectors:
        kept.vectors.remove(document_id)
    else:
        return
    kept.unsaved += 1


def _entry(info: SearchIndex, document: Any) -> tuple[Floats, list[bytes]] | None:
    """The vector and the values of the filter fields of a document in its encoded form; None where
    it has no vector of the right length, all of finite numbers: then it is not in the index.
    """
    assert isinstance(info.definition, VectorIndexDefinition)
    numbers = _at(document, info.path)
    if not isinstance(numbers, list) or len(numbers) != info.definition.dimensions:
        return None
    if any(type(number) is not float for number in numbers):
        numbers = [decode_tree(number) for number in numbers]  # -0.0 is written in another way
        if any(type(number) is not float for number in numbers):
            return None
    vector = unit(numbers)
    if vector is None:
        return None
    values = [_at(document, path) for path in info.filter_paths.values()]
    return vector, [filter_value(v if v is UNSET else decode_tree(v)) for v in values]


def _at(tree: Any, path: Sequence[str]) -> Any:
    for name in path:
        tree = tree.get(name, UNSET) if isinstance(tree, dict) else UNSET
    return tree

"""The committer: the one place where transactions become commits, in one order.

Commits gather in an open **group** (one SQLite transaction): each is validated, given a timestamp
and applied, and the next one reads what it wrote. `append_group` then decides them all at once and
publishes them; only after that does anything outside see them, and only after `durable_ts` has
reached a timestamp may anyone outside the process hear of it.

The committer computes index rows itself, from the definitions of the moment of applying: an index
may have been added while a transaction ran elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from cupola.clock import Clock
from cupola.database.aggregates import summary_changes
from cupola.database.catalog import Catalog, TableInfo
from cupola.database.constraints import pending_violation
from cupola.database.documents import StoredDocument
from cupola.database.read_set import Interval
from cupola.database.text_keys import WrittenText
from cupola.database.write_log import WriteLog, WrittenKey
from cupola.database.writes import Write
from cupola.errors import ConflictError, DeveloperError
from cupola.persistence import (
    Commit,
    CommitRecord,
    DocumentWrite,
    IndexChange,
    IndexEntry,
    Persistence,
    SummaryChange,
    Timestamp,
)
from cupola.values import encode_key, resolved


class Published(NamedTuple):
    """A commit of a decided group, for those who follow: subscriptions, caches, schedulers."""

    ts: Timestamp
    written: tuple[WrittenKey, ...]
    texts: tuple[WrittenText, ...] = ()
    """Documents of tables with text indexes; their keys are made when somebody asks."""


class Committer:
    """Validates, orders and applies transactions. Used by one thread."""

    def __init__(self, persistence: Persistence, catalog: Catalog, clock: Clock) -> None:
        self.catalog = catalog
        self.write_log = WriteLog()
        self.pending_violation: str | None = None
        """Why the schema that is being pushed cannot be accepted, if a write has shown it."""
        self._violation_before: str | None = None
        self.commits = 0
        self.conflicts = 0
        self._persistence = persistence
        self._clock = clock
        self._last_ts: Timestamp = persistence.head_ts
        # Documents are made before their commit, by the same clock: all there are, before this.
        self._last_creation_time = float(persistence.head_ts // 1_000_000 + 1)
        self._group: list[Published] = []
        self._group_catalog = catalog
        self._open = False

    @property
    def head_ts(self) -> Timestamp:
        """The newest commit that is visible."""
        return self._persistence.head_ts

    @property
    def group_catalog(self) -> Catalog:
        """The definitions as the open group leaves them: what its next transaction sees."""
        return self._group_catalog if self._open else self.catalog

    @property
    def group_ts(self) -> Timestamp:
        """The newest commit of the open group, or the head."""
        return self._last_ts

    def next_creation_time(self) -> float:
        """`_creationTime` for the first insert of a transaction that begins now, in ms.

        Never at or below one this node has given out, so that creation order follows commit order
        here.
        """
        now = self._clock.now_ns() / 1e6
        return max(now, self._last_creation_time)

    def begin_group(self) -> None:
        self._persistence.begin()
        self._open = True
        self._group_catalog = self.catalog
        self._violation_before = self.pending_violation

    def validate(self, read_set: Sequence[Interval], since: Timestamp) -> None:
        """Backward validation of a transaction that ran elsewhere, the open group included.

        Raises:
            ConflictError: A later commit wrote inside the read set; run again.
        """
        if not self.write_log.covers(since):
            self.conflicts += 1
            raise ConflictError(
                "The transaction ran longer than recent commits are kept; run it again."
            )
        conflict = self.write_log.first_conflict(read_set, since)
        if conflict is not None:
            self.conflicts += 1
            name = self.group_catalog.index_label(conflict.interval.index)
            raise ConflictError(
                f"Documents read from {name} were changed by another commit; run it again."
            )

    def apply(
        self,
        writes: Sequence[Write],
        record: CommitRecord,
        *,
        creation_time: float = 0.0,
        awaits_commit: bool = False,
    ) -> Timestamp:
        """Add a validated transaction to the open group, at a new timestamp.

        The caller may tell nobody before the group is appended and `durable_ts` has reached the
        timestamp. `awaits_commit`: see `Transaction.awaits_commit`.

        Returns: the commit timestamp, ns since the Unix epoch, greater than any before.

        Raises:
            PersistenceError: The group was rolled back whole; nothing was published.
        """
        assert self._open
        ts = self._next_timestamp()
        if awaits_commit:
            writes = [_resolved(write, ts) for write in writes]
            if record.result is not None:
                record = msgspec.structs.replace(record, result=resolved(record.result, ts))
        rows, written, summaries = self._rows(writes)
        texts = self._texts(writes)
        self._write(Commit(ts, rows, record, (), (), summaries))
        self._last_ts = ts
        self._last_creation_time = max(self._last_creation_time, creation_time)
        self._note_definitions(writes)
        self._group.append(Published(ts, written, texts))
        self.write_log.add(ts, written, texts)
        return ts

    def apply_entries(
        self,
        record: CommitRecord,
        entries: Sequence[IndexEntry] = (),
        dropped: Sequence[tuple[int, bytes, bytes]] = (),
        summaries: Sequence[SummaryChange] = (),
    ) -> Timestamp:
        """Add index rows that a backfill derived, or delete a slice of a dropped index."""
        ts = self._next_timestamp()
        self._write(Commit(ts, (), record, entries, dropped, summaries))
        self._last_ts = ts
        self._group.append(Published(ts, ()))
        return ts

    def _write(self, commit: Commit) -> None:
        try:
            self._persistence.apply(commit)  # <- the one place that writes
        except BaseException:
            self._forget_group()  # the log has rolled it back
            raise

    def append_group(self) -> list[Published]:
        """Decide the open group and make it visible.

        Raises:
            PersistenceError: The group never happened.
        """
        assert self._open
        try:
            self._persistence.append()
        except BaseException:
            self._forget_group()
            raise
        published, self._group = self._group, []
        self.catalog = self._group_catalog
        self._open = False
        self.commits += len(published)
        return published

    def abandon_group(self) -> None:
        """Roll the open group back."""
        self._persistence.rollback()
        self._forget_group()

    def _forget_group(self) -> None:
        self._group = []
        self._group_catalog = self.catalog
        self.pending_violation = self._violation_before
        self._open = False
        self._last_ts = self._persistence.head_ts
        self.write_log.drop_after(self._last_ts)

    def _next_timestamp(self) -> Timestamp:
        return Timestamp(max(self._last_ts + 1, self._clock.now_ns()))

    def _rows(
        self, writes: Sequence[Write]
    ) -> tuple[list[DocumentWrite], tuple[WrittenKey, ...], list[SummaryChange]]:
        """Version and index rows of a write set, the keys it touched, and what it changes in the
        summaries of aggregated indexes.
        """
        rows: list[DocumentWrite] = []
        summaries: list[SummaryChange] = []
        written: list[WrittenKey] = []
        for table, document_id, old, new in writes:
            info = self._group_catalog.by_number.get(table.number, table)
            changes = _index_changes(info, document_id, old, new, written)
            body = new.body if new is not None else None
            rows.append(DocumentWrite(table.number, document_id, _version_of(old), body, changes))
            for index in info.aggregated:
                summaries += summary_changes(index, old, new)
        return rows, tuple(written), summaries

    def _texts(self, writes: Sequence[Write]) -> tuple[WrittenText, ...]:
        """What those who searched for words must look at."""
        indexes = self._group_catalog.text_tables
        if not indexes:
            return ()
        return tuple(
            WrittenText(index, document_id, old, new)
            for table, document_id, old, new in writes
            for index in indexes.get(table.number, ())
        )

    def _note_definitions(self, writes: Sequence[Write]) -> None:
        """Changed definitions hold for the next commit; a pending schema sees each write."""
        for write in writes:
            table, document_id, _, new = write
            if table.name.startswith("_") and table.number in (513, 514, 515):
                value = new.value if new is not None else None
                self._group_catalog = self._group_catalog.with_document(
                    table.number, document_id, value
                )
            elif self._group_catalog.pending is not None and self.pending_violation is None:
                self.pending_violation = self._violation_of(write)

    def _violation_of(self, write: Write) -> str | None:
        """Why the schema that is being pushed does not allow a write, which is applied already."""
        catalog = self._group_catalog
        check = catalog.pending_check(write.table)
        if check is not None and write.new is not None:
            try:
                check(write.new.value)
            except DeveloperError as error:
                return (
                    f'a document "{write.id}" written meanwhile to `{write.table.name}` '
                    f"does not match: {error.message}"
                )
        return pending_violation(self._persistence.reader, catalog, write)


def _index_changes(
    table: TableInfo,
    document_id: str,
    old: StoredDocument | None,
    new: StoredDocument | None,
    written: list[WrittenKey],
) -> list[IndexChange]:
    """What a write does to each index of its table; adds the keys it touches to `written`."""
    changes = []
    id_part = encode_key(document_id)
    old_value = old.value if old is not None else {}
    new_value = new.value if new is not None else {}
    for index in table.indexes.values():
        number = index.number
        old_key = new_key = None
        if old is not None:
            parts = index.parts_of(old, id_part)
            written.append(WrittenKey(number, parts))
            old_key = b"".join(parts)
            if new is not None and index.is_same_key(old_value, new_value):
                changes.append(IndexChange(number, old_key, old_key))
                continue
        if new is not None:
            parts = index.parts_of(new, id_part)
            new_key = b"".join(parts)
            if new_key != old_key:
                written.append(WrittenKey(number, parts))
        changes.append(IndexChange(number, old_key, new_key))
    return changes


def _resolved(write: Write, ts: Timestamp) -> Write:
    """A write with the timestamp of its commit, where it holds COMMIT_TIMESTAMP."""
    if write.new is None:
        return write
    return write._replace(new=StoredDocument(None, resolved(write.new.body, ts)))


def _version_of(document: StoredDocument | None) -> int | None:
    if document is None:
        return None
    assert document.version is not None, "the old side of a write comes from the snapshot"
    return document.version

"""The rows of one commit, by the rules in `protocol`; in batches per statement, which is faster."""

from collections.abc import Sequence

import apsw

from cupola.persistence.protocol import HOUR_NS, Commit, CommitRecord, DocumentWrite, Timestamp
from cupola.persistence.sqlite.aggregates import SummaryWriter

INSERT_VERSION = "INSERT INTO versions VALUES(?,?,?,?,?,?)"
INSERT_COMMIT = "INSERT INTO commits VALUES(?,?,?,?,?,?,?,?)"
INSERT_ENTRY = "INSERT INTO current VALUES(?,?,?,?)"
INSERT_BACKFILL = "INSERT OR IGNORE INTO current VALUES(?,?,?,?)"
MOVE_POINTER = (
    "INSERT INTO current VALUES(?,?,?,?) ON CONFLICT DO UPDATE SET version=excluded.version"
)
REPLACE_PRIMARY = "UPDATE current SET version=?3, from_ts=?4 WHERE idx=?1 AND key=?2"
RETIRE = (
    "INSERT INTO retired SELECT idx, ?1, key, ?2, from_ts, version FROM current "
    "WHERE idx=?3 AND key=?4"
)
RETIRE_PRIMARY = RETIRE + " AND version=?5"
DELETE_ENTRY = "DELETE FROM current WHERE idx=? AND key=?"
DELETE_SLICE = "DELETE FROM current WHERE idx=? AND key>=? AND key<?"


class CommitWriter:
    """Writes commits through the one connection that may."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._summaries = SummaryWriter(self._cursor)
        newest = connection.execute("SELECT max(version) FROM versions").get
        self._next_version: int = (newest or 0) + 1
        self._group_version = self._next_version

    def begun(self) -> None:
        self._group_version = self._next_version

    def rolled_back(self) -> None:
        self._next_version = self._group_version

    def write(self, commit: Commit) -> list[int]:
        """Returns: the version numbers given to the writes, in order.

        Raises: apsw.Error: The caller rolls back.
        """
        first = self._next_version
        summarized = self._summaries.before(commit.summaries) if commit.summaries else ()
        if commit.writes:
            self._write_documents(commit.writes, commit.ts)
        if commit.entries:
            self._cursor.executemany(INSERT_BACKFILL, commit.entries)
        for dropped in commit.dropped:
            self._cursor.execute(DELETE_SLICE, dropped)
            self._summaries.drop(*dropped)
        if summarized:
            self._summaries.write(summarized)
        self._write_record(commit.ts, commit.record)
        return list(range(first, self._next_version))

    def _write_documents(self, writes: Sequence[DocumentWrite], ts: Timestamp) -> None:
        hour = ts // HOUR_NS
        version = self._next_version
        versions: list[tuple[int, int, int, str, int | None, bytes | None]] = []
        inserted: list[tuple[int, bytes, int, int]] = []
        replaced: list[tuple[int, bytes, int, int]] = []
        moved: list[tuple[int, bytes, int, int]] = []
        superseded: list[tuple[int, int, int, bytes, int]] = []
        retired: list[tuple[int, int, int, bytes]] = []
        deleted: list[tuple[int, bytes]] = []
        for table, document_id, old_version, body, changes in writes:
            versions.append((version, ts, table, document_id, old_version, body))
            is_primary = True
            for index, old_key, new_key in changes:
                if old_key is None:
                    if new_key is not None:
                        inserted.append((index, new_key, version, ts))
                elif is_primary:
                    assert old_version is not None
                    superseded.append((hour, ts, index, old_key, old_version))
                    if new_key is None:
                        deleted.append((index, old_key))
                    else:
                        assert new_key == old_key
                        replaced.append((index, new_key, version, ts))
                elif old_key == new_key:
                    moved.append((index, old_key, version, ts))
                else:
                    retired.append((hour, ts, index, old_key))
                    deleted.append((index, old_key))
                    if new_key is not None:
                        inserted.append((index, new_key, version, ts))
                is_primary = False
            version += 1
        self._next_version = version

        many = self._cursor.executemany
        many(INSERT_VERSION, versions)
        if superseded:
            before = self._connection.total_changes()
            many(RETIRE_PRIMARY, superseded)
            found = self._connection.total_changes() - before
            assert found == len(superseded), "a write follows the current version of its document"
        if retired:
            many(RETIRE, retired)
        if deleted:
            many(DELETE_ENTRY, deleted)
        if replaced:
            many(REPLACE_PRIMARY, replaced)
        if moved:
            many(MOVE_POINTER, moved)
        if inserted:
            many(INSERT_ENTRY, inserted)

    def _write_record(self, ts: Timestamp, record: CommitRecord) -> None:
        self._cursor.execute(
            INSERT_COMMIT,
            (
                ts,
                record.function,
                record.session,
                record.request,
                record.result,
                record.log_lines,
                record.identity,
                record.arguments,
            ),
        )

"""The log in memory: what persistence means, in the fewest words. Tests and simulations use it."""

import threading
from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Sequence
from itertools import islice

from cupola.errors import PersistenceError
from cupola.limits import DEFAULT_LIMITS, Limits
from cupola.persistence.protocol import (
    HOUR_NS,
    Commit,
    CommitRecord,
    DocumentWrite,
    IndexChange,
    LoggedVersion,
    PastPage,
    PastRow,
    RecordedRequest,
    Row,
    Timestamp,
)
from cupola.persistence.summaries import EntryNumbers, Summary

_SLICE_REQUESTS = 1000

Version = tuple[Timestamp, int, str, int | None, bytes | None]  # ts, table, id, previous, body
Retired = tuple[int, int, bytes, int, int, int]  # index, hour, key, to_ts, from_ts, version


class MemorySnapshot:
    """A reader over a set of rows; also what `MemoryPersistence` itself reads from."""

    def __init__(self) -> None:
        self.versions: list[Version] = []  # version n is the n-th, counted from 1
        self.current: dict[int, dict[bytes, tuple[int, Timestamp]]] = {}  # -> version, from_ts
        self.keys: dict[int, list[bytes]] = {}  # the keys of `current`, sorted
        self.commits: dict[Timestamp, CommitRecord] = {}
        self.requests: dict[tuple[bytes, int], Timestamp] = {}
        self.numbers: dict[int, dict[bytes, EntryNumbers]] = {}  # of aggregated indexes
        self.retired: list[Retired] = []

    def newest_ts(self) -> Timestamp:
        return next(reversed(self.commits), Timestamp(0))

    def get(self, index: int, key: bytes) -> Row | None:
        entry = self.current.get(index, {}).get(key)
        return self._row(key, entry[0]) if entry else None

    def scan(
        self, index: int, start: bytes, end: bytes | None, *, descending: bool, limit: int
    ) -> list[Row]:
        keys = self._keys_between(index, start, end)
        if descending:
            keys.reverse()
        entries = self.current.get(index, {})
        return [self._row(key, entries[key][0]) for key in keys[:limit]]

    def count(self, index: int, start: bytes, end: bytes | None, *, limit: int) -> int:
        return min(len(self._keys_between(index, start, end)), limit)

    def summarize(self, index: int, start: bytes, end: bytes | None, *, fields: int) -> Summary:
        entries = self._numbers_between(index, start, end)
        return Summary.of(fields, [numbers[:fields] for _, numbers in entries])

    def nth(self, index: int, start: bytes, end: bytes | None, position: int) -> bytes | None:
        entries = self._numbers_between(index, start, end)
        return entries[position][0] if position < len(entries) else None

    def _numbers_between(
        self, index: int, start: bytes, end: bytes | None
    ) -> list[tuple[bytes, EntryNumbers]]:
        entries = self.numbers.get(index, {}).items()
        return sorted(e for e in entries if start <= e[0] and (end is None or e[0] < end))

    def recorded_request(self, session: bytes, request: int) -> RecordedRequest | None:
        ts = self.requests.get((session, request))
        if ts is None:
            return None
        record = self.commits[ts]
        assert record.result is not None
        return RecordedRequest(ts, record.result, record.log_lines)

    def newest_version(self) -> int:
        return len(self.versions)

    def version_at(self, ts: int) -> int:
        return sum(version[0] <= ts for version in self.versions)

    def version_ts(self, version: int) -> Timestamp | None:
        return self.versions[version - 1][0] if 1 <= version <= len(self.versions) else None

    def changes(
        self, tables: Collection[int] | None, after: int, through: int, *, limit: int
    ) -> list[LoggedVersion]:
        found = (
            LoggedVersion(number, ts, table, document_id, body)
            for number, (ts, table, document_id, _, body) in enumerate(
                self.versions[after:through], after + 1
            )
            if tables is None or table in tables
        )
        return list(islice(found, limit))

    def scan_at(self, ts: int, index: int, start: bytes, *, limit: int) -> PastPage:
        entries = [(key, v, since) for key, (v, since) in self.current.get(index, {}).items()]
        entries += [
            (e[2], e[5], Timestamp(e[4])) for e in self.retired if e[0] == index and e[3] > ts
        ]
        rows = []
        for key, version, since in sorted(entries):
            body = self.versions[version - 1][4]
            if key >= start and since <= ts and body is not None:
                rows.append(PastRow(key, since, body))
        return PastPage(rows[:limit], rows[limit].key if len(rows) > limit else None)

    def close(self) -> None:
        """Nothing to let go of."""

    def _keys_between(self, index: int, start: bytes, end: bytes | None) -> list[bytes]:
        keys = self.keys.get(index, [])
        stop = len(keys) if end is None else bisect_left(keys, end)
        return keys[bisect_left(keys, start) : stop]

    def _row(self, key: bytes, version: int) -> Row:
        body = self.versions[version - 1][4]
        assert body is not None
        return key, version, body

    def copy(self) -> "MemorySnapshot":
        other = MemorySnapshot()
        other.versions = self.versions.copy()
        other.current = {index: entries.copy() for index, entries in self.current.items()}
        other.keys = {index: keys.copy() for index, keys in self.keys.items()}
        other.commits = self.commits.copy()
        other.requests = self.requests.copy()
        other.numbers = {index: entries.copy() for index, entries in self.numbers.items()}
        other.retired = self.retired.copy()
        return other


class MemoryPersistence:
    """See `Persistence`. What happens in a group is undone by replaying `_undo` backwards."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._request_retention_ns = int(limits.request_retention_s * 1e9)
        self._rows = MemorySnapshot()
        self._undo: list[Callable[[], object]] | None = None  # None: no group is open
        self._head_ts = Timestamp(0)
        self._durable_ts = Timestamp(0)
        self._failure: PersistenceError | None = None
        self._notify: Callable[[], None] = lambda: None
        self._next_append_error: PersistenceError | None = None
        self._durability_released = threading.Event()
        self._durability_released.set()

    # ------------------------------------------------------------------------------- for tests

    def delay_durability(self) -> None:
        """From now on nothing becomes durable."""
        self._durability_released.clear()

    def release_durability(self) -> None:
        """What was appended becomes durable, and so does all that follows."""
        self._durability_released.set()
        self.sync()

    def fail_next_append(self, error: PersistenceError) -> None:
        """The next group meets a full disk, so to speak."""
        self._next_append_error = error

    def fail_durability(self, error: PersistenceError) -> None:
        """The disk refuses to sync: the process must stop."""
        self._failure = error
        self._notify()

    # ---------------------------------------------------------------------------------- groups

    @property
    def reader(self) -> MemorySnapshot:
        return self._rows

    @property
    def past(self) -> MemorySnapshot:
        return self._rows

    @property
    def retired(self) -> list[Retired]:
        return self._rows.retired

    @property
    def head_ts(self) -> Timestamp:
        return self._head_ts

    @property
    def durable_ts(self) -> Timestamp:
        return self._durable_ts

    @property
    def failure(self) -> PersistenceError | None:
        return self._failure

    def begin(self) -> None:
        assert self._undo is None, "a group is already open"
        if self._failure is not None:
            raise self._failure
        self._undo = []

    def apply(self, commit: Commit) -> list[int]:
        assert self._undo is not None, "no group is open"
        try:
            assert commit.ts > self._rows.newest_ts()
            numbers = [self._apply_write(write, commit.ts) for write in commit.writes]
            for entry in commit.entries:
                if entry.key not in self._rows.current.get(entry.index, {}):
                    self._set(entry.index, entry.key, (entry.version, entry.from_ts))
            for index, start, end in commit.dropped:
                for row in self._rows.scan(index, start, end, descending=False, limit=2**63):
                    self._set(index, row[0], None)
                    self._set_numbers(index, row[0], None)
            for index, _, key, entry_numbers in commit.summaries:
                self._set_numbers(index, key, entry_numbers)
            self._record(commit.ts, commit.record)
        except BaseException:
            self.rollback()
            raise
        return numbers

    def append(self) -> None:
        assert self._undo is not None, "no group is open"
        if error := self._next_append_error:
            self._next_append_error = None
            self.rollback()
            raise error
        self._undo = None
        self._head_ts = self._rows.newest_ts()

    def rollback(self) -> None:
        undos, self._undo = self._undo, None
        for undo in reversed(undos or ()):
            undo()

    def _apply_write(self, write: DocumentWrite, ts: Timestamp) -> int:
        versions = self._rows.versions
        versions.append((ts, write.table, write.id, write.old_version, write.body))
        self._on_rollback(versions.pop)
        version = len(versions)
        primary = write.changes[0]
        if write.old_version is None:
            assert primary.old_key is None
        else:
            assert primary.old_key is not None
            assert self._rows.current[primary.index][primary.old_key][0] == write.old_version
        self._apply_changes(write.changes, version, ts)
        return version

    def _apply_changes(self, changes: Sequence[IndexChange], version: int, ts: Timestamp) -> None:
        for position, (index, old_key, new_key) in enumerate(changes):
            is_primary = position == 0
            old = self._rows.current.get(index, {}).get(old_key) if old_key is not None else None
            if new_key is not None and old_key == new_key and not is_primary:
                self._set(index, new_key, (version, old[1] if old else ts))
                continue
            if old is not None and old_key is not None:
                self.retired.append((index, ts // HOUR_NS, old_key, ts, old[1], old[0]))
                self._on_rollback(self.retired.pop)
                self._set(index, old_key, None)
            if new_key is not None:
                assert new_key not in self._rows.current.get(index, {})
                self._set(index, new_key, (version, ts))

    def _set(self, index: int, key: bytes, entry: tuple[int, Timestamp] | None) -> None:
        entries = self._rows.current.setdefault(index, {})
        keys = self._rows.keys.setdefault(index, [])
        before = entries.get(key)
        if entry is None:
            del entries[key], keys[bisect_left(keys, key)]
        else:
            entries[key] = entry
            if before is None:
                insort(keys, key)
        self._on_rollback(lambda: self._set(index, key, before))

    def _set_numbers(self, index: int, key: bytes, numbers: EntryNumbers | None) -> None:
        entries = self._rows.numbers.setdefault(index, {})
        before = entries.pop(key, None)
        if numbers is not None:
            entries[key] = numbers
        self._on_rollback(lambda: self._set_numbers(index, key, before))

    def _record(self, ts: Timestamp, record: CommitRecord) -> None:
        self._rows.commits[ts] = record
        self._on_rollback(self._rows.commits.popitem)
        if record.session is not None and record.request is not None:
            assert record.result is not None
            request = (record.session, record.request)
            assert request not in self._rows.requests, "a request commits once"
            self._rows.requests[request] = ts
            self._on_rollback(self._rows.requests.popitem)

    def _on_rollback(self, undo: Callable[[], object]) -> None:
        if self._undo is not None:
            self._undo.append(undo)

    # ------------------------------------------------------------------------------ durability

    def start(self, notify: Callable[[], None]) -> None:
        self._notify = notify

    def sync(self) -> None:
        if self._durability_released.is_set() and self._failure is None:
            self._durable_ts = self._head_ts
            self._notify()

    def wait_durable(self) -> None:
        self._durability_released.wait()
        self.sync()
        if self._failure is not None:
            raise self._failure

    def holding_commits(self) -> bool:
        return False

    def holding_snapshots(self) -> bool:
        return False

    def open_snapshot(self) -> MemorySnapshot:
        assert self._undo is None, "a snapshot shows whole groups"
        return self._rows.copy()

    def maintain(self) -> bool:
        before = self._head_ts - self._request_retention_ns
        requests = self._rows.requests
        old = [key for key, ts in islice(requests.items(), _SLICE_REQUESTS) if ts < before]
        for key in old:
            del requests[key]
        return bool(old)

    def statistics(self) -> dict[str, float]:
        return {"versions": len(self._rows.versions), "commits": len(self._rows.commits)}

    def close(self) -> None:
        self.rollback()

"""What the database needs from below: one append-only log of document versions, and its indexes.

Every commit appends document versions and one commit row. The rest is derived from them:

    current   (index, key) -> version, from_ts          what is true now; scans read this
    retired   (index, hour, key, to_ts) -> from_ts, version      what was true until `to_ts`
    requests  (session, request) -> ts                  which mutations have been answered
    summaries                                           counts and sums of ranges, where asked for

A *group* is the unit of failure and of durability: `begin`, any number of `apply`, then `append`,
which decides and makes visible, or `rollback`. Later, `durable_ts` advances: only then may anyone
hear of it.

Rules of the derived rows, the same for every implementation:

- The first `IndexChange` of a write is that of the table's primary index, whose key says which
  document it is. Its entry belongs to one version: each new version retires the old entry and
  starts another, so `from_ts` there is the version's own timestamp.
- A secondary entry belongs to a key: as long as the document keeps the key, only the version
  pointer moves; `from_ts` stays. When the document leaves the key, the entry is retired with the
  last version it had there.
- Summaries are those of the current entries of an index, as far as `SummaryChange`s have told of
  them: an index has all, or none.
- A secondary entry that is missing (its index is still being backfilled) is not retired; one whose
  key does not change is then created. A backfill entry never replaces one that exists.

`MemoryPersistence` is the specification; the contract suite compares the others with it.
"""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, NewType, Protocol

import msgspec

from cupola.errors import PersistenceError
from cupola.persistence.summaries import EntryNumbers, Summary

Timestamp = NewType("Timestamp", int)
"""Nanoseconds since the Unix epoch; greater at each commit."""

Row = tuple[bytes, int, bytes]
"""(index key, version number, document as canonical encoded JSON)"""

HOUR_NS = 3_600_000_000_000


class IndexChange(NamedTuple):
    """What one write does in one index. Equal keys: only the version pointer moves."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    old_key: bytes | None
    new_key: bytes | None


class DocumentWrite(NamedTuple):
    """One new version of one document.

    `old_version` is the version it follows (None: the document is new), `body` None a tombstone.
    `changes` holds the primary index first, then any others.
    """

    table: int
    id: str
    old_version: int | None
    body: bytes | None
    changes: Sequence[IndexChange]


class IndexEntry(NamedTuple):
    """A row of a backfill: an entry for a document that was there before its index."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    key: bytes
    version: int
    from_ts: Timestamp


class SummaryChange(NamedTuple):
    """An entry of an aggregated index as the commit leaves it; `numbers` None: it is gone.

    `fields` is how many numbers each entry of that index has. What the summaries held for the key
    before is known below, so telling the same twice changes nothing.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    fields: int
    key: bytes
    numbers: EntryNumbers | None


class CommitRecord(msgspec.Struct, frozen=True):
    """Who committed and what was answered.

    `session` (16 bytes) and `request` identify a client's mutation, which then takes effect once; a
    record that has them has a `result`. `log_lines` is an encoded JSON array, `arguments` a SHA-256
    digest.
    """

    function: str
    session: bytes | None = None
    request: int | None = None
    result: bytes | None = None
    log_lines: bytes = b"[]"
    identity: bytes | None = None
    arguments: bytes | None = None


class Commit(NamedTuple):
    """One transaction as the log takes it.

    `dropped` are slices (index, start, end) of dropped indexes: their current entries are deleted
    and not retired, since nobody can ask for a dropped index.
    """

    ts: Timestamp
    writes: Sequence[DocumentWrite]
    record: CommitRecord
    entries: Sequence[IndexEntry] = ()
    dropped: Sequence[tuple[int, bytes, bytes]] = ()
    summaries: Sequence[SummaryChange] = ()


class RecordedRequest(NamedTuple):
    """The answer that a client's mutation got when it committed."""

    ts: Timestamp
    result: bytes
    log_lines: bytes


class LoggedVersion(NamedTuple):
    """A row of the log; `body` None: a tombstone. Numbers grow with timestamps."""

    version: int
    ts: Timestamp
    table: int
    id: str
    body: bytes | None


class PastRow(NamedTuple):
    """An entry of a primary index as it was: `ts` is when its version was written."""

    key: bytes
    ts: Timestamp
    body: bytes


class PastPage(NamedTuple):
    """Some entries in key order. `next`: where to go on; None at the end."""

    rows: list[PastRow]
    next: bytes | None


class PastReader(Protocol):
    """What was, behind the current entries.

    Raises: PersistenceError from every method, if the file cannot be read.
    """

    def scan_at(self, ts: int, index: int, start: bytes, *, limit: int) -> PastPage:
        """Entries with key >= `start` that a primary index had at a timestamp: at most `limit`,
        fewer or none where much has changed since.
        """
        ...


class Reader(Protocol):
    """The documents and indexes at one moment. No call leaves anything open behind it.

    Raises: PersistenceError from every method, if the file cannot be read.
    """

    def newest_ts(self) -> Timestamp:
        """Timestamp of the newest commit visible here; 0 if there is none."""
        ...

    def get(self, index: int, key: bytes) -> Row | None:
        """The entry with exactly this key."""
        ...

    def scan(
        self, index: int, start: bytes, end: bytes | None, *, descending: bool, limit: int
    ) -> list[Row]:
        """At most `limit` entries with start <= key < end, in key order or its reverse.

        `end` None means to the end of the index. To go on, ask again from the last key.
        """
        ...

    def count(self, index: int, start: bytes, end: bytes | None, *, limit: int) -> int:
        """How many entries have start <= key < end; counting stops at `limit`."""
        ...

    def summarize(self, index: int, start: bytes, end: bytes | None, *, fields: int) -> Summary:
        """The summary of the entries with start <= key < end, of an aggregated index.

        `fields`: how many numbers its entries have; 0 leaves them out, and is faster. Takes time
        with the logarithm of the number of entries. The caller owns the result.
        """
        ...

    def nth(self, index: int, start: bytes, end: bytes | None, position: int) -> bytes | None:
        """The key that has `position` others before it in the range, if there are so many."""
        ...

    def recorded_request(self, session: bytes, request: int) -> RecordedRequest | None:
        """What this request of this session was answered, if it has committed."""
        ...

    def newest_version(self) -> int:
        """The number of the newest version visible here; 0 if there is none."""
        ...

    def version_at(self, ts: int) -> int:
        """The number of the newest version committed at `ts` or before; 0 if there is none."""
        ...

    def version_ts(self, version: int) -> Timestamp | None:
        """When a version was committed; None if the log does not have it."""
        ...

    def changes(
        self, tables: Collection[int] | None, after: int, through: int, *, limit: int
    ) -> list[LoggedVersion]:
        """At most `limit` of the versions after `after`, up to and with `through`, of documents of
        some tables (None: of all), in the order of their commits. With tables it takes time with
        how far `through` is.
        """
        ...


class Snapshot(Reader, Protocol):
    """A reader pinned at the commit that was newest when it was opened. It holds back space."""

    def close(self) -> None:
        """Let go. Closing twice is harmless."""
        ...


class Persistence(Protocol):
    """The log of one deployment. One thread calls everything here: its owner."""

    @property
    def reader(self) -> Reader:
        """The head, including what the open group has applied."""
        ...

    @property
    def past(self) -> PastReader:
        """What was before the head."""
        ...

    @property
    def head_ts(self) -> Timestamp:
        """The newest appended commit; 0 if there is none."""
        ...

    @property
    def durable_ts(self) -> Timestamp:
        """The newest commit that survives a power cut; never above `head_ts`, never goes back."""
        ...

    @property
    def failure(self) -> PersistenceError | None:
        """Set once, for good, when what memory holds can no longer be trusted to be on disk.

        The process must stop without sending anything more, and recover from the file.
        """
        ...

    def begin(self) -> None:
        """Open a group.

        Blocks while `holding_commits` (some milliseconds), so ask that first.

        Raises: PersistenceError: No group is open. See `failure` for whether to go on.
        """
        ...

    def apply(self, commit: Commit) -> list[int]:
        """Write one commit into the open group; its timestamp is greater than any before.

        Returns: the version numbers given to `commit.writes`, in order.

        Raises: PersistenceError: The whole group is already rolled back.
        """
        ...

    def append(self) -> None:
        """Decide the group and make it visible to new snapshots. It is not durable yet.

        Raises: PersistenceError: The whole group is already rolled back; it never happened.
        """
        ...

    def rollback(self) -> None:
        """Drop the open group. Does nothing if none is open."""
        ...

    def start(self, notify: Callable[[], None]) -> None:
        """Start working in the background.

        `notify` is called, from any thread and even from within `sync`, when `durable_ts`,
        `failure`, `holding_commits` or `holding_snapshots` has changed.
        """
        ...

    def sync(self) -> None:
        """Ask that everything appended so far becomes durable.

        Returns at once, or after a sync that is faster than having another thread do it.
        """
        ...

    def wait_durable(self) -> None:
        """Block until everything appended so far is durable: for shutdown and tests.

        Raises: PersistenceError: It never will be; see `failure`.
        """
        ...

    def holding_commits(self) -> bool:
        """True while no group should begin, for some milliseconds."""
        ...

    def holding_snapshots(self) -> bool:
        """True while no snapshot should be opened, until those open have ended."""
        ...

    def open_snapshot(self) -> Snapshot:
        """A second view, pinned at the newest appended commit."""
        ...

    def maintain(self) -> bool:
        """Do one small slice of upkeep; call it about once a second, between groups.

        Requests older than `Limits.request_retention_s`, counted back from the newest commit, are
        forgotten here: sent again, they run again.

        Returns: whether more is waiting, so that an early second call would help.

        Raises: PersistenceError: Nothing was changed; upkeep can be tried again.
        """
        ...

    def statistics(self) -> dict[str, float]:
        """Figures for metrics; the names say the unit."""
        ...

    def close(self) -> None:
        """Make everything durable, if that is still possible, and let go. Twice is harmless."""
        ...

"""Notes in channels: a small table on any persistence, for stories that speak of notes."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cupola.persistence import (
    Commit,
    CommitRecord,
    DocumentWrite,
    IndexChange,
    MemoryPersistence,
    Persistence,
    Reader,
    Timestamp,
)
from cupola.persistence.sqlite import SqlitePersistence

HOUR_NS = 3_600_000_000_000
BY_ID, BY_CHANNEL = 1, 2


def channel_key(channel: str, note: str) -> bytes:
    return channel.encode() + b"\0" + note.encode()


class Notes:
    """Writes notes through one persistence and remembers where each stands."""

    BY_ID, BY_CHANNEL = BY_ID, BY_CHANNEL

    def __init__(self, persistence: Persistence, now: int = 1_000) -> None:
        self.persistence = persistence
        self.now = now
        self.at: dict[str, tuple[int, str]] = {}  # note -> version, channel

    @contextlib.contextmanager
    def group(self) -> Iterator[None]:
        """Everything within becomes visible together."""
        before = self.at.copy()
        self.persistence.begin()
        try:
            yield
            self.persistence.append()
        except BaseException:
            self.at = before
            self.persistence.rollback()
            raise

    def put(self, note: str, channel: str, text: str = "hi", **record: Any) -> Timestamp:
        """One commit of the open group: the note is there now, with this text."""
        version, old_channel = self.at.get(note, (None, None))
        old_key = None if old_channel is None else channel_key(old_channel, note)
        id_key = note.encode()
        changes = [
            IndexChange(BY_ID, id_key if old_key else None, id_key),
            IndexChange(BY_CHANNEL, old_key, channel_key(channel, note)),
        ]
        (new_version,) = self._apply(
            DocumentWrite(10, note, version, text.encode(), changes), **record
        )
        self.at[note] = new_version, channel
        return Timestamp(self.now)

    def remove(self, note: str, **record: Any) -> Timestamp:
        version, channel = self.at.pop(note)
        changes = [
            IndexChange(BY_ID, note.encode(), None),
            IndexChange(BY_CHANNEL, channel_key(channel, note), None),
        ]
        self._apply(DocumentWrite(10, note, version, None, changes), **record)
        return Timestamp(self.now)

    def _apply(self, *writes: DocumentWrite, **record: Any) -> list[int]:
        self.now += 1
        return self.persistence.apply(
            Commit(Timestamp(self.now), writes, CommitRecord("notes:write", **record))
        )

    @staticmethod
    def ids(reader: Reader) -> list[str]:
        rows = reader.scan(BY_ID, b"", None, descending=False, limit=100_000)
        return [key.decode() for key, _, _ in rows]

    @staticmethod
    def text(reader: Reader, note: str) -> str | None:
        row = reader.get(BY_ID, note.encode())
        return row[2].decode() if row else None

    @staticmethod
    def in_channel(reader: Reader, channel: str, **options: Any) -> list[str]:
        start = channel.encode() + b"\0"
        rows = reader.scan(
            BY_CHANNEL,
            start,
            start + b"\xff",
            **{"descending": False, "limit": 1000, **options},
        )
        return [key.partition(b"\0")[2].decode() for key, _, _ in rows]

    def entries(self) -> list[tuple[int, bytes, int, int]]:
        """(index, key, version, from_ts) of all current entries, sorted."""
        if isinstance(self.persistence, MemoryPersistence):
            return sorted(
                (index, key, *entry)
                for index, entries in self.persistence.reader.current.items()
                for key, entry in entries.items()
            )
        return self._table("SELECT idx, key, version, from_ts FROM current ORDER BY 1, 2")

    def retired(self) -> list[tuple[int, int, bytes, int, int, int]]:
        """(index, hour, key, to_ts, from_ts, version) of all retired entries, sorted."""
        if isinstance(self.persistence, MemoryPersistence):
            return sorted(self.persistence.retired)
        return self._table(
            "SELECT idx, hour, key, to_ts, from_ts, version FROM retired ORDER BY 1, 2, 3, 4"
        )

    def _table(self, sql: str) -> list[Any]:
        assert isinstance(self.persistence, SqlitePersistence)
        return self.persistence.reader._execute(sql).fetchall()


@pytest.fixture
def notes_of() -> Callable[..., Notes]:
    """Notes on a persistence of the test's own."""
    return Notes


@pytest.fixture(params=["memory", "sqlite"])
def persistence(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Persistence]:
    opened: Persistence = (
        MemoryPersistence()
        if request.param == "memory"
        else SqlitePersistence(str(tmp_path / "data.sqlite"))
    )
    yield opened
    opened.close()


@pytest.fixture
def notes(persistence: Persistence) -> Notes:
    return Notes(persistence)

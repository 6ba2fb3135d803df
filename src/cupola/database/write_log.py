"""Recent commits in memory: who wrote inside whose read set.

Backward validation (Kung and Robinson 1981): a transaction that ran on an older snapshot commits
only if no later commit wrote inside an interval it read. Transactions in process run one after the
other on the head and need none of this; so the log holds commits only while some snapshot runs
elsewhere (a worker), back to the oldest of them.

Theory: comparing intervals with every commit since costs 25 ms for a second of commits. Instead
each written key is filed under all its prefixes, field by field; an interval looks at the one
prefix it lies under, newest first, and usually sees at once that nothing there is newer than its
snapshot.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from cupola.database.read_set import Interval

if TYPE_CHECKING:
    from cupola.database.text_keys import WrittenText


class WrittenKey(NamedTuple):
    """A key that a commit added to, removed from or changed in an index, field by field (the id
    last).
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    parts: tuple[bytes, ...]


class Conflict(NamedTuple):
    """The first write found inside a read set."""

    interval: Interval
    ts: int


_Place = tuple[int, int, bytes]  # index, number of fields, their encoded prefix


class WriteLog:
    """Last writes per index prefix, back to the oldest snapshot that runs elsewhere."""

    def __init__(self) -> None:
        self._snapshots: dict[int, int] = {}  # timestamp -> how many
        self._writes: dict[_Place, list[tuple[int, bytes]]] = {}  # in ascending order of ts
        self._commits: collections.deque[tuple[int, list[_Place]]] = collections.deque()
        self._texts: collections.deque[tuple[int, WrittenText]] = collections.deque()
        self._covered_since: int | None = None

    def open_snapshot(self, ts: int) -> None:
        """From now on keep what is committed after `ts`, the present head."""
        self._snapshots[ts] = self._snapshots.get(ts, 0) + 1
        if self._covered_since is None:
            self._covered_since = ts

    def close_snapshot(self, ts: int) -> None:
        self._snapshots[ts] -= 1
        if self._snapshots[ts] > 0:
            return
        del self._snapshots[ts]
        if not self._snapshots:
            self._writes.clear()
            self._commits.clear()
            self._texts.clear()
            self._covered_since = None
        elif ts == self._covered_since:
            self._drop_through(min(self._snapshots))

    def _drop_through(self, ts: int) -> None:
        """Forget commits up to `ts`: no snapshot is older, however many follow each other."""
        while self._texts and self._texts[0][0] <= ts:
            self._texts.popleft()
        dropped: collections.Counter[_Place] = collections.Counter()
        while self._commits and self._commits[0][0] <= ts:
            dropped.update(self._commits.popleft()[1])
        for place, count in dropped.items():
            writes = self._writes[place]
            if count == len(writes):
                del self._writes[place]
            else:
                del writes[:count]
        self._covered_since = ts

    def covers(self, ts: int) -> bool:
        """Whether everything committed after `ts` is known here."""
        return self._covered_since is not None and ts >= self._covered_since

    def add(
        self, ts: int, written: Iterable[WrittenKey], texts: Iterable[WrittenText] = ()
    ) -> None:
        """File a commit. Pending ones too: `drop_after` takes them back when their group fails."""
        if self._covered_since is None:
            return
        self._texts.extend((ts, text) for text in texts)
        places: list[_Place] = []
        for index, parts in written:
            key = b"".join(parts)
            prefix = b""
            places.append(self._file(index, 0, prefix, ts, key))
            for position, part in enumerate(parts, 1):
                prefix += part
                places.append(self._file(index, position, prefix, ts, key))
        self._commits.append((ts, places))

    def _file(self, index: int, fields: int, prefix: bytes, ts: int, key: bytes) -> _Place:
        place = index, fields, prefix
        writes = self._writes.get(place)
        if writes is None:
            self._writes[place] = [(ts, key)]
        else:
            writes.append((ts, key))
        return place

    def drop_after(self, ts: int) -> None:
        """Forget commits newer than `ts`: their group was rolled back."""
        while self._texts and self._texts[-1][0] > ts:
            self._texts.pop()
        while self._commits and self._commits[-1][0] > ts:
            self._commits.pop()
        for place, writes in list(self._writes.items()):
            kept = [write for write in writes if write[0] <= ts]
            if kept:
                self._writes[place] = kept
            else:
                del self._writes[place]

    def first_conflict(self, read_set: Sequence[Interval], since: int) -> Conflict | None:
        """The first interval of `read_set` that a commit after `since` wrote inside, or None."""
        for interval, writes in self._under(read_set):
            for ts, key in reversed(writes):
                if ts <= since:
                    break
                if interval.contains(key):
                    return Conflict(interval, ts)
        return None

    def first_touch(self, read_set: Sequence[Interval], since: int) -> int | None:
        """The timestamp of the first commit after `since` that wrote inside `read_set`, or None."""
        first: int | None = None
        for interval, writes in self._under(read_set):
            for ts, key in reversed(writes):
                if ts <= since:
                    break
                if (first is None or ts < first) and interval.contains(key):
                    first = ts
        return first

    def _under(
        self, read_set: Sequence[Interval]
    ) -> Iterator[tuple[Interval, list[tuple[int, bytes]]]]:
        """The intervals under whose prefix anything was written, with what."""
        for interval in read_set:
            writes = self._writes.get((interval.index, interval.fields, interval.prefix))
            if writes is not None:
                yield interval, writes
            elif self._texts and (found := self._text_writes(interval.index)):
                yield interval, found

    def _text_writes(self, index: int) -> list[tuple[int, bytes]]:
        """Searches for words in mutations elsewhere are rare, so their keys are not filed."""
        return [
            (ts, b"".join(parts))
            for ts, text in self._texts
            if text.index == index
            for _, parts in text.keys
        ]

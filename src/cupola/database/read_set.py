"""What a transaction looked at: intervals of index keys.

An interval is half-open in the key order of its index. It also names the **equality prefix** it
lies under:
the first `fields` fields of the key, encoded. Most read sets are one prefix plus a small range, so
writes find the intervals they touch by looking up their own prefixes
(`reactivity/subscriptions.py`, `write_log.py`).
"""

from typing import NamedTuple


class Interval(NamedTuple):
    """Keys from `start` (inclusive) to `end` (exclusive; None: to the end of the index)."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    fields: int
    prefix: bytes
    start: bytes
    end: bytes | None

    def contains(self, key: bytes) -> bool:
        return self.start <= key and (self.end is None or key < self.end)


class RangeRead:
    """An interval that grows while a scan yields rows, so that it ends at the last row the caller
    saw.
    """

    __slots__ = ("_descending", "_exhausted", "_last", "end", "fields", "index", "prefix", "start")

    def __init__(
        self,
        index: int,
        fields: int,
        prefix: bytes,
        start: bytes,
        end: bytes | None,
        descending: bool,
    ) -> None:
        self.index = index
        self.fields = fields
        self.prefix = prefix
        self.start = start
        self.end = end
        self._descending = descending
        self._last: bytes | None = None
        self._exhausted = False

    def saw(self, key: bytes) -> None:
        self._last = key

    def exhausted(self) -> None:
        self._exhausted = True

    def interval(self) -> Interval | None:
        """The interval read so far; None when the scan was never advanced."""
        if self._exhausted:
            return Interval(self.index, self.fields, self.prefix, self.start, self.end)
        if self._last is None:
            return None
        if self._descending:
            return Interval(self.index, self.fields, self.prefix, self._last, self.end)
        return Interval(self.index, self.fields, self.prefix, self.start, self._last + b"\0")


class ReadSet:
    """Everything one transaction read, in the order it read it."""

    __slots__ = ("_points", "_ranges")

    def __init__(self) -> None:
        self._points: dict[tuple[int, bytes], None] = {}
        self._ranges: list[RangeRead] = []

    def add_point(self, index: int, key: bytes) -> None:
        """The presence or absence of one key of a primary index."""
        self._points[index, key] = None

    def add_range(self, read: RangeRead) -> None:
        self._ranges.append(read)

    def __len__(self) -> int:
        return len(self._points) + len(self._ranges)

    def intervals(self) -> tuple[Interval, ...]:
        """The finished read set, without repetitions."""
        found: dict[Interval, None] = {
            Interval(index, 1, key, key, key + b"\0"): None for index, key in self._points
        }
        for read in self._ranges:
            interval = read.interval()
            if interval is not None:
                found[interval] = None
        return tuple(found)

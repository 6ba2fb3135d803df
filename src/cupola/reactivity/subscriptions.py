"""Which queries does a written key touch?

Theory: most read sets are an equality prefix plus a small range. Intervals are therefore filed
under their prefix, `{(index, number of fields): {prefix: group}}`, and a written key, which arrives
field by field, is looked up once per number of fields in use on its index. That costs the same with
a thousand subscriptions and with a million. (Tried before: an interval treap costs 30 µs per key in
Python, a list is hopeless.)

Inside a group, intervals lie in buckets ordered by start, each with the greatest end in it, so that
many different ranges under one prefix cost one comparison per bucket and not one each.
"""

from __future__ import annotations

import bisect
from collections.abc import Hashable, Iterable, Sequence
from typing import Generic, TypeVar

from cupola.database.read_set import Interval
from cupola.database.write_log import WrittenKey

T = TypeVar("T", bound=Hashable)

_BUCKET_SIZE = 64
_ABOVE_ALL = b"\xff"  # no key starts with this tag (spec: values, section 5)


class _Bucket(Generic[T]):
    __slots__ = ("items", "latest_end")

    def __init__(self, items: list[tuple[bytes, bytes, T]]) -> None:
        self.items = items
        self.latest_end = max((item[1] for item in items), default=b"")

    def add(self, item: tuple[bytes, bytes, T]) -> None:
        bisect.insort(self.items, item, key=_start_of)
        if item[1] > self.latest_end:
            self.latest_end = item[1]


def _start_of(item: tuple[bytes, bytes, object]) -> bytes:
    return item[0]


class IntervalGroup(Generic[T]):
    """The intervals under one prefix."""

    __slots__ = ("_buckets", "_starts")

    def __init__(self) -> None:
        self._buckets: list[_Bucket[T]] = []
        self._starts: list[bytes] = []  # first start of each bucket

    def __bool__(self) -> bool:
        return bool(self._buckets)

    def add(self, start: bytes, end: bytes, owner: T) -> None:
        if not self._buckets:
            self._buckets.append(_Bucket([(start, end, owner)]))
            self._starts.append(start)
            return
        place = max(0, bisect.bisect_right(self._starts, start) - 1)
        bucket = self._buckets[place]
        bucket.add((start, end, owner))
        self._starts[place] = bucket.items[0][0]
        if len(bucket.items) > _BUCKET_SIZE:
            upper = _Bucket(bucket.items[_BUCKET_SIZE // 2 :])
            self._buckets[place] = _Bucket(bucket.items[: _BUCKET_SIZE // 2])
            self._buckets.insert(place + 1, upper)
            self._starts.insert(place + 1, upper.items[0][0])

    def remove(self, start: bytes, end: bytes, owner: T) -> None:
        place = max(0, bisect.bisect_left(self._starts, start) - 1)
        item = (start, end, owner)
        while place < len(self._buckets):
            bucket = self._buckets[place]
            if item in bucket.items:
                bucket.items.remove(item)
                if bucket.items:
                    self._buckets[place] = _Bucket(bucket.items)
                    self._starts[place] = bucket.items[0][0]
                else:
                    del self._buckets[place], self._starts[place]
                return
            place += 1
        raise KeyError(item)

    def find(self, key: bytes, found: set[T]) -> None:
        """Add the owners of all intervals that contain `key`."""
        for bucket in self._buckets[: bisect.bisect_right(self._starts, key)]:
            if bucket.latest_end > key:
                for start, end, owner in bucket.items:
                    if start > key:
                        break
                    if end > key:
                        found.add(owner)


class Subscriptions(Generic[T]):
    """Owners (cache entries) by what they read."""

    def __init__(self) -> None:
        self._groups: dict[int, dict[int, dict[bytes, IntervalGroup[T]]]] = {}
        self.intervals = 0

    def add(self, owner: T, read_set: Sequence[Interval]) -> None:
        for index, fields, prefix, start, end in read_set:
            by_prefix = self._groups.setdefault(index, {}).setdefault(fields, {})
            group = by_prefix.get(prefix)
            if group is None:
                group = by_prefix[prefix] = IntervalGroup()
            group.add(start, _ABOVE_ALL if end is None else end, owner)
        self.intervals += len(read_set)

    def remove(self, owner: T, read_set: Sequence[Interval]) -> None:
        for index, fields, prefix, start, end in read_set:
            by_prefix = self._groups[index][fields]
            group = by_prefix[prefix]
            group.remove(start, _ABOVE_ALL if end is None else end, owner)
            if not group:
                del by_prefix[prefix]
                if not by_prefix:
                    del self._groups[index][fields]
                    if not self._groups[index]:
                        del self._groups[index]
        self.intervals -= len(read_set)

    def has(self, index: int) -> bool:
        """Whether anybody has read from this index."""
        return index in self._groups

    def touched(self, written: Iterable[WrittenKey]) -> set[T]:
        """Owners that read one of these keys, or the place where it is now or was before."""
        found: set[T] = set()
        for index, parts in written:
            by_fields = self._groups.get(index)
            if by_fields is None:
                continue
            key = b"".join(parts)
            for fields, by_prefix in by_fields.items():
                group = by_prefix.get(b"".join(parts[:fields]))
                if group is not None:
                    group.find(key, found)
        return found

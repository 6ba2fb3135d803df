"""Summaries of index ranges: a tree whose shape follows from the keys alone.

    level 2    [------------------------------)[-------------------)
    level 1    [-----)[---------)[------------)[----)[-------------)
    entries  .. . . .. . .  .. .. . .. . .. .  . .. . . . .. .  . . .

A key is a *boundary* of level n if its hash begins with n groups of six zero bits: one key in 64
is one of level 1, one in 4096 of level 2. A row (index, level, low) of the table `summaries`
summarizes the entries from the boundary `low` to the next one of its level. Keys below the first
boundary of a level are summarized by the levels below it alone. Level 0 holds the numbers of each
entry; an index that only counts has none, since `current` has its keys.

So nothing is ever split, merged or balanced by a rule of its own: a new boundary divides its block,
a deleted one joins two, and whatever order the keys came in (a backfill with writes in between, a
rollback, an import), the same keys make the same tree. A write touches one row per level, three or
four for a million entries; a range is the whole blocks in it and, level by level, the rest of the
blocks at its two ends.

Dropped: a balanced tree with node pages (splits, merges, and a shape that depends on history);
counters per prefix (no ranges, no rank, and one hot row per prefix); sums kept as floats, which
drift. Like a skip list (Pugh 1990), with heights by hash as in a treap (Seidel and Aragon 1996).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import apsw

from cupola.persistence.protocol import SummaryChange
from cupola.persistence.summaries import EntryNumbers, Summary, decode_entry, encode_entry

LEVELS_MAX = 6  # of 64-fold steps: 10**10 entries
_STEP_BITS = 6
_STEP_MASK = (1 << _STEP_BITS) - 1

TOP_LEVEL = "SELECT max(level) FROM summaries WHERE idx=?"
BLOCKS = "SELECT low, count, data FROM summaries WHERE idx=? AND level=? AND low>=? AND low<?"
BLOCKS_OPEN = "SELECT low, count, data FROM summaries WHERE idx=? AND level=? AND low>=?"
BY_LOW = " ORDER BY low"
BLOCK_AT = (
    "SELECT low, count, data FROM summaries WHERE idx=? AND level=? AND low<=? "
    "ORDER BY low DESC LIMIT 1"
)
BOUNDARY_AFTER = "SELECT low FROM summaries WHERE idx=? AND level=? AND low>? ORDER BY low LIMIT 1"
ENTRY = "SELECT data FROM summaries WHERE idx=? AND level=0 AND low=?"
IS_CURRENT = "SELECT 1 FROM current WHERE idx=? AND key=?"
COUNT = "SELECT count(*) FROM current WHERE idx=? AND key>=? AND key<?"
COUNT_OPEN = "SELECT count(*) FROM current WHERE idx=? AND key>=?"
NTH = "SELECT key FROM current WHERE idx=? AND key>=? ORDER BY key LIMIT 1 OFFSET ?"
PUT = "INSERT OR REPLACE INTO summaries VALUES(?,?,?,?,?)"
DELETE = "DELETE FROM summaries WHERE idx=? AND level=? AND low=?"
DELETE_SLICE = "DELETE FROM summaries WHERE idx=? AND level=? AND low>=? AND low<?"

Execute = Callable[..., Any]
Range = tuple[bytes, bytes | None]
_Change = tuple[bytes, EntryNumbers | None, EntryNumbers | None]  # key, before, after


def height(key: bytes) -> int:
    """The highest level of which a key is a boundary; 0: of none."""
    digits = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")
    level = 0
    while level < LEVELS_MAX and not digits & _STEP_MASK:
        digits >>= _STEP_BITS
        level += 1
    return level


# ---------------------------------------------------------------- reading


class RangeSummary:
    """Reads one index's tree."""

    def __init__(self, execute: Execute, index: int, fields: int) -> None:
        self._execute = execute
        self._index = index
        self._fields = fields

    def summarize(self, start: bytes, end: bytes | None) -> Summary:
        """The summary of all entries with start <= key < end."""
        total = Summary(self._fields)
        if end is None or start < end:
            self.add_to(total, self._top_level(), start, end)
        return total

    def nth(self, start: bytes, end: bytes | None, position: int) -> bytes | None:
        """The key of the entry that has `position` others before it in the range, if any has."""
        if end is not None and start >= end:
            return None
        found = self._seek(self._top_level(), start, end, position)
        return found if isinstance(found, bytes) else None

    def add_to(
        self, total: Summary, level: int, start: bytes, end: bytes | None, *, closed: bool = False
    ) -> None:
        """Add a range, by blocks of `level` and below. `closed`: `end` is a boundary there."""
        if level == 0:
            self._add_entries(total, start, end)
            return
        rows = self._blocks(level, start, end)
        if not rows:
            self.add_to(total, level - 1, start, end, closed=closed)
            return
        first, last = rows[0][0], rows[-1][0]
        if start < first:
            self.add_to(total, level - 1, start, first, closed=True)
        is_whole = closed or end is None
        for _, count, data in rows if is_whole else rows[:-1]:
            if self._fields:
                total.add(Summary.decoded(self._fields, count, data))
            else:
                total.count += count
        if not is_whole:
            self.add_to(total, level - 1, last, end)

    def _seek(
        self, level: int, start: bytes, end: bytes | None, position: int, *, closed: bool = False
    ) -> bytes | int:
        """The key at `position`, or how much of `position` lies behind this range."""
        if level == 0:
            count = self._count(start, end)
            if position >= count:
                return position - count
            row = self._execute(NTH, (self._index, start, position)).fetchall()
            key: bytes = row[0][0]
            return key
        rows = self._blocks(level, start, end)
        if not rows:
            return self._seek(level - 1, start, end, position, closed=closed)
        if start < rows[0][0]:
            found = self._seek(level - 1, start, rows[0][0], position, closed=True)
            if isinstance(found, bytes):
                return found
            position = found
        for place, (low, count, _) in enumerate(rows):
            is_last = place == len(rows) - 1
            stop = end if is_last else rows[place + 1][0]
            if is_last and not (closed or end is None):
                return self._seek(level - 1, low, stop, position)
            if position < count:
                return self._seek(level - 1, low, stop, position, closed=stop is not None)
            position -= count
        return position

    def _top_level(self) -> int:
        rows = self._execute(TOP_LEVEL, (self._index,)).fetchall()
        return rows[0][0] or 0

    def _blocks(self, level: int, start: bytes, end: bytes | None) -> list[Any]:
        where = (self._index, level, start)
        if end is None:
            return self._execute(BLOCKS_OPEN + BY_LOW, where).fetchall()  # type: ignore[no-any-return]
        return self._execute(BLOCKS + BY_LOW, (*where, end)).fetchall()  # type: ignore[no-any-return]

    def _add_entries(self, total: Summary, start: bytes, end: bytes | None) -> None:
        if not self._fields:
            total.count += self._count(start, end)
            return
        for _, _, data in self._blocks(0, start, end):
            total.add_entry(decode_entry(data))

    def _count(self, start: bytes, end: bytes | None) -> int:
        if end is None:
            rows = self._execute(COUNT_OPEN, (self._index, start)).fetchall()
        else:
            rows = self._execute(COUNT, (self._index, start, end)).fetchall()
        return int(rows[0][0])


# ---------------------------------------------------------------- writing


class SummaryWriter:
    """Keeps the trees in step with the entries, commit by commit."""

    def __init__(self, cursor: apsw.Cursor) -> None:
        self._execute: Execute = cursor.execute
        self._many = cursor.executemany

    def before(self, changes: Sequence[SummaryChange]) -> list[tuple[int, int, _Change]]:
        """What changes, found out before the rows of the commit are written.

        Whether an entry was there is asked of the log, not of the writer: one that its backfill
        has not reached yet was not.
        """
        found = []
        for index, fields, key, after in sorted(changes):
            if fields:
                rows = self._execute(ENTRY, (index, key)).fetchall()
                before = decode_entry(rows[0][0]) if rows else None
            else:
                before = () if self._execute(IS_CURRENT, (index, key)).fetchall() else None
            if before != after:
                found.append((index, fields, (key, before, after)))
        return found

    def write(self, found: list[tuple[int, int, _Change]]) -> None:
        """Bring the trees up to date, after the rows of the commit are written."""
        for (index, fields), group in groupby(found, key=lambda change: change[:2]):
            _TreeUpdate(self._execute, self._many, index, fields).run([c for _, _, c in group])

    def drop(self, index: int, start: bytes, end: bytes) -> None:
        """Forget a slice of a dropped index."""
        for level in range(LEVELS_MAX + 1):
            self._execute(DELETE_SLICE, (index, level, start, end))


class _TreeUpdate:
    """One commit's changes in one tree, level by level, in key order."""

    def __init__(self, execute: Execute, many: Execute, index: int, fields: int) -> None:
        self._execute = execute
        self._many = many
        self._index = index
        self._fields = fields
        self._tree = RangeSummary(execute, index, fields)

    def run(self, changes: list[_Change]) -> None:
        if self._fields:
            self._write_entries(changes)
        moved = [
            (key, height(key), after is not None)
            for key, before, after in changes
            if before is None or after is None
        ]
        for level in range(1, LEVELS_MAX + 1):
            boundaries = [(key, is_new) for key, most, is_new in moved if most >= level]
            if not self._run_level(level, changes, boundaries):
                return

    def _write_entries(self, changes: list[_Change]) -> None:
        gone = [(self._index, 0, key) for key, _, after in changes if after is None]
        there = [
            (self._index, 0, key, 1, encode_entry(after))
            for key, _, after in changes
            if after is not None
        ]
        if gone:
            self._many(DELETE, gone)
        if there:
            self._many(PUT, there)

    def _run_level(
        self, level: int, changes: list[_Change], boundaries: list[tuple[bytes, bool]]
    ) -> bool:
        """Returns: whether there is a block here that a change lies in; if not, none above."""
        anew = self._move_boundaries(level, boundaries)
        blocks: dict[bytes, Summary] = {}
        low: bytes | None = None
        until: bytes | None = b""  # the block `low` reaches to here; None: to the end
        for key, before, after in changes:
            if until is not None and key >= until:
                low = self._load(level, key, blocks, anew)
                until = self._boundary_after(level, key) if len(changes) > 1 else None
            if low is None or low in anew:
                continue
            summary = blocks[low]
            if before is not None and not summary.subtract_entry(before):
                anew.add(low)  # an extreme is gone: find the next
                continue
            if after is not None:
                summary.add_entry(after)
        for block in anew:
            blocks[block] = Summary(self._fields)
            self._tree.add_to(
                blocks[block], level - 1, block, self._boundary_after(level, block), closed=True
            )
        self._many(
            PUT,
            [(self._index, level, at, s.count, s.encoded()) for at, s in blocks.items()],
        )
        return bool(blocks or boundaries)

    def _move_boundaries(self, level: int, boundaries: list[tuple[bytes, bool]]) -> set[bytes]:
        """Add and delete boundaries. Returns: the blocks that must be summarized anew."""
        anew = set()
        for key, is_new in boundaries:
            if is_new:
                self._execute(PUT, (self._index, level, key, 0, b""))
                anew.add(key)
            else:
                self._execute(DELETE, (self._index, level, key))
        for key, is_new in boundaries:
            rows = self._execute(BLOCK_AT, (self._index, level, key)).fetchall()
            if is_new:  # the block at `key` is its own: the one before it lost its end
                rows = self._block_before(level, key)
            if rows:
                anew.add(rows[0][0])
        return anew

    def _block_before(self, level: int, key: bytes) -> list[Any]:
        sql = BLOCK_AT.replace("low<=", "low<")
        return self._execute(sql, (self._index, level, key)).fetchall()  # type: ignore[no-any-return]

    def _load(
        self, level: int, key: bytes, blocks: dict[bytes, Summary], anew: set[bytes]
    ) -> bytes | None:
        """The block that `key` lies in, if it lies in one."""
        rows = self._execute(BLOCK_AT, (self._index, level, key)).fetchall()
        if not rows:
            return None
        low: bytes
        low, count, data = rows[0]
        if low not in anew and low not in blocks:
            blocks[low] = Summary.decoded(self._fields, count, data)
        return low

    def _boundary_after(self, level: int, key: bytes) -> bytes | None:
        rows = self._execute(BOUNDARY_AFTER, (self._index, level, key)).fetchall()
        return rows[0][0] if rows else None

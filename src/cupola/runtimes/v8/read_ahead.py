"""Documents that a function will likely get next, sent along with the one that it gets now.

Functions follow references one by one: `for (const m of messages) await ctx.db.get(m.author)`. Each
get is a crossing between two processes, which costs ten times what the read does. So an answer
brings along the documents whose ids stand where the one asked for stands: further on in the
arguments of the call, or under the same name in the rows that were sent last. The first of those
that the arguments name are sent without being asked for (frame "D"). Whether any are read is up to
the function. It says which were (frame "U"), and only those count, and belong to what the function
depends on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from cupola.database.transaction import Transaction
from cupola.errors import InvalidIdError

DOCUMENTS_MAX = 64
BYTES_MAX = 64 * 1024
PREPARED_MAX = 16
SEARCHED_BYTES_MAX = 1024 * 1024
"""Longer arguments, or rows, are not looked through for ids."""
_FRUITLESS_MAX = 2

_quoted_ids = re.compile(rb'"([0-9a-hjkmnp-tv-z]{31,37})"').finditer


class ReadAhead:
    """What is known of one call: its arguments, and the rows that it looks at."""

    def __init__(self, transaction: Transaction, arguments: bytes) -> None:
        """`arguments`: those of the call, encoded; empty if they hold no ids, see `has_ids`."""
        self._transaction = transaction
        self._arguments = arguments[:SEARCHED_BYTES_MAX]
        self._prepared: list[bytes] = []
        self._places: dict[str, int] = {}  # where a document's followers begin in `_prepared`
        self._rows: Sequence[bytes] = ()
        self._at = 0  # the row that holds the reference followed last
        self._fruitless = 0

    def prepare(self) -> list[bytes]:
        """What the arguments refer to, read while the function has not asked for anything yet, as
        `line_of` has it.
        """
        for document_id, line in self._lines(_ids_in(self._arguments, 0), PREPARED_MAX):
            self._prepared.append(line)
            self._places[document_id] = len(self._prepared)
        return self._prepared

    def note_rows(self, bodies: Sequence[bytes]) -> None:
        """These documents were sent: their references may be followed."""
        is_much = sum(map(len, bodies)) > SEARCHED_BYTES_MAX
        self._rows, self._at, self._fruitless = () if is_much else bodies, 0, 0

    def following(self, document_id: str) -> list[bytes]:
        """Documents that will likely be asked for after this one, as `line_of` has them."""
        if not self._arguments and not self._rows:
            return []
        place = self._places.get(document_id)
        if place is not None and not self._transaction.has_written:
            ready = self._prepared[place:]
            if ready and len(ready) <= self._transaction.usage.documents_left:
                return ready
        candidates = self._candidates(b'"%b"' % document_id.encode())
        lines = self._lines((each for each in candidates if each != document_id), DOCUMENTS_MAX)
        return [line for _, line in lines]

    def _lines(self, candidates: Iterable[str], most: int) -> Iterator[tuple[str, bytes]]:
        """The documents of these ids, each once, as far as they exist and there is room."""
        transaction = self._transaction
        most = min(most, transaction.usage.documents_left)
        size = min(BYTES_MAX, transaction.usage.bytes_left)
        for candidate in dict.fromkeys(candidates):
            try:
                foreseen = transaction.foresee(candidate)
            except InvalidIdError:
                continue
            if foreseen is None:
                continue
            table, document = foreseen
            most -= 1
            size -= len(document.body)
            if most < 0 or size < 0:
                return
            yield candidate, line_of(candidate, table.own_name, document.body)

    def _candidates(self, quoted: bytes) -> Iterator[str]:
        place = self._arguments.find(quoted)
        if place >= 0:
            return _ids_in(self._arguments, place + len(quoted))
        return self._in_rows(quoted)

    def _in_rows(self, quoted: bytes) -> Iterator[str]:
        for number in range(self._at, len(self._rows)):
            row = self._rows[number]
            place = row.find(quoted)
            if place >= 0:
                self._at = number
                yield from _ids_in_list(row, place + len(quoted))
                name = _name_before(row, place)
                if name is not None:
                    yield from _ids_named(name, self._rows[number + 1 :])
                return
        self._fruitless += 1
        if self._fruitless >= _FRUITLESS_MAX:
            self._rows = ()  # it follows something else


def has_ids(arguments: bytes) -> bool:
    """Whether there is anything to `prepare`."""
    return next(_quoted_ids(arguments, 0, SEARCHED_BYTES_MAX), None) is not None


def line_of(document_id: str, table: str, body: bytes) -> bytes:
    """A document as it crosses with others."""
    return b"%b %b %b" % (document_id.encode(), table.encode(), body)


def _ids_in(text: bytes, start: int) -> Iterator[str]:
    return (found[1].decode() for found in _quoted_ids(text, start))


def _ids_in_list(text: bytes, start: int) -> Iterator[str]:
    """The ids that come next, with nothing but commas between them."""
    for found in _quoted_ids(text, start):
        if text[start : found.start()] != b",":
            return
        yield found[1].decode()
        start = found.end()


def _name_before(row: bytes, place: int) -> bytes | None:
    """`"name":"`, if the text at `place` is what a field holds."""
    if row[place - 2 : place] != b'":':
        return None
    start = row.rfind(b'"', 0, place - 2)
    return row[start : place + 1]


def _ids_named(name: bytes, rows: Sequence[bytes]) -> Iterator[str]:
    for row in rows:
        place = row.find(name)
        if place >= 0:
            start = place + len(name)
            yield row[start : row.find(b'"', start)].decode()

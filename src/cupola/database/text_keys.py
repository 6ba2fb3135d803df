"""Words, and what a written document means to those who have searched for words.

A text is cut where a letter, mark or digit meets anything else; words are lowercase, and those of
more than 32 characters are left out (spec: function runtime, 7.5). Whoever searches and whoever
indexes cuts in the same way, here.

A search reads intervals of keys like other queries, so that subscriptions and conflicts find it in
the same way. But nobody stores these keys: they are made from the old and the new version of a
written document when somebody asks, which is when somebody has searched. A key is

    (scope, word, document id)

and a document has one for each of its words in the scope of all documents and in that of each of
its filter fields with its value there. A search reads in one scope, that of its first filter.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from cupola.database.documents import StoredDocument
from cupola.database.read_set import Interval
from cupola.database.search_indexes import SearchIndex
from cupola.database.write_log import WrittenKey
from cupola.values import UNSET, UnsetType, Value, after, encode_key

WORD_LENGTH_MAX: Final = 32
_ASCII_WORDS: Final = re.compile(r"[0-9a-z]+")
_EVERYTHING: Final = b"\x01"  # the scopes: first a byte that says which kind
_FILTERED: Final = b"\x02"
_MARKS_END: Final = 0x20000


def words_of(text: str) -> list[str]:
    """The words of a text, in order, as often as they occur."""
    pattern = _ASCII_WORDS if text.isascii() else _words_pattern()
    found: list[str] = pattern.findall(text.lower())
    if len(text) <= WORD_LENGTH_MAX:
        return found
    return [word for word in found if len(word) <= WORD_LENGTH_MAX]


@functools.cache
def _words_pattern() -> re.Pattern[str]:
    """Letters and digits as Unicode has them, and the marks that sit on them in many scripts."""
    import unicodedata  # loaded with the first text that needs it

    starts: list[int] = []
    marks = []
    for point in range(min(_MARKS_END, sys.maxunicode) + 1):
        is_mark = unicodedata.category(chr(point)) in ("Mn", "Mc")
        if is_mark and not starts:
            starts.append(point)
        elif not is_mark and starts:
            marks.append(f"{re.escape(chr(starts.pop()))}-{re.escape(chr(point - 1))}")
    return re.compile(rf"(?:[^\W_]+|[{''.join(marks)}]+)+")


def value_at(document: Mapping[str, Value], path: Sequence[str]) -> Value | UnsetType:
    """What a document has at a path; UNSET if nothing."""
    value: Value | UnsetType = document  # type: ignore[assignment]  # a dict is a Value
    for name in path:
        value = value.get(name, UNSET) if isinstance(value, dict) else UNSET
    return value


def text_in(index: SearchIndex, document: Mapping[str, Value]) -> str | None:
    """The text that an index searches; None: the document has no text there."""
    text = value_at(document, index.path)
    return text if isinstance(text, str) else None


def filter_keys(index: SearchIndex, document: Mapping[str, Value]) -> tuple[bytes, ...]:
    """The encoded values of the filter fields, in the order in which they are declared."""
    return tuple(encode_key(value_at(document, path)) for path in index.filter_paths.values())


# ------------------------------------------------------------------------------- written documents


class WrittenText:
    """A written document of a table with a text index: `old` before, `new` after the commit."""

    __slots__ = ("_document_id", "_index", "_keys", "_new", "_old")

    def __init__(
        self,
        index: SearchIndex,
        document_id: str,
        old: StoredDocument | None,
        new: StoredDocument | None,
    ) -> None:
        self._index = index
        self._document_id = document_id
        self._old = old
        self._new = new
        self._keys: tuple[WrittenKey, ...] | None = None

    @property
    def index(self) -> int:
        """The number of the index."""
        return self._index.number

    @property
    def keys(self) -> tuple[WrittenKey, ...]:
        """Where searches may have found the document, or may find it now."""
        if self._keys is None:
            id_part = encode_key(self._document_id)
            places: dict[tuple[bytes, bytes], None] = {}
            for document in (self._old, self._new):
                if document is not None:
                    places |= dict.fromkeys(_places(self._index, document.value))
            number = self._index.number
            self._keys = tuple(WrittenKey(number, (*place, id_part)) for place in places)
            self._old = self._new = None  # not needed any more
        return self._keys


def _places(index: SearchIndex, document: Mapping[str, Value]) -> list[tuple[bytes, bytes]]:
    text = text_in(index, document)
    if text is None:
        return []
    words = [encode_key(word) for word in set(words_of(text))]
    values = enumerate(filter_keys(index, document))
    scopes = [_EVERYTHING, *(_scope(field, value) for field, value in values)]
    return [(scope, word) for scope in scopes for word in words]


def _scope(field: int, value: bytes) -> bytes:
    return _FILTERED + bytes([field]) + value


# ---------------------------------------------------------------------------------- what was read


def searched(
    index: SearchIndex,
    words: Sequence[str],
    prefix: str,
    first_filter: tuple[int, bytes] | None,
) -> list[Interval]:
    """What a search for documents with any of `words`, or a word that begins with `prefix`, has
    read. `first_filter`: the position of a filter field, and the encoded value it must have.
    """
    scope = _EVERYTHING if first_filter is None else _scope(*first_filter)
    intervals = []
    for word in words:
        key = scope + encode_key(word)
        intervals.append(Interval(index.number, 2, key, key, after(key)))
    start = scope + encode_key(prefix)[:-1]  # without the end of the string
    intervals.append(Interval(index.number, 1, scope, start, after(start)))
    return intervals

"""Documents with their words, in memory: those that an index on disk does not have yet.

Where nothing is on disk, all of them. The formula of relevance is here as well: BM25 (Robertson and
Zaragoza 2009) as tantivy computes it, so that documents from either place compare. A word that only
begins with the last one asked for counts as much as that beginning is rare, however long the
document.
"""

from __future__ import annotations

import bisect
import collections
import math
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple, Protocol

from cupola.database.search_indexes import SearchIndex
from cupola.database.text_keys import filter_keys, text_in, words_of
from cupola.search.text_query import TextQuery
from cupola.values import Value

_K1: Final = 1.2
_B: Final = 0.75


class TextEntry(NamedTuple):
    """What an index knows of a document. `words`: how often each occurs; `length`: all together."""

    id: str
    created: float
    words: Mapping[str, int]
    length: int
    filters: tuple[bytes, ...]

    def matches(self, query: TextQuery) -> bool:
        """Whether the search finds it."""
        return query.has_filters(self.filters) and (
            any(word in self.words for word in query.words) or self.begins(query.prefix)
        )

    def begins(self, prefix: str) -> bool:
        """Whether it has a word that begins so."""
        return prefix in self.words or any(word.startswith(prefix) for word in self.words)


def text_entry(index: SearchIndex, document: Mapping[str, Value]) -> TextEntry | None:
    """What the index knows of a document; None: there is no word in it."""
    text = text_in(index, document)
    words = words_of(text) if text is not None else []
    if not words:
        return None
    created = document["_creationTime"]
    assert isinstance(created, float)
    counts = collections.Counter(words)
    return TextEntry(
        str(document["_id"]), created, counts, len(words), filter_keys(index, document)
    )


class Statistics(Protocol):
    """How common words are, over the documents of an index."""

    @property
    def documents(self) -> float: ...

    @property
    def average_length(self) -> float: ...

    def with_word(self, word: str) -> int: ...

    def with_prefix(self, prefix: str) -> int: ...


def rarity(documents: float, having: int) -> float:
    """The inverse document frequency, as BM25 has it."""
    return math.log(1.0 + (max(documents - having, 0.0) + 0.5) / (having + 0.5))


class Scorer:
    """The relevance of documents to one query."""

    def __init__(self, query: TextQuery, statistics: Statistics) -> None:
        documents = statistics.documents
        self._average = max(statistics.average_length, 1e-9)
        self._prefix = query.prefix
        self._words = [
            (word, rarity(documents, statistics.with_word(word)) * (_K1 + 1.0))
            for word in query.words
        ]
        self.prefix_score = rarity(documents, statistics.with_prefix(query.prefix))

    def score(self, entry: TextEntry) -> float:
        """Greater is more relevant."""
        length = rounded_length(entry.length)
        norm = _K1 * (1.0 - _B + _B * length / self._average)
        total = self.prefix_score if entry.begins(self._prefix) else 0.0
        for word, weight in self._words:
            count = entry.words.get(word, 0)
            if count:
                total += weight * count / (count + norm)
        return total


def rounded_length(length: int) -> int:
    """The length of a document as tantivy keeps it, in a byte: four bits of it, from 40 words on.

    As Lucene's SmallFloat.intToByte4 and back.
    """
    if length < 40:
        return length
    rest = length - 24
    shift = rest.bit_length() - 4
    return 24 + (rest >> shift << shift)


class TextMemory:
    """Entries by document, and where to find them by word."""

    def __init__(self) -> None:
        self.entries: dict[str, TextEntry] = {}
        self._having: dict[str, dict[str, None]] = {}
        self._sorted: list[str] | None = []
        self._length = 0
        self.size = 0
        """How many different words all entries have, each counted anew: what memory goes by."""

    def put(self, document_id: str, entry: TextEntry | None) -> None:
        """The document is this now; None: nothing in it can be found."""
        old = self.entries.pop(document_id, None)
        if old is not None:
            self._length -= old.length
            self.size -= len(old.words)
            for word in old.words:
                having = self._having[word]
                del having[document_id]
                if not having:
                    del self._having[word]
                    self._sorted = None
        if entry is None:
            return
        self.entries[document_id] = entry
        self._length += entry.length
        self.size += len(entry.words)
        for word in entry.words:
            having = self._having.setdefault(word, {})
            if not having:
                self._sorted = None
            having[document_id] = None

    def find(self, query: TextQuery) -> Iterator[TextEntry]:
        """The documents that the search finds, each once, in no particular order."""
        found: dict[str, None] = {}
        for word in (*query.words, *self._beginning(query.prefix)):
            found |= self._having.get(word, {})
        for document_id in found:
            entry = self.entries[document_id]
            if query.has_filters(entry.filters):
                yield entry

    def _beginning(self, prefix: str) -> list[str]:
        if self._sorted is None:
            self._sorted = sorted(self._having)
        start = bisect.bisect_left(self._sorted, prefix)
        stop = start
        while stop < len(self._sorted) and self._sorted[stop].startswith(prefix):
            stop += 1
        return self._sorted[start:stop]

    # ---------------------------------------------------------------- statistics

    @property
    def documents(self) -> float:
        return float(len(self.entries))

    @property
    def average_length(self) -> float:
        return self._length / len(self.entries) if self.entries else 1.0

    def with_word(self, word: str) -> int:
        return len(self._having.get(word, ()))

    def with_prefix(self, prefix: str) -> int:
        words = self._beginning(prefix)
        if len(words) == 1:
            return len(self._having[words[0]])
        return len(set().union(*(self._having[word] for word in words)))

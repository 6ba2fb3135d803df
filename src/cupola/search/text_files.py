"""An index on disk: tantivy's files, in a folder of their own.

The text is written as the words that `words_of` finds, joined by spaces, so that tantivy cuts it as
we do. Beside the documents there is one entry that says how far the index has followed the log. It
is replaced in the commit that makes it true, so whoever opens the files knows which version of the
log they stand for. It consists of one word that no text has, from which the statistics are read.

Everything here runs without Python's lock while tantivy works. Its failures, panics included, come
out as `SearchFilesError`.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cupola.errors import OperatorError
from cupola.search.text_memory import TextEntry
from cupola.search.text_query import TextQuery
from cupola.values import decode_id, encode_id

if TYPE_CHECKING:
    import tantivy

_WRITER_BYTES: Final = 20_000_000
_POSITION: Final = "position"  # no document has this id
_POSITION_WORD: Final = "."  # nor this word
_PREFIX_TERMS_MAX: Final = 1000
_VALUE_BYTES_MAX: Final = 40
_DIGITS: Final = ".5g"  # tantivy computes with seven, and sums in another order
_NUMBERS: Final = ("version", "created", "high", "low")
_DOUBLE, _BITS = struct.Struct(">d"), struct.Struct(">Q")
_LOW_BITS: Final = (1 << 64) - 1


class SearchFilesError(OperatorError):
    """An index cannot be read or written. It is built anew from the log."""

    code = "SearchIndexesUnavailable"
    http_status = 503


class Position(NamedTuple):
    """The newest version of the log that an index knows of, and when it was committed."""

    version: int
    ts: int


class Candidate(NamedTuple):
    """A document that an index has found: as it was in this version."""

    score: float
    id: str
    version: int
    order: int
    """Greater for those created later; see `order_of`."""


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except SearchFilesError:
        raise
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic is no Exception
        if type(error).__name__ != "PanicException" and not isinstance(error, Exception):
            raise
        raise SearchFilesError(f"A text index cannot be used: {error}") from error


@functools.cache
def _schema() -> tantivy.Schema:
    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_text_field("text", tokenizer_name="whitespace", index_option="freq")
    builder.add_text_field("id", tokenizer_name="raw", index_option="basic")
    builder.add_text_field("filter", tokenizer_name="raw", index_option="basic")
    for name in _NUMBERS:
        builder.add_unsigned_field(name, fast=True)
    return builder.build()


def _filter_term(position: int, value: bytes) -> str:
    """What stands for a value of a filter field. Long ones by their digest: whoever finds a
    document looks at it again.
    """
    if len(value) > _VALUE_BYTES_MAX:
        return f"{position}#{hashlib.blake2b(value, digest_size=16).hexdigest()}"
    return f"{position}:{value.hex()}"


def order_of(created: float) -> int:
    """When a document was created, in ms, as a whole number in the same order."""
    bits: int = _BITS.unpack(_DOUBLE.pack(max(0.0, created)))[0]
    return bits  # those of doubles that are not negative are in the order of the numbers


def rounded(score: float) -> float:
    """What is compared: scores that are equal here are worth the same."""
    return float(format(score, _DIGITS))


# ---------------------------------------------------------------------------------------- writing


class TextWriter:
    """The one who writes an index. Nothing is seen by others before `commit`."""

    def __init__(self, folder: Path) -> None:
        """Opens the files, or makes empty ones.

        Raises:
            SearchFilesError: They are damaged, or another process writes them.
        """
        import tantivy

        with _failures():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if tantivy.Index.exists(str(folder)):
                self._index = tantivy.Index.open(str(folder))
            else:
                self._index = tantivy.Index(_schema(), str(folder))
            self._index.config_reader(reload_policy="manual")
            self._writer = self._index.writer(_WRITER_BYTES, 1)

    def position(self) -> Position:
        """How far the files go; 0 if they are empty."""
        with _failures():
            return _position_of(self._index.searcher())

    def put(self, version: int, entry: TextEntry) -> None:
        """The document is this now."""
        _, internal = decode_id(entry.id)
        number = int.from_bytes(internal, "big")
        text = " ".join([word for word, count in entry.words.items() for _ in range(count)])
        self._add(
            {
                "text": text,
                "id": entry.id,
                "filter": [_filter_term(i, value) for i, value in enumerate(entry.filters)],
                "version": version,
                "created": order_of(entry.created),
                "high": number >> 64,
                "low": number & _LOW_BITS,
            }
        )

    def remove(self, document_id: str) -> None:
        """The document is no longer what it was. Harmless if the index never had it."""
        with _failures():
            self._writer.delete_documents_by_term("id", document_id)

    def commit(self, position: Position) -> None:
        """Everything so far becomes visible and durable, and the index stands at `position`."""
        self.remove(_POSITION)
        self._add(
            {
                "text": _POSITION_WORD,
                "id": _POSITION,
                "version": position.version,
                "created": 0,
                "high": position.ts,
                "low": 0,
            }
        )
        with _failures():
            self._writer.commit()
            self._index.reload()

    def _add(self, fields: dict[str, Any]) -> None:
        import tantivy

        with _failures():
            self._writer.add_document(tantivy.Document.from_dict(fields, _schema()))

    def close(self) -> None:
        """Let go, once segments under way are merged."""
        with _failures():
            self._writer.wait_merging_threads()


def delete_files(folder: Path) -> None:
    """Forget an index."""
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


# ---------------------------------------------------------------------------------------- reading


class TextReader:
    """The newest commit of an index that others write.

    It may be opened and refreshed inside a call: tantivy looks at the files, not Python.
    """

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            SearchFilesError: The files are damaged.
            FileNotFoundError: There are none.
        """
        import tantivy

        try:
            is_there = tantivy.Index.exists(str(folder))
        except ValueError:  # not even a folder
            is_there = False
        if not is_there:
            raise FileNotFoundError(folder)
        with _failures():
            self._index = tantivy.Index.open(str(folder))
            self._index.config_reader(reload_policy="manual")
            self.view = self._load()

    def refresh(self) -> bool:
        """Look at the newest commit. Returns whether it is another one."""
        with _failures():
            before, self.view = self.view, self._load()
            return before.position != self.view.position

    def _load(self) -> TextView:
        self._index.reload()
        return TextView(self._index.searcher())


class TextView:
    """One commit of an index: it does not change."""

    def __init__(self, searcher: tantivy.Searcher) -> None:
        self._searcher = searcher
        self.position = _position_of(searcher)
        self.documents, self.average_length = _means_of(searcher)
        """Documents, deleted ones that still take room included; words per document."""

    def with_word(self, word: str) -> int:
        with _failures():
            return self._searcher.doc_freq("text", word)

    def with_prefix(self, prefix: str) -> int:
        """Documents with words that begin so; one with several such words counts several times."""
        with _failures():
            terms = self._searcher.terms_with_prefix("text", prefix, limit=_PREFIX_TERMS_MAX)
            return sum(count for _, count in terms)

    def best(self, table: int, query: TextQuery, prefix_score: float, count: int) -> Found:
        """The `count` most relevant documents of a search, the newest of equals first.

        `table`: the number that ids carry. `prefix_score`: what a word is worth that begins as the
        last one does.
        """
        with _failures():
            asked = _asked(query, prefix_score)
            hits = self._searcher.search(asked, count + 1, count=False).hits
            if len(hits) <= count:
                return Found(self._candidates(table, hits), is_all=True)
            last = rounded(hits[count][0])
            if rounded(hits[count - 1][0]) > last:
                return Found(self._candidates(table, hits[:count]), is_all=False)
            # More are worth as much as the last of these than there is room for.
            above = [hit for hit in hits[:count] if rounded(hit[0]) > last]
            newest = self._newest(table, asked, last, len(above), count - len(above))
            return Found([*self._candidates(table, above), *newest], is_all=False)

    def _newest(
        self, table: int, asked: tantivy.Query, score: float, above: int, count: int
    ) -> list[Candidate]:
        """Of the documents that the search finds with just this score, the newest. They are looked
        for among the best and among the newest, more and more of either. `above`: how many are
        better.
        """
        among = max(4 * (above + count), 64)
        while True:
            equal = self._equal(table, self._among_newest(asked, among), score)
            is_all = False
            if len(equal) < count:
                hits = self._searcher.search(asked, among, count=False).hits
                is_all = len(hits) < among or rounded(hits[-1][0]) < score
                equal = self._equal(table, hits, score) if is_all else []
            if is_all or equal:
                return sorted(equal, key=lambda each: (-each.order, each.id))[:count]
            among *= 16

    def _equal(
        self, table: int, hits: Sequence[tuple[Any, tantivy.DocAddress]], score: float
    ) -> list[Candidate]:
        return self._candidates(table, [hit for hit in hits if rounded(hit[0]) == score])

    def _among_newest(
        self, asked: tantivy.Query, among: int
    ) -> list[tuple[Any, tantivy.DocAddress]]:
        """So many of the newest documents that the search finds, with their scores."""
        hits = self._searcher.search(asked, among, count=False, order_by_field="created").hits
        oldest = min(self._searcher.fast_field_values("created", [hits[-1][1]]))  # type: ignore[type-var]
        import tantivy

        since = tantivy.Query.range_query(
            _schema(), "created", tantivy.FieldType.Unsigned, lower_bound=int(oldest or 0)
        )
        both = tantivy.Query.boolean_query(
            [
                (tantivy.Occur.Must, asked),
                (tantivy.Occur.Must, tantivy.Query.const_score_query(since, 0.0)),
            ]
        )
        return self._searcher.search(both, len(hits), count=False).hits

    def _candidates(
        self, table: int, hits: Sequence[tuple[Any, tantivy.DocAddress]]
    ) -> list[Candidate]:
        addresses = [address for _, address in hits]
        columns = [self._searcher.fast_field_values(name, addresses) for name in _NUMBERS]
        return [
            Candidate(
                score,
                encode_id(table, (int(high or 0) << 64 | int(low or 0)).to_bytes(16, "big")),
                int(version or 0),
                int(created or 0),
            )
            for (score, _), version, created, high, low in zip(hits, *columns, strict=True)
        ]


class Found(NamedTuple):
    """What an index knows; `is_all`: there is nothing beyond."""

    candidates: list[Candidate]
    is_all: bool


def _asked(query: TextQuery, prefix_score: float) -> tantivy.Query:
    from tantivy import Occur, Query

    schema = _schema()
    begins = Query.fuzzy_term_query(schema, "text", query.prefix, distance=0, prefix=True)
    some = [(Occur.Should, Query.term_query(schema, "text", word)) for word in query.words]
    some.append((Occur.Should, Query.const_score_query(begins, prefix_score)))
    any_word = Query.boolean_query(some)
    if not query.filters:
        return any_word
    needed = [(Occur.Must, any_word)]
    for position, value in query.filters:
        term = Query.term_query(schema, "filter", _filter_term(position, value))
        needed.append((Occur.Must, Query.const_score_query(term, 0.0)))
    return Query.boolean_query(needed)


def _position_of(searcher: tantivy.Searcher) -> Position:
    hits = _position_entry(searcher)
    if not hits:
        return Position(0, 0)
    (version,) = searcher.fast_field_values("version", hits)
    (ts,) = searcher.fast_field_values("high", hits)
    return Position(int(version or 0), int(ts or 0))


def _position_entry(searcher: tantivy.Searcher) -> list[tantivy.DocAddress]:
    import tantivy

    asked = tantivy.Query.term_query(_schema(), "id", _POSITION)
    return [address for _, address in searcher.search(asked, 1, count=False).hits]


def _means_of(searcher: tantivy.Searcher) -> tuple[float, float]:
    """The statistics that tantivy's scores are computed with, from its own explanation of one."""
    import tantivy

    entry = _position_entry(searcher)
    if not entry:
        return 0.0, 1.0
    asked = tantivy.Query.term_query(_schema(), "text", _POSITION_WORD)
    explained = json.loads(asked.explain(searcher, entry[0]).to_json())
    figures: dict[str, float] = {}
    waiting = [explained]
    while waiting:
        node = waiting.pop()
        figures[node["description"].partition(",")[0]] = node["value"]
        waiting += node.get("details", ())
    return figures["N"], figures["avgdl"]

"""What a text search asks for (spec: function runtime, 7.5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from cupola.database.read_set import Interval
from cupola.database.search_indexes import SearchIndex
from cupola.database.text_keys import searched, words_of
from cupola.errors import DatabaseUseError, LimitError
from cupola.limits import Limits
from cupola.values import encode_key

QUERY_BYTES_MAX: Final = 1 << 20  # of the text that is cut into words


class TextQuery(NamedTuple):
    """Documents with any of `words`, or with a word that begins with `prefix`, the last of them;
    and with all `filters`: positions of filter fields, and the encoded values they must have.
    """

    words: tuple[str, ...]
    prefix: str
    filters: tuple[tuple[int, bytes], ...]

    def has_filters(self, values: Sequence[bytes]) -> bool:
        """Whether a document with these values in the filter fields is asked for."""
        return all(values[position] == value for position, value in self.filters)

    def reads(self, index: SearchIndex) -> list[Interval]:
        """What the answer depends on."""
        first = self.filters[0] if self.filters else None
        return searched(index, self.words, self.prefix, first)


def text_query(
    table: str,
    index: SearchIndex,
    searches: Sequence[tuple[str, Any]],
    equalities: Sequence[tuple[str, Any]],
    limits: Limits,
) -> TextQuery | None:
    """A search, checked against the index that it is for. None: nothing is searched for.

    `searches`: a field and the text looked for in it, once; `equalities`: filter fields, and
    values.

    Raises:
        DatabaseUseError: It is none that this index can answer.
        LimitError: It has too many filters.
    """
    where, field = f"`{table}.{index.name}`", index.definition.field
    if not searches:
        raise DatabaseUseError(
            f"A search with {where} must say what to look for in `{field}`.",
            code="MissingSearchFilter",
        )
    if len(searches) > 1:
        raise DatabaseUseError(
            f"A search with {where} looks for one text; this one has {len(searches)}.",
            code="DuplicateSearchFilters",
        )
    (name, text) = searches[0]
    if name != field:
        raise DatabaseUseError(
            f"{where} searches `{field}`, not `{name}`.", code="IncorrectSearchField"
        )
    if not isinstance(text, str):
        raise DatabaseUseError(
            f"A search looks for a text in `{field}`, not for {type(text).__name__}.",
            code="BadArguments",
        )
    filters = _filters(where, index, equalities, limits)
    words = words_of(text[:QUERY_BYTES_MAX])[: limits.search_words_max]
    if not words:
        return None
    return TextQuery(tuple(dict.fromkeys(words)), words[-1], filters)


def _filters(
    where: str, index: SearchIndex, equalities: Sequence[tuple[str, Any]], limits: Limits
) -> tuple[tuple[int, bytes], ...]:
    if len(equalities) > (most := limits.search_filters_max):
        raise LimitError(
            f"A search has at most {most} filters; this one with {where} has {len(equalities)}.",
            code="TooManyFilterConditionsInSearchQuery",
        )
    declared = index.definition.filters
    found = []
    for name, value in equalities:
        if name not in declared:
            has = ", ".join(f"`{each}`" for each in declared) or "none"
            raise DatabaseUseError(
                f"{where} has no filter field `{name}`; it has {has}.",
                code="IncorrectFilterField",
            )
        found.append((declared.index(name), encode_key(value)))
    return tuple(found)

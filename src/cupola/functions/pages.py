"""What pagination takes and gives, spelled as it crosses the wire (spec: values, section 7)."""

from __future__ import annotations

import math
from typing import Generic, Literal, TypeVar

import msgspec

from cupola.database.pagination import PageRequest
from cupola.errors import DatabaseUseError
from cupola.values import UNSET, UnsetType

T = TypeVar("T")


class PaginationOptions(msgspec.Struct, frozen=True):
    """The argument `paginationOpts` that the published clients send.

    `numItems`: page size. `cursor`: None for the first page, then `continueCursor` of the page
    before. `endCursor`: load exactly up to there instead. `id` only makes subscriptions differ.
    """

    numItems: float
    cursor: str | None
    endCursor: str | UnsetType | None = UNSET
    id: float | UnsetType = UNSET
    maximumRowsRead: float | UnsetType = UNSET
    maximumBytesRead: float | UnsetType = UNSET


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page. `continueCursor` leads to the next; `isDone` says that there is none."""

    page: list[T]
    isDone: bool
    continueCursor: str
    splitCursor: str | None = None
    pageStatus: Literal["SplitRecommended", "SplitRequired"] | None = None


def page_request(options: PaginationOptions) -> PageRequest:
    """What the options ask of the database. Raises: DatabaseUseError: A bound makes no sense."""
    if not 1 <= options.numItems < math.inf:
        raise DatabaseUseError(
            f"NoDocumentsForPagination: numItems must be at least 1, not {options.numItems:g}.",
            code="NoDocumentsForPagination",
        )
    return PageRequest(
        int(options.numItems),
        options.cursor,
        None if options.endCursor is UNSET else options.endCursor,
        _read_bound("maximumRowsRead", options.maximumRowsRead),
        _read_bound("maximumBytesRead", options.maximumBytesRead),
    )


def _read_bound(name: str, value: float | UnsetType) -> int | None:
    if value is UNSET:
        return None
    if not 1 <= value < math.inf:
        raise DatabaseUseError(f"{name} must be at least 1, not {value:g}.", code="BadArguments")
    return int(value)

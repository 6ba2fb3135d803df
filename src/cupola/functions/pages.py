"""What pagination takes and gives, spelled as it crosses the wire (spec: values, section 7)."""

from __future__ import annotations

from typing import Generic, Literal, TypeVar

import msgspec

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

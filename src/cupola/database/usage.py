"""What a transaction has read and written so far, against its bounds."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping

from cupola.errors import LimitError
from cupola.limits import Limits

BUDGETS = {
    "bytes_read": ("bytes_read", "bytes_read_max"),
    "bytes_written": ("bytes_written", "bytes_written_max"),
    "database_queries": ("ranges", "ranges_read_max"),
    "documents_read": ("documents_read", "documents_read_max"),
    "documents_written": ("documents_written", "documents_written_max"),
    "functions_scheduled": ("functions_scheduled", "functions_scheduled_max"),
    "scheduled_args_bytes": ("scheduled_bytes", "scheduled_arguments_bytes_max"),
}
"""What can be budgeted, as its counter here and its bound in `Limits`."""


class Usage:
    """Counters of one transaction. Nested calls count into the same ones, rolled back or not."""

    __slots__ = (
        "bytes_read",
        "bytes_written",
        "documents_read",
        "documents_written",
        "functions_scheduled",
        "limits",
        "ranges",
        "scheduled_bytes",
    )

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.documents_read = 0
        self.bytes_read = 0
        self.documents_written = 0
        self.bytes_written = 0
        self.ranges = 0
        self.functions_scheduled = 0
        self.scheduled_bytes = 0

    def read(self, size: int) -> None:
        """One document of `size` encoded bytes was read, whether or not a filter keeps it."""
        self.documents_read += 1
        self.bytes_read += size
        if self.documents_read > self.limits.documents_read_max:
            raise self._too_many("documents read", self.limits.documents_read_max)
        if self.bytes_read > self.limits.bytes_read_max:
            raise self._too_many("bytes read", self.limits.bytes_read_max)

    @contextlib.contextmanager
    def within(self, budget: Mapping[str, int]) -> Iterator[None]:
        """Allow what is read and written from here on so much more, by `BUDGETS`, and never more
        than before. What was used stays counted.
        """
        outer = self.limits
        narrowed = {}
        for name, more in budget.items():
            used, bound = BUDGETS[name]
            narrowed[bound] = min(getattr(self, used) + more, getattr(outer, bound))
        self.limits = dataclasses.replace(outer, **narrowed)
        try:
            yield
        finally:
            self.limits = outer

    def so_far(self) -> dict[str, tuple[int, int]]:
        """What was used and what is left (below 0: too much), by `BUDGETS`."""
        found = {}
        for name, (counter, bound) in BUDGETS.items():
            used = getattr(self, counter)
            found[name] = (used, getattr(self.limits, bound) - used)
        return found

    @property
    def documents_left(self) -> int:
        return max(0, self.limits.documents_read_max - self.documents_read)

    @property
    def bytes_left(self) -> int:
        return max(0, self.limits.bytes_read_max - self.bytes_read)

    def read_many(self, documents: int, size: int) -> None:
        """Several documents were read, of `size` encoded bytes together."""
        if documents:
            self.documents_read += documents - 1
            self.read(size)

    def counted(self, documents: int) -> None:
        """Index entries were counted without reading their documents."""
        self.documents_read += documents
        if self.documents_read > self.limits.documents_read_max:
            raise self._too_many("documents read", self.limits.documents_read_max)

    def range(self) -> None:
        self.ranges += 1
        if self.ranges > self.limits.ranges_read_max:
            raise self._too_many("index ranges read", self.limits.ranges_read_max)

    def wrote(self, size: int) -> None:
        self.documents_written += 1
        self.bytes_written += size
        if self.documents_written > self.limits.documents_written_max:
            raise self._too_many("documents written", self.limits.documents_written_max)
        if self.bytes_written > self.limits.bytes_written_max:
            raise self._too_many("bytes written", self.limits.bytes_written_max)

    def scheduled(self, size: int) -> None:
        """A function was scheduled, with `size` encoded bytes of arguments."""
        self.functions_scheduled += 1
        self.scheduled_bytes += size
        if self.functions_scheduled > (most := self.limits.functions_scheduled_max):
            raise LimitError(
                f"A mutation schedules at most {most} functions; schedule one that schedules the "
                "rest, or let one function do more.",
                code="TooManyFunctionsScheduled",
            )
        if self.scheduled_bytes > (most := self.limits.scheduled_arguments_bytes_max):
            raise LimitError(
                f"The arguments of the functions that a mutation schedules have at most {most:,} "
                "bytes together; store large data in documents and pass ids.",
                code="ScheduledFunctionsArgumentsTooLarge",
            )

    @staticmethod
    def _too_many(what: str, bound: int) -> LimitError:
        return LimitError(
            f"Too many {what} in a single function execution (limit: {bound}). "
            "Do less per call: narrow the index range, take fewer documents or paginate.",
            code="TransactionLimitExceeded",
        )

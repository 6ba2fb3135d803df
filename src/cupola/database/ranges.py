"""From what a query says about fields to an interval of index keys (spec: values, section 5.1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from cupola.database.catalog import Index
from cupola.errors import DatabaseUseError
from cupola.values import after, encode_key


class KeyRange(NamedTuple):
    """Keys from `start` (inclusive) to `end` (exclusive; None: to the end of the index) under a
    prefix.
    """

    fields: int
    prefix: bytes
    start: bytes
    end: bytes | None


EVERYTHING = KeyRange(0, b"", b"", None)


@dataclasses.dataclass(frozen=True, slots=True)
class Range:
    """Bounds on one field: `Range(gte=5, lt=10)`. A bound left out is open.

    Values of all types share one order (null < int64 < float64 < boolean < string < ...), and a
    missing field sorts before everything: `Range(lt=5)` includes documents without the field.
    """

    gt: Any = dataclasses.field(default=..., kw_only=True)
    gte: Any = dataclasses.field(default=..., kw_only=True)
    lt: Any = dataclasses.field(default=..., kw_only=True)
    lte: Any = dataclasses.field(default=..., kw_only=True)

    def __post_init__(self) -> None:
        if self.gt is not ... and self.gte is not ...:
            raise DatabaseUseError("A Range takes gt or gte, not both.", code="BadIndexRange")
        if self.lt is not ... and self.lte is not ...:
            raise DatabaseUseError("A Range takes lt or lte, not both.", code="BadIndexRange")


def key_range(table: str, index: Index, constraints: Mapping[str, Any]) -> KeyRange:
    """The keys of `index` that satisfy equalities on its first fields and at most one Range on the
    next.

    Raises:
        DatabaseUseError: An unknown field, a gap, or a Range that is not last.
    """
    names = [*index.field_names, "_id"]
    remaining = dict(constraints)
    prefix = b""
    fields = 0
    for name in names:
        if name not in remaining:
            break
        constraint = remaining.pop(name)
        if isinstance(constraint, Range):
            _require_done(table, index, names, remaining)
            return _bounded(prefix, fields, constraint)
        prefix += encode_key(constraint)
        fields += 1
    _require_done(table, index, names, remaining)
    if fields == len(names):  # a whole key: one document
        return KeyRange(fields, prefix, prefix, prefix + b"\0")
    return KeyRange(fields, prefix, prefix, after(prefix) if prefix else None)


def _bounded(prefix: bytes, fields: int, bounds: Range) -> KeyRange:
    start, end = prefix, after(prefix) if prefix else None
    if bounds.gt is not ...:
        start = after(prefix + encode_key(bounds.gt))
    elif bounds.gte is not ...:
        start = prefix + encode_key(bounds.gte)
    if bounds.lt is not ...:
        end = prefix + encode_key(bounds.lt)
    elif bounds.lte is not ...:
        end = after(prefix + encode_key(bounds.lte))
    if end is not None and end < start:
        end = start
    return KeyRange(fields, prefix, start, end)


def _require_done(table: str, index: Index, names: list[str], remaining: Mapping[str, Any]) -> None:
    if not remaining:
        return
    unknown = [name for name in remaining if name not in names]
    order = ", ".join(f"`{name}`" for name in names)
    if unknown:
        raise DatabaseUseError(
            f"Index `{table}.{index.name}` has no field `{unknown[0]}`; its fields are {order}.",
            code="BadIndexRange",
        )
    raise DatabaseUseError(
        f"Index `{table}.{index.name}` is ordered by {order}: give equalities on the first fields "
        f"without a gap, then at most one Range; `{next(iter(remaining))}` comes too early.",
        code="BadIndexRange",
    )

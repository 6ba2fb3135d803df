"""What a dashboard's data page filters by: base64 of JSON (spec: deploy API, section 19)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from cupola.database.catalog import Index, TableInfo
from cupola.database.documents import StoredDocument
from cupola.database.ranges import EVERYTHING, KeyRange, Range, key_range
from cupola.errors import BadRequestError, CupolaError
from cupola.values import UNSET, Int64, compare, decode_id, decode_tree

if TYPE_CHECKING:
    from cupola.functions.text_queries import TextSearch

Keep = Callable[[StoredDocument], bool]

_COMPARISONS: dict[str, Callable[[int], bool]] = {
    "eq": lambda order: order == 0,
    "neq": lambda order: order != 0,
    "gt": lambda order: order > 0,
    "gte": lambda order: order >= 0,
    "lt": lambda order: order < 0,
    "lte": lambda order: order <= 0,
}
_TYPES: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str) and not _is_id(value),
    "boolean": lambda value: isinstance(value, bool),
    "number": lambda value: isinstance(value, float),
    "bigint": lambda value: isinstance(value, Int64),
    "null": lambda value: value is None,
    "id": lambda value: isinstance(value, str) and _is_id(value),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "bytes": lambda value: isinstance(value, bytes),
    "unset": lambda value: value is UNSET,
}


class Clause(msgspec.Struct, frozen=True):
    """A condition on one field. `field` may be a path: `address.city`."""

    field: str
    op: str
    value: Any = None
    enabled: bool = True


class IndexClause(msgspec.Struct, frozen=True, rename="camel"):
    """One field of an index, in order: an equality, or bounds; of a text index, a filter field that
    has a value.
    """

    type: str = "indexEq"
    field: str = ""
    enabled: bool = True
    value: Any = None
    lower_op: str | None = None
    lower_value: Any = None
    upper_op: str | None = None
    upper_value: Any = None


class IndexChoice(msgspec.Struct, frozen=True):
    name: str
    clauses: list[IndexClause] = []
    search: str | None = None


class Filter(msgspec.Struct, frozen=True):
    """Everything that the page was asked to show."""

    clauses: list[Clause] = []
    order: str | None = None
    index: IndexChoice | None = None

    def place(self, table: TableInfo) -> tuple[Index, KeyRange]:
        """Where to read.

        Raises:
            CupolaError: There is no such index, or it cannot be read so.
        """
        if self.index is None:
            return table.index("by_creation_time"), EVERYTHING
        index = table.index(self.index.name)
        names = [*index.field_names, "_id"]
        constraints = {
            name: _constraint(clause)
            for name, clause in zip(names, self.index.clauses, strict=False)
            if clause.enabled
        }
        return index, key_range(table.name, index, constraints)

    def text_search(self, table: TableInfo) -> TextSearch | None:
        """What is searched for, if it is. Raises: CupolaError: There is no such index."""
        if self.index is None or self.index.search is None:
            return None
        from cupola.functions.text_queries import TextSearch

        field = table.text_index(self.index.name).definition.field
        filters = [(c.field, decode_tree(c.value)) for c in self.index.clauses if c.enabled]
        searches = [(field, self.index.search)]
        return TextSearch(table.name, self.index.name, searches, filters)

    def keep(self) -> Keep | None:
        """Which documents to show; None: all."""
        checks = [_check(clause) for clause in self.clauses if clause.enabled]
        if not checks:
            return None
        return lambda stored: all(check(stored.value) for check in checks)


def read_filter(text: str | None) -> Filter:
    """Raises: BadRequestError (BadFilter): It is none."""
    if text is None:
        return Filter()
    try:
        return msgspec.json.decode(base64.b64decode(text), type=Filter)
    except (msgspec.MsgspecError, binascii.Error, ValueError) as error:
        raise BadRequestError(f"The filter makes no sense: {error}", code="BadFilter") from None


def _constraint(clause: IndexClause) -> Any:
    if clause.type == "indexEq":
        return decode_tree(clause.value)
    bounds = {}
    if clause.lower_op in ("gt", "gte"):
        bounds[clause.lower_op] = decode_tree(clause.lower_value)
    if clause.upper_op in ("lt", "lte"):
        bounds[clause.upper_op] = decode_tree(clause.upper_value)
    return Range(**bounds)


def _check(clause: Clause) -> Callable[[dict[str, Any]], bool]:
    path, op = clause.field.split("."), clause.op
    if op in ("type", "notype"):
        matches = _TYPES.get(clause.value, lambda value: False)
        return lambda document: matches(_at(document, path)) is (op == "type")
    wanted = decode_tree(clause.value)
    if op in ("anyOf", "noneOf") and isinstance(wanted, list):

        def is_any(document: dict[str, Any]) -> bool:
            found = _at(document, path)
            return any(compare(found, each) == 0 for each in wanted) is (op == "anyOf")

        return is_any
    if op not in _COMPARISONS:
        raise BadRequestError(f"There is no filter {op!r}.", code="BadFilter")
    holds = _COMPARISONS[op]
    return lambda document: holds(compare(_at(document, path), wanted))


def _at(document: dict[str, Any], path: list[str]) -> Any:
    value: Any = document
    for name in path:
        value = value.get(name, UNSET) if isinstance(value, dict) else UNSET
    return value


def _is_id(text: str) -> bool:
    try:
        decode_id(text)
    except CupolaError:
        return False
    return True

"""Indexes for text and vector search: what is declared, its JSON, and what cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias

from msgspec import Struct

from cupola.errors import SchemaError
from cupola.schema.scalars import AnyValidator, Json, NumberValidator
from cupola.schema.validators import (
    ArrayValidator,
    ObjectValidator,
    RecordValidator,
    UnionValidator,
    Validator,
)
from cupola.values import in_force


class TextIndexDefinition(Struct, frozen=True):
    """The words of one field, and fields whose values a search can ask for."""

    name: str
    field: str
    filters: tuple[str, ...] = ()
    staged: bool = False

    def to_json(self) -> Json:
        return {
            "indexDescriptor": self.name,
            "searchField": self.field,
            "filterFields": list(self.filters),
        }

    def is_built_like(self, other: object) -> bool:
        """Whether one can become the other without being built again."""
        return (
            isinstance(other, TextIndexDefinition)
            and self.field == other.field
            and sorted(self.filters) == sorted(other.filters)
        )


class VectorIndexDefinition(Struct, frozen=True):
    """The vectors of one field, each of `dimensions` numbers, and fields to filter by."""

    name: str
    field: str
    dimensions: int
    filters: tuple[str, ...] = ()
    staged: bool = False

    def to_json(self) -> Json:
        return {
            "indexDescriptor": self.name,
            "vectorField": self.field,
            "dimensions": self.dimensions,
            "filterFields": list(self.filters),
        }

    def is_built_like(self, other: object) -> bool:
        """Whether one can become the other without being built again."""
        return (
            isinstance(other, VectorIndexDefinition)
            and (self.field, self.dimensions) == (other.field, other.dimensions)
            and sorted(self.filters) == sorted(other.filters)
        )


SearchIndexDefinition: TypeAlias = TextIndexDefinition | VectorIndexDefinition

_KINDS: Final[dict[str, tuple[type[SearchIndexDefinition], bool]]] = {
    "searchIndexes": (TextIndexDefinition, False),
    "stagedSearchIndexes": (TextIndexDefinition, True),
    "vectorIndexes": (VectorIndexDefinition, False),
    "stagedVectorIndexes": (VectorIndexDefinition, True),
}
_DIMENSIONS_MIN, _DIMENSIONS_MAX = 2, 4096


# ------------------------------------------------------------------------------------------- JSON


def search_indexes_to_json(indexes: Iterable[SearchIndexDefinition]) -> dict[str, Json]:
    """The four lists in which a table's schema has them."""
    tree: dict[str, list[Json]] = {kind: [] for kind in _KINDS}
    for index in indexes:
        tree[next(k for k, v in _KINDS.items() if v == (type(index), index.staged))].append(
            index.to_json()
        )
    return {**tree}


def search_indexes_from_json(tree: Json, table: str) -> Iterable[SearchIndexDefinition]:
    """Read the four lists; absent ones are empty.

    Raises:
        SchemaError: One of them has another form.
    """
    for key, (kind, staged) in _KINDS.items():
        found = tree.get(key)
        if not isinstance(found, list | None):
            raise SchemaError(
                f"This is no schema: `{key}` of `{table}` must be a list.", code="InvalidSchema"
            )
        for index in found or ():
            if (definition := _index_from_json(index, kind, staged)) is None:
                has = (
                    "a `searchField`"
                    if kind is TextIndexDefinition
                    else ("a `vectorField`, `dimensions`")
                )
                raise SchemaError(
                    f"This is no schema: each of the `{key}` of `{table}` has an "
                    f"`indexDescriptor`, {has} and a list of `filterFields`.",
                    code="InvalidSchema",
                )
            yield definition


def _index_from_json(
    tree: Json, kind: type[SearchIndexDefinition], staged: bool
) -> SearchIndexDefinition | None:
    if not isinstance(tree, dict):
        return None
    name, filters = tree.get("indexDescriptor"), tree.get("filterFields", [])
    is_text = kind is TextIndexDefinition
    path = tree.get("searchField" if is_text else "vectorField")
    if (
        not isinstance(name, str)
        or not isinstance(path, str)
        or not isinstance(filters, list)
        or not all(isinstance(each, str) for each in filters)
    ):
        return None
    if is_text:
        return TextIndexDefinition(name, path, tuple(filters), staged)
    dimensions = tree.get("dimensions", tree.get("dimension"))  # as old packages call it
    if isinstance(dimensions, bool) or not isinstance(dimensions, int | float):
        return None
    if dimensions != int(dimensions):
        return None
    return VectorIndexDefinition(name, path, int(dimensions), tuple(filters), staged)


# ------------------------------------------------------------------------------------------ rules


def check_search_indexes(
    table: str,
    document: Validator,
    indexes: Sequence[SearchIndexDefinition],
    check_name: Callable[[str, str], None],
    check_path: Callable[[str, str], None],
) -> None:
    """Refuse what cannot be, but for names, whose rules are those of other indexes.

    Raises:
        SchemaError: The code names the rule.
    """
    described: dict[Any, str] = {}
    for index in indexes:
        is_text = isinstance(index, TextIndexDefinition)
        where = f"{'search' if is_text else 'vector'} index `{index.name}` of table `{table}`"
        check_name(index.name, where)
        for path in (index.field, *index.filters):
            check_path(where, path)
            _require_possible(where, document, path)
        if len(index.filters) > (most := in_force().fields_per_index_max):
            raise SchemaError(
                f"The {where} has {len(index.filters)} filter fields; at most {most} are allowed.",
                code="TooManyFilterFields",
            )
        if len(set(index.filters)) < len(index.filters):
            raise SchemaError(
                f"The {where} names a filter field twice.", code="IndexFieldsNotUnique"
            )
        if isinstance(index, VectorIndexDefinition):
            _check_vector(where, document, index)
        twin = described.setdefault((type(index), index.field, *sorted(index.filters)), index.name)
        if twin != index.name:
            raise SchemaError(
                f"Indexes `{twin}` and `{index.name}` of table `{table}` have the same fields; "
                "remove one.",
                code="IndexNotUnique",
            )


def _check_vector(where: str, document: Validator, index: VectorIndexDefinition) -> None:
    if not _DIMENSIONS_MIN <= index.dimensions <= _DIMENSIONS_MAX:
        raise SchemaError(
            f"The {where} has {index.dimensions} dimensions; it must have "
            f"{_DIMENSIONS_MIN} to {_DIMENSIONS_MAX}.",
            code="InvalidVectorDimension",
        )
    if not any(_may_be_vector(each) for each in _at(document, index.field.split("."))):
        raise SchemaError(
            f"The {where} needs a list of numbers, but `{index.field}` cannot be one.",
            code="InvalidVectorField",
        )


def _require_possible(where: str, document: Validator, path: str) -> None:
    if not any(True for _ in _at(document, path.split("."))):
        raise SchemaError(
            f"The {where} names `{path}`, which no document of the table can have.",
            code="InvalidIndexField",
        )


def _at(validator: Validator, path: Sequence[str]) -> Iterable[Validator]:
    """What a field of a document may be, union members apart; nothing: it cannot be there."""
    match validator:
        case UnionValidator():
            for member in validator.members:
                yield from _at(member, path)
        case _ if not path:
            yield validator
        case AnyValidator():
            yield validator
        case ObjectValidator() if path[0] in validator.fields:
            yield from _at(validator.fields[path[0]].validator, path[1:])
        case RecordValidator():
            yield from _at(validator.values, path[1:])


def _may_be_vector(validator: Validator) -> bool:
    match validator:
        case AnyValidator():
            return True
        case ArrayValidator():
            element = validator.element
            members = element.members if isinstance(element, UnionValidator) else (element,)
            return any(isinstance(each, AnyValidator | NumberValidator) for each in members)
        case _:
            return False

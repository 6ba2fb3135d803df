"""The validators of containers, and the closed family of all validators."""

from typing import Any, TypeAlias

from msgspec import Struct

from cupola.schema.mismatch import ValidationError, display, path_of_field, shortened
from cupola.schema.scalars import (
    AnyValidator,
    BaseValidator,
    BigIntValidator,
    BooleanValidator,
    BytesValidator,
    CommitTimestampValidator,
    IdValidator,
    Json,
    LiteralValidator,
    NullValidator,
    NumberValidator,
    Predicate,
    ScalarValidator,
    StringValidator,
    TableNumbers,
    type_predicate,
)
from cupola.values import UNSET, Encoded, decode_canonical


def _plain(value: Any) -> Any:
    """The list or dict that `value` means: decoded if it is encoded, without absent fields."""
    if isinstance(value, Encoded):
        return decode_canonical(value.encoded)
    if isinstance(value, dict):
        return {name: item for name, item in value.items() if item is not UNSET}
    return value


class ArrayValidator(BaseValidator, frozen=True):
    """A list whose elements all match."""

    element: "Validator"

    def to_json(self) -> Json:
        return {"type": "array", "value": self.element.to_json()}

    def describe(self) -> str:
        return f"v.array({self.element.describe()})"

    def predicate(self, tables: TableNumbers | None) -> Predicate:
        element, accepts_element = self.element, self.element.predicate(tables)

        def accepts(value: Any) -> bool:
            if type(value) is list:
                return all(map(accepts_element, value))
            return _are_documents_of(element, value)

        return accepts

    def explain(self, value: Any, tables: TableNumbers | None = None, path: str = "") -> None:
        elements = _plain(value)
        if not isinstance(elements, list | tuple):
            raise self.mismatch(value, path)
        for number, element in enumerate(elements):
            self.element.explain(element, tables, f"{path}[{number}]")


class Field(Struct, frozen=True):
    """A field of an object validator. `optional`: it may be absent, which is not null."""

    validator: "Validator"
    optional: bool = False

    def to_json(self) -> Json:
        return {"fieldType": self.validator.to_json(), "optional": self.optional}

    def describe(self) -> str:
        text = self.validator.describe()
        return f"v.optional({text})" if self.optional else text


class ObjectValidator(BaseValidator, frozen=True):
    """An object with these fields and no others. The names are identifiers."""

    fields: dict[str, Field]

    def to_json(self) -> Json:
        return {
            "type": "object",
            "value": {name: field.to_json() for name, field in self.fields.items()},
        }

    def describe(self) -> str:
        fields = ", ".join(f"{name}: {field.describe()}" for name, field in self.fields.items())
        return f"v.object({{{fields}}})"

    def predicate(self, tables: TableNumbers | None) -> Predicate:
        fields = {
            name: (field.validator.predicate(tables), not field.optional)
            for name, field in self.fields.items()
        }
        required = sum(not field.optional for field in self.fields.values())
        field_of = fields.get

        def accepts(value: Any) -> bool:
            if type(value) is not dict:
                return _is_document_of(self, value)
            missing = required
            for name, item in value.items():
                field = field_of(name)
                if field is None or not field[0](item):
                    return False
                missing -= field[1]
            return missing == 0

        return accepts

    def explain(self, value: Any, tables: TableNumbers | None = None, path: str = "") -> None:
        found = _plain(value)
        if not isinstance(found, dict):
            raise self.mismatch(value, path)
        for name, field in self.fields.items():
            if name in found:
                field.validator.explain(found[name], tables, path + path_of_field(name))
            elif not field.optional:
                raise self._error(
                    f"Object is missing the required field `{name}`. Consider wrapping the field "
                    "validator in `v.optional(...)` if this is expected.",
                    found,
                    path,
                )
        for name in found:
            if name not in self.fields:
                raise self._error(
                    f"Object contains extra field `{name}` that is not in the validator.",
                    found,
                    path,
                )

    def _error(self, summary: str, value: Any, path: str) -> ValidationError:
        details = (("Object", display(value)), ("Validator", shortened(self.describe())))
        return ValidationError(summary, path, details)


def _is_document_of(validator: ObjectValidator, value: Any) -> bool:
    """Whether `value` is a document that was checked against this validator when it was stored."""
    checked_by = getattr(value, "_checked_by", None)
    return checked_by is not None and checked_by() is validator


def _are_documents_of(element: "Validator", value: Any) -> bool:
    """The same for documents that were joined to an array already."""
    checked_by = getattr(value, "_items_checked_by", None)
    return checked_by is not None and checked_by() is element


class RecordValidator(BaseValidator, frozen=True):
    """An object with any field names that match `keys`, and values that match `values`."""

    keys: "Validator"
    values: "Validator"

    def to_json(self) -> Json:
        values = {"fieldType": self.values.to_json(), "optional": False}
        return {"type": "record", "keys": self.keys.to_json(), "values": values}

    def describe(self) -> str:
        return f"v.record({self.keys.describe()}, {self.values.describe()})"

    def predicate(self, tables: TableNumbers | None) -> Predicate:
        accepts_key = self.keys.predicate(tables)
        accepts = self.values.predicate(tables)
        return lambda value: (
            type(value) is dict
            and all(map(accepts_key, value))
            and all(map(accepts, value.values()))
        )

    def explain(self, value: Any, tables: TableNumbers | None = None, path: str = "") -> None:
        found = _plain(value)
        if not isinstance(found, dict):
            raise self.mismatch(value, path)
        for name, item in found.items():
            inner = path + path_of_field(name)
            self.keys.explain(name, tables, inner)
            self.values.explain(item, tables, inner)


class UnionValidator(BaseValidator, frozen=True):
    """A value that matches one of the members. Without members it matches nothing."""

    members: tuple["Validator", ...]

    def to_json(self) -> Json:
        return {"type": "union", "value": [member.to_json() for member in self.members]}

    def describe(self) -> str:
        return f"v.union({', '.join(member.describe() for member in self.members)})"

    def predicate(self, tables: TableNumbers | None) -> Predicate:
        """Types and string literals are looked up; only other members are tried one by one."""
        types: set[type] = set()
        literals: set[str] = set()
        others: list[Predicate] = []
        for member in self.members:
            if isinstance(member, ScalarValidator):
                types |= member.types()
            elif isinstance(member, LiteralValidator) and type(member.value) is str:
                literals.add(member.value)
            else:
                others.append(member.predicate(tables))
        if types:
            others.insert(0, type_predicate(frozenset(types)))
        if literals:
            others.insert(0, _text_predicate(frozenset(literals)))
        match others:
            case []:
                return lambda value: False
            case [only]:
                return only
            case [first, second]:
                return lambda value: first(value) or second(value)
            case _:
                return lambda value: any(accepts(value) for accepts in others)

    def explain(self, value: Any, tables: TableNumbers | None = None, path: str = "") -> None:
        if len(self.members) == 1:
            self.members[0].explain(value, tables, path)
        elif not any(member.accepts(value, tables) for member in self.members):
            raise self.mismatch(value, path)


def _text_predicate(texts: frozenset[str]) -> Predicate:
    return lambda value: type(value) is str and value in texts


Validator: TypeAlias = (
    NullValidator
    | NumberValidator
    | BigIntValidator
    | CommitTimestampValidator
    | BooleanValidator
    | StringValidator
    | BytesValidator
    | AnyValidator
    | IdValidator
    | LiteralValidator
    | ArrayValidator
    | ObjectValidator
    | RecordValidator
    | UnionValidator
)
"""The closed family."""


def union_of(members: list[Validator]) -> Validator:
    """The union of the members, flat and without repetition; a single member is itself."""
    flat: list[Validator] = []
    for member in members:
        for part in member.members if isinstance(member, UnionValidator) else (member,):
            if part not in flat:
                flat.append(part)
    return flat[0] if len(flat) == 1 else UnionValidator(tuple(flat))

"""Reading validators from their JSON, as pushed schemas and `exportArgs` write it."""

from collections.abc import Callable
from typing import Any

from cupola.errors import CupolaError, SchemaError
from cupola.schema.scalars import (
    ANY,
    BIGINT,
    BOOLEAN,
    BYTES,
    NULL,
    NUMBER,
    STRING,
    CommitTimestampValidator,
    IdValidator,
    Json,
    LiteralValidator,
)
from cupola.schema.subset import is_subset
from cupola.schema.validators import (
    ArrayValidator,
    Field,
    ObjectValidator,
    RecordValidator,
    UnionValidator,
    Validator,
)
from cupola.values import Int64, check_identifier, decode_tree

NESTING_MAX = 64

_WITHOUT_PARAMETERS: dict[str, Validator] = {
    "null": NULL,
    "number": NUMBER,
    "bigint": BIGINT,
    "commitTs": CommitTimestampValidator(),
    "boolean": BOOLEAN,
    "string": STRING,
    "bytes": BYTES,
    "any": ANY,
    "map": ANY,  # removed from the language long ago; stored schemas may still have them
    "set": ANY,
}


def validator_from_json(tree: Json) -> Validator:
    """The validator that `tree` describes.

    Raises:
        SchemaError: It describes none. The code is InvalidValidator, and the message says where.
    """
    return _read(tree, "", 0)


def _read(tree: Json, path: str, depth: int) -> Validator:
    if depth > NESTING_MAX:
        raise _invalid(path, f"it is nested deeper than {NESTING_MAX} levels")
    kind = _member(tree, "type", str, path)
    if (validator := _WITHOUT_PARAMETERS.get(kind)) is not None:
        return validator
    if (read := _READERS.get(kind)) is not None:
        return read(tree, path, depth)
    raise _invalid(path, f"there is no validator type `{kind}`")


def _id(tree: Json, path: str, depth: int) -> Validator:
    return IdValidator(_member(tree, "tableName", str, path))


def _literal(tree: Json, path: str, depth: int) -> Validator:
    if "value" not in tree:
        raise _invalid(path, "`value` is missing")
    try:
        value = decode_tree(tree["value"])
    except CupolaError as error:
        raise _invalid(path, error.message) from error
    return literal(value, path)


def literal(value: Any, path: str = "") -> LiteralValidator:
    """The validator of one value, if it is one of those a literal may have."""
    if type(value) is int:
        value = float(value)
    if not isinstance(value, str | bool | float | Int64):
        raise _invalid(path, "a literal is a string, a number, a boolean or an Int64")
    if isinstance(value, float) and not abs(value) < float("inf"):
        raise _invalid(path, "a literal number must be finite")
    return LiteralValidator(value)


def _array(tree: Json, path: str, depth: int) -> Validator:
    return ArrayValidator(_read(tree.get("value"), f"{path}[]", depth + 1))


def _object(tree: Json, path: str, depth: int) -> Validator:
    fields = _member(tree, "value", dict, path)
    return ObjectValidator(
        {name: _field(name, field, f"{path}.{name}", depth + 1) for name, field in fields.items()}
    )


def _field(name: str, tree: Json, path: str, depth: int) -> Field:
    try:
        check_identifier(name, "field")
    except CupolaError as error:
        raise _invalid(path, error.message) from error
    validator = _read(_member(tree, "fieldType", dict, path), path, depth)
    return Field(validator, _is_optional(tree, path))


def _is_optional(tree: Json, path: str) -> bool:
    optional = tree.get("optional", False)
    if not isinstance(optional, bool):
        raise _invalid(path, "`optional` must be true or false")
    return optional


def _record(tree: Json, path: str, depth: int) -> Validator:
    keys = _read(tree.get("keys"), f"{path}[key]", depth + 1)
    if not is_subset(keys, STRING) or _has_literal(keys):
        raise _invalid(f"{path}[key]", "the keys of a record are strings or ids, without literals")
    values = _member(tree, "values", dict, path)
    if _is_optional(values, path):
        raise _invalid(path, "the values of a record cannot be optional")
    inner = f"{path}[value]"
    return RecordValidator(keys, _read(_member(values, "fieldType", dict, inner), inner, depth + 1))


def _has_literal(validator: Validator) -> bool:
    if isinstance(validator, UnionValidator):
        return any(map(_has_literal, validator.members))
    return isinstance(validator, LiteralValidator)


def _union(tree: Json, path: str, depth: int) -> Validator:
    members = _member(tree, "value", list, path)
    return UnionValidator(tuple(_read(member, path, depth + 1) for member in members))


_READERS: dict[str, Callable[[Json, str, int], Validator]] = {
    "id": _id,
    "literal": _literal,
    "array": _array,
    "object": _object,
    "record": _record,
    "union": _union,
}


_KINDS: dict[type, str] = {str: "a string", dict: "an object", list: "an array"}


def _member(tree: Json, name: str, kind: type, path: str) -> Any:
    if not isinstance(tree, dict):
        raise _invalid(path, "it is not an object")
    if not isinstance(found := tree.get(name), kind):
        raise _invalid(path, f"`{name}` must be {_KINDS[kind]}")
    return found


def _invalid(path: str, reason: str) -> SchemaError:
    where = f" at {path}" if path else ""
    return SchemaError(
        f"The validator JSON{where} makes no sense: {reason}.", code="InvalidValidator"
    )

"""When every value of one validator also matches another.

So a schema change that only widens a table's type needs no look at its documents. The answer may
be False although the relation holds; it is never True although it does not.
"""

from cupola.schema.scalars import (
    AnyValidator,
    BooleanValidator,
    IdValidator,
    LiteralValidator,
    StringValidator,
    kind_of_literal,
)
from cupola.schema.validators import (
    ArrayValidator,
    ObjectValidator,
    RecordValidator,
    UnionValidator,
    Validator,
)


def is_subset(a: Validator, b: Validator) -> bool:
    """Whether every value that matches `a` is known to match `b`."""
    if isinstance(b, AnyValidator):
        return True
    if isinstance(a, UnionValidator):
        return all(is_subset(member, b) for member in a.members)
    if isinstance(a, BooleanValidator):
        return a == b or all(_has(LiteralValidator(each), b) for each in (False, True))
    return _has(a, b)


def _has(a: Validator, b: Validator) -> bool:
    """`is_subset` for an `a` that is no union."""
    if isinstance(b, UnionValidator):
        return any(is_subset(a, member) for member in b.members)
    match a:
        case LiteralValidator():
            return b == a or b == kind_of_literal(a)
        case IdValidator():
            return b == a or isinstance(b, StringValidator)
        case ArrayValidator():
            return isinstance(b, ArrayValidator) and is_subset(a.element, b.element)
        case ObjectValidator():
            return _object_has(a, b)
        case RecordValidator():
            return (
                isinstance(b, RecordValidator)
                and is_subset(a.keys, b.keys)
                and is_subset(a.values, b.values)
            )
        case UnionValidator():
            raise AssertionError("handled by is_subset")
        case _:
            return a == b


def _object_has(a: ObjectValidator, b: Validator) -> bool:
    match b:
        case ObjectValidator():
            return all(
                name in b.fields
                and is_subset(field.validator, b.fields[name].validator)
                and (b.fields[name].optional or not field.optional)
                for name, field in a.fields.items()
            ) and all(field.optional for name, field in b.fields.items() if name not in a.fields)
        case RecordValidator():
            return all(
                is_subset(LiteralValidator(name), b.keys) and is_subset(field.validator, b.values)
                for name, field in a.fields.items()
            )
        case _:
            return False

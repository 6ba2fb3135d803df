"""What a value may look like, as data that crosses the wire: the validators of scalars.

Each kind of validator is one frozen struct that knows its JSON, its text in messages, and two ways
to look at a value:

- `explain` is the meaning: it walks the value and raises a `ValidationError` that says where and
  why.
- `predicate` compiles a closure that answers True only for values `explain` lets pass, but may
  answer False for unusual ones (a tuple instead of a list, a field that holds UNSET, a document
  that is still encoded).

`checker` asks the quick one and lets the slow one decide the rest, so a value that passes costs a
fraction of a microsecond per field, and the error text is made only when there is an error.

The JSON forms, the rules and the shapes of the texts are those of the Convex validators.
"""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from msgspec import Struct

from cupola.errors import InvalidIdError
from cupola.schema.mismatch import ValidationError, display, shortened
from cupola.values import (
    UNSET,
    CommitTimestamp,
    Int64,
    encode,
    table_number_of,
    values_equal,
)

Json: TypeAlias = Any
"""A parsed JSON tree."""
TableNumbers: TypeAlias = Mapping[str, int]
"""Table name -> table number. Checkers read it at each check, so it may change under them."""
Predicate: TypeAlias = Callable[[Any], bool]

WHOLE_NUMBER_MAX = 2**53

# --------------------------------------------------------------------------------- the base class


class BaseValidator(Struct, frozen=True):
    """What all validators can do. The closed union of them is `validators.Validator`."""

    def to_json(self) -> Json:
        """The JSON form, as function-spec and pushed schemas show it."""
        raise NotImplementedError

    def describe(self) -> str:
        """The text in messages: `v.array(v.string())`."""
        raise NotImplementedError

    def predicate(self, tables: TableNumbers | None) -> Predicate:
        """A closure: True means that the value matches; False, that `explain` must look."""
        raise NotImplementedError

    def explain(self, value: Any, tables: TableNumbers | None = None, path: str = "") -> None:
        """Walk the value.

        Raises:
            ValidationError: It does not match; the message says where and why.
        """
        raise NotImplementedError

    def checker(self, tables: TableNumbers | None = None) -> Callable[[Any], None]:
        """A function that raises ValidationError unless its value matches. Make it once.

        `tables` decides which ids belong to `v.id("t")`; None: any id will do.
        """
        accepts = self.predicate(tables)
        explain = self.explain

        def check(value: Any) -> None:
            if not accepts(value):
                explain(value, tables)

        return check

    def check(self, value: Any, tables: TableNumbers | None = None) -> None:
        """Check one value without compiling anything first."""
        self.explain(value, tables)

    def accepts(self, value: Any, tables: TableNumbers | None = None) -> bool:
        """Whether the value matches."""
        try:
            self.explain(value, tables)
        except ValidationError:
            return False
        return True

    def mismatch(self, value: Any, path: str) -> ValidationError:
        return ValidationError(
            "Value does not match validator.",
            path,
            (("Value", display(value)), ("Validator", shortened(self.describe()))),
        )


# ---------------------------------------------------------------------------------------- scalars


class ScalarValidator(BaseValidator, frozen=True):
    """A validator that is told apart by the Python type of the value alone."""

    def to_json(self) -> Json:
        return {"type": self._name()}

    def describe(self) -> str:
        return f"v.{self._name()}()"

    def _name(self) -> str:
        raise NotImplementedError

    def types(self) -> frozenset[type]:
        """The exact Python types of matching values."""
        raise NotImplementedError

    def predicate(self, tables: TableNumbers | None) -> Predicate:
        return type_predicate(self.types())

    def explain(self, value: Any, tables: TableNumbers | None = None, path: str = "") -> None:
        if type(value) not in self.types():
            raise self.mismatch(value, path)


class NullValidator(ScalarValidator, frozen=True):
    def _name(self) -> str:
        return "null"

    def types(self) -> frozenset[type]:
        return frozenset([type(None)])


class NumberValidator(ScalarValidator, frozen=True):
    """float64. A plain Python `int` that float64 holds exactly means the same number."""

    def _name(self) -> str:
        return "number"

    def describe(self) -> str:
        return "v.float64()"

    def types(self) -> frozenset[type]:
        return frozenset([float])

    def explain(self, value: Any, tables: TableNumbers | None = None, path: str = "") -> None:
        if isinstance(value, float):
            return
        if not isinstance(value, int) or isinstance(value, bool | Int64):
            raise self.mismatch(value, path)
        if abs(value) > WHOLE_NUMBER_MAX:
            raise ValidationError(
                "This int is beyond 2^53, so a float64 cannot hold it: use cupola.Int64.",
                path,
                (("Value", display(value)), ("Validator", self.describe())),
            )


class BigIntValidator(ScalarValidator, frozen=True):
    """The 64-bit integer, `cupola.Int64`."""

    def _name(self) -> str:
        return "bigint"

    def describe(self) -> str:
        return "v.int64()"

    def types(self) -> frozenset[type]:
        return frozenset([Int64, CommitTimestamp])


class CommitTimestampValidator(ScalarValidator, frozen=True):
    """A 64-bit integer that newer clients let the server fill in at commit."""

    def _name(self) -> str:
        return "commitTs"

    def types(self) -> frozenset[type]:
        return frozenset([Int64, CommitTimestamp])


class BooleanValidator(ScalarValidator, frozen=True):
    def _name(self) -> str:
        return "boolean"

    def types(self) -> frozenset[type]:
        return frozenset([bool])


class StringValidator(ScalarValidator, frozen=True):
    def _name(self) -> str:
        return "string"

    def types(self) -> frozenset[type]:
        return frozenset([str])

    def explain(self, value: Any, tables: TableNumbers | None = None, path: str = "") -> None:
        if not isinstance(value, str):
            raise self.mismatch(value, path)


class BytesValidator(ScalarValidator, frozen=True):
    def _name(self) -> str:
        return "bytes"

    def types(self) -> frozenset[type]:
        return frozenset([bytes])


class AnyValidator(BaseValidator, frozen=True):
    """Every value. What is no value at all is found when it is encoded."""

    def to_json(self) -> Json:
        return {"type": "any"}

    def describe(self) -> str:
        return "v.any()"

    def predicate(self, tables: TableNumbers | None) -> Predicate:
        return _is_set

    def explain(self, value: Any, tables: TableNumbers | None = None, path: str = "") -> None:
        if value is UNSET:
            raise self.mismatch(value, path)


def _is_set(value: Any) -> bool:
    return value is not UNSET


def type_predicate(types: frozenset[type]) -> Predicate:
    if len(types) == 1:
        (only,) = types
        return lambda value: type(value) is only
    return lambda value: type(value) in types


class IdValidator(BaseValidator, frozen=True):
    """The id of a document in one table: a string on the wire."""

    table: str

    def to_json(self) -> Json:
        return {"type": "id", "tableName": self.table}

    def describe(self) -> str:
        return f'v.id("{self.table}")'

    def predicate(self, tables: TableNumbers | None) -> Predicate:
        table = self.table

        def accepts(value: Any) -> bool:
            if type(value) is not str:
                return False
            try:
                number = table_number_of(value)
            except InvalidIdError:
                return False
            return tables is None or tables.get(table) == number

        return accepts

    def explain(self, value: Any, tables: TableNumbers | None = None, path: str = "") -> None:
        if not isinstance(value, str):
            raise self.mismatch(value, path)
        try:
            number = table_number_of(value)
        except InvalidIdError:
            raise self.mismatch(value, path) from None
        if tables is None or tables.get(self.table) == number:
            return
        found = next((name for name, other in tables.items() if other == number), None)
        origin = f"table `{found}`" if found else "an unknown table"
        raise ValidationError(
            f'Found ID "{value}" from {origin}, which does not match the table name '
            f"in validator `{self.describe()}`.",
            path,
        )


class LiteralValidator(BaseValidator, frozen=True):
    """One value: a string, number, boolean or Int64, compared as the total order does."""

    value: str | float | bool | Int64

    def to_json(self) -> Json:
        return {"type": "literal", "value": _literal_to_json(self.value)}

    def describe(self) -> str:
        return f"v.literal({display(self.value)})"

    def __eq__(self, other: object) -> bool:
        # Python calls True, 1.0 and Int64(1) equal; here they are three literals.
        return isinstance(other, LiteralValidator) and values_equal(self.value, other.value)

    def __hash__(self) -> int:
        return hash(encode(self.value))

    def predicate(self, tables: TableNumbers | None) -> Predicate:
        literal = self.value
        kind = type(literal)
        if kind is float and literal == 0:
            return lambda value: type(value) is float and values_equal(value, literal)
        return lambda value: type(value) is kind and value == literal

    def explain(self, value: Any, tables: TableNumbers | None = None, path: str = "") -> None:
        if isinstance(value, _LITERAL_TYPES) and values_equal(value, self.value):
            return
        raise ValidationError(
            f"`{display(value)}` does not match literal validator `{self.describe()}`.", path
        )


_LITERAL_TYPES = (str, bool, int, float)


def _literal_to_json(value: str | float | bool | Int64) -> Json:
    if (
        type(value) is float
        and value.is_integer()
        and abs(value) <= WHOLE_NUMBER_MAX
        and (value or math.copysign(1, value) > 0)
    ):
        return int(value)  # as the published library writes it
    return json.loads(encode(value))


NULL = NullValidator()
NUMBER = NumberValidator()
BIGINT = BigIntValidator()
BOOLEAN = BooleanValidator()
STRING = StringValidator()
BYTES = BytesValidator()
ANY = AnyValidator()


def kind_of_literal(literal: LiteralValidator) -> ScalarValidator:
    """The validator of all values of the literal's type."""
    match literal.value:
        case bool():
            return BOOLEAN
        case Int64():
            return BIGINT
        case str():
            return STRING
        case _:
            return NUMBER

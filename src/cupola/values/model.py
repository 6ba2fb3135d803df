"""What a document is made of (spec: values, sections 1 and 3).

    Value       Python                          remarks
    null        None
    int64       Int64                           looked at before int and float: it is an int
    float64     float; plain int when encoding  all doubles: NaN with its payload, -0.0, infinities
    boolean     bool
    string      str                             no lone surrogates
    bytes       bytes
    array       list; tuple when encoding
    object      dict                            field order means nothing; UNSET is an absent field

A mutation's own writes may hold COMMIT_TIMESTAMP where an int64 is to be.

The types are told apart by their exact Python type: `1`, `1.0`, `True` and `Int64(1)` are equal in
Python and are three different values here. Compare with `values_equal`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from cupola.errors import InvalidValueError
from cupola.limits import Limits
from cupola.values.bounds import follow, in_force

UNSET = msgspec.UNSET
"""JavaScript's `undefined`: the value of a field that is not there."""
UnsetType: TypeAlias = msgspec.UnsetType

Value: TypeAlias = "bool | float | Int64 | str | bytes | list[Value] | dict[str, Value] | None"

INT64_MIN = -(2**63)
INT64_MAX = 2**63 - 1
SAFE_INTEGER_MAX = 2**53
"""Up to here every whole number is a float64 of its own."""

_Arithmetic: TypeAlias = "Callable[[Int64, int], Int64]"


def _closed(operation: Callable[[int, int], int]) -> _Arithmetic:
    """`operation` of int, with its result checked and kept an Int64."""

    def operate(self: Int64, other: int) -> Int64:
        result = operation(self, other)
        return result if result is NotImplemented else Int64(result)

    return operate


class Int64(int):
    """The protocol's 64-bit integer. A plain `int` is a float64 on the wire.

    Sums, differences and other whole-number arithmetic with ints stay Int64; a result outside the
    64 bits is an InvalidValueError.
    """

    __slots__ = ()

    def __new__(cls, value: int | str = 0) -> Int64:
        number = super().__new__(cls, value)
        if not INT64_MIN <= number <= INT64_MAX:
            raise InvalidValueError(f"{int(number)} does not fit into 64 bits")
        return number

    def __repr__(self) -> str:
        return f"Int64({int.__repr__(self)})"

    __str__ = int.__repr__

    __add__ = _closed(int.__add__)
    __radd__ = _closed(int.__radd__)
    __sub__ = _closed(int.__sub__)
    __rsub__ = _closed(int.__rsub__)
    __mul__ = _closed(int.__mul__)
    __rmul__ = _closed(int.__rmul__)
    __floordiv__ = _closed(int.__floordiv__)
    __rfloordiv__ = _closed(int.__rfloordiv__)
    __mod__ = _closed(int.__mod__)
    __rmod__ = _closed(int.__rmod__)

    def __neg__(self) -> Int64:
        return Int64(int.__neg__(self))

    def __abs__(self) -> Int64:
        return Int64(int.__abs__(self))


class CommitTimestamp(Int64):
    """The timestamp of a commit that is yet to come: what documents hold inside the transaction
    that writes them, and nowhere else. It sorts and validates as the greatest Int64, and is no
    number.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "[unresolved commit timestamp]"

    __str__ = __repr__

    def _refuse(self, *_: object) -> Any:
        raise InvalidValueError(
            "This commit timestamp is unresolved: it becomes a number when the mutation commits. "
            "Read the document after that.",
            code="UnresolvedCommitTimestamp",
        )

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __truediv__ = __rtruediv__ = _refuse
    __neg__ = __abs__ = __int__ = __float__ = _refuse


COMMIT_TIMESTAMP = CommitTimestamp(INT64_MAX)


class Encoded:
    """Something that holds its canonical encoded JSON already, such as a stored document.

    `encode` splices the bytes as they are. They were made by `encode`, from a value that is nested
    at most as deep as a document.
    """

    __slots__ = ()

    @property
    def encoded(self) -> bytes:
        raise NotImplementedError


class EncodedItems(Encoded):
    """An array of encoded items, which are joined when somebody asks."""

    __slots__ = ("_items",)

    def __init__(self, items: list[bytes]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    @property
    def encoded(self) -> bytes:
        return b"[" + b",".join(self._items) + b"]"


def as_builtin(value: Any) -> Any:
    """A subclass of a builtin as that builtin: an enum of strings, a defaultdict, a named tuple."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, Int64):
        return Int64(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise refuse_type(value)


# ------------------------------------------------------------------------------ refusing a value


class Refusal(Exception):
    """A value is refused. Each container on the way out adds its step to the path."""

    def __init__(self, reason: str, code: str = InvalidValueError.code) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code
        self.steps: list[str | int] = []

    def as_error(self) -> InvalidValueError:
        path = "".join(
            f"[{step}]" if isinstance(step, int) else f".{_shorten(step)}"
            for step in reversed(self.steps)
        )
        if path:
            return InvalidValueError(f"At `{path}`: {self.reason}.", code=self.code)
        return InvalidValueError(f"{self.reason[0].upper()}{self.reason[1:]}.", code=self.code)


def refuse_type(value: object) -> Refusal:
    if value is UNSET:
        return Refusal("UNSET may only be the value of a field")
    return Refusal(
        f"a `{type(value).__qualname__}` is not a Cupola value; use None, bool, float, int, Int64, "
        "str, bytes, list or dict"
    )


def refuse_nesting() -> Refusal:
    depth = in_force().value_nesting_max
    return Refusal(f"the value is nested deeper than {depth} levels", "TooNestedError")


def refuse_length(length: int) -> Refusal:
    most = in_force().array_length_max
    return Refusal(f"an array of {length} elements is too long; at most {most}", "ArrayTooLong")


def refuse_field_count(count: int) -> Refusal:
    most = in_force().object_fields_max
    reason = f"an object of {count} fields is too large; at most {most}"
    return Refusal(reason, "TooManyFieldsError")


def float_of(number: int) -> float:
    """The float64 that a plain int in a value means."""
    if -SAFE_INTEGER_MAX <= number <= SAFE_INTEGER_MAX:
        return float(number)
    raise Refusal(
        f"the int {_decimal(number)} is beyond 2**53, where float64 has no room for every whole "
        "number; use cupola.Int64, or float(...) if precision does not matter"
    )


def check_string(text: str) -> None:
    """A string is a sequence of Unicode scalar values."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        surrogate = ord(text[error.start])
        raise Refusal(
            f"the string holds a lone surrogate (U+{surrogate:04X}) at index {error.start}"
        ) from None


# Names that passed, since the same few names come again and again. Bounded: names may come from
# clients. Read by the hot loops of `encoding` directly.
known_names: set[str] = set()
_KNOWN_NAMES_MAX = 16_384
_KNOWN_NAME_LENGTH_MAX = 64


@follow
def _use(limits: Limits) -> None:
    known_names.clear()  # some may be too long now


def check_field_name(name: Any) -> None:
    """Printable ASCII, not starting with `$`; the empty name is one."""
    if not isinstance(name, str):
        raise Refusal(f"a field name is a `{type(name).__qualname__}`; it must be a string")
    if not (name.isascii() and name.isprintable()):
        shown = _shorten(ascii(name))
        raise Refusal(f"the field name {shown} has characters that are not printable ASCII")
    if name.startswith("$"):
        raise Refusal(f"the field name `{_shorten(name)}` starts with `$`, which is reserved")
    if len(name) > (most := in_force().field_name_bytes_max):
        raise Refusal(f"the field name `{_shorten(name)}` is longer than {most} bytes")
    if len(name) <= _KNOWN_NAME_LENGTH_MAX:
        if len(known_names) >= _KNOWN_NAMES_MAX:
            known_names.clear()
        known_names.add(str(name))


def _decimal(number: int) -> str:
    return str(number) if abs(number) < 10**40 else f"with {number.bit_length()} bits"


def _shorten(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."

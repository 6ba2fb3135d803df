"""Codecs: from the values of the protocol to the types that an app declares, and back.

A codec converts; it does not check. `to_python` is given values that its validator accepts, and
what `to_value` returns is checked against the validator afterwards. So an object of the wrong type
passes through `to_value` unchanged, and the validator's message says what is wrong and where.
Codecs raise only for what no validator can say: that a number is whole, or that a text is a UUID.
"""

import datetime
import pathlib
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from cupola.schema.mismatch import ValidationError, display, path_of_field
from cupola.schema.scalars import (
    BIGINT,
    NULL,
    NUMBER,
    STRING,
    WHOLE_NUMBER_MAX,
    Predicate,
)
from cupola.schema.validators import (
    ArrayValidator,
    RecordValidator,
    Validator,
    union_of,
)
from cupola.values import Int64


class Codec(Protocol):
    """Converts between values and Python objects of one declared type."""

    @property
    def validator(self) -> Validator: ...

    @property
    def identity(self) -> bool:
        """`to_python` returns its argument, so it need not be called."""

    def to_python(self, value: Any) -> Any:
        """The object for a value that matches `validator`. Raises ValidationError."""

    def to_value(self, obj: Any) -> Any:
        """The value of an object; what is of another type is returned as it is."""


class PlainCodec:
    """Values that are their own Python objects: strings, bytes, booleans, null, ids, anything."""

    identity = True

    def __init__(self, validator: Validator) -> None:
        self.validator = validator

    def to_python(self, value: Any) -> Any:
        return value

    def to_value(self, obj: Any) -> Any:
        return obj


class FloatCodec(PlainCodec):
    """`float`; an `int` given for one becomes one."""

    def __init__(self) -> None:
        super().__init__(NUMBER)

    def to_value(self, obj: Any) -> Any:
        return float(obj) if type(obj) is int and abs(obj) <= WHOLE_NUMBER_MAX else obj


class Int64Codec(PlainCodec):
    """`Int64`; an `int` given for one becomes one."""

    def __init__(self) -> None:
        super().__init__(BIGINT)

    def to_value(self, obj: Any) -> Any:
        return Int64(obj) if type(obj) is int else obj


class WholeNumberCodec:
    """`int`: a float64 on the wire, which must be whole and within 2^53."""

    identity = False
    validator = NUMBER

    def to_python(self, value: Any) -> int:
        whole = int(value) if abs(value) <= WHOLE_NUMBER_MAX else None  # also refuses NaN
        if whole is None or whole != value:
            raise _no_whole_number(value)
        return whole

    def to_value(self, obj: Any) -> Any:
        if type(obj) is int:
            return float(obj) if abs(obj) <= WHOLE_NUMBER_MAX else obj
        if type(obj) is float and not obj.is_integer():
            raise _no_whole_number(obj)
        return obj


def _no_whole_number(value: object) -> ValidationError:
    return ValidationError(
        "Value is not a whole number within 2^53, which the type `int` asks for.",
        details=(("Value", display(value)), ("Validator", NUMBER.describe())),
    )


class ConvertedCodec:
    """A Python type that is stored as one scalar: datetime, date, UUID, Path."""

    identity = False

    def __init__(
        self,
        validator: Validator,
        kind: type,
        decode: Callable[[Any], Any],
        encode: Callable[[Any], Any],
    ) -> None:
        self.validator = validator
        self._kind = kind
        self._decode = decode
        self._encode = encode

    def to_python(self, value: Any) -> Any:
        try:
            return self._decode(value)
        except (ValueError, OverflowError) as error:
            raise self._refused(value, error) from None

    def to_value(self, obj: Any) -> Any:
        if not isinstance(obj, self._kind):
            return obj
        try:
            return self._encode(obj)
        except (ValueError, OverflowError) as error:
            raise self._refused(obj, error) from None

    def _refused(self, value: object, error: Exception) -> ValidationError:
        return ValidationError(
            f"Value cannot be converted to or from `{self._kind.__name__}`: {error}.",
            details=(("Value", display(value)), ("Validator", self.validator.describe())),
        )


_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MILLISECOND = datetime.timedelta(milliseconds=1)


def _datetime_from_value(milliseconds: float) -> datetime.datetime:
    return _EPOCH + datetime.timedelta(microseconds=round(milliseconds * 1000))


def _datetime_to_value(moment: datetime.datetime) -> float:
    if moment.tzinfo is None:
        raise ValueError("it has no time zone; make it with datetime.now(timezone.utc)")
    return (moment - _EPOCH) / _MILLISECOND


def _date_to_value(day: datetime.date) -> str:
    if isinstance(day, datetime.datetime):
        raise ValueError("it has a time of day; use its date()")
    return day.isoformat()


CONVERTED: Mapping[type, ConvertedCodec] = {
    # Milliseconds since the epoch, UTC, as JavaScript's Date counts: sorts by time, exact to 1 µs.
    datetime.datetime: ConvertedCodec(
        NUMBER, datetime.datetime, _datetime_from_value, _datetime_to_value
    ),
    datetime.date: ConvertedCodec(
        STRING, datetime.date, datetime.date.fromisoformat, _date_to_value
    ),
    uuid.UUID: ConvertedCodec(STRING, uuid.UUID, uuid.UUID, str),
    pathlib.Path: ConvertedCodec(STRING, pathlib.PurePath, pathlib.Path, pathlib.PurePath.as_posix),
}


class ArrayCodec:
    """`list[X]`, `Sequence[X]`, `tuple[X, ...]`: an array."""

    def __init__(self, element: Codec, build: Callable[[Iterable[Any]], Any] = list) -> None:
        self.validator = ArrayValidator(element.validator)
        self.identity = element.identity and build is list
        self._element = element
        self._all_to_values = getattr(element, "to_values", None)  # of documents of a table
        self._build = build

    def to_python(self, value: Any) -> Any:
        if self._element.identity:
            return self._build(value)
        return self._build(_each(self._element.to_python, value))

    def to_value(self, obj: Any) -> Any:
        if isinstance(obj, str | bytes | Mapping) or not isinstance(obj, Iterable):
            return obj
        elements = obj if type(obj) is list else list(obj)
        if type(self._element) is PlainCodec:
            return elements
        if elements and self._all_to_values is not None:
            together = self._all_to_values(elements)
            if together is not None:
                return together
        return _each(self._element.to_value, elements)


def _each(convert: Callable[[Any], Any], elements: Iterable[Any]) -> list[Any]:
    converted: list[Any] = []
    try:
        converted.extend(map(convert, elements))
    except ValidationError as error:
        raise error.within(f"[{len(converted)}]") from None
    return converted


class RecordCodec:
    """`dict[str, X]`, `Mapping[str, X]`: an object with any field names."""

    def __init__(self, keys: Codec, values: Codec) -> None:
        self.validator = RecordValidator(keys.validator, values.validator)
        self.identity = values.identity
        self._values = values

    def to_python(self, value: Any) -> Any:
        if self.identity:
            return value
        return {name: within(name, self._values.to_python, item) for name, item in value.items()}

    def to_value(self, obj: Any) -> Any:
        if not isinstance(obj, Mapping):
            return obj
        return {name: within(name, self._values.to_value, item) for name, item in obj.items()}


def within(name: object, convert: Callable[[Any], Any], item: Any) -> Any:
    """`convert(item)`, with the field's name in the path of an error."""
    try:
        return convert(item)
    except ValidationError as error:
        raise error.within(path_of_field(name)) from None


class OptionalCodec:
    """`X | None`."""

    def __init__(self, codec: Codec) -> None:
        self.validator = union_of([codec.validator, NULL])
        self.identity = codec.identity
        self._codec = codec

    def to_python(self, value: Any) -> Any:
        return None if value is None else self._codec.to_python(value)

    def to_value(self, obj: Any) -> Any:
        return None if obj is None else self._codec.to_value(obj)


class UnionCodec:
    """A union of types: the first whose validator accepts the value, in the order written."""

    def __init__(self, members: list[Codec]) -> None:
        self.validator = union_of([member.validator for member in members])
        self.identity = all(member.identity for member in members)
        self._members: list[tuple[Codec, Predicate]] = [
            (member, _acceptor(member.validator)) for member in members
        ]

    def to_python(self, value: Any) -> Any:
        if self.identity:
            return value
        return self._first(lambda codec: codec.to_python, value, check_before=True)

    def to_value(self, obj: Any) -> Any:
        return self._first(lambda codec: codec.to_value, obj, check_before=False)

    def _first(
        self,
        direction: Callable[[Codec], Callable[[Any], Any]],
        source: Any,
        *,
        check_before: bool,
    ) -> Any:
        refused: ValidationError | None = None
        for codec, accepts in self._members:
            if check_before and not accepts(source):
                continue
            try:
                target = direction(codec)(source)
            except ValidationError as error:
                refused = refused or error
                continue
            if check_before or accepts(target):
                return target
        if refused is not None:
            raise refused
        return source


def _acceptor(validator: Validator) -> Predicate:
    quick, exact = validator.predicate(None), validator.accepts
    return lambda value: quick(value) or exact(value)


class LiteralCodec:
    """`Literal[...]` and enums: a fixed set of scalars, each with its Python object."""

    def __init__(self, validator: Validator, objects: list[tuple[Any, Any]]) -> None:
        """`objects`: pairs of value and Python object."""
        self.validator = validator
        self.identity = all(type(value) is type(obj) and value == obj for value, obj in objects)
        self._objects = {(type(value), value): obj for value, obj in objects}
        self._values = {(type(obj), obj): value for value, obj in objects}

    def to_python(self, value: Any) -> Any:
        kind = float if type(value) is int else type(value)
        return self._objects.get((kind, value), value)

    def to_value(self, obj: Any) -> Any:
        try:
            return self._values.get((type(obj), obj), obj)
        except TypeError:  # it cannot be hashed, so it is none of them
            return obj


class ConstrainedCodec:
    """A codec whose objects must also pass a check, such as a bound that msgspec.Meta sets."""

    identity = False

    def __init__(self, codec: Codec, check: Callable[[Any], object]) -> None:
        self.validator = codec.validator
        self._codec = codec
        self._check = check

    def to_python(self, value: Any) -> Any:
        obj = self._codec.to_python(value)
        self._require(obj, value)
        return obj

    def to_value(self, obj: Any) -> Any:
        value = self._codec.to_value(obj)
        if self.validator.accepts(value):
            self._require(obj, value)
        return value

    def _require(self, obj: Any, value: Any) -> None:
        try:
            self._check(obj)
        except (ValueError, TypeError) as error:
            raise ValidationError(
                f"Value breaks a rule of its type: {error}.",
                details=(("Value", display(value)), ("Validator", self.validator.describe())),
            ) from None

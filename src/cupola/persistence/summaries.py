"""What is known of a set of index entries without looking at each: their summary.

Sums are exact: a float64 is a whole multiple of 2**-1074, so a sum of such numbers is one integer.
It does not depend on the order of adding, a number can be taken out again without a trace, and the
result, rounded once, is what `math.fsum` of the numbers would be. Two ways to add up the same
entries can never differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from struct import Struct

import msgspec

from cupola.values import Int64, decode_key

_UNITS_LOG2 = 1074
_ONE = 1 << _UNITS_LOG2
_FLOAT_TAG = 0x0D
_BITS = Struct(">Q")
_FLOAT64 = Struct(">d")
_SIGN = 1 << 63
_ALL_BITS = 2**64 - 1

EntryNumbers = tuple[bytes | None, ...]
"""Of one index entry: the number of each aggregated field as an encoded key; None: no number."""


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    total: bytes
    shift: int
    integers: int
    floats: int
    odd: tuple[int, int, int]
    least: bytes | None
    greatest: bytes | None


class Numbers:
    """The numbers of one field: count by type, exact sum of the finite ones, extremes."""

    __slots__ = ("floats", "greatest", "integers", "least", "odd", "total")

    def __init__(self) -> None:
        self.total = 0  # in units of 2**-1074
        self.integers = 0
        self.floats = 0
        self.odd = (0, 0, 0)  # NaN, infinity, -infinity
        self.least: bytes | None = None
        self.greatest: bytes | None = None

    def add(self, other: Numbers) -> None:
        self.total += other.total
        self.integers += other.integers
        self.floats += other.floats
        if other.odd != (0, 0, 0):
            self.odd = tuple(map(sum, zip(self.odd, other.odd, strict=True)))  # type: ignore[assignment]
        if other.least is not None and other.greatest is not None:
            if self.least is None or other.least < self.least:
                self.least = other.least
            if self.greatest is None or other.greatest > self.greatest:
                self.greatest = other.greatest

    def subtract(self, other: Numbers) -> bool:
        """Take numbers out. False: the extremes may have been among them; they are then wrong."""
        self.total -= other.total
        self.integers -= other.integers
        self.floats -= other.floats
        if other.odd != (0, 0, 0):
            nan, up, down = other.odd
            self.odd = (self.odd[0] - nan, self.odd[1] - up, self.odd[2] - down)
        return other.least is None or (
            other.least != self.least and other.greatest != self.greatest
        )

    def add_key(self, key: bytes) -> None:
        """Add one number, given as an encoded key."""
        number = number_of(key)
        if isinstance(number, Int64):
            self.integers += 1
            self.total += int(number) << _UNITS_LOG2
        else:
            self.floats += 1
            if math.isfinite(number):
                numerator, denominator = number.as_integer_ratio()
                self.total += numerator << (_UNITS_LOG2 + 1 - denominator.bit_length())
            else:
                nan, up, down = self.odd
                self.odd = (nan + (number != number), up + (number > 0), down + (number < 0))
        if self.least is None or key < self.least:
            self.least = key
        if self.greatest is None or key > self.greatest:
            self.greatest = key

    @property
    def sum(self) -> float | Int64:
        """Correctly rounded; an Int64 where all numbers are. 0.0 where there are none.

        Raises:
            InvalidValueError: A sum of Int64 numbers that does not fit into one.
        """
        if self.integers and not self.floats:
            return Int64(self.total >> _UNITS_LOG2)
        nan, up, down = self.odd
        if nan or (up and down):
            return math.nan
        if up or down:
            return math.inf if up else -math.inf
        try:
            return self.total / _ONE
        except OverflowError:
            return math.inf if self.total > 0 else -math.inf

    @property
    def minimum(self) -> float | Int64 | None:
        """The least in the order of values, in which Int64 numbers come before floats."""
        return None if self.least is None else number_of(self.least)

    @property
    def maximum(self) -> float | Int64 | None:
        return None if self.greatest is None else number_of(self.greatest)

    def to_stored(self) -> _Stored:
        shift = (self.total & -self.total).bit_length() - 1 if self.total else 0
        mantissa = self.total >> shift
        size = mantissa.bit_length() // 8 + 1
        data = mantissa.to_bytes(size, "big", signed=True)
        return _Stored(data, shift, self.integers, self.floats, self.odd, self.least, self.greatest)

    @classmethod
    def from_stored(cls, stored: _Stored) -> Numbers:
        numbers = cls()
        numbers.total = int.from_bytes(stored.total, "big", signed=True) << stored.shift
        numbers.integers = stored.integers
        numbers.floats = stored.floats
        numbers.odd = stored.odd
        numbers.least = stored.least
        numbers.greatest = stored.greatest
        return numbers


class Summary:
    """How many entries there are, and what their numbers amount to, field by field."""

    __slots__ = ("count", "numbers")

    def __init__(self, fields: int) -> None:
        self.count = 0
        self.numbers = [Numbers() for _ in range(fields)] if fields else _NONE

    @classmethod
    def of(cls, fields: int, entries: Iterable[EntryNumbers]) -> Summary:
        """The summary of entries one by one."""
        summary = cls(fields)
        for entry in entries:
            summary.add_entry(entry)
        return summary

    def add(self, other: Summary) -> None:
        self.count += other.count
        for mine, others in zip(self.numbers, other.numbers, strict=True):
            mine.add(others)

    def add_entry(self, entry: EntryNumbers) -> None:
        self.count += 1
        for mine, key in zip(self.numbers, entry, strict=True):
            if key is not None:
                mine.add_key(key)

    def subtract_entry(self, entry: EntryNumbers) -> bool:
        """Take one entry out. False: extremes may be wrong now, and only they."""
        self.count -= 1
        is_right = True
        for mine, key in zip(self.numbers, entry, strict=True):
            if key is not None:
                one = Numbers()
                one.add_key(key)
                is_right = mine.subtract(one) and is_right
        return is_right

    def encoded(self) -> bytes:
        """The numbers as bytes; the count goes beside them."""
        return _encode([n.to_stored() for n in self.numbers]) if self.numbers else b""

    @classmethod
    def decoded(cls, fields: int, count: int, data: bytes) -> Summary:
        summary = cls(0)
        summary.count = count
        if fields:
            summary.numbers = [Numbers.from_stored(stored) for stored in _decode(data)]
        return summary


_NONE: list[Numbers] = []
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[_Stored]).decode
_decode_entry = msgspec.msgpack.Decoder(tuple[bytes | None, ...]).decode


def encode_entry(entry: Sequence[bytes | None]) -> bytes:
    return _encode(entry)


def decode_entry(data: bytes) -> EntryNumbers:
    return _decode_entry(data)


def number_of(key: bytes) -> float | Int64:
    """The number that an encoded key holds."""
    if key[0] == _FLOAT_TAG:
        bits = _BITS.unpack_from(key, 1)[0]
        bits = bits ^ _SIGN if bits & _SIGN else bits ^ _ALL_BITS
        number: float = _FLOAT64.unpack(_BITS.pack(bits))[0]
        return number
    (integer,) = decode_key(key)
    assert isinstance(integer, Int64)
    return integer

"""The order-preserving key encoding (spec: values, section 5).

Comparing keys as bytes is comparing the values by `order.compare`, and comparing concatenated keys is
comparing tuples. That needs every key to be no prefix of another: numbers have their length in the tag,
everything else ends in a zero byte, which is written as `00 FF` where it occurs inside. `FF` is no tag, so
`prefix + FF` lies above everything that continues `prefix` by another key, and below everything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Any

from cupola.errors import InvalidValueError
from cupola.values.encoding import check_value, decode_canonical
from cupola.values.model import UNSET, Encoded, Int64, Refusal, UnsetType, Value, float_of, refuse_type

_UNSET, _NULL, _ZERO, _FLOAT, _FALSE, _TRUE = 0x01, 0x03, 0x08, 0x0D, 0x0E, 0x0F
_STRING, _BYTES, _ARRAY, _OBJECT = 0x10, 0x11, 0x12, 0x15

# A double whose sign bit is set has all bits inverted, any other just the sign bit.
_pack_float = Struct(">Bd").pack
_pack_bits = Struct(">BQ").pack
_FLOAT64 = Struct(">d")
_BITS = Struct(">Q")
_SIGN = 1 << 63
_ALL_BITS = 2**64 - 1

_INTEGER_LENGTHS = (1, 2, 4, 8)


def encode_key(value: Value | UnsetType) -> bytes:
    """The key of one value. Takes what `encode` takes, and UNSET.

    Raises:
        InvalidValueError: It is no value.
    """
    kind = type(value)
    if kind is str:
        try:
            text: bytes = value.encode()  # type: ignore[union-attr]
        except UnicodeEncodeError:
            check_value(value)
            raise
        if b"\0" in text:
            text = text.replace(b"\0", b"\0\xff")
        return b"\x10%b\0" % text
    if kind is float:
        if value > 0.0:  # type: ignore[operator]
            return _pack_float(_FLOAT, -value)  # type: ignore[operator]
        return _float_key(value)  # type: ignore[arg-type]
    return _other_key(value)


def encode_keys(values: Iterable[Value | UnsetType]) -> bytes:
    """The key of a tuple."""
    return b"".join(map(encode_key, values))


def after(prefix: bytes) -> bytes:
    """Above every key that continues `prefix` by further values, below every other greater key."""
    return prefix + b"\xff"


def _other_key(value: Any) -> bytes:
    if value is UNSET:
        return b"\x01"
    if value is None:
        return b"\x03"
    if value is False:
        return b"\x0e"
    if value is True:
        return b"\x0f"
    if isinstance(value, Int64):
        return _integer_key(value)
    if isinstance(value, (int, float)):
        return _float_key(_to_float(value))
    if isinstance(value, str):
        return encode_key(str.__str__(value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return b"\x11" + _escape(bytes(value))
    if isinstance(value, Encoded):
        return encode_key(decode_canonical(value.encoded))
    check_value(value)  # the names and the depth of containers
    return _container_key(value)


def _to_float(number: float) -> float:
    if isinstance(number, float):
        return number
    try:
        return float_of(number)
    except Refusal as refusal:
        raise refusal.as_error() from None


def _float_key(number: float) -> bytes:
    bits: int = _BITS.unpack(_FLOAT64.pack(number))[0]
    return _pack_bits(_FLOAT, bits ^ _ALL_BITS if bits & _SIGN else bits | _SIGN)


def _integer_key(number: int) -> bytes:
    """The tag is 08 plus or minus the size class 1 to 4; zero is 08 alone."""
    if number == 0:
        return b"\x08"
    for step, length in enumerate(_INTEGER_LENGTHS, 1):
        bound = 1 << (8 * length - 1)
        if -bound <= number < bound:
            tag = _ZERO + step if number > 0 else _ZERO - step
            return bytes([tag]) + number.to_bytes(length, "big", signed=True)
    raise AssertionError("an Int64 has at most eight bytes")


def _container_key(value: Any) -> bytes:
    if isinstance(value, (list, tuple)):
        return b"\x12" + b"".join(map(encode_key, value)) + b"\0"
    if not isinstance(value, dict):
        raise refuse_type(value).as_error()
    parts = [b"\x15"]
    for name in sorted(value):
        if value[name] is UNSET:
            continue
        # An empty name would read as the end of the object.
        parts.append(name.encode() + b"\0" if name else b"\0\xff")
        parts.append(encode_key(value[name]))
    parts.append(b"\0")
    return b"".join(parts)


def _escape(data: bytes) -> bytes:
    return data.replace(b"\0", b"\0\xff") + b"\0"


# ---------------------------------------------------------------------------------- reading back


def decode_key(data: bytes) -> list[Value | UnsetType]:
    """The values of a key, for diagnostics.

    Raises:
        InvalidValueError: It is no key.
    """
    reader = _KeyReader(data)
    try:
        values = list(reader.values())
    except (IndexError, ValueError, RecursionError):
        values = []
        reader.position = -1
    if reader.position != len(data):
        raise InvalidValueError(f"{data.hex()} is no key: it is damaged or cut off.")
    return values


class _KeyReader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def values(self) -> Iterator[Any]:
        """The values up to the end, or up to and including the zero byte that closes an array."""
        while self.position < len(self.data):
            tag = self._byte()
            if tag == 0:
                return
            yield self._value(tag)

    def _value(self, tag: int) -> Any:
        match tag:
            case 0x01:
                return UNSET
            case 0x03:
                return None
            case 0x0D:
                bits = int.from_bytes(self._take(8), "big")
                bits = bits ^ _SIGN if bits & _SIGN else bits ^ _ALL_BITS
                return _FLOAT64.unpack(_BITS.pack(bits))[0]
            case 0x0E | 0x0F:
                return tag == _TRUE
            case 0x10:
                return self._escaped().decode()
            case 0x11:
                return self._escaped()
            case 0x12:
                return self._closed(list(self.values()))
            case 0x15:
                return self._fields()
            case _ if 0x04 <= tag <= 0x0C:
                length = (0, *_INTEGER_LENGTHS)[abs(tag - _ZERO)]
                return Int64(int.from_bytes(self._take(length), "big", signed=True))
        raise ValueError(tag)

    def _fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        while True:
            if self.data[self.position] == 0:
                self.position += 1
                if self.data[self.position : self.position + 1] != b"\xff":
                    return fields
                self.position += 1
                name = ""
            else:
                name = self._escaped().decode()
            fields[name] = self._value(self._byte())

    def _closed(self, items: list[Any]) -> list[Any]:
        if self.data[self.position - 1] != 0:
            raise ValueError("an array without an end")
        return items

    def _escaped(self) -> bytes:
        start = self.position
        while True:
            end = self.data.index(b"\0", self.position)
            self.position = end + 1
            if self.data[end + 1 : end + 2] != b"\xff":
                return self.data[start:end].replace(b"\0\xff", b"\0")
            self.position = end + 2

    def _byte(self) -> int:
        self.position += 1
        return self.data[self.position - 1]

    def _take(self, length: int) -> bytes:
        taken = self.data[self.position : self.position + length]
        if len(taken) < length:
            raise ValueError("cut off")
        self.position += length
        return taken

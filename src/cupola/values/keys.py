"""The order-preserving key encoding (spec: values, section 5).

Comparing keys as bytes is comparing the values by `order.compare`, and comparing concatenated keys
is comparing tuples. Numbers have their length in the tag; everything else ends in a zero byte,
which is written as `00 FF` where it occurs inside (and an empty field name as `00 FF`, not to look
like the end of its object). `FF` is no tag. So where one value's key begins with that of another,
as "a\\0b" with "a", it goes on with FF and is above all keys that continue the shorter one by
further values; and `prefix + FF` divides the latter from all that is greater.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Any

from cupola.errors import InvalidValueError
from cupola.values.encoding import check_value, decode_canonical
from cupola.values.model import UNSET, Encoded, Int64, UnsetType, Value

_FLOAT_TAG = 0x0D
_pack_tagged_float = Struct(">Bd").pack
_pack_tagged_bits = Struct(">BQ").pack
_FLOAT64 = Struct(">d")
_BITS = Struct(">Q")
_SIGN = 1 << 63
_ALL_BITS = 2**64 - 1

# An integer of 1, 2, 4 or 8 bytes has the tag of zero minus or plus 1, 2, 3 or 4, by its sign.
_ZERO_TAG = 0x08
_INTEGER_BYTES = (0, 1, 2, 4, 8)
_STEP_OF_BITS = [1] * 8 + [2] * 8 + [3] * 16 + [4] * 32
_pack_tagged_integer = [Struct(form).pack for form in (">Bb", ">Bb", ">Bh", ">Bi", ">Bq")]


def encode_key(value: Any) -> bytes:
    """The key of one value. Takes what `encode` takes, and UNSET.

    Raises:
        InvalidValueError: It is no value.
    """
    kind = type(value)
    if kind is str and "\0" not in value:
        try:
            return f"\x10{value}\0".encode()  # the tag and the end are ASCII
        except UnicodeEncodeError:
            check_value(value)  # raises, and says where
    if kind is float and value > 0.0:
        return _pack_tagged_float(_FLOAT_TAG, -value)  # that sets the sign bit, as it should be
    if kind is Int64:
        return _integer_key(value)
    return _other_key(value)


def encode_keys(values: Iterable[Any]) -> bytes:
    """The key of a tuple."""
    return b"".join([encode_key(value) for value in values])


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
    if isinstance(value, float):
        return _float_key(value)
    if isinstance(value, Encoded):
        return encode_key(decode_canonical(value.encoded))
    check_value(value)  # its type, and all that makes a string, an int or a container no value
    if isinstance(value, Int64):
        return _integer_key(value)
    if isinstance(value, int):
        return _float_key(float(value))
    if isinstance(value, str):
        return b"\x10" + _escape(value.encode())
    if isinstance(value, (bytes, bytearray, memoryview)):
        return b"\x11" + _escape(bytes(value))
    return _container_key(value)


def _float_key(number: float) -> bytes:
    """A double whose sign bit is set has all bits inverted, any other just the sign bit."""
    bits: int = _BITS.unpack(_FLOAT64.pack(number))[0]
    return _pack_tagged_bits(_FLOAT_TAG, bits ^ _ALL_BITS if bits & _SIGN else bits | _SIGN)


def _integer_key(number: int) -> bytes:
    if number == 0:
        return b"\x08"
    if number > 0:
        step = _STEP_OF_BITS[number.bit_length()]
        return _pack_tagged_integer[step](_ZERO_TAG + step, number)
    step = _STEP_OF_BITS[(~number).bit_length()]
    return _pack_tagged_integer[step](_ZERO_TAG - step, number)


def _container_key(value: list[Any] | tuple[Any, ...] | dict[str, Any]) -> bytes:
    if isinstance(value, (list, tuple)):
        return b"\x12" + b"".join(map(encode_key, value)) + b"\0"
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
    values = []
    try:
        while reader.position < len(data):
            values.append(reader.value(reader.byte()))
    except (IndexError, ValueError, RecursionError):
        raise InvalidValueError(f"{data.hex()} is no key: it is damaged or cut off.") from None
    return values


class _KeyReader:
    """Raises IndexError or ValueError where the data is no key."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def value(self, tag: int) -> Any:
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
                return tag == 0x0F
            case 0x10:
                return self._escaped().decode()
            case 0x11:
                return self._escaped()
            case 0x12:
                return self._array()
            case 0x15:
                return self._object()
            case _ if 0x04 <= tag <= 0x0C:
                length = _INTEGER_BYTES[abs(tag - _ZERO_TAG)]
                return Int64(int.from_bytes(self._take(length), "big", signed=True))
        raise ValueError(f"{tag:02x} is no tag")

    def byte(self) -> int:
        self.position += 1
        return self.data[self.position - 1]

    def _array(self) -> list[Any]:
        items = []
        while tag := self.byte():
            items.append(self.value(tag))
        return items

    def _object(self) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        while True:
            name = self._escaped().decode() if self.data[self.position] else self._empty_name()
            if name is None:
                return fields
            fields[name] = self.value(self.byte())

    def _empty_name(self) -> str | None:
        """The zero byte here ends the object, unless it is an empty name: then FF follows."""
        self.position += 1
        if self.data[self.position : self.position + 1] != b"\xff":
            return None
        self.position += 1
        return ""

    def _escaped(self) -> bytes:
        start = self.position
        while True:
            end = self.data.index(b"\0", self.position)
            self.position = end + 1
            if self.data[end + 1 : end + 2] != b"\xff":
                return self.data[start:end].replace(b"\0\xff", b"\0")
            self.position = end + 2

    def _take(self, length: int) -> bytes:
        taken = self.data[self.position : self.position + length]
        if len(taken) < length:
            raise ValueError("cut off")
        self.position += length
        return taken

"""Document ids (spec: values, section 6).

An id is base32 text of a table number (LEB128), 16 bytes, and two bytes of checksum. As a value it
is an ordinary string. Most are 32 characters long: those of tables 128 to 16383.
"""

from __future__ import annotations

import re
from itertools import accumulate

from cupola.errors import InvalidIdError

INTERNAL_ID_BYTES = 16
_FOOTER_BYTES = 2
_TABLE_NUMBER_MAX = 2**32 - 1
_REMEMBERED_MAX = 8192
_DAY_NS = 86_400_000_000_000

# Crockford's alphabet, in lower case. Python's int() reads base 32 with the digits 0-9a-v.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_TO_PYTHON_DIGITS = str.maketrans(_ALPHABET, "0123456789abcdefghijklmnopqrstuv")
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
_is_id_text = re.compile(f"[{_ALPHABET}]{{31,37}}").fullmatch

# Bytes that a text of some length holds. The other lengths are no whole number of bytes.
_BYTES_OF_LENGTH = {-(-size * 8 // 5): size for size in range(19, 24)}


def encode_id(table_number: int, internal: bytes) -> str:
    """The text of an id. `internal` is 16 bytes, see `new_internal_id`."""
    assert 0 < table_number <= _TABLE_NUMBER_MAX
    assert len(internal) == INTERNAL_ID_BYTES
    body = leb128(table_number) + internal
    data = body + _checksum(body)
    bits = len(data) * 8
    number = int.from_bytes(data, "big") << (-bits % 10)
    pairs = [_PAIRS[(number >> shift) & 1023] for shift in range(bits - 10 + -bits % 10, -1, -10)]
    text = "".join(pairs)[: -(-bits // 5)]
    _remember(text, table_number)
    return text


def decode_id(text: str) -> tuple[int, bytes]:
    """The table number and the 16 bytes of an id.

    There is one text for each id: whatever is not written exactly as `encode_id` would is refused.

    Raises:
        InvalidIdError: It is no id.
    """
    size = _BYTES_OF_LENGTH.get(len(text))
    if size is None or not _is_id_text(text):
        raise _refusal(text)
    surplus = len(text) * 5 - size * 8
    number = int(text.translate(_TO_PYTHON_DIGITS), 32)
    if number & ((1 << surplus) - 1):
        raise _refusal(text)
    data = (number >> surplus).to_bytes(size, "big")
    prefix = size - INTERNAL_ID_BYTES - _FOOTER_BYTES
    table_number = _read_leb128(data[:prefix])
    body = data[:-_FOOTER_BYTES]
    if table_number is None or _checksum(body) != data[-_FOOTER_BYTES:]:
        raise _refusal(text)
    return table_number, body[prefix:]


def table_number_of(text: str) -> int:
    """The table number of an id. Raises InvalidIdError."""
    number = _table_numbers.get(text)
    if number is None:
        number = decode_id(text)[0]
        _remember(text, number)
    return number


_table_numbers: dict[str, int] = {}
"""Table numbers of the ids seen lately, those just made included."""


def _remember(text: str, table_number: int) -> None:
    if len(_table_numbers) >= _REMEMBERED_MAX:
        _table_numbers.clear()
    _table_numbers[text] = table_number


def new_internal_id(random14: bytes, now_ns: int) -> bytes:
    """16 bytes from 14 random ones and the day, which keeps the ids of one day together."""
    assert len(random14) == 14
    return random14 + (now_ns // _DAY_NS & 0xFFFF).to_bytes(2, "big")


def leb128(number: int) -> bytes:
    """Low seven bits first; the top bit says that more follow."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _read_leb128(data: bytes) -> int | None:
    """The number that takes all of `data`; None if there is none, or a shorter way to write it."""
    number = 0
    for position, byte in enumerate(data):
        if (byte > 0x7F) != (position < len(data) - 1):
            return None
        number |= (byte & 0x7F) << (7 * position)
    return number if data[-1] and number <= _TABLE_NUMBER_MAX else None


def _checksum(body: bytes) -> bytes:
    """Fletcher's checksum with modulus 256: the sum, and the sum of the running sums."""
    sums = list(accumulate(body))
    return bytes([sums[-1] & 0xFF, sum(sums) & 0xFF])


def _refusal(text: str) -> InvalidIdError:
    shown = text if len(text) <= 64 else text[:61] + "..."
    return InvalidIdError(f"{shown!r} is not a document id.")

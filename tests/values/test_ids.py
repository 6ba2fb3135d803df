"""Document ids: the spec's examples, and that each id has one text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cupola.errors import InvalidIdError
from cupola.values import decode_id, encode_id, new_internal_id, table_number_of

EXAMPLES = [
    (1, "000102030405060708090a0b0c0d0e0f", "040020g30g2gc1r81450p30d1r7qke8"),
    (10001, "ff" * 16, "j57fzzzzzzzzzzzzzzzzzzzzzzzzzkyr"),
    (10023, "00112233445566778899aabbccddeeff", "mx7004926d25askqh2ctneycvqqfzv8m"),
    (10000, "00" * 16, "j1700000000000000000000000001qje"),
    (4294967295, "00" * 16, "zzzzzzrf000000000000000000000000005v2"),
]
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
ID = EXAMPLES[2][2]

table_numbers = st.sampled_from([1, 127, 128, 16383, 16384, 2**21 - 1, 2**21, 2**28 - 1, 2**28])
table_numbers |= st.integers(1, 2**32 - 1)
internal_ids = st.binary(min_size=16, max_size=16)


@pytest.mark.parametrize(("table_number", "internal", "text"), EXAMPLES)
def test_examples(table_number, internal, text):
    assert encode_id(table_number, bytes.fromhex(internal)) == text
    assert decode_id(text) == (table_number, bytes.fromhex(internal))
    assert table_number_of(text) == table_number


@settings(max_examples=100, deadline=None)
@given(table_numbers, internal_ids)
def test_ids_can_be_read_back(table_number, internal):
    assert decode_id(encode_id(table_number, internal)) == (table_number, internal)


@settings(max_examples=100, deadline=None)
@given(table_numbers, internal_ids, st.data())
def test_a_changed_id_is_refused_or_another_id(table_number, internal, data):
    """Whatever decodes is exactly what encoding gives: no surplus bits, no over-long numbers."""
    text = encode_id(table_number, internal)
    place = data.draw(st.integers(0, len(text) - 1))
    text = text[:place] + data.draw(st.text(ALPHABET, max_size=2)) + text[place + 1 :]
    try:
        decoded = decode_id(text)
    except InvalidIdError:
        return
    assert encode_id(*decoded) == text


def base32(data):
    """An independent encoder, which also writes what is no id."""
    bits = "".join(f"{byte:08b}" for byte in data)
    bits += "0" * (-len(bits) % 5)
    return "".join(ALPHABET[int(bits[i : i + 5], 2)] for i in range(0, len(bits), 5))


def with_footer(body):
    low = high = 0
    for byte in body:
        low = (low + byte) % 256
        high = (high + low) % 256
    return base32(body + bytes([low, high]))


def test_the_independent_encoder_agrees():
    assert with_footer(b"\x01" + bytes(range(16))) == EXAMPLES[0][2]


REFUSED = {
    "empty": "",
    "too short": ID[:30],
    "too long": ID * 2,
    "upper case": ID.upper(),
    "alias of 1": ID.replace("d", "i", 1),
    "a letter that is none": ID[:-1] + "u",
    "underscores, which int() skips": "_" + ID[1:],
    "space, which int() strips": ID[:-1] + " ",
    "sign": "+" + ID[1:],
    "other digits": "٣" + ID[1:],
    "not a multiple of a byte": ID + "0",
    "wrong checksum": ID[:-1] + "n",
    "surplus bits": EXAMPLES[0][2][:-1] + "9",
    "table zero": with_footer(bytes(17)),
    "over-long table": with_footer(b"\x81\x00" + bytes(16)),
    "over-long zero": with_footer(b"\x80\x00" + bytes(16)),
    "table beyond 32 bits": with_footer(b"\xff\xff\xff\xff\x1f" + bytes(16)),
    "unfinished table number": with_footer(b"\xff" + b"\xff" * 16),
    "table number too short": with_footer(b"\x01" + bytes(17)),
    "uuid": "123e4567-e89b-12d3-a456-426614174000",
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_what_is_no_id_is_refused(text):
    for read in (decode_id, table_number_of):
        with pytest.raises(InvalidIdError, match="is not a document id"):
            read(text)


def test_new_ids_end_in_the_day():
    day_ns = 86_400_000_000_000
    for day, last_bytes in [(0, b"\0\0"), (20_000, b"\x4e\x20"), (65_537, b"\0\1")]:
        assert new_internal_id(b"r" * 14, day * day_ns + 5) == b"r" * 14 + last_bytes

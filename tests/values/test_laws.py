"""Laws that hold for every value, checked on generated ones."""

from __future__ import annotations

import contextlib
import copy
import math
import random
import struct
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cupola.errors import InvalidValueError
from cupola.values import (
    UNSET,
    Encoded,
    Int64,
    after,
    check_document,
    check_value,
    clean_from_encoded,
    compare,
    decode,
    decode_canonical,
    decode_export,
    decode_key,
    decode_tree,
    document_size,
    encode,
    encode_clean,
    encode_export,
    encode_key,
    encode_keys,
    size_of,
    values_equal,
)


def law(*strategies: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Any]:
    """`given`, with as many examples as the hundreds of tests around can afford."""
    return lambda test: settings(max_examples=60, deadline=None)(given(*strategies)(test))


INT64_EDGES = [0, 1, -1, 127, 128, -128, -129, 32767, 32768, -32768, -32769, 2**31 - 1, 2**31]
INT64_EDGES += [-(2**31), -(2**31) - 1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)]
FLOAT_BITS = [0, 1, 2**63, 2**63 + 1, 0x7FF0 << 48, 0xFFF0 << 48, 0x7FF8 << 48, 0xFFF8 << 48]
FLOAT_BITS += [0x7FF0_0000_0000_0001, 0xFFF8_0000_0000_1234, 0x7FEF_FFFF_FFFF_FFFF]


def float_from_bits(bits: int) -> float:
    number: float = struct.unpack(">d", bits.to_bytes(8, "big"))[0]
    return number


int64s = st.sampled_from(INT64_EDGES) | st.integers(-(2**63), 2**63 - 1)
bit_patterns = st.sampled_from(FLOAT_BITS) | st.integers(0, 2**64 - 1)
floats = st.floats() | bit_patterns.map(float_from_bits)
strings = st.text() | st.text("\0aé\uffff\U00010000", max_size=4)
byte_strings = st.binary() | st.lists(st.sampled_from([0, 1, 255]), max_size=4).map(bytes)
names = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=5).filter(
    lambda name: not name.startswith("$")
)
scalars = st.none() | st.booleans() | int64s.map(Int64) | floats | strings | byte_strings
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(names, inner, max_size=5),
    max_leaves=12,
)
# Few different scalars, so that neighbours often agree in their first parts.
CLOSE_NUMBERS = [0.0, -0.0, math.nan, -math.nan, Int64(0), Int64(-1), Int64(128)]
CLOSE_TEXTS = ["", "\0", "\0\0", "a", "a\0", "a\0b", "ab", b"", b"\0", b"\0\xff", b"\xff"]
close_scalars = st.sampled_from([None, False, True, *CLOSE_NUMBERS, *CLOSE_TEXTS])
close_values = st.recursive(
    close_scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["", "a", "b", "ab"]), inner, max_size=3)
    ),
    max_leaves=6,
)
ordered = st.just(UNSET) | values | close_values


class Stored(Encoded):
    """A value that is encoded already."""

    __slots__ = ("encoded",)

    def __init__(self, value: Any) -> None:
        self.encoded = encode(value)


def exact(value: Any) -> Any:
    """Something that is equal only for equal values, told apart as the spec does, not as Python."""
    if isinstance(value, float):
        return ("float64", struct.pack("<d", value))
    if isinstance(value, list):
        return [exact(item) for item in value]
    if isinstance(value, dict):
        return {name: exact(item) for name, item in value.items()}
    return (type(value), value)


def shuffled(value: Any) -> Any:
    """The same value, written differently."""
    if isinstance(value, list):
        return tuple(shuffled(item) for item in value)
    if isinstance(value, dict):
        fields = [(name, shuffled(item)) for name, item in value.items()]
        return {"absent": UNSET, **dict(reversed(fields))} if "absent" not in value else value
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        return int(value) if math.copysign(1, value) > 0 or value else value
    return value


def partly_stored(value: Any, dice: random.Random) -> Any:
    """The same value, with parts of it encoded already."""
    if dice.random() < 0.4:
        return Stored(value)
    if isinstance(value, list):
        return [partly_stored(item, dice) for item in value]
    if isinstance(value, dict):
        return {name: partly_stored(item, dice) for name, item in value.items()}
    return value


# ------------------------------------------------------------------------------------- encodings


@law(values)
def test_encoded_json_loses_nothing(value):
    """Not the payload of a NaN, not the sign of a zero, not the type of a number."""
    assert exact(decode(encode(value))) == exact(value)
    assert exact(decode_canonical(encode(value))) == exact(value)
    assert exact(decode_tree(orjson.loads(encode(value)))) == exact(value)
    assert exact(decode(encode(value).decode())) == exact(value)


@law(values)
def test_export_json_loses_nothing(value):
    assert exact(decode_export(encode_export(value))) == exact(value)


@law(values)
def test_a_value_has_one_encoding(value):
    """Digests, comparisons of results and cache keys rely on it."""
    assert encode(shuffled(value)) == encode(value)
    assert encode(decode(encode(value))) == encode(value)


@law(values)
def test_encoding_leaves_the_value_as_it_was(value):
    before = copy.deepcopy(value)
    encode(value), encode_clean(value), encode_export(value)
    assert exact(value) == exact(before)


@law(values, st.randoms(use_true_random=False))
def test_what_is_encoded_already_may_stand_anywhere(value, dice):
    mixed = partly_stored(value, dice)
    assert encode(mixed) == encode(value)
    assert encode_clean(mixed) == encode_clean(value)
    assert encode_export(mixed) == encode_export(value)
    assert size_of(mixed) == size_of(value)
    assert encode_key(mixed) == encode_key(value)
    assert compare(mixed, value) == 0


@law(values)
def test_clean_json_can_be_made_from_encoded_json(value):
    assert clean_from_encoded(encode(value)) == encode_clean(value)


json_trees = st.recursive(
    st.none() | st.booleans() | st.integers() | floats | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(names | st.text() | st.just("$integer"), inner, max_size=3)
        | st.sampled_from(["$integer", "$float", "$bytes", "$x"]).flatmap(
            lambda marker: st.fixed_dictionaries(
                {marker: inner | st.sampled_from(["", "AQ==", "AQAAAAAAAAA=", "AQ", "_-8="])}
            )
        )
    ),
    max_leaves=6,
)


@law(json_trees)
def test_any_json_is_a_value_or_refused(tree):
    """Whatever a client sends ends in a value that can be sent back, or in InvalidValueError."""
    before = copy.deepcopy(tree)
    try:
        value = decode_tree(tree)
    except InvalidValueError:
        return
    assert exact(decode(encode(value))) == exact(value)
    assert repr(tree) == repr(before)


@law(st.binary(max_size=8) | st.text('{}[]",:$0-9.eE a\\u', max_size=12))
@example(b"[" * 5000)
@example("\ud800")
@example(b"")
def test_any_text_is_a_value_or_refused(data):
    for read in (decode, decode_export):
        try:
            read(data)
        except InvalidValueError:
            continue


anything = st.recursive(
    scalars | st.integers() | st.text(st.characters()) | st.just(UNSET) | st.complex_numbers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=6,
)


@law(anything)
def test_whatever_python_passes_is_encoded_or_refused(value):
    """The same things are refused whichever way they are used."""
    try:
        encoded = encode(value)
    except InvalidValueError as error:
        with pytest.raises(InvalidValueError) as refusal:
            check_value(value)
        assert (refusal.value.code, refusal.value.message) == (error.code, error.message)
        if value is not UNSET:
            with pytest.raises(InvalidValueError):
                encode_key(value)
        return
    check_value(value)
    assert decode_key(encode_key(value))
    assert encode(decode(encoded)) == encoded


# ----------------------------------------------------------------------------------------- order


@law(ordered, ordered)
def test_keys_order_as_values_do(left, right):
    left_key, right_key = encode_key(left), encode_key(right)
    assert (left_key > right_key) - (left_key < right_key) == compare(left, right)


@law(st.lists(ordered, max_size=3), st.lists(ordered, max_size=3))
def test_concatenated_keys_order_as_tuples_do(left, right):
    pairs = zip(left, right, strict=False)
    orders = [compare(*pair) for pair in pairs]
    expected = next(filter(None, orders), (len(left) > len(right)) - (len(left) < len(right)))
    left_key, right_key = encode_keys(left), encode_keys(right)
    assert (left_key > right_key) - (left_key < right_key) == expected


@law(ordered, ordered)
def test_a_key_that_begins_with_another_goes_on_with_ff(left, right):
    """So that it stays above everything that continues the other by further values."""
    left_key, right_key = encode_key(left), encode_key(right)
    if left_key != right_key and left_key.startswith(right_key):
        assert left_key[len(right_key)] == 0xFF


@law(ordered, ordered, st.lists(ordered, max_size=2))
def test_after_divides_what_continues_a_prefix_from_what_is_greater(value, other, more):
    end = after(encode_key(value))
    assert encode_keys([value, *more]) < end
    assert (encode_keys([other, *more]) > end) == (compare(other, value) > 0)


@law(st.lists(ordered, max_size=4))
def test_a_key_can_be_read_back(items):
    assert exact(decode_key(encode_keys(items))) == exact(items)


@law(values, st.data())
def test_a_damaged_key_is_refused_and_nothing_else(value, data):
    key = encode_key(value)
    cut = data.draw(st.integers(1, len(key))) if len(key) > 1 else 1
    damaged = key[: cut - 1] + data.draw(st.binary(max_size=2)) + key[cut:]
    with contextlib.suppress(InvalidValueError):
        decode_key(damaged)
    if cut > 1 and key[cut - 1] != 0xFF:
        with pytest.raises(InvalidValueError):
            decode_key(key[: cut - 1])


@law(ordered, ordered, ordered)
def test_the_order_is_total(a, b, c):
    assert compare(a, a) == 0
    assert compare(a, b) == -compare(b, a)
    low, middle, high = sorted([a, b, c], key=encode_key)
    assert compare(low, middle) <= 0 and compare(middle, high) <= 0 and compare(low, high) <= 0


@law(values | close_values, values | close_values)
def test_equal_values_are_those_of_equal_encoding(left, right):
    assert values_equal(left, right) == (encode(left) == encode(right))
    assert values_equal(left, shuffled(left))


# ------------------------------------------------------------------------------------------ size


def plain_size(value: Any) -> int:
    """The table of the spec, literally."""
    if value is None or isinstance(value, bool):
        return 1
    if isinstance(value, int | float):
        return 9
    if isinstance(value, str):
        return 2 + len(value.encode())
    if isinstance(value, bytes):
        return 2 + len(value)
    if isinstance(value, list):
        return 2 + sum(plain_size(item) for item in value)
    return 2 + sum(len(name) + 1 + plain_size(item) for name, item in value.items())


@law(values)
def test_the_size_is_that_of_the_parts(value):
    assert size_of(value) == size_of(shuffled(value)) == plain_size(value)


@law(values)
def test_no_value_is_larger_than_three_times_its_encoding(value):
    """`encode` and the engine skip the computation of the size where this bound decides."""
    assert size_of(value) <= 3 * len(encode(value))


@law(st.dictionaries(names, values, max_size=3))
def test_a_documents_size_counts_its_system_fields_once(fields):
    identity = "j57fzzzzzzzzzzzzzzzzzzzzzzzzzkyr"
    stored = {**fields, "_id": identity, "_creationTime": 1.5}
    fields = {name: item for name, item in stored.items() if not name.startswith("_")}
    stored = {**fields, "_id": identity, "_creationTime": 1.5}
    assert document_size(fields, len(identity)) == size_of(stored)
    assert document_size(stored, len(identity)) == size_of(stored)
    check_document(stored)

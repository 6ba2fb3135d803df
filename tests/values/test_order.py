"""The total order and the keys, by the spec's list of examples; the laws are in `test_laws`."""

from __future__ import annotations

import itertools
import math

import pytest

from cupola.errors import InvalidValueError
from cupola.values import (
    UNSET,
    Int64,
    after,
    compare,
    decode_key,
    encode_key,
    encode_keys,
    values_equal,
)

ASCENDING = [
    (UNSET, "01"),
    (None, "03"),
    (Int64(-(2**63)), "048000000000000000"),
    (Int64(-300), "06fed4"),
    (Int64(-129), "06ff7f"),
    (Int64(-128), "0780"),
    (Int64(-1), "07ff"),
    (Int64(0), "08"),
    (Int64(1), "0901"),
    (Int64(127), "097f"),
    (Int64(128), "0a0080"),
    (Int64(70000), "0b00011170"),
    (Int64(2**63 - 1), "0c7fffffffffffffff"),
    (-math.inf, "0d000fffffffffffff"),
    (-1.5, "0d4007ffffffffffff"),
    (-0.0, "0d7fffffffffffffff"),
    (0.0, "0d8000000000000000"),
    (1.0, "0dbff0000000000000"),
    (math.inf, "0dfff0000000000000"),
    (math.nan, "0dfff8000000000000"),
    (False, "0e"),
    (True, "0f"),
    ("", "1000"),
    ("a", "106100"),
    ("a\0b", "106100ff6200"),
    ("é", "10c3a900"),
    (b"", "1100"),
    (b"\x00\xff", "1100ffff00"),
    ([], "1200"),
    ([None], "120300"),
    (["a", 1.0], "121061000dbff000000000000000"),
    ({}, "1500"),
    ({"": True}, "1500ff0f00"),
    ({"a": None}, "1561000300"),
]


@pytest.mark.parametrize(("value", "key"), ASCENDING)
def test_keys(value, key):
    assert encode_key(value).hex() == key
    assert repr(decode_key(bytes.fromhex(key))) == repr([value])


def test_the_list_is_ascending():
    for (left, left_key), (right, right_key) in itertools.combinations(ASCENDING, 2):
        assert compare(left, right) == -1
        assert compare(right, left) == 1
        assert bytes.fromhex(left_key) < bytes.fromhex(right_key)
        assert not values_equal(left, right)
    assert all(values_equal(value, value) for value, _ in ASCENDING)


FURTHER = [
    ["\uffff", "\U00010000"],  # UTF-16 would order them the other way round
    ["a", "a\0", "a\0\0", "a\0b", "aa"],
    [b"", b"\0", b"\0\0", b"\0\xff", b"\1", b"\xff"],
    [[1.0], [1.0, None], [1.0, "a"], [2.0], ["a"]],
    [{"a": 1.0}, {"a": 1.0, "b": 0.0}, {"a": 2.0}, {"b": -1.0}],
    [{"": 2.0}, {"": 2.0, "a": 1.0}, {"a": 1.0}],
    [-math.nan, -math.inf, -5e-324, -0.0, 0.0, 5e-324, math.inf, math.nan],
    [Int64(-(2**31) - 1), Int64(-(2**31)), Int64(-(2**15) - 1), Int64(-(2**15)), Int64(0)],
    [Int64(2**15 - 1), Int64(2**15), Int64(2**31 - 1), Int64(2**31)],
]


@pytest.mark.parametrize("ascending", FURTHER)
def test_inside_the_types(ascending):
    for left, right in itertools.combinations(ascending, 2):
        assert compare(left, right) == -1
        assert encode_key(left) < encode_key(right)


def test_a_key_does_not_depend_on_how_python_holds_the_value():
    assert encode_key(3) == encode_key(3.0)
    assert encode_key((1, "a")) == encode_key([1.0, "a"])
    assert encode_key({"b": 1, "a": UNSET}) == encode_key({"b": 1.0})
    assert encode_key(bytearray(b"x")) == encode_key(b"x")


def test_equal_matches_only_what_is_equal():
    """Byte increment, as in the reference, would let `eq("a")` find `"a\\0b"` as well."""
    start = encode_key("a")
    inside = encode_keys(["a", 1.0])
    assert start < inside < after(start) < encode_key("a\0b")


@pytest.mark.parametrize(
    "value", ["\ud800", ["\0\ud800"], {"é": 1}, {"$a": 1}, [UNSET], object(), 2**60]
)
def test_what_is_no_value_has_no_key(value):
    with pytest.raises(InvalidValueError):
        encode_key(value)


NO_KEYS = ["00", "02", "ff", "0d00", "0a00", "1061", "12106100", "120e", "15", "15610003", "10ff00"]


@pytest.mark.parametrize("key", NO_KEYS)
def test_what_is_no_key_is_refused(key):
    with pytest.raises(InvalidValueError, match="is no key"):
        decode_key(bytes.fromhex(key))

"""The types of values, where Python's own are not enough."""

from __future__ import annotations

import copy
import pickle

import pytest

from cupola.errors import InvalidValueError
from cupola.values import UNSET, Encoded, Int64, compare, encode, size_of, values_equal
from cupola.values.model import check_field_name, known_names


@pytest.mark.parametrize("number", [0, 1, -1, 2**63 - 1, -(2**63)])
def test_int64_holds_64_bits(number):
    assert Int64(number) == number
    assert repr(Int64(number)) == f"Int64({number})"
    assert f"{Int64(number)}" == str(Int64(number)) == str(number)


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**100])
def test_int64_refuses_more_than_64_bits(number):
    with pytest.raises(InvalidValueError, match="64 bits"):
        Int64(number)


def test_whole_number_arithmetic_stays_int64():
    """`ctx.db.patch(id, {"count": doc.count + 1})` must not turn the field into a float64."""
    five = Int64(5)
    results = [five + 1, 1 + five, five - 1, 9 - five, five * 2, 2 * five, five // 2, 11 // five]
    results += [five % 3, 7 % five, -five, abs(Int64(-5)), sum([five, five])]
    assert results == [6, 6, 4, 4, 10, 10, 2, 2, 2, 2, -5, 5, 10]
    assert {type(result) for result in results} == {Int64}


def test_arithmetic_with_floats_gives_floats():
    assert type(Int64(5) + 0.5) is float
    assert type(Int64(5) / 2) is float


def test_an_overflow_is_an_error():
    with pytest.raises(InvalidValueError):
        Int64(2**63 - 1) + 1
    with pytest.raises(InvalidValueError):
        -Int64(-(2**63))


def test_int64_survives_copies_and_pickles():
    for made in (copy.deepcopy(Int64(5)), pickle.loads(pickle.dumps(Int64(5)))):
        assert type(made) is Int64
        assert made == 5


def test_one_in_four_types_is_four_values():
    ones = [Int64(1), 1.0, True, "1"]
    for index, left in enumerate(ones):
        for other, right in enumerate(ones):
            assert values_equal(left, right) == (index == other)
    assert values_equal(1, 1.0), "a plain int means float64"


def test_unset_is_falsy_nowhere_and_one_object():
    assert copy.deepcopy(UNSET) is UNSET
    assert pickle.loads(pickle.dumps(UNSET)) is UNSET


def test_encoded_is_abstract():
    with pytest.raises(NotImplementedError):
        encode(Encoded())


class Forgetful:
    def __repr__(self) -> str:
        raise RuntimeError("repr is not ours to call")


@pytest.mark.parametrize("use", [encode, size_of, lambda value: compare(value, 1.0)])
def test_foreign_objects_are_refused_by_type(use):
    with pytest.raises(InvalidValueError, match="`Forgetful` is not a Cupola value"):
        use(Forgetful())


def test_the_memory_of_known_names_is_bounded():
    for number in range(20_000):
        check_field_name(f"field{number}")
    assert len(known_names) <= 16_384
    check_field_name("x" * 1000)
    assert "x" * 1000 not in known_names

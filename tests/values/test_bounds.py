"""Limits of values and names are the deployment's to choose."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cupola.backend import Backend
from cupola.errors import ConfigurationError, InvalidPathError, InvalidValueError
from cupola.limits import DEFAULT_LIMITS, Limits
from cupola.values import (
    Int64,
    decode,
    decode_canonical,
    encode,
    is_identifier,
    parse_function_path,
    use_limits,
)

NESTED = [[[[Int64(1)]]]]


@pytest.fixture(autouse=True)
def _defaults_afterwards() -> Iterator[None]:
    yield
    use_limits(DEFAULT_LIMITS)


def nested(levels: int) -> list[object]:
    return [nested(levels - 1)] if levels > 1 else []


@pytest.mark.parametrize(
    ("limits", "value", "code"),
    [
        (Limits(value_nesting_max=3), NESTED, "TooNestedError"),
        (Limits(array_length_max=2), ["a", "b", "c"], "ArrayTooLong"),
        (Limits(object_fields_max=1), {"a": "x", "b": "y"}, "TooManyFieldsError"),
        (Limits(field_name_bytes_max=4), {"seven": "x"}, "InvalidValue"),
        (Limits(value_size_bytes_max=30), "x" * 40, "ValueTooLargeError"),
    ],
)
def test_a_lower_limit_is_kept_both_ways_and_lets_stored_values_be_read(limits, value, code):
    """Written before the operator lowered it, a document must not become unreadable."""
    stored = encode(value)

    use_limits(limits)

    for refused in (lambda: encode(value), lambda: decode(stored)):
        with pytest.raises(InvalidValueError) as caught:
            refused()
        assert caught.value.code == code
    assert decode_canonical(stored) == value


@pytest.mark.parametrize(
    ("limits", "value"),
    [
        (Limits(value_nesting_max=200), nested(200)),
        (Limits(array_length_max=10_000), ["x"] * 9_000),
        (Limits(object_fields_max=2_000), {f"f{n}": "x" for n in range(1_500)}),
        (Limits(field_name_bytes_max=3_000), {"n" * 2_000: "x"}),
        (Limits(value_size_bytes_max=64 * 2**20), "x" * (33 * 2**20)),
    ],
    ids=["nesting", "array", "fields", "name", "size"],
)
def test_a_higher_limit_lets_more_pass(limits, value):
    with pytest.raises(InvalidValueError):
        encode(value)

    use_limits(limits)

    assert decode(encode(value)) == value


def test_names_may_be_longer():
    name = "n" * 80
    with pytest.raises(InvalidPathError):
        parse_function_path(f"m:{name}")

    use_limits(Limits(identifier_length_max=100))

    assert is_identifier(name)
    assert parse_function_path(f"m:{name}").function == name


def test_a_backend_puts_its_limits_in_force():
    Backend(limits=Limits(array_length_max=1))
    with pytest.raises(InvalidValueError, match="at most 1"):
        encode([True, False])
    Backend()
    assert encode([True, False]) == b"[true,false]"


def test_nesting_beyond_what_the_program_bears_is_refused():
    with pytest.raises(ConfigurationError, match="200 at most"):
        Backend(limits=Limits(value_nesting_max=500))

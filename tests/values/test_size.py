"""Sizes and the bounds of documents."""

from __future__ import annotations

import dataclasses

import pytest

from cupola.errors import InvalidValueError
from cupola.limits import DEFAULT_LIMITS
from cupola.values import UNSET, Int64, check_document, document_size, encode, size_of


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (None, 1),
        (True, 1),
        (Int64(5), 9),
        (1.5, 9),
        (3, 9),
        ("", 2),
        ("é", 4),
        ("\U00010000", 6),
        (b"abc", 5),
        ([], 2),
        ({}, 2),
        ((1.0,), 11),
        ({"": None}, 4),
        ({"a": UNSET}, 2),
        ([1.0, "é", None], 16),
        ({"a": Int64(1), "bb": "hi", "c": [True], "d": b"abc"}, 32),
    ],
)
def test_sizes(value, size):
    assert size_of(value) == size


def test_a_documents_size_includes_its_system_fields():
    assert document_size({"a": 1.0}, 32) == 74
    assert document_size({"a": 1.0, "_id": "x" * 32, "_creationTime": 1.0}, 32) == 74


def document_of_size(size):
    return {"a": "x" * (size - document_size({"a": ""}, 32))}


def nested_document(levels):
    value = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


GOOD = [{}, {"_id": "x" * 32, "_creationTime": 1.0}, {"a": {"_b": 1}}, {"_b": UNSET}]
GOOD += [nested_document(16), document_of_size(2**20)]


@pytest.mark.parametrize("value", GOOD, ids=range(len(GOOD)))
def test_documents(value):
    encode(value)
    check_document(value, DEFAULT_LIMITS)


@pytest.mark.parametrize(
    ("value", "code", "words"),
    [
        ({"_b": 1}, "InvalidValue", "`_b` cannot be a field"),
        (nested_document(17), "TooNestedError", "deeper than 16 levels"),
        ({"a": [nested_document(15)]}, "TooNestedError", "deeper than 16 levels"),
        (document_of_size(2**20 + 1), "ValueTooLargeError", "1048577 bytes; at most 1048576"),
    ],
    ids=["underscore", "objects", "array", "size"],
)
def test_what_cannot_be_a_document(value, code, words):
    with pytest.raises(InvalidValueError, match=words) as refusal:
        check_document(value, DEFAULT_LIMITS)
    assert refusal.value.code == code


def test_a_deployment_may_have_other_limits():
    limits = dataclasses.replace(DEFAULT_LIMITS, document_size_bytes_max=80)
    check_document({"a": 1.0}, limits)
    with pytest.raises(InvalidValueError, match="at most 80"):
        check_document({"a": "0123456789abcdef"}, limits)

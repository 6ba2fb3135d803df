"""The published JavaScript client agrees on encodings, order and size."""

from __future__ import annotations

import json
import math
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cupola.errors import InvalidValueError
from cupola.values import (
    UNSET,
    Int64,
    compare,
    decode_tree,
    document_size,
    encode,
    encode_key,
    size_of,
)

ORACLE = Path(__file__).parent / "oracle.mjs"
NODE_PACKAGES = Path(__file__).parents[1] / "conformance" / "node" / "node_modules"

SCALARS: list[Any] = [None, True, False, "", "\0", "a", "a\0", "a\0b", "ab", "é", "\uffff", "😀"]
SCALARS += [b"", b"\0", b"\0\xff", b"\xff", b"abcdefgh"]
SCALARS += [Int64(n) for n in (0, 1, -1, 127, 128, -128, -129, 2**31, -(2**31) - 1, 2**53 + 1)]
SCALARS += [Int64(2**63 - 1), Int64(-(2**63))]
SCALARS += [0.0, -0.0, 1.0, -1.5, 0.1, 1e21, 1e-7, 5e-324, 2.0**53, 1.7976931348623157e308]
SCALARS += [math.inf, -math.inf, math.nan]
NAMES = ["", "a", "b", "ab", "_id", "a b", "~", "é"]


def random_value(dice: random.Random, depth: int = 3) -> Any:
    kind = dice.random()
    if depth == 0 or kind < 0.4:
        return dice.choice(SCALARS)
    if kind < 0.7:
        return [random_value(dice, depth - 1) for _ in range(dice.randrange(4))]
    names = dice.sample(NAMES[:-1], dice.randrange(4))
    return {name: random_value(dice, depth - 1) for name in names}


def sample() -> list[Any]:
    dice = random.Random(4711)
    containers = ([random_value(dice)] for _ in range(60))
    objects = ({"a": random_value(dice), "b": random_value(dice)} for _ in range(60))
    return [
        UNSET,
        *SCALARS,
        [],
        {},
        *(random_value(dice) for _ in range(80)),
        *containers,
        *objects,
    ]


def ask(node: str, trees: list[Any]) -> dict[str, list[Any]]:
    command = [node, str(ORACLE), str(NODE_PACKAGES)]
    answer = subprocess.run(
        command, input=json.dumps(trees), capture_output=True, text=True, check=True, timeout=60
    )
    answers: dict[str, list[Any]] = json.loads(answer.stdout)
    return answers


@pytest.fixture(scope="module")
def answers(node: str) -> dict[str, list[Any]]:
    trees = [
        {"$undefined": None} if value is UNSET else json.loads(encode(value)) for value in sample()
    ]
    return ask(node, trees)


@pytest.mark.node
def test_the_client_reads_our_encoding_and_we_read_its(answers):
    for value, theirs in zip(sample()[1:], answers["encoded"][1:], strict=True):
        assert encode(decode_tree(json.loads(theirs))) == encode(value)


@pytest.mark.node
def test_sizes_agree(answers):
    for value, size in zip(sample()[1:], answers["sizes"][1:], strict=True):
        assert size_of(value) == size
    for value, size in zip(sample(), answers["documentSizes"], strict=True):
        if isinstance(value, dict) and "_id" not in value:
            assert document_size(value, 32) == size


@pytest.mark.node
def test_orders_agree(answers):
    values = sample()
    keys = [encode_key(value) for value in values]
    for left, left_key, row in zip(values, keys, answers["orders"], strict=True):
        assert [compare(left, right) for right in values] == row
        assert [(left_key > key) - (left_key < key) for key in keys] == row


REFUSED = [{"$x": 1}, {"$integer": "AQ=="}, {"$integer": 1}, {"$float": "AAAAAAAA8D8="}]
REFUSED += [{"$set": []}, {"$map": []}, {"é": 1}, {"a": {"$x": 1}}, {"a\u007f": 1}, {"\n": 1}]
REFUSED += [{"x" * 1025: 1}]


@pytest.mark.node
def test_the_client_refuses_what_we_refuse(node):
    answers = ask(node, REFUSED)
    for tree, theirs in zip(REFUSED, answers["encoded"], strict=True):
        assert "error" in theirs, tree
        with pytest.raises(InvalidValueError):
            decode_tree(tree)

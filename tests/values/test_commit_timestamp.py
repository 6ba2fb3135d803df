"""The placeholder for the timestamp of a commit that is yet to come."""

import pytest

from cupola.errors import InvalidValueError
from cupola.values import (
    COMMIT_TIMESTAMP,
    Int64,
    compare,
    decode,
    decode_canonical,
    decode_tree,
    encode,
    encode_key,
    resolved,
    size_of,
)

GREATEST = Int64(2**63 - 1)
WRITTEN = b'{"at":{"$commitTs":null}}'


def test_it_sorts_and_measures_as_the_greatest_int64():
    assert encode_key(COMMIT_TIMESTAMP) == encode_key(GREATEST)
    assert compare(COMMIT_TIMESTAMP, GREATEST) == 0
    assert compare(Int64(5), COMMIT_TIMESTAMP) == -1
    assert size_of(COMMIT_TIMESTAMP) == size_of(GREATEST)


def test_it_comes_back_from_what_the_engine_wrote():
    assert encode({"at": COMMIT_TIMESTAMP}) == WRITTEN
    for read in (decode_canonical(WRITTEN), decode(WRITTEN, unresolved=True)):
        assert read["at"] is COMMIT_TIMESTAMP


@pytest.mark.parametrize("read", [decode, lambda data: decode_tree({"at": {"$commitTs": None}})])
def test_nobody_else_may_send_it(read):
    with pytest.raises(InvalidValueError, match=r"At `\.at\.\$commitTs`: .* reserved"):
        read(WRITTEN)


@pytest.mark.parametrize("data", [b'{"$commitTs":1.0}', b'{"$commitTs":null,"a":1.0}'])
def test_it_stands_alone(data):
    with pytest.raises(InvalidValueError, match="stands alone, with null"):
        decode(data, unresolved=True)


def test_the_commit_puts_its_timestamp_in_its_place():
    value = {"at": [COMMIT_TIMESTAMP, {"deep": COMMIT_TIMESTAMP}], "text": WRITTEN.decode()}
    expected = {"at": [Int64(7), {"deep": Int64(7)}], "text": WRITTEN.decode()}
    assert decode(resolved(encode(value), 7)) == expected
    assert resolved(b'{"a":1.0}', 7) == b'{"a":1.0}'


@pytest.mark.parametrize("use", [lambda t: t + 1, lambda t: 2 * t, int, float, lambda t: -t])
def test_it_is_no_number(use):
    with pytest.raises(InvalidValueError, match="unresolved"):
        use(COMMIT_TIMESTAMP)

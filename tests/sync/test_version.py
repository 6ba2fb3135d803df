"""Timestamps on the wire, and the order of versions."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cupola.errors import ProtocolError
from cupola.sync.version import (
    TIMESTAMP_MAX,
    ZERO_VERSION,
    StateVersion,
    decode_timestamp,
    encode_timestamp,
)


@pytest.mark.parametrize(
    ("ts", "text"), [(0, b"AAAAAAAAAAA="), (1, b"AQAAAAAAAAA="), (1001, b"6QMAAAAAAAA=")]
)
def test_timestamps_are_written_as_the_protocol_has_them(ts: int, text: bytes) -> None:
    assert encode_timestamp(ts) == text
    assert decode_timestamp(text.decode()) == ts


@given(st.integers(0, TIMESTAMP_MAX))
@example(TIMESTAMP_MAX)
def test_timestamps_come_back_as_they_went(ts: int) -> None:
    text = encode_timestamp(ts)
    assert len(text) == 12
    assert decode_timestamp(text.decode()) == ts


@given(st.text() | st.text(alphabet="AQg=/+\n", min_size=10, max_size=14))
@example("AAAAAAAAAIA=")  # 2^63
@example("AAAAAAAAAAB=")  # bits in the padding
@example("AAAAAAAAAAA")
@example("AAAAAAAAAAAA")
@example("AAAAAAAAAAA=\n")
@example("ÄAAAAAAAAAA=")
@example("\ud800")
def test_a_text_is_one_timestamp_or_none(text: str) -> None:
    """Each timestamp has one spelling: what is accepted would be sent the same."""
    try:
        ts = decode_timestamp(text)
    except ProtocolError:
        return
    assert encode_timestamp(ts).decode() == text


@pytest.mark.parametrize("ts", [-1, TIMESTAMP_MAX + 1])
def test_timestamps_out_of_range_are_never_sent(ts: int) -> None:
    with pytest.raises(ValueError, match="between 0 and"):
        encode_timestamp(ts)


def test_no_part_of_a_version_goes_back() -> None:
    version = StateVersion(1, 1, 1)
    assert ZERO_VERSION.may_become(version)
    assert version.may_become(version)
    for earlier in (StateVersion(0, 2, 2), StateVersion(2, 0, 2), StateVersion(2, 2, 0)):
        assert not version.may_become(earlier)


def test_a_version_is_written_in_full() -> None:
    assert StateVersion(1, 2, 1001).encode() == (b'{"querySet":1,"identity":2,"ts":"6QMAAAAAAAA="}')

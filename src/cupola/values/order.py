"""The total order of values (spec: values, section 4).

    undefined < null < int64 < float64 < boolean < string < bytes < array < object

This is the plain statement of it; `keys` says the same in bytes.
"""

from __future__ import annotations

from struct import Struct
from typing import Any

from cupola.values.encoding import decode_canonical
from cupola.values.model import UNSET, CommitTimestamp, Encoded, Int64, Refusal, as_builtin

_FLOAT64 = Struct("<d")
_BITS = Struct("<q")

_RANKS: dict[type, int] = {
    type(UNSET): 0,
    type(None): 1,
    Int64: 2,
    CommitTimestamp: 2,
    float: 3,
    int: 3,
    bool: 4,
    str: 5,
    bytes: 6,
    list: 7,
    tuple: 7,
    dict: 8,
}
_FLOAT, _ARRAY, _OBJECT = 3, 7, 8


def compare(left: Any, right: Any) -> int:
    """-1, 0 or 1 as `left` sorts before, with or after `right`. Takes Values and UNSET."""
    left_rank = _RANKS.get(type(left))
    right_rank = _RANKS.get(type(right))
    if left_rank is None:
        return compare(_as_ranked(left), right)
    if right_rank is None:
        return compare(left, _as_ranked(right))
    if left_rank != right_rank:
        return -1 if left_rank < right_rank else 1
    if left_rank == _ARRAY:
        return _compare_sequences(left, right)
    if left_rank == _OBJECT:
        return _compare_sequences(_sorted_pairs(left), _sorted_pairs(right))
    if left_rank <= 1:
        return 0
    # Code points order strings as their UTF-8 does.
    if left < right:
        return -1
    if left > right:
        return 1
    if left_rank == _FLOAT:
        return _compare_bits(float(left), float(right))
    return 0


def values_equal(left: Any, right: Any) -> bool:
    """Neither sorts before the other: NaN equals itself; 0.0 and -0.0, 1.0 and Int64(1) differ."""
    kind = type(left)
    if kind is type(right) and (kind is str or kind is bool or kind is bytes):
        return bool(left == right)
    return compare(left, right) == 0


def _compare_sequences(left: Any, right: Any) -> int:
    for left_item, right_item in zip(left, right, strict=False):
        if order := compare(left_item, right_item):
            return order
    return (len(left) > len(right)) - (len(left) < len(right))


def _sorted_pairs(fields: dict[str, Any]) -> list[tuple[str, Any]]:
    return sorted(
        ((name, item) for name, item in fields.items() if item is not UNSET),
        key=lambda pair: pair[0],
    )


def _compare_bits(left: float, right: float) -> int:
    """IEEE 754 totalOrder, for zeros and NaNs, which Python calls equal or unordered."""
    left_bits, right_bits = _total_order(left), _total_order(right)
    return (left_bits > right_bits) - (left_bits < right_bits)


def _total_order(number: float) -> int:
    bits: int = _BITS.unpack(_FLOAT64.pack(number))[0]
    return bits if bits >= 0 else bits ^ 0x7FFF_FFFF_FFFF_FFFF


def _as_ranked(value: Any) -> Any:
    if isinstance(value, Encoded):
        return decode_canonical(value.encoded)
    try:
        return as_builtin(value)
    except Refusal as refusal:
        raise refusal.as_error() from None

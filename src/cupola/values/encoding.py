"""The three JSON encodings of values (spec: values, section 2).

    encoded   `encode`, `decode`                 the wire and the disk; canonical: no white space,
                                                 fields sorted, floats with a point or an exponent
    clean     `encode_clean`                     for people, loses types
    export    `encode_export`, `decode_export`   snapshots: int64 as literals without a point

Encoding is two passes: `_prepare` checks the value and replaces what JSON cannot say, and orjson
writes the result. Decoding is orjson, then `_restore`. Both passes return a container as it is when
nothing in it has to change, which is the usual case, and copy it otherwise: the caller's are never
touched. They are the hottest Python of the whole system, hence the repeated tests of the commonest
types inside the loops, where a call would cost more than all the rest.
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Sequence
from math import copysign, isfinite
from struct import Struct
from typing import Any, TypeAlias, cast

import orjson

from cupola.errors import InvalidValueError
from cupola.limits import Limits
from cupola.values.bounds import follow
from cupola.values.model import (
    COMMIT_TIMESTAMP,
    INT64_MAX,
    INT64_MIN,
    UNSET,
    CommitTimestamp,
    Encoded,
    EncodedItems,
    Int64,
    Refusal,
    Value,
    as_builtin,
    check_field_name,
    check_string,
    float_of,
    known_names,
    refuse_field_count,
    refuse_length,
    refuse_nesting,
    refuse_type,
)
from cupola.values.size import size_of

_NESTING_MAX: int
_LENGTH_MAX: int
_FIELDS_MAX: int
_SIZE_MAX: int
_SPLICE_DEPTH_MAX: int


@follow
def _use(limits: Limits) -> None:
    global _NESTING_MAX, _LENGTH_MAX, _FIELDS_MAX, _SIZE_MAX, _SPLICE_DEPTH_MAX
    _NESTING_MAX = limits.value_nesting_max
    _LENGTH_MAX = limits.array_length_max
    _FIELDS_MAX = limits.object_fields_max
    _SIZE_MAX = limits.value_size_bytes_max
    _SPLICE_DEPTH_MAX = _NESTING_MAX - limits.document_nesting_max


_INT64_LE = Struct("<q")
_FLOAT64_LE = Struct("<d")
_DOLLAR = ord("$")
_MARKERS = frozenset({"$integer", "$float", "$bytes"})
_COMMIT_TIMESTAMP = "$commitTs"
_UNRESOLVED = b'{"$commitTs":null}'  # quotes inside strings are escaped: it stands for nothing else

Scalar: TypeAlias = "float | Int64 | bytes | Encoded"
Form: TypeAlias = Callable[[Scalar], Any]
"""How an encoding writes what JSON has no literal for: the specials among the floats, int64, bytes,
and values that are encoded already. It is called with ±0.0 and the non-finite floats only."""


# ---------------------------------------------------------------------------------- encoded JSON


def encode(value: Any) -> bytes:
    """The canonical encoded JSON of a value.

    Takes a Value in which ints (meaning float64), tuples (arrays), UNSET fields (absent) and
    Encoded (spliced as they are) may occur at any depth.

    Raises:
        InvalidValueError: What is wrong and where; the limit that was passed is its `code`.
    """
    if isinstance(value, Encoded) and not isinstance(value, EncodedItems):
        return value.encoded
    encoded = _dump(value, _encoded_form)
    # A value's size is at most three times the length of its canonical form, see `size`.
    if len(encoded) * 3 > _SIZE_MAX:
        check_size(value)
    return encoded


def decode(data: bytes | str, *, unresolved: bool = False) -> Value:
    """The value that encoded JSON stands for. Every JSON number is a float64.

    `unresolved`: COMMIT_TIMESTAMP may occur, because this does not leave its transaction.

    Raises:
        InvalidValueError: With code BadJson if it is no JSON, else as for `encode`.
    """
    value = _restore_root(_parse(data), _float_in_transaction if unresolved else _float_of_literal)
    # No JSON is shorter than a ninth of its value's size: a digit stands for nine bytes.
    if len(data) * 9 > _SIZE_MAX:
        check_size(value)
    return value


def decode_tree(tree: Any, *, unresolved: bool = False) -> Value:
    """`decode` of what a JSON library has parsed already. `tree` stays as it is."""
    value = _restore_root(tree, _float_in_transaction if unresolved else _float_of_literal)
    check_value(value)  # some let lone surrogates pass
    return value


def decode_canonical(data: bytes) -> Value:
    """`decode` for what `encode` made: nothing is checked again."""
    # In the canonical form every number has its point, so only the `$` forms need a second look.
    if _DOLLAR not in data:
        return cast(Value, orjson.loads(data))
    tree = orjson.loads(data)
    try:
        return cast(Value, _restore(tree, 0, _float_in_transaction))
    except Refusal:  # it was stored when the limits were wider
        return cast(Value, _restore_unbounded(tree))


def is_unresolved(data: bytes) -> bool:
    """Whether encoded JSON without white space holds a COMMIT_TIMESTAMP."""
    return _UNRESOLVED in data


def resolved(data: bytes, ts: int) -> bytes:
    """Encoded JSON, with the commit's timestamp in the place of each COMMIT_TIMESTAMP."""
    return data.replace(_UNRESOLVED, encode(Int64(ts))) if _UNRESOLVED in data else data


def check_value(value: Any) -> None:
    """Raise InvalidValueError if `encode` would."""
    try:
        _prepare_root(value, _encoded_form)
    except Refusal as refusal:
        raise refusal.as_error() from None
    check_size(value)


def check_size(value: Any) -> None:
    size = size_of(value)
    if size > _SIZE_MAX:
        raise InvalidValueError(
            f"The value is too large: {size} bytes; at most {_SIZE_MAX}.", code="ValueTooLargeError"
        )


# ------------------------------------------------------------------------- clean and export JSON


def encode_clean(value: Any) -> bytes:
    """For people and scripts: int64 as decimal text, bytes as base64, NaN as "NaN".

    Nothing tells the types apart any more, so it is never read back.
    """
    return _dump(value, _clean_form)


def clean_from_encoded(data: bytes) -> bytes:
    """`encode_clean` of a value in canonical encoded JSON."""
    return encode_clean(decode_canonical(data)) if _DOLLAR in data else data


def encode_export(value: Any) -> bytes:
    """For snapshots: int64 without a point (`5`), float64 always with one (`5.0`)."""
    return _dump(value, _export_form)


def decode_export(data: bytes | str) -> Value:
    """The value of export JSON. A whole literal outside the 64 bits is a float64.

    Raises:
        InvalidValueError: As for `decode`.
    """
    value = _restore_root(_parse(data), _integer_of_literal)
    if len(data) * 9 > _SIZE_MAX:
        check_size(value)
    return value


# --------------------------------------------------------------------------------- the three forms


def _encoded_form(scalar: Scalar) -> Any:
    if isinstance(scalar, Encoded):
        return orjson.Fragment(scalar.encoded)
    if isinstance(scalar, float):
        if scalar == 0.0 and copysign(1.0, scalar) > 0.0:
            return scalar
        return {"$float": _base64(_FLOAT64_LE.pack(scalar))}
    if isinstance(scalar, Int64):
        if type(scalar) is CommitTimestamp:
            return {_COMMIT_TIMESTAMP: None}
        return {"$integer": _base64(_INT64_LE.pack(scalar))}
    return {"$bytes": _base64(scalar)}


def _clean_form(scalar: Scalar) -> Any:
    if isinstance(scalar, Encoded):
        return orjson.Fragment(clean_from_encoded(scalar.encoded))
    if isinstance(scalar, float):
        if isfinite(scalar):
            return scalar
        return "NaN" if scalar != scalar else "Infinity" if scalar > 0 else "-Infinity"
    if isinstance(scalar, Int64):
        return str(scalar)
    return _base64(scalar)


def _export_form(scalar: Scalar) -> Any:
    if isinstance(scalar, Encoded):
        return orjson.Fragment(encode_export(decode_canonical(scalar.encoded)))
    if isinstance(scalar, float) and isfinite(scalar):
        return scalar
    if isinstance(scalar, Int64):
        return int(scalar)
    return _encoded_form(scalar)


def _base64(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode()


# -------------------------------------------------------------------------------------- preparing


def _dump(value: Any, form: Form) -> bytes:
    try:
        prepared = _prepare_root(value, form)
    except Refusal as refusal:
        raise refusal.as_error() from None
    try:
        return orjson.dumps(prepared, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:  # the only thing left: names of a subclass of str
        return orjson.dumps(_with_plain_names(prepared), option=orjson.OPT_SORT_KEYS)


def _prepare_root(value: Any, form: Form) -> Any:
    prepared = _prepare(value, 0, form)
    if prepared is UNSET:
        raise refuse_type(prepared)
    return prepared


def _prepare(value: Any, depth: int, form: Form) -> Any:
    """What orjson should write for `value`, which stands inside `depth` containers."""
    kind = type(value)
    if kind is dict:
        return _prepare_object(value, depth + 1, form)
    if kind is list or kind is tuple:
        return _prepare_array(value, depth + 1, form)
    if kind is str:
        if not value.isascii():
            check_string(value)
        return value
    if kind is float:
        return value if value and value - value == 0.0 else form(value)
    if value is None or kind is bool or value is UNSET:
        return value
    if kind is int:
        return float_of(value)
    if kind is Int64 or kind is bytes or kind is CommitTimestamp:
        return form(value)
    if isinstance(value, Encoded):
        own_depth = 0
        if isinstance(value, EncodedItems):
            own_depth = 1
            if len(value) > _LENGTH_MAX:
                raise refuse_length(len(value))
        if depth + own_depth > _SPLICE_DEPTH_MAX:
            return _prepare(decode_canonical(value.encoded), depth, form)
        return form(value)
    return _prepare(as_builtin(value), depth, form)


def _prepare_object(fields: dict[str, Any], depth: int, form: Form) -> dict[str, Any]:
    if depth > _NESTING_MAX:
        raise refuse_nesting()
    if len(fields) > _FIELDS_MAX:
        raise refuse_field_count(len(fields))
    changed = None
    name = None
    try:
        for name, item in fields.items():
            if name not in known_names:
                check_field_name(name)
            kind = type(item)
            if kind is str and item.isascii():
                continue
            if kind is float and item and item - item == 0.0:  # no zero, finite
                continue
            prepared = _prepare(item, depth, form)
            if prepared is not item or prepared is UNSET:
                if changed is None:
                    changed = fields.copy()
                if prepared is UNSET:
                    del changed[name]
                else:
                    changed[name] = prepared
    except Refusal as refusal:
        if isinstance(name, str):
            refusal.steps.append(name)
        raise
    return fields if changed is None else changed


def _prepare_array(items: Sequence[Any], depth: int, form: Form) -> Any:
    if depth > _NESTING_MAX:
        raise refuse_nesting()
    if len(items) > _LENGTH_MAX:
        raise refuse_length(len(items))
    if items and isinstance(items[0], Encoded) and depth <= _SPLICE_DEPTH_MAX:
        kinds = set(map(type, items))
        if len(kinds) == 1:  # the result of a query: documents of one table
            return form(EncodedItems([item.encoded for item in items]))
    changed = None
    index = 0
    try:
        for index, item in enumerate(items):
            kind = type(item)
            if kind is str and item.isascii():
                continue
            if kind is float and item and item - item == 0.0:
                continue
            prepared = _prepare(item, depth, form)
            if prepared is not item:
                if changed is None:
                    changed = list(items)
                changed[index] = prepared
            elif prepared is UNSET:
                raise refuse_type(prepared)
    except Refusal as refusal:
        refusal.steps.append(index)
        raise
    return items if changed is None else changed


def _with_plain_names(prepared: Any) -> Any:
    if isinstance(prepared, dict):
        items = prepared.items()
        return {str.__str__(name): _with_plain_names(item) for name, item in items}
    if isinstance(prepared, (list, tuple)):
        return [_with_plain_names(item) for item in prepared]
    return prepared


# -------------------------------------------------------------------------------------- restoring


def _parse(data: bytes | str) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidValueError(f"This is not valid JSON: {error}.", code="BadJson") from None


def _restore_root(tree: Any, number: Callable[[int], float]) -> Value:
    try:
        return cast(Value, _restore(tree, 0, number))
    except Refusal as refusal:
        raise refusal.as_error() from None


def _restore(tree: Any, depth: int, number: Callable[[int], float]) -> Any:
    """The value of a parsed `tree` inside `depth` containers; `number` reads whole literals."""
    kind = type(tree)
    if kind is dict:
        return _restore_object(tree, depth + 1, number)
    if kind is list:
        return _restore_array(tree, depth + 1, number)
    if kind is int:
        return number(tree)
    if kind is str or kind is float or kind is bool or tree is None:
        return tree
    raise refuse_type(tree)


def _restore_object(tree: dict[str, Any], depth: int, number: Callable[[int], float]) -> Any:
    if depth > _NESTING_MAX and not (len(tree) == 1 and next(iter(tree)) in _MARKERS):
        raise refuse_nesting()
    if len(tree) > _FIELDS_MAX:
        raise refuse_field_count(len(tree))
    changed = None
    name = None
    try:
        for name, item in tree.items():
            if name not in known_names:
                if name in _MARKERS and len(tree) == 1:
                    return _restore_marked(name, item)
                if name == _COMMIT_TIMESTAMP and number is _float_in_transaction:
                    return _restore_commit_timestamp(tree)
                check_field_name(name)
            kind = type(item)
            if kind is str or kind is float:
                continue
            restored = _restore(item, depth, number)
            if restored is not item:
                if changed is None:
                    changed = tree.copy()
                changed[name] = restored
    except Refusal as refusal:
        if isinstance(name, str):
            refusal.steps.append(name)
        raise
    return tree if changed is None else changed


def _restore_array(tree: list[Any], depth: int, number: Callable[[int], float]) -> list[Any]:
    if depth > _NESTING_MAX:
        raise refuse_nesting()
    if len(tree) > _LENGTH_MAX:
        raise refuse_length(len(tree))
    changed = None
    index = 0
    try:
        for index, item in enumerate(tree):
            kind = type(item)
            if kind is str or kind is float:
                continue
            restored = _restore(item, depth, number)
            if restored is not item:
                if changed is None:
                    changed = tree.copy()
                changed[index] = restored
    except Refusal as refusal:
        refusal.steps.append(index)
        raise
    return tree if changed is None else changed


def _restore_unbounded(tree: Any) -> Any:
    """`_restore` of what `encode` made, whatever the limits were then."""
    if isinstance(tree, list):
        return [_restore_unbounded(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if len(tree) == 1 and (marker := next(iter(tree))) in _MARKERS:
        return _restore_marked(marker, tree[marker])
    return {name: _restore_unbounded(item) for name, item in tree.items()}


def _restore_marked(marker: str, text: Any) -> Int64 | float | bytes:
    """`{"$integer": …}`, `{"$float": …}` and `{"$bytes": …}`."""
    if not isinstance(text, str):
        raise Refusal("expected base64 text")
    try:
        data = a2b_base64(text)
    except (Base64Error, ValueError):
        data = b""
    if _base64(data) != text:  # and not just what Python's lenient decoder makes of it
        raise Refusal("this is not base64 with padding")
    if marker == "$bytes":
        return data
    if len(data) != 8:
        raise Refusal(f"expected 8 bytes, not {len(data)}")
    if marker == "$integer":
        return Int64(_INT64_LE.unpack(data)[0])
    special: float = _FLOAT64_LE.unpack(data)[0]
    if isfinite(special) and special != 0.0:
        raise Refusal(f"{special!r} should be encoded as a number")
    return special


def _restore_commit_timestamp(tree: dict[str, Any]) -> Int64:
    if tree != {_COMMIT_TIMESTAMP: None}:
        raise Refusal(f"`{_COMMIT_TIMESTAMP}` stands alone, with null")
    return COMMIT_TIMESTAMP


def _float_of_literal(literal: int) -> float:
    try:
        return float(literal)
    except OverflowError:
        raise Refusal("the number is too large for a float64") from None


def _float_in_transaction(literal: int) -> float:
    """`_float_of_literal`, and the sign of what may hold COMMIT_TIMESTAMP."""
    return _float_of_literal(literal)


def _integer_of_literal(literal: int) -> float:
    return Int64(literal) if INT64_MIN <= literal <= INT64_MAX else _float_of_literal(literal)

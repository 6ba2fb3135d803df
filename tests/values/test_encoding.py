"""The three JSON encodings: the examples of the spec, and what is refused with which words."""

from __future__ import annotations

import collections
import enum
import math

import pytest

from cupola.errors import InvalidValueError
from cupola.limits import DEFAULT_LIMITS
from cupola.values import (
    UNSET,
    Encoded,
    EncodedItems,
    Int64,
    check_value,
    clean_from_encoded,
    decode,
    decode_export,
    decode_tree,
    encode,
    encode_clean,
    encode_export,
)

BYTES = b"\x01\x02\xff"

ENCODED = [
    (None, "null"),
    (True, "true"),
    (False, "false"),
    ("", '""'),
    ('é\0\n"\\/\u2028', '"é\\u0000\\n\\"\\\\/\u2028"'),
    (Int64(1), '{"$integer":"AQAAAAAAAAA="}'),
    (Int64(-1), '{"$integer":"//////////8="}'),
    (Int64(2**63 - 1), '{"$integer":"/////////38="}'),
    (Int64(-(2**63)), '{"$integer":"AAAAAAAAAIA="}'),
    (-0.0, '{"$float":"AAAAAAAAAIA="}'),
    (math.nan, '{"$float":"AAAAAAAA+H8="}'),
    (math.inf, '{"$float":"AAAAAAAA8H8="}'),
    (-math.inf, '{"$float":"AAAAAAAA8P8="}'),
    (b"", '{"$bytes":""}'),
    (BYTES, '{"$bytes":"AQL/"}'),
    (0.0, "0.0"),
    (1.0, "1.0"),
    (-1.5, "-1.5"),
    (1e21, "1e+21"),
    (5e-324, "5e-324"),
    (2.0**53, "9007199254740992.0"),
    ([], "[]"),
    ({}, "{}"),
    ([None, [1.0], {}], "[null,[1.0],{}]"),
    ({"b": 1.0, "a": {"": True, "Z": "z"}}, '{"a":{"":true,"Z":"z"},"b":1.0}'),
]


@pytest.mark.parametrize(("value", "text"), ENCODED)
def test_encoded_json(value, text):
    assert encode(value) == text.encode()
    assert encode(decode(text)) == text.encode()


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Pair(collections.namedtuple("Pair", "x y")):
    pass


PYTHON = [
    (3, "3.0"),
    (0, "0.0"),
    (-(2**53), "-9007199254740992.0"),
    ((1, "a"), '[1.0,"a"]'),
    (Pair(1.5, None), "[1.5,null]"),
    (Colour.RED, '"red"'),
    (Level.HIGH, "3.0"),
    ({Colour.RED: [Colour.RED]}, '{"red":["red"]}'),
    (bytearray(BYTES), '{"$bytes":"AQL/"}'),
    (memoryview(BYTES), '{"$bytes":"AQL/"}'),
    (collections.OrderedDict(b=1, a=2), '{"a":2.0,"b":1.0}'),
    (collections.defaultdict(list, a=(0.5,)), '{"a":[0.5]}'),
    ({"a": UNSET, "b": [{"c": UNSET}]}, '{"b":[{}]}'),
]


@pytest.mark.parametrize(("value", "text"), PYTHON)
def test_what_python_has_besides(value, text):
    assert encode(value) == text.encode()


def nested(depth, inner=None):
    value = inner
    for _ in range(depth):
        value = [value]
    return value


endless = []
endless.append(endless)

REFUSED = [
    (
        {"a": [0, 1, 2, {"b": {1}}]},
        "InvalidValue",
        r"At `.a\[3\].b`: a `set` is not a Cupola value",
    ),
    (1j, "InvalidValue", "A `complex` is not a Cupola value; use None, bool, float, int, Int64"),
    (2**53 + 1, "InvalidValue", "The int 9007199254740993 is beyond .* use cupola.Int64"),
    ([-(10**5000)], "InvalidValue", r"At `\[0\]`: the int with 16610 bits is beyond"),
    ("a\ud800", "InvalidValue", "The string holds a lone surrogate .U.D800. at index 1"),
    ({"x": ["\udfff"]}, "InvalidValue", r"At `.x\[0\]`: the string holds a lone surrogate"),
    (UNSET, "InvalidValue", "UNSET may only be the value of a field"),
    ([UNSET], "InvalidValue", r"At `\[0\]`: UNSET may only be"),
    ((None, UNSET), "InvalidValue", r"At `\[1\]`: UNSET may only be"),
    ({"$a": 1}, "InvalidValue", r"the field name `\$a` starts with `\$`"),
    ({"naïve": 1}, "InvalidValue", "the field name .* not printable ASCII"),
    ({"a\x7f": 1}, "InvalidValue", "the field name .* not printable ASCII"),
    ({"a\n": 1}, "InvalidValue", "the field name .* not printable ASCII"),
    ({"\ud800": 1}, "InvalidValue", "the field name .* not printable ASCII"),
    ({1: 1}, "InvalidValue", "A field name is a `int`; it must be a string"),
    ({"x" * 1025: 1}, "InvalidValue", "is longer than 1024 bytes"),
    (nested(65), "TooNestedError", "nested deeper than 64 levels"),
    (endless, "TooNestedError", "nested deeper than 64 levels"),
    ([1.0] * 8193, "ArrayTooLong", "8193 elements is too long; at most 8192"),
    ({f"f{n}": n for n in range(1025)}, "TooManyFieldsError", "1025 fields .* at most 1024"),
    ("x" * 2**25, "ValueTooLargeError", "too large: 33554434 bytes; at most 33554432"),
]


@pytest.mark.parametrize(
    ("value", "code", "words"),
    REFUSED,
    ids=range(len(REFUSED)),
)
def test_what_is_no_value_is_refused_with_its_place(value, code, words):
    for refuse in (encode, check_value):
        with pytest.raises(InvalidValueError, match=words) as refusal:
            refuse(value)
        assert refusal.value.code == code
        assert len(refusal.value.message) < 400


def test_the_limits_themselves_are_allowed():
    for value in (nested(64), [1.0] * 8192, {f"f{n}": n for n in range(1024)}, {"x" * 1024: 1}):
        assert encode(decode(encode(value))) == encode(value)
    assert len(encode("x" * (2**25 - 2))) == 2**25


class Raw(Encoded):
    encoded = b'{"a":{"$integer":"BQAAAAAAAAA="},"b":"$"}'


class OtherRaw(Encoded):
    encoded = b'"other"'


def test_encoded_things_are_spliced_as_they_are():
    raw = Raw.encoded.decode()
    assert encode(Raw()) == Raw.encoded
    assert encode([Raw(), Raw()]) == f"[{raw},{raw}]".encode()
    assert encode([Raw(), OtherRaw(), 1]) == f'[{raw},"other",1.0]'.encode()
    assert encode({"page": [Raw()], "x": Raw()}) == f'{{"page":[{raw}],"x":{raw}}}'.encode()
    assert encode_clean([Raw(), Raw()]) == b'[{"a":"5","b":"$"},{"a":"5","b":"$"}]'
    assert encode_export([Raw(), 1]) == b'[{"a":5,"b":"$"},1.0]'


def test_nesting_counts_what_is_inside_encoded_things():
    class Deep(Encoded):
        encoded = encode(nested(DEFAULT_LIMITS.document_nesting_max))

    assert encode(nested(47, [Deep(), Deep()])) == encode(nested(47, [decode(Deep.encoded)] * 2))
    for inner in ([Deep()], {"a": Deep()}, [Deep(), None]):
        with pytest.raises(InvalidValueError) as refusal:
            encode(nested(48, inner))
        assert refusal.value.code == "TooNestedError"


# -------------------------------------------------------------------------------------- decoding


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3.0),
        ("[1,-2,0]", [1.0, -2.0, 0.0]),
        ("9007199254740993", 9007199254740992.0),
        ("18446744073709551615", 1.8446744073709552e19),
        ("1" + "0" * 300, 1e300),
        (' { "a" : 1 , "b":[ ] } ', {"a": 1.0, "b": []}),
        ('{"a":1,"a":2}', {"a": 2.0}),
        ('{"$float":"AAAAAAAAAAA="}', 0.0),
        ('"\\ud83d\\ude00"', "😀"),
    ],
)
def test_decoding_is_generous_where_clients_differ(text, value):
    decoded = decode(text)
    assert (repr(decoded), decode(text.encode())) == (repr(value), decoded)


DECODING_REFUSED = [
    ("", "BadJson", "not valid JSON"),
    ("{", "BadJson", "not valid JSON"),
    ("NaN", "BadJson", "not valid JSON"),
    ("1e400", "BadJson", "not valid JSON"),
    ("\ufeff1", "BadJson", "not valid JSON"),
    ('"\\ud800"', "BadJson", "not valid JSON"),
    ('{"$weird":1}', "InvalidValue", r"the field name `\$weird` starts with"),
    ('{"$integer":"AQAAAAAAAAA=","x":1}', "InvalidValue", r"the field name `\$integer` starts"),
    ('{"x":1,"$integer":"AQAAAAAAAAA="}', "InvalidValue", r"the field name `\$integer` starts"),
    ('{"$integer":1}', "InvalidValue", r"At `.\$integer`: expected base64 text"),
    ('{"$integer":"AQ=="}', "InvalidValue", "expected 8 bytes, not 1"),
    ('{"$integer":"AQAAAAAAAAA"}', "InvalidValue", "not base64 with padding"),
    ('{"$integer":"AQAAAAAAAAB="}', "InvalidValue", "not base64 with padding"),
    ('{"$bytes":"é"}', "InvalidValue", "not base64 with padding"),
    ('{"$bytes":"AQ==\\n"}', "InvalidValue", "not base64 with padding"),
    ('{"$bytes":"_-8="}', "InvalidValue", "not base64 with padding"),
    ('{"a":[0,{"$float":"AAAAAAAA8D8="}]}', "InvalidValue", r"At `.a\[1\].\$float`: 1.0 should be"),
    ('{"naïve":1}', "InvalidValue", "not printable ASCII"),
    ("[" * 65 + "]" * 65, "TooNestedError", "nested deeper"),
    ('{"a":' * 65 + "1" + "}" * 65, "TooNestedError", "nested deeper"),
    ("[" + ",".join("1" * 8193) + "]", "ArrayTooLong", "8193 elements"),
    ('"' + "x" * 2**25 + '"', "ValueTooLargeError", "too large"),
]


@pytest.mark.parametrize(
    ("text", "code", "words"), DECODING_REFUSED, ids=[text[:30] for text, *_ in DECODING_REFUSED]
)
def test_decoding_refuses_what_no_client_may_send(text, code, words):
    for read in (decode, decode_export):
        with pytest.raises(InvalidValueError, match=words) as refusal:
            read(text)
        assert refusal.value.code == code


def test_special_forms_are_scalars_and_do_not_nest():
    text = "[" * 64 + '{"$integer":"AQAAAAAAAAA="}' + "]" * 64
    assert encode(decode(text)) == text.encode()


def test_a_tree_from_another_parser_is_decoded_too():
    assert decode_tree({"a": 10**25}) == {"a": 1e25}
    for tree in (10**400, {"a": object()}, {"a": (1,)}, UNSET):
        with pytest.raises(InvalidValueError):
            decode_tree(tree)


# ------------------------------------------------------------------------------ clean and export

CLEAN = [
    (Int64(-5), '"-5"'),
    (math.nan, '"NaN"'),
    (math.inf, '"Infinity"'),
    (-math.inf, '"-Infinity"'),
    (BYTES, '"AQL/"'),
    (-0.0, "-0.0"),
    (5.0, "5.0"),
    ({"b": [Int64(1), "$x"], "a": None}, '{"a":null,"b":["1","$x"]}'),
]


@pytest.mark.parametrize(("value", "text"), CLEAN)
def test_clean_json(value, text):
    assert encode_clean(value) == text.encode()
    assert clean_from_encoded(encode(value)) == text.encode()


EXPORT = [
    (Int64(5), "5"),
    (Int64(-(2**63)), "-9223372036854775808"),
    (5.0, "5.0"),
    (-0.0, "-0.0"),
    (math.nan, '{"$float":"AAAAAAAA+H8="}'),
    (BYTES, '{"$bytes":"AQL/"}'),
    ({"b": [Int64(1), 1.0], "a": None}, '{"a":null,"b":[1,1.0]}'),
]


@pytest.mark.parametrize(("value", "text"), EXPORT)
def test_export_json(value, text):
    assert encode_export(value) == text.encode()
    assert encode_export(decode_export(text)) == text.encode()


def test_reading_an_export_keeps_whole_literals_apart_from_floats():
    value = decode_export('[5, 5.0, 9223372036854775808, {"$integer":"AQAAAAAAAAA="}]')
    assert repr(value) == "[Int64(5), 5.0, 9.223372036854776e+18, Int64(1)]"


def test_items_that_are_encoded_already_keep_the_bounds_of_an_array() -> None:
    assert encode({"page": EncodedItems([b"1", b'{"a":2}'])}) == b'{"page":[1,{"a":2}]}'
    assert encode(EncodedItems([])) == b"[]"
    with pytest.raises(InvalidValueError, match="8192"):
        encode(EncodedItems([b"1"] * 8193))
    deepest: object = EncodedItems([b"[" * 14 + b"]" * 14])  # as deep as a document
    for _ in range(49):
        deepest = [deepest]
    assert encode(deepest) == b"[" * 64 + b"]" * 64
    with pytest.raises(InvalidValueError, match="64"):
        encode([deepest])

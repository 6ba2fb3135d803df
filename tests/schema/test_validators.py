"""Validators: their JSON, their meaning, their words."""

import base64
import math
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cupola.errors import SchemaError
from cupola.schema import (
    ANY,
    BIGINT,
    BOOLEAN,
    BYTES,
    NULL,
    NUMBER,
    STRING,
    AnyValidator,
    ArrayValidator,
    CommitTimestampValidator,
    Field,
    IdValidator,
    LiteralValidator,
    ObjectValidator,
    RecordValidator,
    UnionValidator,
    ValidationError,
    Validator,
    display,
    is_subset,
    union_of,
    validator_from_json,
)
from cupola.values import UNSET, Encoded, Int64, encode, encode_id, table_number_of, values_equal

TABLES = {"users": 10001, "messages": 10002}
USER_ID = encode_id(10001, bytes(16))
MESSAGE_ID = encode_id(10002, b"\xff" * 16)


# ---------------------------------------------------------------------------------------- strategie

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0.0, -0.0, 1.0, 3.5, math.nan, math.inf, -math.inf, 1, 2**53]),
    st.sampled_from([Int64(0), Int64(1), Int64(2**63 - 1), Int64(-(2**63))]),
    st.sampled_from(["", "a", "b", USER_ID, MESSAGE_ID]),
    st.sampled_from([b"", b"a"]),
)
names = st.sampled_from(["a", "b", "c"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
literals = st.builds(
    LiteralValidator,
    st.sampled_from(["a", "b", "", 0.0, -0.0, 1.0, True, False, Int64(0), Int64(1)]),
)
keys = st.sampled_from(
    [STRING, IdValidator("users"), union_of([IdValidator("users"), IdValidator("messages")])]
)


def _containers(inner: st.SearchStrategy[Validator]) -> st.SearchStrategy[Validator]:
    fields = st.dictionaries(names, st.builds(Field, inner, st.booleans()), max_size=3)
    return st.one_of(
        st.builds(ArrayValidator, inner),
        st.builds(ObjectValidator, fields),
        st.builds(RecordValidator, keys, inner),
        st.builds(lambda members: UnionValidator(tuple(members)), st.lists(inner, max_size=3)),
    )


validators: st.SearchStrategy[Validator] = st.recursive(
    st.one_of(
        st.sampled_from([NULL, NUMBER, BIGINT, BOOLEAN, STRING, BYTES, ANY]),
        st.sampled_from([IdValidator("users"), IdValidator("messages")]),
        literals,
    ),
    _containers,
    max_leaves=5,
)


SAMPLES: dict[Validator, list[Any]] = {
    NULL: [None],
    NUMBER: [0.0, -0.0, 1.0, math.nan, math.inf, 1],
    BIGINT: [Int64(0), Int64(1), Int64(2**63 - 1)],
    BOOLEAN: [True, False],
    STRING: ["", "a", "b", USER_ID],
    BYTES: [b"", b"a"],
}


def values_of(validator: Validator) -> st.SearchStrategy[Any]:
    """Values that match, so that properties of the form "if it matches" are not empty."""
    match validator:
        case AnyValidator():
            return values
        case LiteralValidator():
            return st.just(validator.value)
        case IdValidator():
            return st.just(USER_ID if validator.table == "users" else MESSAGE_ID)
        case ArrayValidator():
            return _lists(values_of(validator.element))
        case ObjectValidator():
            fields = validator.fields.items()
            return st.fixed_dictionaries(
                {name: values_of(f.validator) for name, f in fields if not f.optional},
                optional={name: values_of(f.validator) for name, f in fields if f.optional},
            )
        case RecordValidator():
            pairs = st.tuples(values_of(validator.keys), values_of(validator.values))
            return _lists(pairs).map(dict)
        case UnionValidator():
            return st.one_of([values_of(member) for member in validator.members])
        case _:
            return st.sampled_from(SAMPLES[validator])


def _lists(elements: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.just([]) if elements.is_empty else st.lists(elements, max_size=2)


def drawn(data: st.DataObject, validator: Validator) -> Any:
    strategy = values_of(validator)
    assume(not strategy.is_empty)
    return data.draw(strategy)


def naive(tree: dict[str, Any], value: Any) -> bool:
    """What the JSON of a validator says, as plainly as possible."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool | Int64)
    match tree["type"]:
        case "any":
            return True
        case "null":
            return value is None
        case "number":
            return is_number
        case "bigint" | "commitTs":
            return isinstance(value, Int64)
        case "boolean":
            return isinstance(value, bool)
        case "string":
            return isinstance(value, str)
        case "bytes":
            return isinstance(value, bytes)
        case "id":
            return bool(value == (USER_ID if tree["tableName"] == "users" else MESSAGE_ID))
        case "literal":
            return values_equal(value, naive_literal(tree["value"]))
        case "array":
            return isinstance(value, list) and all(naive(tree["value"], e) for e in value)
        case "record":
            return isinstance(value, dict) and all(
                naive(tree["keys"], k) and naive(tree["values"]["fieldType"], v)
                for k, v in value.items()
            )
        case "union":
            return any(naive(member, value) for member in tree["value"])
        case "object":
            fields = tree["value"]
            return (
                isinstance(value, dict)
                and value.keys() <= fields.keys()
                and all(f["optional"] or name in value for name, f in fields.items())
                and all(naive(fields[name]["fieldType"], item) for name, item in value.items())
            )
    raise AssertionError(tree)


def naive_literal(tree: Any) -> Any:
    match tree:
        case {"$integer": text}:
            return Int64(struct.unpack("<q", base64.b64decode(text))[0])
        case {"$float": text}:
            return struct.unpack("<d", base64.b64decode(text))[0]
        case int() if not isinstance(tree, bool):
            return float(tree)
        case _:
            return tree


def accepts(check: Callable[[Any], None], value: Any) -> bool:
    try:
        check(value)
    except ValidationError:
        return False
    return True


# ---------------------------------------------------------------------------------------- propertie


@given(validators, values)
@settings(max_examples=400, deadline=None)
def test_a_checker_says_what_the_json_says(validator: Validator, value: Any) -> None:
    """The compiled check, the explaining one and a naive reading of the JSON agree."""
    expected = naive(validator.to_json(), value)
    assert accepts(validator.checker(TABLES), value) is expected
    assert validator.accepts(value, TABLES) is expected
    quick = validator.predicate(TABLES)(value)
    assert expected or not quick


@given(st.data(), validators)
@settings(max_examples=200, deadline=None)
def test_a_checker_accepts_what_matches(data: st.DataObject, validator: Validator) -> None:
    value = drawn(data, validator)
    assert naive(validator.to_json(), value)
    validator.checker(TABLES)(value)


@given(st.data(), validators, validators)
@settings(max_examples=400, deadline=None)
def test_a_subset_is_never_claimed_wrongly(data: st.DataObject, a: Validator, b: Validator) -> None:
    """A schema change may skip the look at the data only if all of it surely matches."""
    if is_subset(a, b):
        value = drawn(data, a)
        assert b.accepts(value, TABLES)


@given(validators, validators)
@settings(max_examples=100, deadline=None)
def test_widening_a_validator_is_a_subset(a: Validator, b: Validator) -> None:
    assert is_subset(a, a)
    assert is_subset(a, ANY)
    assert is_subset(a, UnionValidator((b, a)))
    assert is_subset(ArrayValidator(a), ArrayValidator(union_of([a, b])))
    assert is_subset(ObjectValidator({"x": Field(a)}), ObjectValidator({"x": Field(a, True)}))


@given(validators)
@settings(max_examples=200, deadline=None)
def test_a_validator_survives_its_json(validator: Validator) -> None:
    assert validator_from_json(validator.to_json()) == validator


# ------------------------------------------------------------------------------------------ the JSO


@pytest.mark.parametrize(
    ("validator", "tree"),
    [
        (IdValidator("users"), {"type": "id", "tableName": "users"}),
        (NULL, {"type": "null"}),
        (NUMBER, {"type": "number"}),
        (BIGINT, {"type": "bigint"}),
        (CommitTimestampValidator(), {"type": "commitTs"}),
        (BOOLEAN, {"type": "boolean"}),
        (STRING, {"type": "string"}),
        (BYTES, {"type": "bytes"}),
        (ANY, {"type": "any"}),
        (LiteralValidator("a"), {"type": "literal", "value": "a"}),
        (LiteralValidator(3.0), {"type": "literal", "value": 3}),
        (LiteralValidator(True), {"type": "literal", "value": True}),
        (LiteralValidator(Int64(5)), {"type": "literal", "value": {"$integer": "BQAAAAAAAAA="}}),
        (LiteralValidator(-0.0), {"type": "literal", "value": {"$float": "AAAAAAAAAIA="}}),
        (ArrayValidator(STRING), {"type": "array", "value": {"type": "string"}}),
        (
            ObjectValidator({"a": Field(STRING), "b": Field(NULL, True)}),
            {
                "type": "object",
                "value": {
                    "a": {"fieldType": {"type": "string"}, "optional": False},
                    "b": {"fieldType": {"type": "null"}, "optional": True},
                },
            },
        ),
        (
            RecordValidator(STRING, ANY),
            {
                "type": "record",
                "keys": {"type": "string"},
                "values": {"fieldType": {"type": "any"}, "optional": False},
            },
        ),
        (
            UnionValidator((STRING, NULL)),
            {"type": "union", "value": [{"type": "string"}, {"type": "null"}]},
        ),
        (UnionValidator(()), {"type": "union", "value": []}),
    ],
)
def test_the_json_is_that_of_the_published_library(
    validator: Validator, tree: dict[str, Any]
) -> None:
    assert validator.to_json() == tree
    assert type(tree.get("value")) is type(validator.to_json().get("value"))
    assert validator_from_json(tree) == validator


def test_types_that_were_removed_read_as_any() -> None:
    assert validator_from_json({"type": "map"}) == validator_from_json({"type": "set"}) == ANY


def _nested(levels: int) -> dict[str, Any]:
    tree: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        tree = {"type": "array", "value": tree}
    return tree


@pytest.mark.parametrize(
    ("tree", "reason"),
    [
        (None, "not an object"),
        ({}, "`type` must be a string"),
        ({"type": "strnig"}, "no validator type `strnig`"),
        ({"type": "id"}, "`tableName`"),
        ({"type": "literal"}, "`value` is missing"),
        ({"type": "literal", "value": None}, "a literal is"),
        ({"type": "literal", "value": [1]}, "a literal is"),
        ({"type": "literal", "value": {"$float": "AAAAAAAA8H8="}}, "finite"),
        ({"type": "literal", "value": {"$integer": "!"}}, "validator JSON"),
        ({"type": "array"}, "at []"),
        ({"type": "object", "value": []}, "`value` must be an object"),
        ({"type": "object", "value": {"a-b": {"fieldType": {"type": "any"}}}}, "a-b"),
        (
            {"type": "object", "value": {"a": {"optional": True}}},
            "at .a makes no sense: `fieldType`",
        ),
        (
            {"type": "object", "value": {"a": {"fieldType": {"type": "any"}, "optional": 1}}},
            "true or false",
        ),
        (
            {
                "type": "record",
                "keys": {"type": "literal", "value": "a"},
                "values": {"fieldType": {"type": "any"}},
            },
            "without literals",
        ),
        (
            {
                "type": "record",
                "keys": {"type": "number"},
                "values": {"fieldType": {"type": "any"}},
            },
            "strings or ids",
        ),
        (
            {
                "type": "record",
                "keys": {"type": "string"},
                "values": {"fieldType": {"type": "any"}, "optional": True},
            },
            "cannot be optional",
        ),
        ({"type": "union", "value": {}}, "must be an array"),
        (_nested(70), "nested deeper than 64"),
    ],
)
def test_json_that_is_no_validator_is_refused(tree: Any, reason: str) -> None:
    with pytest.raises(SchemaError) as caught:
        validator_from_json(tree)
    assert caught.value.code == "InvalidValidator"
    assert reason in caught.value.message


# --------------------------------------------------------------------------------------- the meanin


def test_unusual_ways_to_write_a_value_are_accepted() -> None:
    """What `encode` accepts, a check accepts: tuples, ints, absent fields, encoded documents."""

    class Stored(Encoded):
        encoded = encode({"a": [1.0]})

    validator = ObjectValidator({"a": Field(ArrayValidator(NUMBER)), "b": Field(STRING, True)})
    for value in ({"a": (1, 2)}, {"a": [1], "b": UNSET}, {"a": [], "extra": UNSET}, Stored()):
        validator.checker()(value)
    with pytest.raises(ValidationError, match="missing the required field `a`"):
        validator.checker()({"a": UNSET})


@pytest.mark.parametrize("validator", [ANY, ArrayValidator(ANY)])
def test_unset_is_no_value(validator: Validator) -> None:
    value = UNSET if validator is ANY else [UNSET]
    with pytest.raises(ValidationError, match="undefined"):
        validator.checker()(value)


def test_an_id_belongs_to_a_table() -> None:
    validator = IdValidator("users")
    validator.check(USER_ID, TABLES)
    validator.check(MESSAGE_ID)
    for value in ("nobody", 3.0, None, USER_ID[:-1]):
        with pytest.raises(ValidationError, match="does not match validator"):
            validator.checker(TABLES)(value)
    assert table_number_of(MESSAGE_ID) == 10002
    with pytest.raises(ValidationError) as caught:
        validator.checker(TABLES)(MESSAGE_ID)
    assert caught.value.message == (
        f'Found ID "{MESSAGE_ID}" from table `messages`, which does not match the table name '
        'in validator `v.id("users")`.'
    )
    with pytest.raises(ValidationError, match="from an unknown table"):
        validator.check(MESSAGE_ID, {"users": 10001})


def test_a_checker_sees_tables_that_were_made_later() -> None:
    tables: dict[str, int] = {}
    check = IdValidator("users").checker(tables)
    with pytest.raises(ValidationError):
        check(USER_ID)
    tables["users"] = 10001
    check(USER_ID)


def test_literals_compare_by_type_and_sign() -> None:
    assert LiteralValidator(True) != LiteralValidator(1.0)
    assert LiteralValidator(0.0) != LiteralValidator(-0.0)
    assert LiteralValidator(Int64(1)) != LiteralValidator(1.0)
    assert len({LiteralValidator(1.0), LiteralValidator(True), LiteralValidator(Int64(1))}) == 3
    assert LiteralValidator(3.0).accepts(3)


def test_boolean_is_the_union_of_its_literals() -> None:
    both = UnionValidator((LiteralValidator(True), LiteralValidator(False)))
    assert is_subset(BOOLEAN, both) and is_subset(both, BOOLEAN)
    assert not is_subset(BOOLEAN, LiteralValidator(True))


def test_a_field_name_that_looks_like_an_id_is_no_id_of_that_table() -> None:
    """Ids are identifiers too, so an object's field could pass for a key of a record of ids."""
    shape = ObjectValidator({MESSAGE_ID: Field(ANY)})
    assert not is_subset(shape, RecordValidator(IdValidator("users"), ANY))
    assert is_subset(shape, RecordValidator(STRING, ANY))


# ----------------------------------------------------------------------------------------- the word

TAG = ObjectValidator({"b": Field(STRING)})
PERSON = ObjectValidator({"name": Field(STRING), "tags": Field(ArrayValidator(TAG), True)})


@pytest.mark.parametrize(
    ("validator", "value", "text"),
    [
        (
            PERSON,
            {"name": "a", "tags": [{"b": "x"}, {"b": 3.0}]},
            "Value does not match validator.\nPath: .tags[1].b\nValue: 3.0\nValidator: v.string()",
        ),
        (
            PERSON,
            {"name": 1.0},
            "Value does not match validator.\nPath: .name\nValue: 1.0\nValidator: v.string()",
        ),
        (STRING, None, "Value does not match validator.\nValue: null\nValidator: v.string()"),
        (
            ObjectValidator({"a": Field(STRING)}),
            {},
            "Object is missing the required field `a`. Consider wrapping the field validator in "
            "`v.optional(...)` if this is expected.\n"
            "Object: {}\nValidator: v.object({a: v.string()})",
        ),
        (
            ObjectValidator({"a": Field(STRING, True)}),
            {"b": Int64(1)},
            "Object contains extra field `b` that is not in the validator.\n"
            "Object: {b: 1n}\nValidator: v.object({a: v.optional(v.string())})",
        ),
        (LiteralValidator("y"), "x", '`"x"` does not match literal validator `v.literal("y")`.'),
        (
            UnionValidator((STRING, NULL)),
            1.0,
            "Value does not match validator.\nValue: 1.0\nValidator: v.union(v.string(), v.null())",
        ),
        (
            UnionValidator((LiteralValidator("y"),)),
            "x",
            '`"x"` does not match literal validator `v.literal("y")`.',
        ),
        (
            RecordValidator(STRING, NUMBER),
            {"no name": "x"},
            'Value does not match validator.\nPath: ["no name"]\nValue: "x"\n'
            "Validator: v.float64()",
        ),
        (
            RecordValidator(IdValidator("users"), ANY),
            {"x": 1.0},
            'Value does not match validator.\nPath: .x\nValue: "x"\nValidator: v.id("users")',
        ),
    ],
)
def test_the_text_of_a_mismatch(validator: Validator, value: Any, text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        validator.checker(TABLES)(value)
    assert caught.value.message == text


def test_values_are_shown_in_the_notation_of_javascript_and_cut() -> None:
    assert display({"a": [True, None, 1.5, "q\n", b"xyz"], "no name": Int64(2)}) == (
        '{a: [true, null, 1.5, "q\\n", <3 bytes>], "no name": 2n}'
    )
    assert display([object()]) == "[<Python object>]"
    assert display({"b": 7, "a": [float("nan"), -float("inf"), 2**53, 10**99]}) == (
        "{a: [NaN, -Infinity, 9007199254740992, <Python int>], b: 7.0}"
    )
    assert len(display(["x" * 100] * 1_000)) <= 1_100
    assert len(display("x" * 100_000)) <= 1_100


def test_a_list_that_contains_itself_is_shown_and_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert len(display(endless)) <= 1_100
    with pytest.raises(ValidationError):
        ArrayValidator(STRING).check(endless)

"""Filters as expressions: the table of the spec (values, 5.2), and a naive reading of it."""

import math
import operator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cupola.errors import DatabaseUseError
from cupola.functions.expressions import field, literal
from cupola.values import UNSET, Int64, compare, values_equal

DOCUMENT = {
    "n": 5.0,
    "i": Int64(5),
    "text": "b",
    "none": None,
    "yes": True,
    "deep": {"list": [1.0, 2.0], "m": -0.0},
    "nan": math.nan,
    "least": Int64(-(2**63)),
}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        (field("missing") == None, False),  # noqa: E711  (builds an expression)
        (field("missing") == UNSET, True),
        (field("none") == None, True),  # noqa: E711
        (field("none") == UNSET, False),
        (field("missing") < None, True),
        (field("missing") <= Int64(-(2**63)), True),
        (field("missing") != 1, True),
        (field("none") < Int64(0), True),
        (field("i") == 5, False),  # int64 and float64 are different types, in this order
        (field("i") < -1e300, True),
        (field("n") == 5, True),
        (field("n") < True, True),
        (field("yes") < "", True),
        (field("text") >= "b", True),
        (field("nan") == math.nan, True),
        (field("nan") > math.inf, True),
        (field("deep.m") == 0.0, False),
        (field("deep.m") < 0.0, True),
        (field("deep.list") == [1, 2], True),
        (field("deep.list.x") == UNSET, True),
        (field("deep.no.way") == UNSET, True),
        (field("n") + 1 == 6, True),
        (field("i") + Int64(1) == Int64(6), True),
        (field("n") / 0 == math.inf, True),
        (-field("n") / 0 == -math.inf, True),
        (field("n") % 0 == math.nan, True),
        (-field("n") % 3 == -2, True),
        (field("i") / Int64(-2) == Int64(-2), True),
        (field("i") % Int64(-3) == Int64(2), True),
        (-field("i") % Int64(3) == Int64(-2), True),
        (-field("i") == Int64(-5), True),
        ((field("yes") == True) & (field("n") == 5), True),  # noqa: E712
        ((field("n") == 4) & (field("n") + "x" == 0), False),  # short circuit
        (literal(0.0) / -literal(math.nan) == math.nan, True),
        ((field("n") == 5) | (field("n") + "x" == 0), True),
        (~(field("n") == 5), False),
        (field("yes"), True),
    ],
)
def test_the_table(expression, value):
    assert expression.keeps(DOCUMENT) is value, expression


@pytest.mark.parametrize(
    "expression",
    [
        field("missing") + 1,
        field("n") + Int64(1),
        field("i") * 2,
        field("text") - "b",
        field("i") / Int64(0),
        field("i") % Int64(0),
        field("least") - Int64(1),
        -field("least"),
        field("least") / Int64(-1),
        -field("text"),
        field("n") & True,
        (field("n") == 5) & 1,
        (field("n") == 4) | "x",
        ~field("none"),
        field("n"),
        field("missing"),
    ],
)
def test_what_cannot_be_evaluated_is_an_eval_error(expression):
    """Arithmetic on unlike types, overflow, division by zero, logic on what is no boolean."""
    with pytest.raises(DatabaseUseError) as raised:
        expression.keeps(DOCUMENT)
    assert raised.value.code == "EvalError"


def test_and_or_not_of_python_are_refused():
    with pytest.raises(DatabaseUseError, match="combine filters with &"):
        bool(field("a") == 1)


# ---------------------------------------------------------------- a naive evaluator

scalars = st.one_of(
    st.just(UNSET),
    st.none(),
    st.booleans(),
    st.sampled_from([0.0, -0.0, 1.0, -2.5, math.inf, math.nan, 1e308]),
    st.sampled_from([0, 1, -3, 2**63 - 1, -(2**63)]).map(Int64),
    st.sampled_from(["", "a", "b"]),
)
documents = st.dictionaries(st.sampled_from("abc"), scalars.filter(lambda v: v is not UNSET))
leaves = st.one_of(
    st.sampled_from("abc").map(lambda name: ("field", name)),
    scalars.map(lambda value: ("literal", value)),
)
programs = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), inner, inner),
        st.tuples(st.sampled_from(["+", "-", "*", "/", "%"]), inner, inner),
        st.tuples(st.sampled_from(["&", "|"]), inner, inner),
        st.tuples(st.sampled_from(["~", "neg"]), inner),
    ),
    max_leaves=8,
)

BUILD = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
    ">": operator.gt, ">=": operator.ge, "+": operator.add, "-": operator.sub,
    "*": operator.mul, "/": operator.truediv, "%": operator.mod, "&": operator.and_,
    "|": operator.or_, "~": operator.invert, "neg": operator.neg,
}  # fmt: skip


class Refused(Exception):
    pass


def build(program):
    match program:
        case ("field", name):
            return field(name)
        case ("literal", value):
            return literal(value)
        case (symbol, *parts):
            return BUILD[symbol](*map(build, parts))


def naive(program, document):
    match program:
        case ("field", name):
            return document.get(name, UNSET)
        case ("literal", value):
            return value
        case ("&" | "|" as symbol, left, right):
            first = boolean(naive(left, document))
            if first is (symbol == "|"):
                return first
            return boolean(naive(right, document))
        case ("~", inner):
            return not boolean(naive(inner, document))
        case ("neg", inner):
            value = naive(inner, document)
            return number(type(value), -plain(value))
        case (symbol, left, right):
            a, b = naive(left, document), naive(right, document)
            if symbol == "==":
                return values_equal(a, b)
            if symbol == "!=":
                return not values_equal(a, b)
            if symbol in ("<", "<=", ">", ">="):
                return BUILD[symbol](compare(a, b), 0)
            return arithmetic(symbol, a, b)


def boolean(value):
    if value is True or value is False:
        return value
    raise Refused


def plain(value):
    if type(value) in (float, Int64):
        return int(value) if type(value) is Int64 else value
    raise Refused


def number(kind, value):
    if kind is Int64 and not -(2**63) <= value < 2**63:
        raise Refused
    return kind(value)


def arithmetic(symbol, a, b):
    if type(a) is not type(b):
        raise Refused
    kind, a, b = type(a), plain(a), plain(b)
    if symbol in "+-*":
        result = BUILD[symbol](a, b)
        return number(kind, math.nan if result != result else result)
    if kind is Int64:
        if b == 0:
            raise Refused
        quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
        return number(kind, quotient if symbol == "/" else a - b * quotient)
    if b == 0 or math.isnan(a) or math.isnan(b) or (math.isinf(a) and math.isinf(b)):
        if math.isinf(a) and math.isinf(b):
            return math.nan
        if symbol == "%" or math.isnan(a) or math.isnan(b) or a == 0:
            return math.nan
        return math.copysign(1, a) * math.copysign(1, b) * math.inf
    if symbol == "%":
        return math.nan if math.isinf(a) else math.fmod(a, b)
    return a / b


@settings(max_examples=400, deadline=None)
@given(programs, documents)
def test_expressions_mean_what_a_naive_reading_says(program, document):
    try:
        expected = naive(program, document)
    except Refused:
        with pytest.raises(DatabaseUseError) as raised:
            build(program).evaluate(document)
        assert raised.value.code == "EvalError"
        return
    assert values_equal(build(program).evaluate(document), expected)

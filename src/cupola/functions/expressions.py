"""Filters as expressions: `field("author") == "ada"`, evaluated with the reference's semantics.

Comparisons follow the total order of values (a missing field is below everything and equals only
itself); arithmetic and logic insist on their types. (Spec: values, section 5.2.)
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from cupola.errors import DatabaseUseError, InvalidValueError
from cupola.values import UNSET, Int64, compare, values_equal


class Expression:
    """A computation over one document. Combine with comparison, `+ - * / %`, `&`, `|` and `~`."""

    __slots__ = ("_evaluate", "text")
    __hash__ = None  # type: ignore[assignment]  # == builds an expression, so no dict may hold one

    def __init__(self, evaluate: Callable[[Mapping[str, Any]], Any], text: str) -> None:
        self._evaluate = evaluate
        self.text = text

    def evaluate(self, document: Mapping[str, Any]) -> Any:
        return self._evaluate(document)

    def keeps(self, document: Mapping[str, Any]) -> bool:
        """The expression as a filter.

        Raises:
            DatabaseUseError: The result is no boolean.
        """
        return _boolean(self._evaluate(document), self.text)

    def __repr__(self) -> str:
        return self.text

    def __bool__(self) -> bool:
        raise DatabaseUseError(
            f"`{self.text}` is a filter, not a truth value: combine filters with &, | and ~ "
            "instead of and, or and not.",
            code="BadFilter",
        )

    def __eq__(self, other: object) -> Expression:  # type: ignore[override]
        return _binary(self, other, values_equal, "==")

    def __ne__(self, other: object) -> Expression:  # type: ignore[override]
        return _binary(self, other, lambda a, b: not values_equal(a, b), "!=")

    def __lt__(self, other: object) -> Expression:
        return _binary(self, other, lambda a, b: compare(a, b) < 0, "<")

    def __le__(self, other: object) -> Expression:
        return _binary(self, other, lambda a, b: compare(a, b) <= 0, "<=")

    def __gt__(self, other: object) -> Expression:
        return _binary(self, other, lambda a, b: compare(a, b) > 0, ">")

    def __ge__(self, other: object) -> Expression:
        return _binary(self, other, lambda a, b: compare(a, b) >= 0, ">=")

    def __add__(self, other: object) -> Expression:
        return _binary(self, other, _arithmetic(operator.add, operator.add), "+")

    def __sub__(self, other: object) -> Expression:
        return _binary(self, other, _arithmetic(operator.sub, operator.sub), "-")

    def __mul__(self, other: object) -> Expression:
        return _binary(self, other, _arithmetic(operator.mul, operator.mul), "*")

    def __truediv__(self, other: object) -> Expression:
        return _binary(self, other, _arithmetic(_divide_floats, _divide_integers), "/")

    def __mod__(self, other: object) -> Expression:
        return _binary(self, other, _arithmetic(_modulo_floats, _modulo_integers), "%")

    def __neg__(self) -> Expression:
        return _binary(literal(0.0), self, lambda _, b: _negate(b), "-")

    def __and__(self, other: object) -> Expression:
        right = literal(other)

        def both(document: Mapping[str, Any]) -> bool:
            return _boolean(self.evaluate(document), self.text) and _boolean(
                right.evaluate(document), right.text
            )

        return Expression(both, f"({self.text} & {right.text})")

    def __or__(self, other: object) -> Expression:
        right = literal(other)

        def either(document: Mapping[str, Any]) -> bool:
            return _boolean(self.evaluate(document), self.text) or _boolean(
                right.evaluate(document), right.text
            )

        return Expression(either, f"({self.text} | {right.text})")

    def __invert__(self) -> Expression:
        return Expression(
            lambda document: not _boolean(self.evaluate(document), self.text), f"~{self.text}"
        )


def field(path: str) -> Expression:
    """The value at a dot-separated path of the document; UNSET where there is none."""
    names = path.split(".")

    def look(document: Mapping[str, Any]) -> Any:
        value: Any = document
        for name in names:
            value = value.get(name, UNSET) if isinstance(value, Mapping) else UNSET
        return value

    return Expression(look, f'field("{path}")')


def literal(value: object) -> Expression:
    if isinstance(value, Expression):
        return value
    if isinstance(value, int) and not isinstance(value, bool | Int64):
        value = float(value)
    return Expression(lambda _: value, repr(value))


def _binary(
    left: Expression, other: object, compute: Callable[[Any, Any], Any], symbol: str
) -> Expression:
    right = literal(other)
    return Expression(
        lambda document: compute(left.evaluate(document), right.evaluate(document)),
        f"({left.text} {symbol} {right.text})",
    )


def _boolean(value: Any, text: str) -> bool:
    if not isinstance(value, bool):
        raise _error(f"`{text}` is {value!r}, not a boolean")
    return value


def _error(message: str) -> DatabaseUseError:
    return DatabaseUseError(f"A filter could not be evaluated: {message}.", code="EvalError")


def _arithmetic(
    floats: Callable[[float, float], float], integers: Callable[[int, int], int]
) -> Callable[[Any, Any], Any]:
    def compute(a: Any, b: Any) -> Any:
        try:
            if isinstance(a, Int64) and isinstance(b, Int64):
                return Int64(integers(int(a), int(b)))
            if type(a) is float and type(b) is float:
                result = floats(a, b)
                # Which NaN it is would depend on the processor, and values tell them apart.
                return result if result == result else math.nan
        except (ArithmeticError, InvalidValueError) as error:
            raise _error(f"{a!r} and {b!r}: {error}") from error
        raise _error(f"arithmetic needs two numbers of one type, got {a!r} and {b!r}")

    return compute


def _negate(value: Any) -> Any:
    if isinstance(value, Int64):
        if value == -(2**63):
            raise _error(f"-{value!r} does not fit into 64 bits")
        return Int64(-int(value))
    if type(value) is float:
        return -value
    raise _error(f"cannot negate {value!r}")


def _divide_floats(a: float, b: float) -> float:
    if b == 0:
        return (
            math.nan
            if a == 0 or math.isnan(a)
            else math.copysign(math.inf, a) * math.copysign(1, b)
        )
    return a / b


def _modulo_floats(a: float, b: float) -> float:
    return math.nan if b == 0 or math.isinf(a) else math.fmod(a, b)


def _divide_integers(a: int, b: int) -> int:
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def _modulo_integers(a: int, b: int) -> int:
    return a - b * _divide_integers(a, b)

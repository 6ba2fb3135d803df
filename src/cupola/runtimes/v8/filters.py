"""Filters of queries, from their JSON (spec: function runtime, section 7) to expressions."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from cupola.errors import DatabaseUseError
from cupola.functions.expressions import Expression, field, literal
from cupola.values import UNSET, decode_tree

_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "$eq": operator.eq,
    "$neq": operator.ne,
    "$lt": operator.lt,
    "$lte": operator.le,
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$add": operator.add,
    "$sub": operator.sub,
    "$mul": operator.mul,
    "$div": operator.truediv,
    "$mod": operator.mod,
}
_DEPTH_MAX = 64


def expression_of(tree: Any, depth: int = 0) -> Expression:
    """The expression that `tree` describes.

    Raises:
        DatabaseUseError: It describes none.
    """
    if not isinstance(tree, dict) or len(tree) != 1 or depth > _DEPTH_MAX:
        raise _invalid(tree)
    ((op, operand),) = tree.items()
    if op in _BINARY:
        left, right = _operands(tree, operand, depth)
        result: Expression = _BINARY[op](left, right)
        return result
    match op:
        case "$field" if isinstance(operand, str):
            return field(operand)
        case "$literal":
            return _literal(bound_of(operand))
        case "$neg":
            return -expression_of(operand, depth + 1)
        case "$not":
            return ~expression_of(operand, depth + 1)
        case "$and" | "$or" if isinstance(operand, list) and operand:
            parts = [expression_of(each, depth + 1) for each in operand]
            joined = parts[0]
            for part in parts[1:]:
                joined = joined & part if op == "$and" else joined | part
            return joined
        case "$and" | "$or" if operand == []:
            return literal(op == "$and")
    raise _invalid(tree)


def bound_of(tree: Any) -> Any:
    """A value in a query; `{"$undefined": null}` is a missing field."""
    if isinstance(tree, dict) and tree.keys() == {"$undefined"}:
        return UNSET
    return decode_tree(tree, unresolved=True)


def _literal(value: Any) -> Expression:
    return literal(float(value) if type(value) is int else value)


def _operands(tree: Any, operand: Any, depth: int) -> tuple[Expression, Expression]:
    if not isinstance(operand, list) or len(operand) != 2:
        raise _invalid(tree)
    return expression_of(operand[0], depth + 1), expression_of(operand[1], depth + 1)


def _invalid(tree: Any) -> DatabaseUseError:
    return DatabaseUseError(f"{tree!r:.200} is no filter.", code="BadFilter")

"""Types inferred from stored values, as dashboards and tools show them."""

from __future__ import annotations

from typing import Any

import pytest

from cupola.system.shapes import shape_of
from cupola.values import Int64, encode_id

TABLES = {10001: "users", 10002: "messages"}
ADA, HI = encode_id(10001, bytes(16)), encode_id(10002, bytes(16))
TEXT = {"type": "String"}
NUMBER = {"type": "Float64", "float64Range": {"hasSpecialValues": False}}


def field(name: str, shape: Any, *, optional: bool = False) -> Any:
    return {"fieldName": name, "optional": optional, "shape": shape}


@pytest.mark.parametrize(
    ("values", "shape"),
    [
        ([], {"type": "Never"}),
        ([None], {"type": "Null"}),
        ([True, False], {"type": "Boolean"}),
        ([1.0, 2.5], NUMBER),
        ([1.0, float("nan")], {"type": "Float64", "float64Range": {"hasSpecialValues": True}}),
        ([-0.0], {"type": "Float64", "float64Range": {"hasSpecialValues": True}}),
        ([Int64(1)], {"type": "Int64"}),
        ([b"a"], {"type": "Bytes"}),
        (["a", ""], TEXT),
        ([ADA], {"type": "Id", "tableName": "users"}),
        ([ADA, "a"], TEXT),
        (
            [ADA, HI],
            {
                "type": "Union",
                "shapes": [
                    {"type": "Id", "tableName": "messages"},
                    {"type": "Id", "tableName": "users"},
                ],
            },
        ),
        ([None, "a"], {"type": "Union", "shapes": [{"type": "Null"}, TEXT]}),
        ([["a"], []], {"type": "Array", "shape": TEXT}),
        ([[]], {"type": "Array", "shape": {"type": "Never"}}),
        (
            [{"a": 1.0}, {"a": 2.0, "b": "x"}],
            {"type": "Object", "fields": [field("a", NUMBER), field("b", TEXT, optional=True)]},
        ),
        ([{"not a name": 1.0}], {"type": "Record", "keyShape": TEXT, "valueShape": NUMBER}),
        (
            [{f"k{n}": 1.0 for n in range(65)}],
            {"type": "Record", "keyShape": TEXT, "valueShape": NUMBER},
        ),
    ],
)
def test_a_shape(values: list[Any], shape: Any) -> None:
    assert shape_of(values, TABLES) == shape


def test_what_is_nested_too_deeply_is_unknown() -> None:
    value: Any = "x"
    for _ in range(20):
        value = [value]
    assert "Unknown" in str(shape_of([value], TABLES))

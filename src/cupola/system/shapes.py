"""What stored values look like: types inferred from samples, as dashboards show them (spec: deploy
API, section 19).

A shape is JSON: `{"type": "String"}`, `{"type": "Object", "fields": [...]}` and so on. Shapes of
several values are one shape: fields that some lack are optional, different types are a union.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from cupola.errors import InvalidIdError
from cupola.values import Int64, Value, is_identifier, table_number_of

Shape = dict[str, Any]
_FIELDS_MAX = 64  # an object with more is rather a record
_DEPTH_MAX = 8

NEVER: Shape = {"type": "Never"}
UNKNOWN: Shape = {"type": "Unknown"}


def shape_of(values: Iterable[Value], tables: Mapping[int, str], depth: int = 0) -> Shape:
    """The shape that all values have. `tables`: names by number, to know ids by."""
    if depth > _DEPTH_MAX:
        return UNKNOWN
    by_type: dict[str, list[Any]] = {}
    for value in values:
        by_type.setdefault(_type_of(value, tables), []).append(value)
    if "String" in by_type:  # some that look like ids are none then
        for name in [name for name in by_type if name.startswith("Id ")]:
            del by_type[name]
    shapes = [_shape(name, found, tables, depth) for name, found in sorted(by_type.items())]
    if not shapes:
        return NEVER
    return shapes[0] if len(shapes) == 1 else {"type": "Union", "shapes": shapes}


def _type_of(value: Value, tables: Mapping[int, str]) -> str:
    match value:
        case None:
            return "Null"
        case bool():
            return "Boolean"
        case Int64():
            return "Int64"
        case int() | float():
            return "Float64"
        case str():
            return _type_of_text(value, tables)
        case bytes():
            return "Bytes"
        case list():
            return "Array"
    return "Object"


def _type_of_text(text: str, tables: Mapping[int, str]) -> str:
    try:
        table = tables.get(table_number_of(text))
    except InvalidIdError:
        table = None
    return "String" if table is None else f"Id {table}"


def _shape(name: str, values: list[Any], tables: Mapping[int, str], depth: int) -> Shape:
    kind, _, table = name.partition(" ")
    match kind:
        case "Id":
            return {"type": "Id", "tableName": table}
        case "Float64":
            special = any(map(_is_special, values))
            return {"type": "Float64", "float64Range": {"hasSpecialValues": special}}
        case "Array":
            items = (item for each in values for item in each)
            return {"type": "Array", "shape": shape_of(items, tables, depth + 1)}
        case "Object":
            return _object(values, tables, depth)
    return {"type": kind}


def _is_special(number: float) -> bool:
    return not math.isfinite(number) or (number == 0 and math.copysign(1, number) < 0)


def _object(values: list[dict[str, Any]], tables: Mapping[int, str], depth: int) -> Shape:
    fields: dict[str, list[Any]] = {}
    for value in values:
        for name, item in value.items():
            fields.setdefault(name, []).append(item)
    if len(fields) > _FIELDS_MAX or not all(map(is_identifier, fields)):
        items = (item for found in fields.values() for item in found)
        return {
            "type": "Record",
            "keyShape": shape_of(fields, tables, depth + 1),
            "valueShape": shape_of(items, tables, depth + 1),
        }
    return {
        "type": "Object",
        "fields": [
            {
                "fieldName": name,
                "optional": len(found) < len(values),
                "shape": shape_of(found, tables, depth + 1),
            }
            for name, found in sorted(fields.items())
        ],
    }

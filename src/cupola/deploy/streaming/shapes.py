"""What tables look like, for tools that mirror them: JSON Schemas (draft 7), and names of columns.

A table whose schema declares its fields is told by that. Of any other, the columns are those of its
newest documents, and its JSON Schema allows more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cupola.database.catalog import Catalog, TableInfo, creation_index_id
from cupola.persistence import Reader
from cupola.schema.validators import ObjectValidator
from cupola.values import decode_canonical

Json = dict[str, Any]

_LOOKED_AT: Final = 200
_DRAFT: Final = "http://json-schema.org/draft-07/schema#"
_FLOAT: Final[Json] = {"type": "number"}
_TEXT: Final[Json] = {"type": "string"}
_INTEGER_TEXT: Final[Json] = {"type": "string", "$description": "int64"}
_BASE64: Final[Json] = {"type": "string", "contentEncoding": "base64"}
_DELTA_FIELDS: Final[Json] = {
    "_table": _TEXT,
    "_component": _TEXT,
    "_ts": {"type": "integer"},
    "_deleted": {"type": "boolean"},
}


def json_schema(catalog: Catalog, table: TableInfo, form: str, *, deltas: bool) -> Json:
    """Of the documents of a table in some form; `deltas`: with what tells of a change."""
    declared = _declared(catalog, table)
    fields = {name: _schema(field["fieldType"], form) for name, field in (declared or {}).items()}
    required = [name for name, field in (declared or {}).items() if not field["optional"]]
    properties: Json = {"_id": _TEXT, "_creationTime": _FLOAT, **fields}
    required = ["_id", "_creationTime", *required]
    if deltas:
        properties.update(_DELTA_FIELDS)
        required = ["_id", *_DELTA_FIELDS]  # a deletion has nothing more
    return {
        "type": "object",
        "properties": dict(sorted(properties.items())),
        "required": sorted(required),
        "additionalProperties": declared is None,
        "$schema": _DRAFT,
    }


def columns(catalog: Catalog, reader: Reader, table: TableInfo) -> list[str]:
    """Names of fields, sorted."""
    found = {"_id", "_creationTime"}
    declared = _declared(catalog, table)
    if declared is not None:
        return sorted(found | declared.keys())
    index = creation_index_id(table.number)
    for _, _, body in reader.scan(index, b"", None, descending=True, limit=_LOOKED_AT):
        document = decode_canonical(body)
        assert isinstance(document, dict)
        found |= document.keys()
    return sorted(found)


def _declared(catalog: Catalog, table: TableInfo) -> Mapping[str, Json] | None:
    schema = catalog.schema
    definition = schema.tables.get(table.name) if schema is not None and schema.validate else None
    if definition is None or not isinstance(definition.document, ObjectValidator):
        return None
    fields: Mapping[str, Json] = definition.document.to_json()["value"]
    return fields


def _schema(validator: Json, form: str) -> Json:
    """The JSON Schema of what a validator lets pass, in some form."""
    kind: str = validator["type"]
    value: Any = validator.get("value")
    match kind:
        case "null" | "boolean" | "string":
            return {"type": kind}
        case "id":
            return {"type": "string", "$description": f"Id({validator['tableName']})"}
        case "number":
            return _FLOAT
        case "bigint" | "commitTs":
            return _integer(form)
        case "bytes":
            return _BASE64 if _is_clean(form) else _marked("$bytes")
        case "literal":
            return {"enum": [value]} if isinstance(value, str | bool | float | int) else {}
        case "array":
            return {"type": "array", "items": _schema(value, form)}
        case "union":
            return {"anyOf": [_schema(member, form) for member in value]}
        case "record":
            item = validator["values"]
            return {
                "type": "object",
                "additionalProperties": _schema(item.get("fieldType", item), form),
            }
        case "object":
            return {
                "type": "object",
                "properties": {n: _schema(f["fieldType"], form) for n, f in value.items()},
                "required": sorted(name for name, f in value.items() if not f["optional"]),
                "additionalProperties": False,
            }
    return {}


def _is_clean(form: str) -> bool:
    return form in ("json", "convex_clean_json")


def _integer(form: str) -> Json:
    if form == "export_json":
        return {"type": "integer"}
    return _INTEGER_TEXT if _is_clean(form) else _marked("$integer")


def _marked(name: str) -> Json:
    return {"type": "object", "properties": {name: _TEXT}, "required": [name]}

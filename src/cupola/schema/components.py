"""Schemas and validators of components: what they call a table is not what the deployment calls it.

A component's code names tables as if it were alone. Where its validators are stored and compiled,
the names are qualified (`values.paths`); where they are shown, they are as written.
"""

from __future__ import annotations

from typing import Any

from cupola.values import qualified_table, split_qualified

Json = Any


def in_component(tree: Json, component: str) -> Json:
    """A validator's JSON with qualified names of tables; "" leaves all as it is."""
    if not component:
        return tree
    match tree:
        case {"type": "id", "tableName": str(name)}:
            return {**tree, "tableName": qualified_table(component, name)}
        case dict():
            return {key: in_component(value, component) for key, value in tree.items()}
        case list():
            return [in_component(each, component) for each in tree]
    return tree


def schema_in_component(schema: Json, component: str) -> Json:
    """The same for what `defineSchema(...).export()` writes."""
    if not component or not isinstance(schema, dict):
        return schema
    tables = [_table_in_component(table, component) for table in schema.get("tables", ())]
    return {**schema, "tables": tables}


def as_written(tree: Json) -> Json:
    """A validator's JSON with the tables' names as its component writes them."""
    match tree:
        case {"type": "id", "tableName": str(name)}:
            return {**tree, "tableName": _own_name(name)}
        case dict():
            return {key: as_written(value) for key, value in tree.items()}
        case list():
            return [as_written(each) for each in tree]
    return tree


def schema_of_component(schema: Json, component: str) -> Json:
    """Of a schema's JSON, the tables of one component, or of the app itself, as written."""
    tables = [
        {**as_written(table), "tableName": split_qualified(table["tableName"])[1]}
        for table in schema["tables"]
        if split_qualified(table["tableName"])[0] == component
    ]
    return {**schema, "tables": tables}


def _own_name(name: str) -> str:
    return name.removeprefix("_component") if name.startswith("_") else split_qualified(name)[1]


def _table_in_component(table: Json, component: str) -> Json:
    if not isinstance(table, dict) or not isinstance(name := table.get("tableName"), str):
        return table
    references = [
        {**each, "table": qualified_table(component, str(each.get("table")))}
        for each in table.get("references") or ()
    ]
    return {
        **table,
        "tableName": qualified_table(component, name),
        "documentType": in_component(table.get("documentType"), component),
        **({"references": references} if references else {}),
    }

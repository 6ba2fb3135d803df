"""The schema of a deployment that has tables of both languages, and what a push changes in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from cupola.database.catalog import Catalog
from cupola.errors import SchemaError
from cupola.schema import (
    AnyIndexDefinition,
    IndexDefinition,
    SchemaDefinition,
    TableDefinition,
    TextIndexDefinition,
)
from cupola.values import split_qualified

IndexDiff = dict[str, list[dict[str, Any]]]
ByComponent = dict[str, dict[str, AnyIndexDefinition]]


def schema_text(catalog: Catalog) -> str | None:
    """The schema in force, as answers and events of pushes tell it."""
    return json.dumps(catalog.schema.to_json()) if catalog.schema is not None else None


def joined_schema(
    python: SchemaDefinition, javascript: SchemaDefinition | None
) -> SchemaDefinition:
    """The tables of both. A table may be declared in both languages, if they agree.

    Raises:
        SchemaError: They declare a table in two ways.
    """
    if javascript is None:
        return python
    if not python.tables:
        return javascript
    tables = dict(python.tables)
    for name, table in javascript.checked().tables.items():
        known = tables.get(name)
        tables[name] = table if known is None else _agreed(known, table)
    return SchemaDefinition.of(tables.values(), validate=True)


def _agreed(python: TableDefinition, javascript: TableDefinition) -> TableDefinition:
    name = python.name
    if python.document.to_json() != javascript.document.to_json():
        raise SchemaError(
            f"Table `{name}` is declared in Python and in schema.ts with different fields: "
            f"{python.document.describe()} there, {javascript.document.describe()} here. "
            "Declare it once, or the same in both.",
            code="DuplicateTable",
        )
    indexes = {index.name: index for index in python.indexes}
    for index in javascript.indexes:
        known = indexes.setdefault(index.name, index)
        if (known.fields, known.staged) != (index.fields, index.staged):
            raise SchemaError(
                f"Index `{index.name}` of table `{name}` is declared in Python and in schema.ts "
                "with different fields. Declare it once, or the same in both.",
                code="DuplicateTable",
            )
    searches = {index.name: index for index in python.searches}
    for search in javascript.searches:
        if searches.setdefault(search.name, search) != search:
            raise SchemaError(
                f"Index `{search.name}` of table `{name}` is declared differently in Python and "
                "in schema.ts. Declare it once, or the same in both.",
                code="DuplicateTable",
            )
    references = tuple(dict.fromkeys((*python.references, *javascript.references)))
    return TableDefinition(
        name, python.document, tuple(indexes.values()), tuple(searches.values()), references
    )


# ------------------------------------------------------------------------------------ what changes


def index_diffs(
    catalog: Catalog, schema: SchemaDefinition, components: Iterable[str]
) -> dict[str, IndexDiff]:
    """What a push of `schema` does to the indexes of the app ("") and of each component, as the
    command line prints it.
    """
    before, after = _existing(catalog), _wanted(schema)
    return {
        each: _index_diff(before.get(each, {}), after.get(each, {})) for each in ("", *components)
    }


def _index_diff(
    before: Mapping[str, AnyIndexDefinition], after: Mapping[str, AnyIndexDefinition]
) -> IndexDiff:
    diff: IndexDiff = {
        "added_indexes": [],
        "removed_indexes": [],
        "enabled_indexes": [],
        "disabled_indexes": [],
    }
    for name, index in after.items():
        old = before.get(name)
        if old is None or not old.is_built_like(index):
            diff["added_indexes"].append(_shown(name, index))
        elif old.staged and not index.staged:
            diff["enabled_indexes"].append(_shown(name, index))
        elif index.staged and not old.staged:
            diff["disabled_indexes"].append(_shown(name, index))
    for name, index in before.items():
        new = after.get(name)
        if new is None or not new.is_built_like(index):
            diff["removed_indexes"].append(_shown(name, index))
    return diff


def _existing(catalog: Catalog) -> ByComponent:
    """Indexes that serve, by component and `table.index`."""
    found: ByComponent = {}
    for table in catalog.by_name.values():
        if table.document_id is not None:
            indexes = found.setdefault(table.component, {})
            for index in table.declared:
                if index.state in ("ready", "staged"):
                    indexes[f"{table.own_name}.{index.name}"] = index.definition
    return found


def _wanted(schema: SchemaDefinition) -> ByComponent:
    found: ByComponent = {}
    for table in schema.tables.values():
        component, name = split_qualified(table.name)
        indexes = found.setdefault(component, {})
        for index in (*table.indexes, *table.searches):
            indexes[f"{name}.{index.name}"] = index
    return found


def _shown(name: str, index: AnyIndexDefinition) -> dict[str, Any]:
    if not isinstance(index, IndexDefinition):
        tree = index.to_json()
        del tree["indexDescriptor"]
        kind = "search" if isinstance(index, TextIndexDefinition) else "vector"
        return {"name": name, "type": kind, **tree, "staged": index.staged}
    return {
        "name": name,
        "type": "database",
        "fields": [*index.fields, "_creationTime"],
        "staged": index.staged,
    }

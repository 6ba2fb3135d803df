"""What a push would do to stored data, told before it begins (spec: deploy API, section 4.3).

The command line asks before it drops or builds an index of many documents, and warns of a schema
that is slow to check.
"""

from __future__ import annotations

from typing import Any

from cupola.backend import Backend
from cupola.database.catalog import Catalog
from cupola.deploy.samples import Size, size_of_table
from cupola.deploy.schemas import index_diffs
from cupola.schema import SchemaDefinition, TableDefinition, is_subset

Json = dict[str, Any]
_CHANGES = {
    "added_indexes": "added",
    "enabled_indexes": "enabled",
    "disabled_indexes": "disabled",
    "removed_indexes": "dropped",
}


async def schema_prediction(backend: Backend, schema: SchemaDefinition) -> Json:
    """What the app's own part of an evaluation says."""
    catalog = backend.node.committer.catalog
    diff = index_diffs(catalog, schema, ())[""]
    names = {*schema.tables, *(i["name"].partition(".")[0] for each in diff.values() for i in each)}
    sizes = {name: await size_of_table(backend, name) for name in sorted(names)}
    return {
        "definitionPath": "",
        "schemaValidation": schema.validate,
        "tables": [
            _table(catalog, schema, table, sizes[name])
            for name, table in sorted(schema.tables.items())
        ],
        "indexes": [
            {**index, "change": change, **_work(catalog, index, change, sizes)}
            for kind, change in _CHANGES.items()
            for index in diff[kind]
        ],
        "discardedStagedValidators": [],
    }


def _table(catalog: Catalog, schema: SchemaDefinition, table: TableDefinition, size: Size) -> Json:
    return {
        "name": table.name,
        "outcome": _outcome(catalog, schema, table),
        "numDocs": size.documents,
        "sizeBytes": size.size_bytes,
    }


def _outcome(catalog: Catalog, schema: SchemaDefinition, table: TableDefinition) -> str:
    if not schema.validate:
        return "notValidated"
    old = catalog.schema
    known = old.tables.get(table.name) if old is not None and old.validate else None
    if known is not None and is_subset(known.document, table.document):
        return "supersetOfEnforced"
    return "mustWalk"


def _work(catalog: Catalog, index: Json, change: str, sizes: dict[str, Size]) -> Json:
    table = index["name"].partition(".")[0]
    return {
        "needsBackfill": change == "added" and table in catalog.by_name,
        "numDocs": sizes[table].documents,
    }

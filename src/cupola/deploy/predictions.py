"""What a push would do to stored data, told before it begins (spec: deploy API, section 4.3).

The command line asks before it drops or builds an index of many documents, and warns of a schema
that is slow to check.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cupola.backend import Backend
from cupola.database.catalog import Catalog
from cupola.deploy.components import DefinedComponent, Instance
from cupola.deploy.samples import Size, size_of_table
from cupola.deploy.schemas import index_diffs
from cupola.schema import SchemaDefinition, TableDefinition, is_subset
from cupola.schema.components import schema_in_component
from cupola.values import qualified, split_qualified

Json = dict[str, Any]
_CHANGES = {
    "added_indexes": "added",
    "enabled_indexes": "enabled",
    "disabled_indexes": "disabled",
    "removed_indexes": "dropped",
}


async def component_predictions(
    backend: Backend, root: Instance, definitions: Mapping[str, DefinedComponent]
) -> Json:
    """What an evaluation says of each component of a push, by its path."""
    found: Json = {}
    for each in root.all():
        if each.path:
            text = definitions[each.definition].schema
            tree = {"tables": [], "schemaValidation": False} if text is None else json.loads(text)
            schema = SchemaDefinition.from_json(schema_in_component(tree, each.path))
            found[each.path] = await schema_prediction(backend, schema, each.path, each.definition)
    return found


async def schema_prediction(
    backend: Backend, schema: SchemaDefinition, component: str = "", definition: str = ""
) -> Json:
    """What an evaluation says of the app, or of one component. `schema`: its own tables alone, by
    qualified names.
    """
    catalog = backend.node.committer.catalog
    diff = index_diffs(catalog, schema, [component])[component]
    own = {split_qualified(name)[1] for name in schema.tables}
    names = {*own, *(i["name"].partition(".")[0] for each in diff.values() for i in each)}
    sizes = {
        name: await size_of_table(backend, qualified(component, name)) for name in sorted(names)
    }
    return {
        "definitionPath": definition,
        "schemaValidation": schema.validate,
        "tables": [
            _table(catalog, schema, table, sizes[split_qualified(name)[1]])
            for name, table in sorted(schema.tables.items())
        ],
        "indexes": [
            {**index, "change": change, **_work(catalog, index, change, sizes, component)}
            for kind, change in _CHANGES.items()
            for index in diff[kind]
        ],
        "discardedStagedValidators": [],
    }


def _table(catalog: Catalog, schema: SchemaDefinition, table: TableDefinition, size: Size) -> Json:
    return {
        "name": split_qualified(table.name)[1],
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


def _work(
    catalog: Catalog, index: Json, change: str, sizes: dict[str, Size], component: str
) -> Json:
    table = index["name"].partition(".")[0]
    return {
        "needsBackfill": change == "added" and qualified(component, table) in catalog.by_name,
        "numDocs": sizes[table].documents,
    }

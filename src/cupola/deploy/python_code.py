"""Which code of the app's folder serves, as the deployment remembers it.

It tells a start of the server from a change: only one that differs, in its files or in the schema
that comes of them, is a push in the history. What lies outside `functions/` is not looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from cupola.backend import Backend
from cupola.database.catalog import DEPLOYMENT, Document
from cupola.database.load import load_documents
from cupola.database.ranges import EVERYTHING
from cupola.database.transaction import Transaction
from cupola.deploy.answers import Json
from cupola.deploy.events import component_diff
from cupola.deploy.schemas import index_diffs, schema_text
from cupola.functions.app import App
from cupola.system.events import PUSH, note
from cupola.values import encode

PYTHON: Final = "python"
"""The name of what is remembered, in the table of the deployment."""


class PythonFacts(msgspec.Struct, frozen=True):
    """`version`: a digest of all files of `functions/`. `crons`: digests, by name."""

    version: str = ""
    modules: list[str] = []
    crons: dict[str, str] = {}

    @classmethod
    def of(cls, app: App) -> PythonFacts:
        crons = {
            job.name: hashlib.sha256(encode(job.to_value())).hexdigest()[:16]
            for job in app.python_crons
        }
        return cls(app.version.partition("+")[0], sorted(app.sources), crons)


def change_event(
    backend: Backend, python: App, joined: App
) -> Callable[[Transaction], None] | None:
    """What notes the event of a push, in the transaction that puts its schema in force; None if
    nothing of it differs from what serves. `joined`: with the pushed code beside it.
    """
    facts = PythonFacts.of(python)
    known = _known(load_documents(backend.node.persistence.reader, DEPLOYMENT))
    catalog = backend.node.committer.catalog
    has_schema = catalog.schema is not None and catalog.schema.to_json() == joined.schema.to_json()
    if known is None and not facts.modules:
        return None  # all code is pushed
    if known is not None and known[1] == facts and has_schema:
        return None
    indexes = index_diffs(catalog, joined.schema, [])[""]

    def write(transaction: Transaction) -> None:
        rows = transaction.scan(transaction.system_table(DEPLOYMENT).primary, EVERYTHING)
        found = _known({str(row.value["_id"]): row.value for _, row in rows})
        document_id, before = found or (None, PythonFacts())
        fields: Document = {"name": PYTHON, "value": msgspec.json.encode(facts).decode()}
        transaction.put_system(DEPLOYMENT, document_id, fields)
        in_force = backend.node.committer.catalog
        schemas = [schema_text(in_force), schema_text(transaction.catalog)]
        diff = _diff(before, facts, is_new=found is None, indexes=indexes, schemas=schemas)
        nobody: Json = {"added": [], "removed": []}
        metadata = {"auth_diff": nobody, "component_diffs": [component_diff("", diff)]}
        note(transaction, backend.limits, PUSH, metadata)

    return write


def _known(documents: Mapping[str, Document]) -> tuple[str, PythonFacts] | None:
    for document_id, document in documents.items():
        if document["name"] == PYTHON:
            facts = msgspec.json.decode(str(document["value"]), type=PythonFacts)
            return document_id, facts
    return None


def _diff(
    before: PythonFacts,
    after: PythonFacts,
    *,
    is_new: bool,
    indexes: Any,
    schemas: list[str | None],
) -> Json:
    """In the form of what a push of JavaScript has changed."""
    old, new = set(before.modules), set(after.modules)
    kept = before.crons.keys() & after.crons.keys()
    previous, following = schemas
    return {
        "diffType": {"type": "create" if is_new else "modify"},
        "moduleDiff": {"added": sorted(new - old), "removed": sorted(old - new)},
        "udfConfigDiff": None,
        "cronDiff": {
            "added": sorted(after.crons.keys() - kept),
            "updated": sorted(name for name in kept if before.crons[name] != after.crons[name]),
            "deleted": sorted(before.crons.keys() - kept),
        },
        "indexDiff": indexes,
        "schemaDiff": (
            {"previous_schema": previous, "next_schema": following}
            if previous != following
            else None
        ),
    }

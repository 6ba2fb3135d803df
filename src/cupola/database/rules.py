"""What a table demands of a write beyond the document's own form: unique indexes and references.

Most tables demand nothing; `Catalog.rules` then says None, and a write goes on at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from cupola.schema import OnDelete, ReferenceDefinition, SchemaDefinition, emptied
from cupola.values import UnsetType

if TYPE_CHECKING:
    from cupola.database.catalog import Index, TableInfo

FindIndex = Callable[["TableInfo", str], "Index | None"]
"""An index of a table by name, if it has one."""


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """A field of `source` that holds ids of documents of `target`.

    `index` begins with the field. `empty` is what the field holds instead of an id, if anything
    may (`...`: nothing).
    """

    source: TableInfo
    field: str
    target: str
    on_delete: OnDelete
    index: Index
    empty: UnsetType | None


@dataclasses.dataclass(frozen=True, slots=True)
class TableRules:
    """The rules that a write to one table must keep."""

    unique: tuple[Index, ...]
    references: tuple[Reference, ...]
    incoming: tuple[Reference, ...]
    """References of any table to this one."""


def references_of(
    schema: SchemaDefinition | None, tables: dict[str, TableInfo], find_index: FindIndex
) -> list[Reference]:
    """Every reference of a schema whose tables and indexes exist."""
    found = []
    for definition in schema.tables.values() if schema is not None else ():
        for reference in definition.references:
            source = tables.get(definition.name)
            fields = [i.name for i in definition.indexes if i.fields[0] == reference.field]
            indexes = [find_index(source, name) for name in fields] if source is not None else []
            index = next((index for index in indexes if index is not None), None)
            if source is not None and index is not None:
                found.append(_reference(source, reference, index, definition.document))
    return found


def _reference(
    source: TableInfo, definition: ReferenceDefinition, index: Index, document: object
) -> Reference:
    return Reference(
        source,
        definition.field,
        definition.table,
        definition.on_delete,
        index,
        emptied(document, definition.field),  # type: ignore[arg-type]
    )


def rules_of(
    table: TableInfo, unique: tuple[Index, ...], references: list[Reference]
) -> TableRules | None:
    """The rules of one table; None where it has none."""
    own = tuple(r for r in references if r.source.number == table.number)
    incoming = tuple(r for r in references if r.target == table.name)
    return TableRules(unique, own, incoming) if unique or own or incoming else None

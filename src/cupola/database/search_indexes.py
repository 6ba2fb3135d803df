"""Indexes for text and vectors as the catalog knows them.

Their documents are in `_indexes` beside those of other indexes, in the same states. What they hold
is kept elsewhere, derived from the log; see `cupola.search`.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

from cupola.schema import (
    IndexDefinition,
    SearchIndexDefinition,
    TextIndexDefinition,
    VectorIndexDefinition,
)
from cupola.values import Value

Document = dict[str, Value]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class SearchIndex:
    """An index for text or vector search. The rows of its table do not know of it.

    `document_id`, of its `_indexes` document, is never given to another index, as `number` is.
    """

    number: int
    table: int
    name: str
    state: str
    definition: SearchIndexDefinition
    document_id: str
    id_number: int = 0
    """What the ids of the table's documents carry; 0: its number."""

    @property
    def is_text(self) -> bool:
        return isinstance(self.definition, TextIndexDefinition)

    @property
    def path(self) -> tuple[str, ...]:
        """The field that is searched."""
        return tuple(self.definition.field.split("."))

    @property
    def filter_paths(self) -> dict[str, tuple[str, ...]]:
        """The fields that a search may ask for, as declared."""
        return {name: tuple(name.split(".")) for name in self.definition.filters}


class SearchBuilds(Protocol):
    """Whoever builds indexes for searches, beside the transactions; a push waits for it."""

    def is_built(self, index: SearchIndex) -> bool:
        """Whether everything that was there when it was declared can be found with it."""
        ...

    def progress(self, index: SearchIndex) -> tuple[int, int]:
        """How many documents are in it so far, and how many there are."""
        ...


class NothingToBuild:
    """Where searches look at the documents themselves."""

    def is_built(self, index: SearchIndex) -> bool:
        return True

    def progress(self, index: SearchIndex) -> tuple[int, int]:
        return 0, 0


def search_index(table: int, document: Document, id_number: int = 0) -> SearchIndex:
    """What an `_indexes` document says of an index of table number `table`."""
    name, state, filters = document["name"], document["state"], document["filterFields"]
    assert isinstance(filters, list)
    paths, staged = tuple(map(str, filters)), state == "staged"
    definition: SearchIndexDefinition
    if "vectorField" in document:
        dimensions = _whole(document["dimensions"])
        definition = VectorIndexDefinition(
            str(name), str(document["vectorField"]), dimensions, paths, staged
        )
    else:
        definition = TextIndexDefinition(str(name), str(document["searchField"]), paths, staged)
    return SearchIndex(
        _whole(document["number"]),
        table,
        str(name),
        str(state),
        definition,
        str(document["_id"]),
        id_number,
    )


def definition_fields(index: IndexDefinition | SearchIndexDefinition) -> Document:
    """What the document of a new index says of how it is built."""
    match index:
        case TextIndexDefinition():
            return {"searchField": index.field, "filterFields": list(index.filters)}
        case VectorIndexDefinition():
            return {
                "vectorField": index.field,
                "dimensions": float(index.dimensions),
                "filterFields": list(index.filters),
            }
    return {
        "fields": list(index.fields),
        **({"unique": True} if index.unique else {}),
        **({"aggregate": list(index.aggregate)} if index.aggregate is not None else {}),
    }


def _whole(value: Value) -> int:
    assert isinstance(value, float) and value.is_integer(), value
    return int(value)

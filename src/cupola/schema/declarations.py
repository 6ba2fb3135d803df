"""What a table class says of an index beyond its fields.

class Order(
    Table,
    name="orders",
    indexes={
        "by_day": ["day"],
        "by_number": Unique("number"),
        "by_shop": Aggregate("shop", "day", of="amount"),
        "search_notes": TextIndex("notes", filters=["shop"]),
        "by_embedding": VectorIndex("embedding", dimensions=256),
    },
    references={"customer": "cascade"},
): ...
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias

OnDelete: TypeAlias = Literal["restrict", "cascade", "set-null"]
"""What happens to a document when one that it refers to is deleted."""


class Unique:
    """An index in which no two documents agree in all fields: `Unique("shop", "number")`.

    Documents in which one of the fields is absent or None are not compared.
    """

    def __init__(self, *fields: str) -> None:
        self.fields = fields

    def __repr__(self) -> str:
        return f"Unique({', '.join(map(repr, self.fields))})"


class Aggregate:
    """An index that knows how many documents each of its ranges has, without reading them.

    `of` names number fields whose sum, least and greatest value each range knows as well.
    `unique` makes it a `Unique` index, too.
    """

    def __init__(self, *fields: str, of: str | Sequence[str] = (), unique: bool = False) -> None:
        self.fields = fields
        self.of = (of,) if isinstance(of, str) else tuple(of)
        self.unique = unique

    def __repr__(self) -> str:
        return f"Aggregate({', '.join(map(repr, self.fields))}, of={self.of!r})"


class TextIndex:
    """The words of a text field, for `with_search_index`. `filters` names fields by whose values a
    search can be narrowed. `staged`: it is built, but refuses searches until that is taken away.
    """

    def __init__(self, field: str, *, filters: Sequence[str] = (), staged: bool = False) -> None:
        self.field = field
        self.filters = filters
        self.staged = staged

    def __repr__(self) -> str:
        return f"TextIndex({self.field!r}, filters={list(self.filters)!r})"


class VectorIndex:
    """The vectors of a field, lists of `dimensions` numbers, for `ctx.vector_search` in actions.
    `filters` and `staged` as for a `TextIndex`.
    """

    def __init__(
        self, field: str, *, dimensions: int, filters: Sequence[str] = (), staged: bool = False
    ) -> None:
        self.field = field
        self.dimensions = dimensions
        self.filters = filters
        self.staged = staged

    def __repr__(self) -> str:
        return (
            f"VectorIndex({self.field!r}, dimensions={self.dimensions}, "
            f"filters={list(self.filters)!r})"
        )


IndexDeclaration: TypeAlias = Sequence[str] | Unique | Aggregate | TextIndex | VectorIndex

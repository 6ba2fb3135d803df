"""What a table class says of an index beyond its fields.

class Order(
    Table,
    name="orders",
    indexes={
        "by_day": ["day"],
        "by_number": Unique("number"),
        "by_shop": Aggregate("shop", "day", of="amount"),
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


IndexDeclaration: TypeAlias = Sequence[str] | Unique | Aggregate

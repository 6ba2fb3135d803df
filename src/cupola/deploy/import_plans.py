"""What an import will do, as the process that has read its file says it."""

from __future__ import annotations

import msgspec


class TablePlan(msgspec.Struct, frozen=True):
    """`number`: what the table's ids carry, None where it does not matter. `delete`: how many
    documents go. `creates`: how many come, from `file`."""

    name: str
    number: int | None
    delete: int
    creates: int
    file: str | None


class Plan(msgspec.Struct, frozen=True):
    """What an import does. `renumber`: tables that get other numbers once they are empty."""

    tables: list[TablePlan]
    renumber: dict[str, int]

"""What an import will do, as the process that has read its file says it."""

from __future__ import annotations

import msgspec


class TablePlan(msgspec.Struct, frozen=True):
    """`number`: what the table's ids carry, None where it does not matter. `delete`: how many
    documents go, as far as is known; `replaces`: all go that are there by then. `creates`: how many
    come, from `file`. Of `_storage` they are those of files; as a table's, its name says of which
    component.
    """

    name: str
    number: int | None
    delete: int
    creates: int
    file: str | None
    replaces: bool = False


class Plan(msgspec.Struct, frozen=True):
    """What an import does. `renumber`: tables that get other numbers once they are empty."""

    tables: list[TablePlan]
    renumber: dict[str, int]


class StoredFile(msgspec.Struct, frozen=True, rename="camel"):
    """A file of a ZIP, of a component or of the app (""). `entry`: where its bytes are in there;
    None if they are stored already. `sha256` is base64, None where the ZIP does not say;
    `creation_time` in ms.
    """

    id: str
    size: int
    entry: str | None
    creation_time: float | None = None
    sha256: str | None = None
    content_type: str | None = None
    component: str = ""

"""What functions name tables and documents by."""

from __future__ import annotations

from cupola.errors import DatabaseUseError, InvalidIdError
from cupola.schema import Table


def table_name(table: type[Table] | str) -> str:
    if isinstance(table, str):
        return table
    if isinstance(table, type) and issubclass(table, Table):
        return table.__cupola_table__.name
    raise DatabaseUseError(
        f"A table is named by its class or by its name, not by {table!r}.", code="BadArguments"
    )


def require_id(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidIdError(f"A document id is a string, not {value!r}.")
    return value

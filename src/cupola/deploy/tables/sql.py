"""A script of SQL that makes the tables and fills them, in PostgreSQL's dialect.

Most of it is standard SQL, which DuckDB reads as well; bytes and infinite numbers are written as
PostgreSQL reads them. For SQLite there is a file of its own.
"""

from __future__ import annotations

import math
import os
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final

from cupola.database.load import load_catalog
from cupola.deploy.tables.columns import Kind, Table, rows_of, tables_of
from cupola.deploy.tables.sqlite import quoted
from cupola.deploy.zip_export import Told
from cupola.persistence import Reader

_ROWS: Final = 200  # in one statement
_TYPES: Final = {
    Kind.BOOLEAN: "BOOLEAN",
    Kind.INT64: "BIGINT",
    Kind.FLOAT64: "DOUBLE PRECISION",
    Kind.TEXT: "TEXT",
    Kind.BYTES: "BYTEA",
    Kind.JSON: "JSON",
}

_SPECIAL: Final = {math.inf: "Infinity", -math.inf: "-Infinity"}


def write_sql(reader: Reader, ts: int, path: Path, told: Told) -> None:
    """Write everything; `path` exists only when the file is whole."""
    temporary = path.with_name(path.name + ".new")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(f"-- A snapshot of a Cupola deployment at timestamp {ts}\nBEGIN;\n")
        for table in tables_of(reader, load_catalog(reader), told):
            _write(file, reader, table, told)
        file.write("COMMIT;\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _write(file: IO[str], reader: Reader, table: Table, told: Told) -> None:
    columns = [f"{quoted(c.name)} {_TYPES[c.kind]}" for c in table.columns]
    columns[0] += " PRIMARY KEY"
    name = quoted(table.name)
    file.write(f"\nCREATE TABLE {name} (\n  " + ",\n  ".join(columns) + "\n);\n")
    rows = rows_of(reader, table, told)
    while some := list(islice(rows, _ROWS)):
        lines = ",\n".join(f"({', '.join(map(literal, row))})" for row in some)
        file.write(f"INSERT INTO {name} VALUES\n{lines};\n")
    for index, fields in table.indexes.items():
        on = ", ".join(map(quoted, fields))
        file.write(f"CREATE INDEX {quoted(f'{table.name}_{index}')} ON {name} ({on});\n")


def literal(value: Any) -> str:
    """A value as SQL writes it. PostgreSQL's texts cannot hold U+0000; it becomes U+FFFD."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        # -0.0 as a literal is a decimal number, which has no such zero.
        plain = math.isfinite(value) and value != 0.0
        return repr(value) if plain else f"CAST('{_SPECIAL.get(value, value)}' AS DOUBLE PRECISION)"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, bytes):
        return f"CAST('\\x{value.hex()}' AS BYTEA)"
    assert isinstance(value, str)
    return "'" + value.replace("'", "''").replace("\0", "\ufffd") + "'"

"""An SQLite file with a table per table, and the app's indexes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import apsw

from cupola.database.load import load_catalog
from cupola.deploy.tables.columns import Kind, Table, rows_of, tables_of
from cupola.deploy.zip_export import Told
from cupola.persistence import Reader

_TYPES: Final = {
    Kind.BOOLEAN: "BOOLEAN",
    Kind.INT64: "INTEGER",
    Kind.FLOAT64: "REAL",
    Kind.TEXT: "TEXT",
    Kind.BYTES: "BLOB",
    Kind.JSON: "TEXT",
}


def write_sqlite(reader: Reader, ts: int, path: Path, told: Told) -> None:
    """Write everything; `path` exists only when the file is whole. `_export` says of which moment
    it is.
    """
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    connection = apsw.Connection(os.fspath(temporary))
    try:
        connection.pragma("journal_mode", "OFF")  # an unfinished file is thrown away
        connection.pragma("synchronous", "OFF")
        connection.execute("BEGIN; CREATE TABLE _export(ts INTEGER)").fetchall()
        connection.execute("INSERT INTO _export VALUES(?)", (ts,)).fetchall()
        for table in tables_of(reader, load_catalog(reader), told):
            _write(connection, reader, table, told)
        connection.execute("COMMIT").fetchall()
    finally:
        connection.close()
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def _write(connection: apsw.Connection, reader: Reader, table: Table, told: Told) -> None:
    columns = [f"{quoted(c.name)} {_TYPES[c.kind]}" for c in table.columns]
    columns[0] += " PRIMARY KEY"
    name = quoted(table.name)
    connection.execute(f"CREATE TABLE {name}({', '.join(columns)})").fetchall()
    places = ", ".join("?" * len(columns))
    connection.executemany(
        f"INSERT INTO {name} VALUES({places})",
        rows_of(reader, table, told),
    ).fetchall()
    for index, fields in table.indexes.items():
        on = ", ".join(map(quoted, fields))
        index_name = quoted(f"{table.name}_{index}")
        connection.execute(f"CREATE INDEX {index_name} ON {name}({on})").fetchall()


def quoted(name: str) -> str:
    """A name of SQL. Identifiers of ours have no quotes, names of fields may."""
    return '"' + name.replace('"', '""') + '"'

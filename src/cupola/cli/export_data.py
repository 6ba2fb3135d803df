"""`cupola export`: one moment of a data folder, in some format; beside a server or without one."""

import asyncio
import json
from pathlib import Path
from typing import Literal

from cupola.cli.exit_codes import CommandFailed, Exit
from cupola.cli.progress import Told, progress_bars
from cupola.cli.settings import DATA_FILE, FILES_FOLDER
from cupola.database.catalog import STORAGE, primary_index_id
from cupola.database.load import load_catalog
from cupola.deploy.zip_export import FILES, bodies_of, size_of, user_tables, write_zip
from cupola.errors import PersistenceError
from cupola.files.opening import open_store
from cupola.persistence import Reader
from cupola.persistence.sqlite.reader import SqliteSnapshots
from cupola.values import decode_canonical

Format = Literal["zip", "parquet", "sqlite", "sql"]

_ENDINGS: dict[str, Format] = {
    ".zip": "zip",
    ".sqlite": "sqlite",
    ".sqlite3": "sqlite",
    ".db": "sqlite",
    ".sql": "sql",
}


def export(
    path: Path,
    chosen: Format | None,
    data: Path,
    files: str | None,
    *,
    include_files: bool,
    as_json: bool,
) -> None:
    """Write `path`, and print of which moment it is.

    Raises:
        CommandFailed: The format is unclear, or `path` exists.
        PersistenceError: There is no data, or it cannot be read.
    """
    kind = _format_of(path, chosen)
    if include_files and kind != "zip":
        raise CommandFailed("Only a ZIP can hold stored files.", Exit.USAGE)
    if path.exists():
        raise CommandFailed(f"{path} exists already; choose another name.", Exit.USAGE)
    source = data / DATA_FILE
    if not source.is_file():
        raise PersistenceError(f"There is no data at {source}. Choose another --data folder.")
    address = (files or (data / FILES_FOLDER).as_uri()) if include_files else None
    path.parent.mkdir(parents=True, exist_ok=True)
    snapshots = SqliteSnapshots(str(source))
    snapshot = snapshots.open()
    try:
        ts = snapshot.newest_ts()
        totals = _totals(snapshot, include_files=include_files)
        with progress_bars("Exporting", totals) as told:
            _write(kind, snapshot, ts, path, address, told)
    finally:
        snapshot.close()
        snapshots.close()
    totals.pop(FILES, None)
    if as_json:
        print(json.dumps({"path": str(path), "format": kind, "ts": ts, "tables": totals}))
    else:
        count = sum(totals.values())
        print(f"Exported {count:,} documents of {len(totals)} tables as of {ts} to {path}")


def _format_of(path: Path, chosen: Format | None) -> Format:
    found = chosen or _ENDINGS.get(path.suffix.lower())
    if found is None:
        endings = ", ".join(_ENDINGS)
        raise CommandFailed(
            f"Choose a --format, or a name that ends with one of {endings}.", Exit.USAGE
        )
    return found


def _totals(reader: Reader, *, include_files: bool) -> dict[str, int]:
    totals = {table.name: size_of(reader, table) for table in user_tables(load_catalog(reader))}
    if include_files:
        totals[FILES] = 0
        for body in bodies_of(reader, primary_index_id(STORAGE)):
            document = decode_canonical(body)
            assert isinstance(document, dict)
            totals[FILES] += int(document["size"])  # type: ignore[arg-type]
    return totals


def _write(
    kind: Format, reader: Reader, ts: int, path: Path, address: str | None, told: Told
) -> None:
    if kind == "zip":
        store = open_store(address) if address is not None else None
        asyncio.run(write_zip(reader, ts, path, store, told))
    elif kind == "parquet":
        from cupola.deploy.tables.parquet import write_parquet

        write_parquet(reader, ts, path, told)
    elif kind == "sqlite":
        from cupola.deploy.tables.sqlite import write_sqlite

        write_sqlite(reader, ts, path, told)
    else:
        from cupola.deploy.tables.sql import write_sql

        write_sql(reader, ts, path, told)

"""A folder with one Parquet file per table, through pyarrow (Apache Parquet format 2.6)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cupola.database.load import load_catalog
from cupola.deploy.tables.columns import Kind, Table, rows_of, tables_of
from cupola.deploy.zip_export import Told
from cupola.errors import ConfigurationError
from cupola.persistence import Reader

if TYPE_CHECKING:
    import pyarrow

_GROUP_ROWS: Final = 10_000
_GROUP_BYTES: Final = 16 * 2**20


def write_parquet(reader: Reader, ts: int, path: Path, told: Told) -> None:
    """Write `<table>.parquet` for each table; `path` exists only when all are whole.

    Raises:
        ConfigurationError: pyarrow is missing.
    """
    try:
        import pyarrow.parquet  # noqa: F401  # slow to load, and rarely needed
    except ImportError:
        raise ConfigurationError(
            "Parquet needs the package `pyarrow`: install `cupola[parquet]`.", code="NoParquet"
        ) from None
    temporary = path.with_name(path.name + ".new")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for table in tables_of(reader, load_catalog(reader), told):
        _write(reader, ts, table, temporary / f"{table.name}.parquet", told)
    temporary.rename(path)


def _write(reader: Reader, ts: int, table: Table, path: Path, told: Told) -> None:
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    # Its own allocator keeps tens of megabytes that it no longer needs.
    pyarrow.set_memory_pool(pyarrow.system_memory_pool())
    types = {
        Kind.BOOLEAN: pyarrow.bool_(),
        Kind.INT64: pyarrow.int64(),
        Kind.FLOAT64: pyarrow.float64(),
        Kind.TEXT: pyarrow.string(),
        Kind.BYTES: pyarrow.binary(),
        Kind.JSON: pyarrow.string(),
    }
    schema = pyarrow.schema(
        [(column.name, types[column.kind]) for column in table.columns],
        metadata={"cupola.table": table.source.name, "cupola.ts": str(ts)},
    )
    with ParquetWriter(path, schema, compression="zstd") as writer:
        for group in _groups(rows_of(reader, table, told)):
            writer.write_batch(_batch(group, schema))


def _batch(rows: list[list[Any]], schema: pyarrow.Schema) -> pyarrow.RecordBatch:
    import pyarrow

    columns = zip(*rows, strict=True)
    arrays = [
        pyarrow.array(values, kind) for values, kind in zip(columns, schema.types, strict=True)
    ]
    return pyarrow.record_batch(arrays, schema=schema)


def _groups(rows: Iterator[list[Any]]) -> Iterator[list[list[Any]]]:
    """As many rows as are worth a row group, and fit into memory."""
    while group := list(islice(rows, 1)):
        size = _size(group[0])
        for row in rows:
            group.append(row)
            size += _size(row)
            if len(group) >= _GROUP_ROWS or size >= _GROUP_BYTES:
                break
        yield group


def _size(row: list[Any]) -> int:
    return sum(len(value) for value in row if type(value) is str or type(value) is bytes)

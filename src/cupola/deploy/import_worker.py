"""Reads a file that is to be imported, in a process of its own, and says what that would do.

    python -m cupola.deploy.import_worker LIMITS DATABASE FILE FORM MODE FOLDER COMPONENT [TABLE]

Every row is checked here, against values, limits and the schema in force, and written to FOLDER as
it will be stored: one file per table. So is every stored file, against its digest. So the import
itself meets nothing bad. It prints how far it is, and last a `Plan`, or `{"error": ...}`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from cupola.database.catalog import FIRST_USER_TABLE, Catalog
from cupola.database.load import load_catalog
from cupola.deploy.import_files import check_files, count_files
from cupola.deploy.import_plans import Plan, TablePlan
from cupola.deploy.import_rows import ImportRefused, Row, Source
from cupola.deploy.processes import Progress, worker_arguments
from cupola.deploy.zip_export import FILES
from cupola.errors import CupolaError
from cupola.persistence import Reader
from cupola.persistence.sqlite.reader import SqliteSnapshots
from cupola.values import (
    check_document,
    check_identifier,
    encode,
    qualified,
    split_qualified,
    table_number_of,
)

_COUNT_MAX = 1 << 40


def main() -> None:
    data_path, file, form, mode, folder, component, *table = worker_arguments()
    snapshots = SqliteSnapshots(data_path)
    snapshot = snapshots.open()
    try:
        source = Source(Path(file), form, table[0] if table else None, component)
        answer: Any = plan(snapshot, source, mode, Path(folder), component)
    except CupolaError as error:
        answer = {"error": error.message}
    finally:
        snapshot.close()
        snapshots.close()
    print(msgspec.json.encode(answer).decode(), flush=True)


def plan(reader: Reader, source: Source, mode: str, folder: Path, component: str = "") -> Plan:
    """Read and check everything. `component`: whose data are replaced as a whole, if any are.

    Raises:
        CupolaError: Something in the file cannot be stored, or `mode` does not allow it.
    """
    catalog = load_catalog(reader)
    progress = Progress()
    sizes = {
        name: reader.count(table.primary.number, b"", None, limit=_COUNT_MAX)
        for name, table in catalog.by_name.items()
        if table.number >= FIRST_USER_TABLE or name == FILES
    }
    replaces = mode in ("replace", "replaceAll")
    tables = []
    wanted: dict[str, int] = {}
    numbers = {**catalog.numbers, **source.numbers}
    for place, name in enumerate(source.tables):
        check_identifier(split_qualified(name)[1], "table")
        check_empty(name, mode, sizes.get(name, 0))
        rows = _Rows(catalog, name, numbers, folder / f"{place}.rows")
        rows.write(source, progress)
        number = source.numbers.get(name, rows.number)
        if not rows.count and name not in catalog.numbers:  # it comes into being, as it was
            component_path, _ = split_qualified(name)
            if number is not None and catalog.table_of(component_path, number) is None:
                rows.number = number
        if rows.number is not None:
            wanted[name] = rows.number
            if number != rows.number:
                raise ImportRefused(f"Ids in `{name}` are of another table.", code="InvalidId")
        delete = sizes.get(name, 0) if replaces else 0
        tables.append(TablePlan(name, rows.number, delete, rows.count, rows.path.name))
    tables += _files(reader, source, mode, folder, component, progress)
    if mode == "replaceAll":
        others = {name for name in sizes if _is_inside(name, component)} - set(source.tables)
        others -= {FILES}
        tables += [TablePlan(name, None, sizes[name], 0, None) for name in sorted(others)]
    emptied = {t.name for t in tables if t.delete == sizes.get(t.name, 0)}
    return Plan(tables, _renumbered(catalog, wanted, emptied, sizes))


def _files(
    reader: Reader, source: Source, mode: str, folder: Path, component: str, progress: Progress
) -> list[TablePlan]:
    """What becomes of stored files. A file that says nothing of any leaves all as they are."""
    tables: list[TablePlan] = []
    if not source.components_with_files:
        return tables
    sizes = count_files(reader)
    replaces = mode in ("replace", "replaceAll")
    for place, owner in enumerate(source.components_with_files):
        name = qualified(owner, FILES)
        check_empty(name, mode, sizes.get(owner, 0))
        path = folder / f"{FILES}{place}.rows"
        count = check_files(reader, source, owner, path, progress, replaces=replaces)
        delete = sizes.get(owner, 0) if replaces else 0
        tables.append(TablePlan(name, None, delete, count, path.name))
    if mode == "replaceAll":
        names = {qualified(owner, FILES): count for owner, count in sizes.items()}
        others = {name for name in names if _is_inside(name, component)}
        others -= {table.name for table in tables}
        tables += [TablePlan(name, None, names[name], 0, None) for name in sorted(others)]
    return tables


def _is_inside(table: str, component: str) -> bool:
    """Whether a table is of a component, or of one inside it."""
    own, _ = split_qualified(table)
    return not component or own == component or own.startswith(f"{component}/")


def check_empty(name: str, mode: str, size: int) -> None:
    """Raises: ImportRefused: `mode` wants an empty table, and it is not."""
    if mode == "requireEmpty" and size:
        raise ImportRefused(
            f"Table `{name}` has {size} document{'s' * (size != 1)} already. Import with --append "
            "or --replace.",
            code="TableExists",
        )


class _Rows:
    """The rows of one table, checked and written down."""

    def __init__(self, catalog: Catalog, table: str, numbers: dict[str, int], path: Path) -> None:
        self.path = path
        self.count = 0
        self.number: int | None = None
        """What the ids carry, if any row has one."""
        self._table = table
        schema = catalog.schema
        definition = schema.tables.get(table) if schema is not None and schema.validate else None
        self._check = definition.document_checker(numbers) if definition is not None else None

    def write(self, source: Source, progress: Progress) -> None:
        with self.path.open("wb") as file:
            for row in source.rows(self._table):
                self.count += 1
                progress.tell(lambda: f"Checking {self._table}: {self.count:,} documents")
                try:
                    file.write(self._encoded(row) + b"\n")
                except CupolaError as error:
                    text = f"Row {self.count} of `{self._table}`: {error.message}"
                    raise ImportRefused(text, code="InvalidConvexValue") from None

    def _encoded(self, row: Row) -> bytes:
        if "_id" in row:
            number = table_number_of(str(row["_id"]))
            if self.number not in (None, number):
                raise ImportRefused(
                    "Its id is of another table than those before.", code="InvalidId"
                )
            self.number = number
        if "_creationTime" in row and not isinstance(row["_creationTime"], float):
            raise ImportRefused("Its `_creationTime` is no number.", code="InvalidConvexValue")
        body = encode(row)
        check_document(row)
        if self._check is not None:
            self._check(row)
        return body


def _renumbered(
    catalog: Catalog, wanted: dict[str, int], emptied: set[str], sizes: dict[str, int]
) -> dict[str, int]:
    """Numbers that tables must get, so that imported ids keep meaning what they did.

    Raises:
        ImportRefused: A table with documents is in the way.
    """
    changes = {
        name: number
        for name, number in wanted.items()
        if catalog.numbers.get(name) not in (None, number)
    }
    for name in changes:
        if name not in emptied:
            raise ImportRefused(
                f"Documents of `{name}` carry another table's number than those that are there; "
                "import with --replace.",
                code="InvalidId",
            )
    free = max([*catalog.numbers.values(), *wanted.values(), FIRST_USER_TABLE - 1]) + 1
    for name, number in wanted.items():
        owner = catalog.table_of(split_qualified(name)[0], number)
        if owner is None or owner.name == name or owner.name in changes:
            continue
        if owner.number < FIRST_USER_TABLE or (sizes[owner.name] and owner.name not in emptied):
            raise ImportRefused(
                f"Documents of `{name}` carry the number of `{owner.name}`, which is not empty.",
                code="InvalidId",
            )
        changes[owner.name] = free
        free += 1
    return changes


if __name__ == "__main__":
    main()

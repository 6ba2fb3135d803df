"""The transactions of an import: what goes, table by table, then what comes, then what must hold.

Each is small, and others go on between them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from cupola.database.catalog import FIRST_USER_TABLE, SHARED_TABLES, STORAGE, Document
from cupola.database.constraints import has_references, refuse_dangling
from cupola.database.ranges import EVERYTHING, KeyRange
from cupola.database.system_commits import Work
from cupola.database.transaction import Transaction
from cupola.deploy.import_plans import Plan, StoredFile, TablePlan
from cupola.deploy.zip_export import FILES
from cupola.errors import DatabaseUseError
from cupola.values import decode_canonical, split_qualified

_BATCH_ROWS: Final = 200
_BATCH_BYTES: Final = 1 << 20

Told = Callable[[str, int], None]
"""Hears the name of a table, and how many rows of it are about to come in."""


def works_of(plan: Plan, folder: Path, told: Told) -> Iterator[Work]:
    """Delete what goes, renumber, store what comes, look at the references.

    What they raise ends the import, and what came before stays.
    """
    yield lambda transaction: _refuse_outdated(transaction, plan)
    for table in plan.tables:
        if table.delete:
            yield from deletions(table.name)
    if plan.renumber:
        yield from _renumbering(plan)
    for table in plan.tables:
        if table.number is not None:
            yield _table(table.name, table.number)
        if table.file is not None:
            yield from _insertions(table, folder, told)
    yield from _checks()


def _table(name: str, number: int) -> Work:
    component, own_name = split_qualified(name)

    def work(transaction: Transaction) -> None:
        with transaction.within(component):
            if transaction.table(own_name) is None:
                if transaction.catalog.table_of(component, number) is not None:
                    raise _outdated()
                transaction.create_table(own_name, number)

    return work


def _renumbering(plan: Plan) -> Iterator[Work]:
    """Give tables their numbers once they are empty: their documents could not be found any more.
    What somebody has written since to one that is replaced goes like what was there.
    """
    is_done = False

    def work(transaction: Transaction) -> None:
        nonlocal is_done
        _refuse_outdated(transaction, plan)
        for name in plan.renumber:
            table = transaction.catalog.by_name[name]
            rows = list(itertools.islice(transaction.scan(table.primary, EVERYTHING), _BATCH_ROWS))
            for _, document in rows:
                transaction.remove(table, str(document.value["_id"]), document)
            if len(rows) == _BATCH_ROWS:
                return  # and go on in the next transaction
        transaction.renumber(plan.renumber)
        is_done = True

    while not is_done:
        yield work


def _refuse_outdated(transaction: Transaction, plan: Plan) -> None:
    """Raises: DatabaseUseError: Tables or documents that have come since the file was checked are
    in the way of the numbers that tables are to get.
    """
    catalog = transaction.catalog
    replaced = {table.name for table in plan.tables if table.delete}
    for name in plan.renumber.keys() - replaced:
        if next(transaction.scan(catalog.by_name[name].primary, EVERYTHING, expect=1), None):
            raise _outdated()
    tables = catalog.by_name.values()
    numbers = {t.name: t.id_number for t in tables if t.number >= FIRST_USER_TABLE}
    numbers.update(plan.renumber)
    for planned in plan.tables:
        number = planned.number
        if number is not None and numbers.setdefault(planned.name, number) != number:
            raise _outdated()
    places = {(split_qualified(name)[0], number) for name, number in numbers.items()}
    if len(places) < len(numbers):
        raise _outdated()


def _outdated() -> DatabaseUseError:
    return DatabaseUseError(
        "Tables or documents have come into being since this file was checked, and have numbers "
        "that its tables need. Import it again.",
        code="ImportOutdated",
    )


def deletions(name: str) -> Iterator[Work]:
    """Empty a table, whatever refers to its documents; of those that components share, as
    `_storage`, delete what the component in the name has there.
    """
    component, own_name = split_qualified(name)
    start, left = b"", True

    def work(transaction: Transaction) -> None:
        nonlocal start, left
        names = transaction.catalog.by_name
        table = names.get(name) or names.get(own_name)
        is_shared = table is not None and table.number in SHARED_TABLES
        if table is None or (table.name != name and not is_shared):
            left = False
            return
        keys = KeyRange(0, b"", start, None)
        rows = list(itertools.islice(transaction.scan(table.primary, keys), _BATCH_ROWS))
        for _, document in rows:
            if not is_shared or document.value.get("component", "") == component:
                transaction.remove(table, str(document.value["_id"]), document)
        left = len(rows) == _BATCH_ROWS
        start = rows[-1][0] + b"\0" if left else b""

    while left:
        yield work


def _checks() -> Iterator[Work]:
    """Every document of the tables that have references, in batches."""
    places: dict[str, bytes] = {}  # where to go on, by table; empty until the first work has run
    is_first = True

    def work(transaction: Transaction) -> None:
        nonlocal is_first
        if is_first:
            is_first = False
            tables = transaction.catalog.by_name.values()
            places.update((t.name, b"") for t in tables if has_references(transaction, t))
        for name, start in list(places.items())[:1]:
            table = transaction.catalog.by_name[name]
            keys = KeyRange(0, b"", start, None)
            rows = list(itertools.islice(transaction.scan(table.primary, keys), _BATCH_ROWS))
            with transaction.within(table.component):
                for _, document in rows:
                    refuse_dangling(transaction, table, document)
            if len(rows) < _BATCH_ROWS:
                del places[name]
            else:
                places[name] = rows[-1][0] + b"\0"

    while is_first or places:
        yield work


def _insertions(table: TablePlan, folder: Path, told: Told) -> Iterator[Work]:
    assert table.file is not None
    with (folder / table.file).open("rb") as file:
        while rows := list(_batch(file)):
            told(table.name, len(rows))
            is_of_files = split_qualified(table.name)[1] == FILES
            yield _files(rows) if is_of_files else _insertion(table.name, rows)


def _files(rows: list[bytes]) -> Work:
    """Files whose bytes are there already."""

    def work(transaction: Transaction) -> None:
        for row in rows:
            file = msgspec.json.decode(row, type=StoredFile)
            if transaction.get_system(STORAGE, file.id) is not None:
                raise DatabaseUseError(
                    f"There is a file {file.id} already.", code="DocumentIdTaken"
                )
            fields = {
                "sha256": file.sha256,
                "size": float(file.size),
                "contentType": file.content_type,
                "_creationTime": file.creation_time,
                "component": file.component or None,
            }
            known: Document = {name: value for name, value in fields.items() if value is not None}
            transaction.add_system(STORAGE, file.id, known)

    return work


def _batch(file: Any) -> Iterator[bytes]:
    size = 0
    for _ in range(_BATCH_ROWS):
        line = file.readline()
        if not line:
            return
        yield line.removesuffix(b"\n")
        size += len(line)
        if size >= _BATCH_BYTES:
            return


def _insertion(table: str, rows: list[bytes]) -> Work:
    component, name = split_qualified(table)

    def work(transaction: Transaction) -> None:
        with transaction.within(component):
            insert(transaction)

    def insert(transaction: Transaction) -> None:
        for row in rows:
            document = decode_canonical(row)
            assert isinstance(document, dict)
            if "_id" in document:
                if "_creationTime" not in document:
                    document["_creationTime"] = transaction.creation_time
                    transaction.restore(name, document)
                else:
                    transaction.restore(name, document, row)
            elif document.pop("_creationTime", None) is not None:
                transaction.insert(name, document)
            else:
                transaction.insert_encoded(name, document, row)

    return work

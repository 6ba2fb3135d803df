"""`ctx.db`: what functions may do with the data.

Each operation runs inside the call's transaction. While it does, the runtime's interruption is
paused, so that a time limit never strikes inside the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, overload

from cupola.database.catalog import (
    READABLE_TABLES,
    SYSTEM_TABLES,
)
from cupola.errors import DatabaseUseError, InvalidIdError
from cupola.functions.call import Call
from cupola.functions.names import require_id, table_name
from cupola.functions.table_query import Query
from cupola.schema import Id, Table
from cupola.values import Int64, Value, decode_canonical, decode_id

T = TypeVar("T")
TableT = TypeVar("TableT", bound=Table)


class DatabaseReader:
    """Reads of queries and mutations, all at one snapshot."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def get(self, id: Id[T]) -> T | None:
        """The document with this id, or None if there is none (any more).

        Raises:
            InvalidIdError: The text is no document id of this deployment.
        """
        self._call.interruption.pause()
        try:
            document_id = require_id(id)
            found = self._call.transaction.get(document_id)
            if found is None:
                return None
            name = self._call.transaction.table_of(document_id).name
            return self._call.app.to_python(name, found)  # type: ignore[no-any-return]
        finally:
            self._call.interruption.resume()

    @overload
    def query(self, table: type[TableT]) -> Query[TableT]: ...
    @overload
    def query(self, table: str) -> Query[Any]: ...
    def query(self, table: type[TableT] | str) -> Query[Any]:
        """Start a query over a table: all documents in order of creation, until narrowed."""
        return Query(self._call, table_name(table))

    @property
    def snapshot_ts(self) -> Int64:
        """The timestamp of the snapshot that is read, in ns: later commits are not seen here. On
        the clock of `DatabaseWriter.commit_ts`, not on that of `time.time()`. A query that asks is
        cached as one that reads the clock.
        """
        self._call.observe_time()
        return Int64(self._call.transaction.snapshot_ts)

    @property
    def system(self) -> SystemReader:
        """Documents that the system keeps, such as `_scheduled_functions`."""
        return SystemReader(self._call)

    def normalize_id(self, table: type[TableT] | str, text: str) -> Id[TableT] | None:
        """`text` if it is an id of this table (whether or not the document exists), else None."""
        self._call.interruption.pause()
        try:
            info = self._call.transaction.table(table_name(table))
            number, _ = decode_id(text)
            return text if info is not None and info.number == number else None  # type: ignore[return-value]
        except InvalidIdError:
            return None
        finally:
            self._call.interruption.resume()


class SystemReader:
    """Reads of documents that the system keeps for functions to see; they are dicts."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def get(self, id: str) -> dict[str, Any] | None:
        """The document with this id, or None if there is none (any more).

        Raises:
            InvalidIdError: The text is no id of such a document.
        """
        self._call.interruption.pause()
        try:
            document_id = require_id(id)
            table = self._call.transaction.table_of(document_id)
            if table.number not in READABLE_TABLES:
                raise InvalidIdError(
                    f'"{document_id}" is of `{table.name}`; read it with `ctx.db.get`.'
                )
            found = self._call.transaction.get(document_id)
            return None if found is None else fresh_document(found.body)
        finally:
            self._call.interruption.resume()

    def query(self, table: str) -> Query[dict[str, Any]]:
        """Start a query over a system table: `ctx.db.system.query("_scheduled_functions")`."""
        readable = [name for name, number in SYSTEM_TABLES.items() if number in READABLE_TABLES]
        if table not in readable:
            raise DatabaseUseError(
                f"`{table}` is no system table that functions can read; there is "
                f"{', '.join(f'`{name}`' for name in readable)}.",
                code="SystemTable",
            )
        found: Query[dict[str, Any]] = Query(self._call, table)
        return found.filter(lambda row: "component" not in row) if table == "_storage" else found


class DatabaseWriter(DatabaseReader):
    """Reads and writes of mutations: all of them happen, or none."""

    @property
    def commit_ts(self) -> Int64:
        """Becomes the timestamp of this mutation's commit, in ns, wherever it is stored: greater
        than that of any commit before. Until then it sorts above all Int64 and is no number.
        """
        return self._call.transaction.commit_timestamp()

    @overload
    def insert(self, table: TableT) -> Id[TableT]: ...
    @overload
    def insert(self, table: str, document: Mapping[str, Any]) -> Id[Any]: ...
    @overload
    def insert(self, table: type[TableT], document: Mapping[str, Any]) -> Id[TableT]: ...
    def insert(
        self, table: Table | str | type[Table], document: Mapping[str, Any] | None = None
    ) -> Id[Any]:
        """Insert `Message(...)`, or a table name and a dict. Returns the new id."""
        self._call.interruption.pause()
        try:
            if isinstance(table, Table):
                name, fields = table_name(type(table)), table.to_value()
            elif document is None:
                raise DatabaseUseError(
                    "insert takes a document of a table class, or a table and a dict.",
                    code="BadArguments",
                )
            else:
                name = table_name(table)
                fields = self._call.app.to_fields(name, document)
            return self._call.transaction.insert(name, fields)  # type: ignore[return-value]
        finally:
            self._call.interruption.resume()

    def patch(
        self, id: Id[Any], changes: Mapping[str, Any] | None = None, /, **fields: Any
    ) -> None:
        """Change some top-level fields: `patch(id, body="new")` or `patch(id, {"body": "new"})`.

        A field set to UNSET is removed.
        """
        self._call.interruption.pause()
        try:
            document_id = require_id(id)
            name = self._call.transaction.table_of(document_id).name
            given = {**(changes or {}), **fields}
            self._call.transaction.patch(document_id, self._call.app.to_fields(name, given))
        finally:
            self._call.interruption.resume()

    def replace(self, id: Id[Any], document: Table | Mapping[str, Any]) -> None:
        """Replace all fields of a document; its id and creation time stay."""
        self._call.interruption.pause()
        try:
            document_id = require_id(id)
            name = self._call.transaction.table_of(document_id).name
            if isinstance(document, Table):
                fields = document.to_value()
                if table_name(type(document)) != name:
                    raise DatabaseUseError(
                        f'"{document_id}" is in `{name}`; it cannot be replaced by a document of '
                        f"`{table_name(type(document))}`.",
                        code="WrongTable",
                    )
            else:
                fields = self._call.app.to_fields(name, document)
            self._call.transaction.replace(document_id, fields)
        finally:
            self._call.interruption.resume()

    def delete(self, id: Id[Any]) -> None:
        """Delete a document."""
        self._call.interruption.pause()
        try:
            self._call.transaction.delete(require_id(id))
        finally:
            self._call.interruption.resume()


def fresh_document(body: bytes) -> dict[str, Value]:
    """A dict of its own for documents of tables without a class."""
    value = decode_canonical(body)
    assert isinstance(value, dict)
    return value


def fresh_documents(bodies: list[bytes]) -> list[dict[str, Value]]:
    return list(map(fresh_document, bodies))

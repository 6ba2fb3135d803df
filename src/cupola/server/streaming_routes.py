"""Streams of data over HTTP, for tools that mirror the database or bring the data of others (spec:
deploy API, sections 16 and 17). All of it needs an admin key; to read, it may be read-only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import orjson

from cupola.backend import Backend
from cupola.database.catalog import TableInfo
from cupola.deploy.requests import read
from cupola.deploy.streaming.export import (
    Change,
    StreamingExport,
    document_json,
    status_of,
)
from cupola.deploy.streaming.importing import StreamingImport
from cupola.deploy.streaming.records import Records
from cupola.deploy.streaming.selection import FORMS, Form, Selection, form_named
from cupola.deploy.streaming.shapes import columns, json_schema
from cupola.deploy.zip_export import user_tables
from cupola.errors import BadRequestError
from cupola.server.messages import Request, Response

Handler = Callable[[Request], Awaitable[Response]]
_SYNCS_MAX = 100
_TS_MAX = 2**63 - 1
_DIGITS_MAX = len(str(_TS_MAX))
_IMPORT = "/api/streaming_import/"


class _Wanted(msgspec.Struct, frozen=True, rename="camel"):
    """What requests for data may say, in a body or in the URL."""

    snapshot: int | None = None
    cursor: str | int | None = None
    format: str | None = None
    table_name: str | None = None
    component: str | None = None
    selection: Any = None


class _Tables(msgspec.Struct, frozen=True, rename="camel"):
    table_names: list[str]


class StreamingRoutes:
    """Handlers, by path and method in `routes`."""

    def __init__(
        self,
        backend: Backend,
        require_admin: Callable[[Request], None],
        admin_body: Callable[..., Awaitable[bytes]],
    ) -> None:
        self._backend = backend
        self._export = StreamingExport(backend)
        self._import = StreamingImport(backend)
        self._require_admin = require_admin
        self._admin_body = admin_body
        columns: dict[str, Handler] = {"GET": self._column_names}
        self.routes: dict[str, dict[str, Handler]] = {
            "/api/list_snapshot": {"GET": self._list_snapshot, "POST": self._list_snapshot},
            "/api/document_deltas": {"GET": self._document_deltas, "POST": self._document_deltas},
            "/api/json_schemas": {"GET": self._json_schemas},
            "/api/get_table_column_names": columns,
            "/api/get_tables_and_columns": columns,
            "/api/test_streaming_export_connection": {"GET": self._test_connection},
            "/api/v1/data/sync": {"POST": self._sync},
            "/api/v1/data/list_active_syncs": {"GET": self._active_syncs},
            "/api/data_sync_cursor_from_deltas": {"POST": self._cursor_from_deltas},
            _IMPORT + "import_airbyte_records": {"POST": self._import_records},
            _IMPORT + "clear_tables": {"PUT": self._clear_tables},
            _IMPORT + "replace_tables": {"POST": self._replace_tables},
            _IMPORT + "get_schema": {"GET": self._schema},
            _IMPORT + "add_primary_key_indexes": {"PUT": self._add_indexes},
            _IMPORT + "primary_key_indexes_ready": {"GET": self._indexes_ready},
        }

    async def _wanted(self, request: Request) -> tuple[_Wanted, Selection]:
        if request.method == "POST":
            wanted = read(_Wanted, await self._admin_body(request) or b"{}")
        else:
            self._require_admin(request)
            try:
                wanted = msgspec.convert(request.query(), _Wanted, strict=False)
            except msgspec.ValidationError as error:
                raise BadRequestError(str(error), code="BadQueryArgs") from None
        selection = Selection.of(wanted.table_name, wanted.component, wanted.selection)
        return wanted, selection

    # ---------------------------------------------------------------- documents

    async def _list_snapshot(self, request: Request) -> Response:
        wanted, selection = await self._wanted(request)
        form = form_named(wanted.format)
        cursor = None if wanted.cursor is None else str(wanted.cursor)
        page = self._export.list_snapshot(wanted.snapshot, cursor, selection)
        values = [_row(change, selection, form, deltas=False) for change in page.values]
        rest = {
            "snapshot": page.snapshot,
            "cursor": page.cursor,
            "hasMore": page.cursor is not None,
        }
        return _with_values(values, rest)

    async def _document_deltas(self, request: Request) -> Response:
        wanted, selection = await self._wanted(request)
        form = form_named(wanted.format)
        page = self._export.document_deltas(_timestamp(wanted.cursor), selection)
        values = [_row(change, selection, form, deltas=True) for change in page.values]
        return _with_values(values, {"cursor": page.cursor, "hasMore": page.has_more})

    async def _sync(self, request: Request) -> Response:
        wanted, selection = await self._wanted(request)
        cursor = None if wanted.cursor is None else str(wanted.cursor)
        page = self._export.sync(cursor, selection)
        values = [_sync_row(change, selection) for change in page.values]
        rest = {
            "status": status_of(page),
            "truncates": [{"component": "", "table": table} for table in page.truncates],
            "syncId": page.sync_id,
            "pagination": {"hasMore": True, "nextCursor": page.cursor},
        }
        return _with_values(values, rest)

    async def _active_syncs(self, request: Request) -> Response:
        self._require_admin(request)
        limit = request.query().get("limit", str(_SYNCS_MAX))
        if not _is_whole(limit) or not 1 <= int(limit) <= _SYNCS_MAX:
            raise BadRequestError(f"`limit` is from 1 to {_SYNCS_MAX}.", code="LimitOutOfRange")
        syncs = self._export.active_syncs()[: int(limit)]
        return _json({"syncs": syncs, "pagination": {"hasMore": False, "nextCursor": None}})

    async def _cursor_from_deltas(self, request: Request) -> Response:
        wanted, selection = await self._wanted(request)
        cursor = self._export.sync_cursor(_timestamp(wanted.cursor), selection)
        return _json({"cursor": cursor})

    # ---------------------------------------------------------------- records that come in

    async def _import_records(self, request: Request) -> Response:
        body = await self._admin_body(request, "ImportBackups")
        await self._import.store(read(Records, body))
        return _json(None)

    async def _clear_tables(self, request: Request) -> Response:
        body = await self._admin_body(request, "ImportBackups")
        await self._import.clear(read(_Tables, body).table_names)
        return _json(None)

    async def _replace_tables(self, request: Request) -> Response:
        await self._admin_body(request, "ImportBackups")
        raise BadRequestError(
            "Tables cannot be replaced by a stream; use another sync mode.",
            code="OverwriteNotSupported",
        )

    async def _add_indexes(self, request: Request) -> Response:
        """Nothing to do: ids follow from primary keys."""
        await self._admin_body(request, "ImportBackups")
        return _json(None)

    async def _indexes_ready(self, request: Request) -> Response:
        await self._admin_body(request)
        return _json({"indexesReady": True})

    async def _schema(self, request: Request) -> Response:
        self._require_admin(request)
        schema = self._backend.node.committer.catalog.schema
        return _json(schema.to_json() if schema is not None else None)

    # ---------------------------------------------------------------- what tables look like

    async def _json_schemas(self, request: Request) -> Response:
        self._require_admin(request)
        query = request.query()
        form = query.get("format", "json")
        form_named(form)
        deltas = query.get("deltaSchema") == "true"
        catalog = self._backend.node.committer.catalog
        found = {
            table.name: json_schema(catalog, table, form, deltas=deltas) for table in self._tables()
        }
        return _json({"": found} if query.get("byComponent") == "true" else found)

    async def _column_names(self, request: Request) -> Response:
        self._require_admin(request)
        node = self._backend.node
        catalog, reader = node.committer.catalog, node.persistence.reader
        found = [
            {"name": table.name, "columns": columns(catalog, reader, table)}
            for table in self._tables()
        ]
        return _json({"byComponent": {"": found}})

    def _tables(self) -> list[TableInfo]:
        tables = user_tables(self._backend.node.committer.catalog)
        own = (table for table in tables if not table.component)
        return sorted(own, key=lambda table: table.name)

    async def _test_connection(self, request: Request) -> Response:
        self._require_admin(request)
        return _json(None)


def _row(change: Change, selection: Selection, form: Form, *, deltas: bool) -> bytes:
    """A document with the fields that tell of it in front of its own."""
    head: dict[str, Any] = {"_component": "", "_table": change.table, "_ts": change.ts}
    if deltas:
        head["_deleted"] = change.body is None
    # Both are objects, and the second has at least its id.
    return orjson.dumps(head)[:-1] + b"," + document_json(change, selection, form)[1:]


def _sync_row(change: Change, selection: Selection) -> bytes:
    head = {
        "component": "",
        "table": change.table,
        "ts": change.ts,
        "deleted": change.body is None,
    }
    value = document_json(change, selection, FORMS["export_json"])
    return orjson.dumps(head)[:-1] + b',"value":' + value + b"}"


def _with_values(values: list[bytes], rest: dict[str, Any]) -> Response:
    return Response(200, b'{"values":[' + b",".join(values) + b"]," + orjson.dumps(rest)[1:])


def _timestamp(cursor: str | int | None) -> int:
    """Raises: BadRequestError: There is no cursor, or it is no timestamp."""
    if cursor is None:
        raise BadRequestError(
            "Deltas need a `cursor`: the `snapshot` of list_snapshot, or the cursor of the page "
            "before.",
            code="DocumentDeltasCursorRequired",
        )
    if (isinstance(cursor, str) and not _is_whole(cursor)) or int(cursor) > _TS_MAX:
        raise BadRequestError("`cursor` is a timestamp in nanoseconds.", code="BadQueryArgs")
    return max(0, int(cursor))


def _is_whole(text: str) -> bool:
    """Whether it is a number of a size that makes sense."""
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX


def _json(answer: Any) -> Response:
    return Response(200, orjson.dumps(answer))

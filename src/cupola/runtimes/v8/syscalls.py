"""The syscalls of queries and mutations (spec: function runtime, section 6), over a transaction.

Each takes JSON and answers JSON. Documents pass as the bytes they are stored as.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from cupola.database.catalog import TableInfo
from cupola.database.figures import count
from cupola.database.ranges import EVERYTHING
from cupola.errors import (
    BadRequestError,
    CupolaError,
    DatabaseUseError,
    DeveloperError,
    FunctionKindError,
    InvalidIdError,
    LimitError,
)
from cupola.functions import jobs
from cupola.functions.audit_logs import audit
from cupola.functions.call import Call
from cupola.functions.definitions import Function, Kind
from cupola.functions.requests import request_of
from cupola.functions.storage import delete_file, file_metadata, file_url, upload_url
from cupola.runtimes.v8.addresses import function_at
from cupola.runtimes.v8.figures import figure_of
from cupola.runtimes.v8.filters import bound_of
from cupola.runtimes.v8.queries import Stream, page_of, plan_of, shown_in
from cupola.runtimes.v8.read_ahead import ReadAhead, line_of
from cupola.runtimes.v8.syscall_arguments import (
    BUDGETS,
    BUDGETS_OF_FILES,
    UNBOUNDED,
    arguments_of,
    budget_of,
    document_of,
    encoded_arguments,
    required,
    time_ms_of,
)
from cupola.values import UNSET, Int64, encode, split_qualified, table_number_of

_STREAMS_MAX = 4096


class NestedCalls(Protocol):
    """Who runs the functions that a function calls."""

    def run_nested(self, call: Call, function: Function[Any, Any], args: bytes) -> bytes:
        """Run a function inside the caller's transaction. Raises what it failed with."""
        ...


class Syscalls:
    """The syscalls of one call. Open streams are numbered from 0."""

    def __init__(self, call: Call, nested: NestedCalls, arguments: bytes) -> None:
        """`arguments`: those of the call, as `ReadAhead` takes them."""
        self._call = call
        self._nested = nested
        self._ahead = ReadAhead(call.transaction, arguments)
        self._streams: dict[int, Stream] = {}
        self._opened = 0
        self.too_much: LimitError | None = None
        """What the next syscall fails with, or the call at its end."""

    def answer(self, op: str, text: bytes) -> bytes:
        """The answer as it crosses: "0" and its JSON; "2", "D" or "M" (done, or maybe more), and
        rows of a query, one a line; or "3", and documents, each a line with its id and its table:
        the one asked for, and some that may be asked for next (see `read`).

        Raises:
            DeveloperError: The function did something wrong; it may catch this.
            CupolaError: Any other ends the call.
        """
        handler = _HANDLERS.get(op)
        if handler is None:
            raise DeveloperError(_unknown(op), code="UnknownOperation")
        if self.too_much is not None:
            raise self.too_much
        self._call.transaction.note_unresolved(text)  # what `db.vars.commitTs` becomes
        answer = handler(self, arguments_of(op, text))
        return answer if op in _WITH_KIND else b"0" + answer

    def documents_ahead(self) -> bytes:
        """What the function will likely get first, to be sent unasked."""
        return b"\n".join(self._ahead.prepare())

    def read(self, ids: str) -> None:
        """The function has read documents, one id a line, that came along with others."""
        try:
            for document_id in ids.split("\n"):
                self._call.transaction.get(document_id)
        except LimitError as error:
            self.too_much = error

    # ---------------------------------------------------------------- streams

    def _query_stream(self, arguments: dict[str, Any]) -> bytes:
        query = required(arguments, "query", dict, "queryStream")
        if len(self._streams) >= _STREAMS_MAX:
            raise LimitError(
                f"{_STREAMS_MAX} queries are open at once; read or end some first.",
                code="TooManyOpenQueries",
            )
        number = self._opened
        self._streams[number] = Stream(self._call, plan_of(query))
        self._opened += 1
        return b'{"queryId":%d}' % number

    def _query_stream_next(self, arguments: dict[str, Any]) -> bytes:
        number = arguments.get("queryId")
        stream = self._streams.get(number) if isinstance(number, int) else None
        if stream is None:
            raise DatabaseUseError(f"There is no open query {number!r}.", code="QueryNotFound")
        rows, is_last = stream.next_batch()
        if is_last and self._call.kind is Kind.QUERY:  # a mutation may come back, see `_rewind`
            del self._streams[number]  # type: ignore[arg-type]
        if not rows:
            return b'0{"value":null,"done":true}'
        kind = b"2D" if is_last else b"2M"
        bodies = [row.body for row in rows]
        self._ahead.note_rows(bodies)
        return kind + b"\n".join(bodies)

    def _rewind(self, arguments: dict[str, Any]) -> bytes:
        """Our own: the function is about to write, and has not looked at the last rows yet. Of a
        query that is not open it means nothing.
        """
        number, unread = arguments.get("queryId"), arguments.get("unread")
        if not isinstance(number, int) or not isinstance(unread, int):
            raise DeveloperError(
                "`cupola/rewind` takes the numbers `queryId` and `unread`.", code="BadArguments"
            )
        stream = self._streams.get(number)
        if stream is not None:
            stream.rewind(unread)
        return b"null"

    def _query_cleanup(self, arguments: dict[str, Any]) -> bytes:
        number = arguments.get("queryId")
        known = isinstance(number, int) and self._streams.pop(number, None) is not None
        return b"true" if known else b"false"

    def _query_page(self, arguments: dict[str, Any]) -> bytes:
        required(arguments, "query", dict, "queryPage")
        if self._call.component:
            raise DatabaseUseError(
                "paginate() is only supported in the app; in a component, use `paginator` of the "
                "package convex-helpers.",
                code="PaginationUnsupportedInComponents",
            )
        result = page_of(self._call, arguments)
        rest = msgspec.json.encode(
            {
                "isDone": result.is_done,
                "continueCursor": result.continue_cursor,
                "splitCursor": result.split_cursor,
                "pageStatus": result.status,
            }
        )
        bodies = [row.body for row in result.documents]
        self._ahead.note_rows(bodies)
        return b'{"page":[' + b",".join(bodies) + b"]," + rest[1:]

    # ---------------------------------------------------------------- documents

    def _get(self, arguments: dict[str, Any]) -> bytes:
        is_system = arguments.get("isSystem") is True
        method = "db.system.get" if is_system else "db.get"
        document_id = required(arguments, "id", str, method)
        table = self._table_of(document_id, arguments, method)
        if table is None:
            return b"0null"
        if table.document_id is None:
            if is_system and not table.is_readable:
                raise not_yet(f"`{table.name}`")
            if not is_system:
                raise DatabaseUseError(
                    f"`{table.name}` is a system table; read it with `db.system`.",
                    code="SystemTable",
                )
        elif is_system:
            raise DatabaseUseError(
                f"`{table.name}` is no system table; read it with `db.get`.", code="SystemTable"
            )
        document = self._call.transaction.get(document_id)
        if document is None:
            return b"0null"
        if is_system:
            return b"0" + shown_in(document, self._call.component).body
        following = self._ahead.following(document_id)
        if not following:
            return b"0" + document.body
        line = line_of(document_id, table.own_name, document.body)
        return b"3" + b"\n".join([line, *following])

    def _table_of(
        self, document_id: str, arguments: dict[str, Any], method: str
    ) -> TableInfo | None:
        """The table of an id; None if no table has its number.

        Raises:
            InvalidIdError: It is no id, or of another table than `table` in the arguments.
        """
        try:
            table_number_of(document_id)
        except InvalidIdError as error:
            raise InvalidIdError(f"Invalid argument `id` for `{method}`: {error.message}") from None
        try:
            table = self._call.transaction.table_of(document_id)
        except InvalidIdError:
            return None
        wanted = arguments.get("table")
        if wanted is not None and wanted != table.own_name:
            raise InvalidIdError(
                f'Invalid argument `id` for `{method}`: expected to be an Id<"{wanted}">, got '
                f'Id<"{table.own_name}"> instead.'
            )
        return table

    def _normalize_id(self, arguments: dict[str, Any]) -> bytes:
        name = required(arguments, "table", str, "db.normalizeId")
        text = required(arguments, "idString", str, "db.normalizeId")
        table = self._call.transaction.table(name)
        if table is None or not table.is_readable:
            return b'{"id":null}'
        try:
            is_its = table_number_of(text) == table.id_number
        except InvalidIdError:
            is_its = False
        return msgspec.json.encode({"id": text if is_its else None})

    def _count(self, arguments: dict[str, Any]) -> bytes:
        name = required(arguments, "table", str, "db.count")
        table = self._call.transaction.table(name)
        if table is None or table.document_id is None:
            return b"0"
        return b"%d" % count(self._call.transaction, table.primary, EVERYTHING)

    def _aggregate(self, arguments: dict[str, Any]) -> bytes:
        """Our own: see `figures`."""
        required(arguments, "query", dict, "aggregate")
        return figure_of(self._call, arguments)

    def _insert(self, arguments: dict[str, Any]) -> bytes:
        name = required(arguments, "table", str, "db.insert")
        fields = document_of(arguments, "db.insert")
        document_id = self._call.transaction.insert(name, fields)
        return msgspec.json.encode({"_id": document_id})

    def _shallow_merge(self, arguments: dict[str, Any]) -> bytes:
        document_id = self._existing(arguments, "db.patch")
        value = required(arguments, "value", dict, "db.patch")
        fields = {name: bound_of(item) for name, item in value.items()}
        transaction = self._call.transaction
        old = transaction.get(document_id)
        if old is not None:
            changed = {
                name: item
                for name, item in fields.items()
                if not (item is UNSET and name not in old.value)
            }
            merged = {**old.value, **changed}
            merged = {name: item for name, item in merged.items() if item is not UNSET}
            if encode(merged) == old.body:  # nothing changes, so nothing is written
                return old.body
        transaction.patch(document_id, fields)
        return self._body(document_id)

    def _replace(self, arguments: dict[str, Any]) -> bytes:
        document_id = self._existing(arguments, "db.replace")
        fields = document_of(arguments, "db.replace")
        transaction = self._call.transaction
        old = transaction.get(document_id)
        if old is not None:
            kept = {name: old.value[name] for name in ("_id", "_creationTime")}
            if encode({**kept, **fields}) == old.body:
                return old.body
        transaction.replace(document_id, fields)
        return self._body(document_id)

    def _remove(self, arguments: dict[str, Any]) -> bytes:
        document_id = self._existing(arguments, "db.delete")
        old = self._call.transaction.get(document_id)
        self._call.transaction.delete(document_id)
        assert old is not None
        return old.body

    def _existing(self, arguments: dict[str, Any], method: str) -> str:
        """The id of a document to write, of a table that exists."""
        document_id: str = required(arguments, "id", str, method)
        if self._table_of(document_id, arguments, method) is None:
            raise InvalidIdError(
                f'Invalid argument `id` for `{method}`: Table for ID "{document_id}" not found'
            )
        return document_id

    def _body(self, document_id: str) -> bytes:
        document = self._call.transaction.get(document_id)
        assert document is not None
        return document.body

    # ---------------------------------------------------------------- functions

    def _run_udf(self, arguments: dict[str, Any]) -> bytes:
        call = self._call
        kind = arguments.get("udfType")
        is_earlier = kind == "snapshotQuery" and call.kind is Kind.MUTATION
        if not is_earlier and kind not in ("query", "mutation"):
            raise FunctionKindError(f"Cannot call a {kind} from a {call.kind.value}.")
        if kind == "mutation" and call.kind is Kind.QUERY:
            raise FunctionKindError("Cannot call a mutation from a query.")
        if call.depth + 1 > call.limits.nested_calls_max:
            raise LimitError(
                f"Functions call each other more than {call.limits.nested_calls_max} levels deep "
                "(MaximumCallDepthExceeded); call plain functions instead.",
                code="MaximumCallDepthExceeded",
            )
        if is_earlier:
            return self._run_at_start(arguments)
        function = self._resolve(arguments, "runUdf")
        if function.kind is not Kind(kind):
            raise FunctionKindError(
                f"Trying to execute {function.path} as {kind}, but it is defined as "
                f"{function.kind.value}."
            )
        args = encoded_arguments(arguments, unresolved=call.transaction.awaits_commit)
        with call.transaction.usage.within(budget_of(arguments)):
            return self._nested.run_nested(call, function, args)

    def _run_at_start(self, arguments: dict[str, Any]) -> bytes:
        """A query of the snapshot that the mutation began with, which it does not depend on."""
        call = self._call
        earlier = dataclasses.replace(call, transaction=call.transaction.unobserved())
        function = self._resolve(arguments, "runUdf")
        if function.kind is not Kind.QUERY:
            raise FunctionKindError(
                f"Trying to execute {function.path} as query, but it is defined as "
                f"{function.kind.value}."
            )
        try:
            with earlier.transaction.usage.within(budget_of(arguments)):
                return self._nested.run_nested(earlier, function, encoded_arguments(arguments))
        finally:
            if earlier.identity_observed:
                call.observe_identity()
            if earlier.time_observed:
                call.observe_time()

    def _resolve(self, arguments: dict[str, Any], method: str) -> Function[Any, Any]:
        return function_at(self._call.app, arguments, method, self._call.component)

    def _create_function_handle(self, arguments: dict[str, Any]) -> bytes:
        handle = arguments.get("functionHandle")
        if not isinstance(handle, str):
            function = self._resolve(arguments, "createFunctionHandle")
            handle = self._call.app.handles.handle_of(function.path)
        return msgspec.json.encode(handle)

    def _schedule(self, arguments: dict[str, Any]) -> bytes:
        path, time_ms = self._resolve(arguments, "schedule").path, time_ms_of(arguments)
        job = jobs.schedule(self._call, path, encoded_arguments(arguments), time_ms)
        return msgspec.json.encode(job)

    def _cancel_job(self, arguments: dict[str, Any]) -> bytes:
        job = required(arguments, "id", str, "scheduler.cancel")
        try:
            jobs.cancel(self._call, job)
        except DatabaseUseError as error:
            if error.code != "CannotCancelItself":
                raise
            self._call.logs.add("WARN", error.message)  # packages before 1.50 expect no error
        return b"null"

    # ---------------------------------------------------------------- about the call

    def _get_snapshot_ts(self, arguments: dict[str, Any]) -> bytes:
        self._call.observe_time()
        return encode(Int64(self._call.transaction.snapshot_ts))

    def _get_user_identity(self, arguments: dict[str, Any]) -> bytes:
        if self._call.component:  # users are the app's
            return b"null"
        self._call.observe_identity()
        attributes = self._call.identity.attributes
        return b"null" if attributes is None else encode(attributes)

    def _get_function_metadata(self, arguments: dict[str, Any]) -> bytes:
        return function_metadata(self._call.path)

    def _get_transaction_metrics(self, arguments: dict[str, Any]) -> bytes:
        left = self._call.transaction.usage.so_far()
        metrics = {
            shown: dict(zip(("used", "remaining"), left[name], strict=True))
            for shown, name in BUDGETS.items()
        }
        unbounded = {"used": 0, "remaining": UNBOUNDED}
        return msgspec.json.encode({**metrics, **dict.fromkeys(BUDGETS_OF_FILES, unbounded)})

    def _get_deployment_metadata(self, arguments: dict[str, Any]) -> bytes:
        return b'{"name":"cupola","region":null,"class":"s256"}'

    def _get_request_metadata(self, arguments: dict[str, Any]) -> bytes:
        return msgspec.json.encode(request_of(self._call))

    # ---------------------------------------------------------------- files

    def _storage_get_url(self, arguments: dict[str, Any]) -> bytes:
        return msgspec.json.encode(file_url(self._call, arguments.get("storageId")))

    def _storage_get_metadata(self, arguments: dict[str, Any]) -> bytes:
        return metadata_json(file_metadata(self._call, arguments.get("storageId")))

    def _storage_generate_upload_url(self, arguments: dict[str, Any]) -> bytes:
        self._require_mutation("storage.generateUploadUrl()")
        return msgspec.json.encode(upload_url(self._call))

    def _storage_delete(self, arguments: dict[str, Any]) -> bytes:
        self._require_mutation("storage.delete()")
        delete_file(self._call, arguments.get("storageId"))
        return b"null"

    def _require_mutation(self, what: str) -> None:
        if self._call.kind is Kind.QUERY:
            raise DatabaseUseError(
                f"A query cannot write: use {what} in a mutation.", code="WriteInQuery"
            )

    # ---------------------------------------------------------------- the rest

    def _audit_log(self, arguments: dict[str, Any]) -> bytes:
        audit(self._call.logs, arguments.get("body"))
        return b"null"

    def _component_argument(self, arguments: dict[str, Any]) -> bytes:
        if self._call.component:
            return b"{}"
        raise DeveloperError(
            "The app itself has no component arguments.", code="ComponentArgumentInApp"
        )


_HANDLERS: dict[str, Callable[[Syscalls, dict[str, Any]], bytes]] = {
    "1.0/queryStream": Syscalls._query_stream,
    "1.0/queryStreamNext": Syscalls._query_stream_next,
    "1.0/queryCleanup": Syscalls._query_cleanup,
    "cupola/rewind": Syscalls._rewind,
    "1.0/queryPage": Syscalls._query_page,
    "1.0/get": Syscalls._get,
    "1.0/db/normalizeId": Syscalls._normalize_id,
    "1.0/count": Syscalls._count,
    "cupola/aggregate": Syscalls._aggregate,
    "1.0/insert": Syscalls._insert,
    "1.0/shallowMerge": Syscalls._shallow_merge,
    "1.0/replace": Syscalls._replace,
    "1.0/remove": Syscalls._remove,
    "1.0/runUdf": Syscalls._run_udf,
    "1.0/schedule": Syscalls._schedule,
    "1.0/cancel_job": Syscalls._cancel_job,
    "1.0/createFunctionHandle": Syscalls._create_function_handle,
    "1.0/getUserIdentity": Syscalls._get_user_identity,
    "1.0/getFunctionMetadata": Syscalls._get_function_metadata,
    "1.0/getSnapshotTs": Syscalls._get_snapshot_ts,
    "1.0/getTransactionMetrics": Syscalls._get_transaction_metrics,
    "1.0/getDeploymentMetadata": Syscalls._get_deployment_metadata,
    "1.0/getRequestMetadata": Syscalls._get_request_metadata,
    "1.0/auditLog": Syscalls._audit_log,
    "1.0/storageGetUrl": Syscalls._storage_get_url,
    "1.0/storageGetMetadata": Syscalls._storage_get_metadata,
    "1.0/storageGenerateUploadUrl": Syscalls._storage_generate_upload_url,
    "1.0/storageDelete": Syscalls._storage_delete,
    "1.0/componentArgument": Syscalls._component_argument,
}
_WITH_KIND = frozenset({"1.0/get", "1.0/queryStreamNext"})
"""Operations whose answers say themselves what they are."""
_SYNCHRONOUS = frozenset(
    {
        "1.0/queryStream",
        "1.0/queryCleanup",
        "1.0/db/normalizeId",
        "1.0/componentArgument",
        "1.0/getSnapshotTs",
    }
)


def metadata_json(found: Any) -> bytes:
    """A file's metadata as the package expects it: `contentType` is null where there is none."""
    return b"null" if found is None else msgspec.json.encode({"contentType": None, **found})


def not_yet(what: str) -> DeveloperError:
    """Something that this version does not have."""
    return DeveloperError(f"{what} is not available yet in this version.", code="NotAvailable")


def _unknown(op: str) -> str:
    kind = "operation" if op in _SYNCHRONOUS else "async operation"
    return f"Unknown {kind} {op[:100]}"


def function_metadata(path: str) -> bytes:
    """What a function may know of itself."""
    component, name = split_qualified(path)
    known_as = {"name": name.removesuffix(":default"), "componentPath": component}
    return msgspec.json.encode(known_as)


def is_catchable(error: CupolaError) -> bool:
    """Whether a function may catch this; any other ends its call."""
    return isinstance(error, DeveloperError | BadRequestError)

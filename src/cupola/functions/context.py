"""`ctx`: what a function may do."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NoReturn, Protocol

from cupola.errors import FunctionKindError, LimitError
from cupola.functions.audit_logs import audit
from cupola.functions.call import Call
from cupola.functions.database_api import DatabaseReader, DatabaseWriter
from cupola.functions.definitions import Function, Kind, path_of
from cupola.functions.execution import run_nested
from cupola.functions.log_lines import LogBuffer
from cupola.functions.requests import RequestMetadata, request_of
from cupola.functions.scheduler import ActionScheduler, Scheduler
from cupola.functions.storage import ActionFiles, ActionStorage, StorageReader, StorageWriter
from cupola.functions.vector_search import (
    FilterFunction,
    VectorMatch,
    only_in_actions,
    search_vectors,
)
from cupola.schema import Table
from cupola.values import Value


class Auth:
    """Who is calling."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def get_user_identity(self) -> Mapping[str, Value] | None:
        """The caller's verified attributes (`subject`, `issuer`, `email`, ...), or None if
        anonymous.

        A query that asks is cached per caller; one that does not is shared by all.
        """
        self._call.observe_identity()
        return copy.deepcopy(self._call.identity.attributes)


class MutationAuth(Auth):
    """Who is calling; and tokens for those whom the app has come to know."""

    def issue_token(
        self, subject: str, *, lifetime_s: float = 3600.0, claims: Mapping[str, Any] | None = None
    ) -> str:
        """A token that proves its holder to be `subject`, until `lifetime_s` from now.

        The deployment signs it. Its identity has the issuer `cupola`, and `claims`: standard ones
        of OpenID Connect (`name`, `email`, ...) or the app's own. It cannot be revoked, so let it
        be short-lived.

        Raises:
            BadRequestError (InvalidToken): There can be no such token.
        """
        tokens = self._call.session_tokens
        assert tokens is not None, "every mutation can issue tokens"
        return tokens.issue(subject, claims or {}, lifetime_s, self._call.now_ns)


class QueryCtx:
    """What a query may do: read the database, and call other queries in the same snapshot."""

    db: DatabaseReader
    auth: Auth
    storage: StorageReader

    def __init__(self, call: Call) -> None:
        self._call = call
        self._provide(call)

    def _provide(self, call: Call) -> None:
        self.db = DatabaseReader(call)
        self.auth = Auth(call)
        self.storage = StorageReader(call)

    def run_query(self, function: Function[Any, Any] | str, /, **args: Any) -> Any:
        """Call a query, by reference or path (`"messages:list"`), in this snapshot."""
        return _nested(self._call, function, Kind.QUERY, args)

    def limited_to(
        self,
        *,
        documents_read: int | None = None,
        bytes_read: int | None = None,
        database_queries: int | None = None,
        documents_written: int | None = None,
        bytes_written: int | None = None,
        functions_scheduled: int | None = None,
        scheduled_args_bytes: int | None = None,
    ) -> AbstractContextManager[None]:
        """Inside `with`, the transaction may do so much more at most: for calls of functions that
        shall not use up what the rest needs. Past it there is the usual `LimitError`.
        """
        given = {
            "documents_read": documents_read,
            "bytes_read": bytes_read,
            "database_queries": database_queries,
            "documents_written": documents_written,
            "bytes_written": bytes_written,
            "functions_scheduled": functions_scheduled,
            "scheduled_args_bytes": scheduled_args_bytes,
        }
        budget = {name: bound for name, bound in given.items() if bound is not None}
        return self._call.transaction.usage.within(budget)

    def audit(self, **body: Any) -> None:
        """Add an entry to the audit log, also if this call fails. `body`: JSON, in which `AuditVar`
        stands for what is known when the entry is emitted. A query's entry is emitted each time
        somebody is shown its result, from the cache too.
        """
        audit(self._call.logs, body)

    @property
    def request(self) -> RequestMetadata:
        """The request behind this call: a mutation's. A query has none, since its result is shared.

        Raises:
            BadRequestError (RequestMetadataNotAllowed): This is a query.
        """
        return request_of(self._call)

    def vector_search(self, *args: Any, **options: Any) -> NoReturn:
        """Only actions search vectors: this raises FunctionKindError."""
        only_in_actions()


class MutationCtx(QueryCtx):
    """What a mutation may do: read, write, and call queries and mutations as sub-transactions."""

    db: DatabaseWriter
    auth: MutationAuth
    storage: StorageWriter

    def _provide(self, call: Call) -> None:
        self.db = DatabaseWriter(call)
        self.auth = MutationAuth(call)
        self.scheduler = Scheduler(call)
        self.storage = StorageWriter(call)

    def run_mutation(self, function: Function[Any, Any] | str, /, **args: Any) -> Any:
        """Call a mutation as a sub-transaction: if it raises and you catch that, only its writes
        are undone.
        """
        return _nested(self._call, function, Kind.MUTATION, args)


class ActionCaller(Protocol):
    """How an action reaches the engine: in the same process or over a socket."""

    identity_attributes: Mapping[str, Value] | None
    request: RequestMetadata
    logs: LogBuffer
    files: ActionFiles

    def call(self, kind: Kind, path: str, args: Mapping[str, Any]) -> Awaitable[Any]:
        """Run a function in a transaction of its own; the result decoded, errors raised."""
        ...

    def call_system(self, path: str, args: Mapping[str, Any]) -> Awaitable[Any]:
        """Run one of the system's mutations that actions may run. Else as `call`."""
        ...

    def search_vectors(self, asked: bytes) -> Awaitable[bytes]:
        """Search a vector index. JSON to JSON, as in `search.vector_query`; errors raised."""
        ...


class ActionAuth:
    """Who is calling."""

    def __init__(self, caller: ActionCaller) -> None:
        self._caller = caller

    def get_user_identity(self) -> Mapping[str, Value] | None:
        """The caller's verified attributes, or None if anonymous."""
        return copy.deepcopy(self._caller.identity_attributes)


class ActionCtx:
    """What an action may do: anything outside, and the data through queries and mutations."""

    def __init__(self, caller: ActionCaller) -> None:
        self._caller = caller
        self.auth = ActionAuth(caller)
        self.scheduler = ActionScheduler(caller)
        self.storage = ActionStorage(caller.files)

    def audit(self, **body: Any) -> None:
        """Add an entry to the audit log. It is emitted when the action has ended, however it does;
        see `QueryCtx.audit`.
        """
        audit(self._caller.logs, body)

    @property
    def request(self) -> RequestMetadata:
        """The request that called this action, or the function that did."""
        return self._caller.request

    async def run_query(self, function: Function[Any, Any] | str, /, **args: Any) -> Any:
        """Run a query at the newest snapshot."""
        return await self._caller.call(Kind.QUERY, path_of(function), args)

    async def run_mutation(self, function: Function[Any, Any] | str, /, **args: Any) -> Any:
        """Run a mutation as a transaction of its own; it is durable when this returns."""
        return await self._caller.call(Kind.MUTATION, path_of(function), args)

    async def run_action(self, function: Function[Any, Any] | str, /, **args: Any) -> Any:
        """Run another action. Plain Python calls are cheaper, where they do."""
        return await self._caller.call(Kind.ACTION, path_of(function), args)

    async def vector_search(
        self,
        table: type[Table] | str,
        index: str,
        vector: Sequence[float],
        *,
        limit: int | None = None,
        filter: FilterFunction | None = None,
    ) -> list[VectorMatch]:
        """The documents whose vectors are most similar to `vector`, best first, as they are now.

        `limit`: how many, 10 by default and 256 at most. `filter`: `lambda q: q.eq("genre", "sf")`,
        or several conditions joined by `q.or_`, about the filter fields of the index.

        Returns: `{"_id", "_score"}` of each; load the documents with a query.

        Raises:
            DatabaseUseError: No such index, or it is not ready; a vector of another length; a
                filter that it cannot have.
            LimitError: Too many results or conditions.
        """
        search = self._caller.search_vectors
        return await search_vectors(search, table, index, vector, limit, filter)


def _nested(
    call: Call, function: Function[Any, Any] | str, kind: Kind, args: dict[str, Any]
) -> Any:
    if call.depth + 1 > call.limits.nested_calls_max:
        raise LimitError(
            f"Functions call each other more than {call.limits.nested_calls_max} levels deep; "
            "call plain Python functions instead.",
            code="NestedCallsLimitExceeded",
        )
    definition = call.app.find(path_of(function))
    if definition.kind is not kind:
        raise FunctionKindError(
            f"Trying to execute {definition.path} as {kind.value}, but it is defined as "
            f"{definition.kind.value}."
        )
    context = MutationCtx if kind is Kind.MUTATION else QueryCtx
    return run_nested(call, definition, args, context)

"""Running queries: once for everyone who asks the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cupola.auth import Identity
from cupola.backend.node import ExecutionLog, Node
from cupola.database.catalog import Catalog
from cupola.database.read_set import Interval
from cupola.database.transaction import Transaction
from cupola.errors import CupolaError, OperatorError
from cupola.functions.audit_logs import resolved
from cupola.functions.call import Call
from cupola.functions.definitions import Function, Kind, Visibility
from cupola.functions.execution import Execution
from cupola.persistence import Reader
from cupola.reactivity import CacheEntry, QueryKey
from cupola.sync.outcome import QueryOutcome
from cupola.values import encode

IDENTITIES: Final = {"anonymous": "unknown", "user": "user", "admin": "instance_admin"}
"""How the log stream calls those who call."""


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshot:
    """Where queries read: a reader, its timestamp and the definitions of that moment."""

    reader: Reader
    ts: int
    catalog: Catalog


@dataclasses.dataclass(slots=True)
class QueryRun:
    """One execution of a query and what it depends on.

    `reads_known`: False when it was cut off before it could tell; then nobody else may be given
    its outcome, since no commit would make that stale.
    """

    outcome: QueryOutcome
    intervals: tuple[Interval, ...]
    ts: int
    identity_observed: bool
    error: BaseException | None = None
    reads_known: bool = True
    time_observed: bool = False
    audits: Sequence[str] = ()


class QueryRunner:
    """Executes queries in process and remembers their outcomes."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def head(self) -> Snapshot:
        """The newest commit. Must not be used while a group is open."""
        committer = self._node.committer
        return Snapshot(self._node.persistence.reader, committer.head_ts, committer.catalog)

    def key_of(
        self,
        path: str,
        args: bytes,
        journal: str | None,
        component: str | None,
        *,
        may_call_internal: bool,
    ) -> QueryKey:
        function = self._node.app.functions.get(path) or self._find(path)
        canonical = path if function is None else function.path
        internal = may_call_internal and _is_internal(function)
        return QueryKey(canonical, self._node.arguments.of(args), journal, component, internal)

    def key_for(self, key: QueryKey, identity: Identity) -> QueryKey:
        """The same question, asked by somebody else."""
        internal = identity.may_call_internal and _is_internal(self._find(key.path))
        return key._replace(internal=internal)

    def _find(self, path: str) -> Function[Any, Any] | None:
        try:
            return self._node.app.find(path)
        except CupolaError:
            return None

    def entry(self, key: QueryKey, identity: Identity) -> CacheEntry:
        """The entry that answers a question, made if nobody asked it yet."""
        cache = self._node.cache
        found = cache.find(key, identity.cache_key)
        if found is not None and found.journal != key.journal and found.must_run:
            found = None  # it will run again pinned to the ends that its listeners hold
        if found is None:
            cache.misses += 1
            return CacheEntry(key, identity)
        cache.hits += 1
        if self._node.saw_cached is not None:
            self._node.saw_cached(key.path)
        return found

    def run_entry(self, entry: CacheEntry, snapshot: Snapshot) -> tuple[bool, QueryRun]:
        """Run an entry's query and record it. Returns whether clients would see a difference.

        Raises:
            CallTooLong: The query belongs in a worker.
        """
        run = self.run(entry.key._replace(journal=entry.journal), entry.identity, snapshot)
        return self.record(entry, run), run

    def record(self, entry: CacheEntry, run: QueryRun) -> bool:
        """Note a run in its entry. If a commit has touched it since, the entry stays stale."""
        node = self._node
        intervals = run.intervals if run.reads_known else entry.intervals
        changed = node.cache.record(entry, run.outcome, intervals, run.ts, run.identity_observed)
        entry.expires_ns = self._expiry() if run.time_observed else None
        entry.audits = run.audits
        if not run.reads_known:
            node.cache.hide(entry)
        if run.ts < node.committer.head_ts:
            touched_ts = node.committer.write_log.first_touch(intervals, run.ts)
            if touched_ts is not None:
                entry.stale = True
                entry.touched_ts = touched_ts
        return changed

    def _expiry(self) -> int:
        node = self._node
        return node.clock.monotonic_ns() + int(node.limits.time_dependent_result_s * 1e9)

    def timed_out(self, entry: CacheEntry, snapshot: Snapshot) -> QueryRun:
        """Without workers a query that keeps the loop fails. It is tried again for whoever asks
        anew, and for its listeners when what it read before changes, or the code.
        """
        from cupola.runtimes.python.worker_pool import time_limit_error

        error = time_limit_error(entry.key.path, self._node.runtime.time_s)
        execution = Execution(None, error, [])
        outcome = outcome_of(self._node, execution, self._node.new_request_id(), entry.journal)
        return QueryRun(outcome, (), snapshot.ts, False, error, reads_known=False)

    def run(self, key: QueryKey, identity: Identity, snapshot: Snapshot) -> QueryRun:
        """Execute a query.

        Raises:
            CallTooLong: It kept the loop too long.
        """
        node = self._node
        request_id = node.new_request_id()
        started = node.clock.monotonic_ns()
        transaction = node.transaction_type(
            snapshot.reader, snapshot.catalog, snapshot.ts, limits=node.limits
        )
        node.counters["query_runs"] += 1
        try:
            function = node.find(key.path, Kind.QUERY, identity, public_only=not key.internal)
        except CupolaError as error:
            execution = Execution(None, error, [])
        else:
            execution = self._execute(function, key, identity, transaction, request_id)
        outcome = outcome_of(node, execution, request_id, key.journal)
        if node.watchers:
            text = outcome.error_message
            log = (node, "query", key.path, request_id, started, execution, text, snapshot.ts)
            rows = transaction.rows_read
            # Others may share what it found.
            report(*log, identity, "SyncWorker", audits=False, rows_read=rows)
        return QueryRun(
            outcome,
            transaction.intervals(),
            snapshot.ts,
            execution.identity_observed,
            execution.error,
            reads_known=not isinstance(execution.error, OperatorError),  # a failing disk, say
            time_observed=execution.time_observed,
            audits=execution.audits,
        )

    def _execute(
        self,
        function: Function[Any, Any],
        key: QueryKey,
        identity: Identity,
        transaction: Transaction,
        request_id: str,
    ) -> Execution:
        node = self._node
        transaction.component = function.component
        call = Call(
            app=node.app,
            path=function.path,
            kind=Kind.QUERY,
            transaction=transaction,
            identity=identity,
            now_ns=node.clock.now_ns(),
            seed=node.clock.random_bytes(16),
            request_id=request_id,
            limits=node.limits,
            sealer=node.sealer,
            links=node.links,
            text_indexes=node.text_indexes,
            journal=key.journal,
        )
        return node.runtime.run(call, function, key.args)


def _is_internal(function: Function[Any, Any] | None) -> bool:
    return function is not None and function.visibility is Visibility.INTERNAL


def log_lines_json(lines: list[str]) -> bytes:
    return encode([line.encode("utf-8", "replace").decode() for line in lines]) if lines else b"[]"


def outcome_of(
    node: Node, execution: Execution, request_id: str, journal: str | None
) -> QueryOutcome:
    """What an execution ended with that started from `journal`; one that failed keeps it."""
    lines = log_lines_json(execution.log_lines)
    if execution.error is None:
        assert execution.value is not None
        return QueryOutcome.success(execution.value, log_lines=lines, journal=execution.journal)
    told = execution.failure(request_id, node.app.folder)
    return QueryOutcome.failure(
        told.message,
        error_data=told.data,
        log_lines=lines,
        journal=execution.journal or journal,
    )


def report(
    node: Node,
    kind: str,
    path: str,
    request_id: str,
    started_ns: int,
    execution: Execution,
    message: str | None,
    ts: int | None,
    identity: Identity,
    caller: str,
    *,
    audits: bool = True,
    rows_read: Mapping[int, int] | None = None,
) -> None:
    """Tell watchers about an execution; `ts` as in `Node.report`. `audits`: its audit log, too."""
    seconds = (node.clock.monotonic_ns() - started_ns) / 1e9
    lines, who = execution.log_lines, IDENTITIES[identity.kind]
    entries = resolved_audits(node, execution.audits, identity, request_id) if audits else ()
    log = ExecutionLog(
        kind,
        path,
        request_id,
        seconds,
        lines,
        message,
        caller,
        who,
        entries,
        rows_read=rows_read,
    )
    node.report(log, ts)


def resolved_audits(
    node: Node, audits: Sequence[str], identity: Identity, request_id: str
) -> Sequence[str]:
    """Entries of audit logs as they are emitted to, or for, this caller."""
    now_ns = node.clock.now_ns()
    return [resolved(entry, identity, request_id, now_ns) for entry in audits]


def report_shown(
    node: Node,
    path: str,
    audits: Sequence[str],
    identity: Identity,
    ts: int,
    request_id: str | None = None,
    caller: str = "SyncWorker",
) -> None:
    """Somebody is shown the result of a query that has an audit log: maybe not who asked first."""
    number = request_id or node.new_request_id()
    entries, who = resolved_audits(node, audits, identity, number), IDENTITIES[identity.kind]
    log = ExecutionLog("query", path, number, 0.0, [], None, caller, who, entries, is_cached=True)
    node.report(log, ts)

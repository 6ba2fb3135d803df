"""The transaction worker: a process that runs one Python query or mutation at a time, off the loop.

It reads through a read-only connection of its own, at a snapshot whose timestamp it reports with
the result; it writes nothing. Whatever a call does to this process (loops, memory, C code that
never returns) ends with SIGKILL from the engine. Started as `python -m
cupola.runtimes.python.transaction_worker FD PARENT`.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from cupola.auth import SessionTokens
from cupola.database.catalog import STORAGE
from cupola.database.counted_transaction import CountedTransaction
from cupola.database.cursors import CursorSealer
from cupola.database.load import CatalogLoader
from cupola.database.transaction import Transaction
from cupola.database.writes import IdSource
from cupola.errors import CupolaError, OperatorError
from cupola.files import FileLinks
from cupola.functions.app import App, load_app
from cupola.functions.call import Call
from cupola.functions.definitions import Function, Kind
from cupola.functions.execution import Execution
from cupola.functions.handles import FunctionHandles, handle_key
from cupola.functions.javascript import JavaScriptFunction
from cupola.functions.jobs import run_as_job
from cupola.functions.near_limits import warn_of_time
from cupola.limits import Limits
from cupola.persistence import Reader
from cupola.persistence.sqlite import SqliteSnapshots
from cupola.runtimes.python.in_process import InProcessRuntime
from cupola.runtimes.python.lifeline import die_with_parent
from cupola.runtimes.python.messages import (
    PIECE_BYTES,
    CallDone,
    Failure,
    FrameBuffer,
    Message,
    Ready,
    RemoteWrite,
    RunCall,
    Setup,
    frame,
    identity_of,
    limits_of,
    to_worker_decoder,
)
from cupola.values import use_limits

if TYPE_CHECKING:
    from cupola.search.text_indexes import TextIndexes

_FOREVER_S = 3600.0  # the engine's watchdog ends calls here, not this process
_monotonic = time.monotonic  # bound here, before the guard of Python functions replaces it


class TransactionWorker:
    """Runs the calls of one socket, one after the other."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._runtime = InProcessRuntime(_FOREVER_S)
        self._app: App
        self._limits: Limits
        self._sealer: CursorSealer
        self._session_tokens: SessionTokens
        self._links: FileLinks
        self._snapshots: SqliteSnapshots
        self._catalogs = CatalogLoader()
        self._texts: TextIndexes | None = None
        self._data_path = ""

    def serve(self) -> None:
        """Until the engine goes away."""
        buffer = FrameBuffer()
        while data := self._socket.recv(PIECE_BYTES):
            for body in buffer.feed(data):
                message = to_worker_decoder.decode(body)
                if isinstance(message, Setup):
                    self._send(self._set_up(message))
                elif isinstance(message, RunCall):
                    self._run(message)
                self._rest()

    def _send(self, message: Message) -> None:
        self._socket.sendall(frame(message))

    def _set_up(self, setup: Setup) -> Ready:
        self._limits = limits_of(setup.limits)
        use_limits(self._limits)
        self._sealer = CursorSealer(setup.secret)
        self._session_tokens = SessionTokens(setup.secret)
        self._links = FileLinks(setup.secret, STORAGE, setup.cloud_url)
        self._runtime.environment = setup.environment
        self._snapshots = SqliteSnapshots(setup.data_path)
        self._data_path = setup.data_path
        try:
            self._app = self._load(setup)
            self._app.handles = FunctionHandles(handle_key(setup.secret))
        except CupolaError as error:
            return Ready(error.message)
        _bound_memory(self._limits.worker_memory_bytes_max)
        self._read_newest(lambda reader: self._catalogs.load(reader, reader.newest_ts()))
        return Ready(None)

    def _text_indexes(self) -> TextIndexes:
        if self._texts is None:
            from cupola.search.places import text_folder
            from cupola.search.text_indexes import TextIndexes

            self._texts = TextIndexes(self._limits, text_folder(self._data_path), self._read_newest)
        return self._texts

    def _read_newest(self, read: Callable[[Reader], Any]) -> Any:
        snapshot = self._snapshots.open()
        try:
            return read(snapshot)
        finally:
            snapshot.close()

    def _load(self, setup: Setup) -> App:
        return load_app(setup.app_folder, setup.sources)

    def _execute(self, call: Call, function: Function[Any, Any], args: bytes) -> Execution:
        return self._runtime.run(call, function, args)

    def _rest(self) -> None:
        """Something to do until the engine has more to say."""

    def _run(self, run: RunCall) -> None:
        snapshot = self._snapshots.open()
        try:
            done = self._run_at(run, snapshot)
            if run.more:
                more = [self._run_at(each, snapshot) for each in run.more]
                done = msgspec.structs.replace(done, more=more)
            self._send(done)
        finally:
            snapshot.close()  # while the engine is at work with the result already

    def _run_at(self, run: RunCall, reader: Reader) -> CallDone:
        ts = reader.newest_ts()
        catalog = self._catalogs.load(reader, ts)
        self._app.table_numbers.update(catalog.numbers)
        try:
            function = self._app.find(run.path)
        except CupolaError as error:  # it was sent before the code changed
            nothing = Transaction(reader, catalog, ts)
            return self._done(run, ts, nothing, Execution(None, error, []))
        is_mutation = function.kind is Kind.MUTATION
        make = CountedTransaction if run.counts_rows else Transaction
        transaction = make(
            reader,
            catalog,
            ts,
            ids=IdSource(run.seed, run.now_ns) if is_mutation else None,
            creation_time=run.creation_time,
            limits=self._limits,
        )
        transaction.component = function.component
        call = Call(
            app=self._app,
            path=function.path,
            kind=function.kind,
            transaction=transaction,
            identity=identity_of(run.caller),
            now_ns=run.now_ns,
            seed=run.seed,
            request_id=run.request_id,
            limits=self._limits,
            sealer=self._sealer,
            session_tokens=self._session_tokens,
            links=self._links,
            text_indexes=self._text_indexes,
            journal=run.journal,
            job=run.job,
            completes_job=run.completes_job,
        )
        started = _monotonic()
        execution = run_as_job(call, lambda: self._execute(call, function, run.args))
        if execution.error is None and not isinstance(function, JavaScriptFunction):
            warn_of_time(call.logs, self._limits, "user_time_s", _monotonic() - started)
        return self._done(run, ts, transaction, execution)

    def _done(
        self, run: RunCall, ts: int, transaction: Transaction, execution: Execution
    ) -> CallDone:
        writes = transaction.writes() if execution.error is None else []
        return CallDone(
            call=run.call,
            ts=ts,
            value=execution.value,
            failure=failure_of(execution, run.request_id, self._app),
            log_lines=[sendable(line) for line in execution.log_lines],
            intervals=list(transaction.intervals()),
            writes=[
                RemoteWrite(
                    write.table.number,
                    write.id,
                    write.old.version if write.old is not None else None,
                    write.new.body if write.new is not None else None,
                )
                for write in writes
            ],
            creation_time=transaction.creation_time,
            identity_observed=execution.identity_observed,
            journal=execution.journal,
            time_observed=execution.time_observed,
            awaits_commit=transaction.awaits_commit,
            audits=[sendable(each) for each in execution.audits],
            rows_read=transaction.rows_read,
        )


def failure_of(execution: Execution, request_id: str, app: App) -> Failure | None:
    """A failure in words, since exceptions of apps do not travel."""
    error = execution.error
    if error is None:
        return None
    code = str(error.code) if isinstance(error, CupolaError) else "FunctionFailed"
    if isinstance(error, MemoryError):
        code = "OutOfMemory"
    told = execution.failure(request_id, app.folder)
    return Failure(told.message, code, told.data, isinstance(error, OperatorError))


def sendable(text: str) -> str:
    """Without lone surrogates, which no encoding has."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _bound_memory(bytes_max: int) -> None:
    """No call may take more than its share; past it, Python raises MemoryError. The bound is a soft
    one: children have bounds of their own.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (_data_bytes() + bytes_max, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _data_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[5]) * os.sysconf("SC_PAGE_SIZE")


def main(arguments: list[str]) -> Any:
    die_with_parent(int(arguments[2]))
    connection = socket.socket(fileno=int(arguments[1]))
    # When the engine has gone there is nobody to tell.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        TransactionWorker(connection).serve()


if __name__ == "__main__":
    main(sys.argv)

"""The transaction worker of deployments with pushed JavaScript: runs queries and mutations of both
languages, one at a time, so that they can call each other inside one transaction.

JavaScript runs in a Deno process that this one drives. Started as `python -m
cupola.runtimes.v8.transaction_worker FD PARENT`.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from typing import Any

import msgspec

from cupola.errors import OperatorError
from cupola.functions.app import App, load_app
from cupola.functions.call import Call
from cupola.functions.definitions import Function
from cupola.functions.execution import Execution
from cupola.functions.javascript import JavaScriptFunction, PushedCode
from cupola.runtimes.python.lifeline import die_with_parent
from cupola.runtimes.python.messages import RunCall, Setup
from cupola.runtimes.python.transaction_worker import TransactionWorker
from cupola.runtimes.v8.deno import Deno
from cupola.runtimes.v8.runtime import JavaScriptRuntime, blank_process


class JavaScriptTransactionWorker(TransactionWorker):
    """Runs the calls of one socket, one after the other."""

    _javascript: JavaScriptRuntime | None = None

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(connection)
        try:
            self._blank: Deno | None = blank_process()
        except OperatorError:  # loading the code will try again, and tell
            self._blank = None

    def _load(self, setup: Setup) -> App:
        code = msgspec.msgpack.decode(setup.javascript, type=PushedCode)
        app = load_app(setup.app_folder, setup.sources) if setup.sources else App({}, {})
        blank, self._blank = self._blank, None
        self._javascript = JavaScriptRuntime(code.bundle, self._limits, blank)
        return app.with_javascript(code)

    def _run(self, run: RunCall) -> None:
        runtime, function = self._javascript, self._app.functions.get(run.path)
        assert runtime is not None
        if isinstance(function, JavaScriptFunction) and run.job is None:
            runtime.begin(function, run.args, run.seed, run.now_ns)
        try:
            super()._run(run)
        finally:
            runtime.forget_begun()

    def _execute(self, call: Call, function: Function[Any, Any], args: bytes) -> Execution:
        assert self._javascript is not None
        call.run_javascript = self._javascript.run_for_python
        self._runtime.prepare(call)
        if isinstance(function, JavaScriptFunction):
            return self._javascript.run(call, function, args)
        return self._runtime.run(call, function, args)

    def _rest(self) -> None:
        if self._javascript is not None:
            self._javascript.rest(self._socket)


def main(arguments: list[str]) -> Any:
    die_with_parent(int(arguments[2]))
    connection = socket.socket(fileno=int(arguments[1]))
    # When the engine has gone there is nobody to tell.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        JavaScriptTransactionWorker(connection).serve()


if __name__ == "__main__":
    main(sys.argv)

"""A query in code that nobody has deployed: run once, in a worker of its own, and forgotten."""

from __future__ import annotations

import asyncio

import msgspec

from cupola.auth import Identity
from cupola.backend.calls import CallResult
from cupola.backend.node import Node
from cupola.backend.queries import log_lines_json
from cupola.functions.failure import RemoteError, error_data, error_message
from cupola.functions.javascript import PushedCode
from cupola.runtimes.python.messages import CallDone, RunCall, Setup, caller_of, limit_fields
from cupola.runtimes.python.worker_pool import Job, Outcome, WorkerPool


async def run_one_off(
    node: Node, data_path: str, secret: bytes, code: PushedCode, path: str, identity: Identity
) -> CallResult:
    """Run the query at `path` of `code`, beside the functions of the running app, on the newest
    snapshot. It has the limits of any other, reads only, and is not cached.
    """
    app = node.app
    setup = Setup(
        str(app.folder),
        app.sources,
        data_path,
        secret,
        limit_fields(node.limits),
        node.runtime.environment,
        msgspec.msgpack.encode(code),
    )
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Outcome] = loop.create_future()
    request_id = node.new_request_id()

    def prepare() -> RunCall:
        return RunCall(
            1,
            path,
            b"{}",
            caller_of(identity),
            node.clock.now_ns(),
            node.clock.random_bytes(16),
            request_id,
            None,
            0.0,
        )

    def done(outcome: Outcome) -> None:
        if not ended.done():
            ended.set_result(outcome)

    pool = WorkerPool(
        lambda: setup, node.limits, loop, lambda: not node.persistence.holding_snapshots()
    )
    try:
        pool.submit(Job(path, prepare, done))
        while not ended.done():
            await asyncio.wait([ended], timeout=1.0)
            pool.assign()  # snapshots may have been held
    finally:
        pool.close()
    return _result(node, ended.result(), request_id)


def _result(node: Node, outcome: Outcome, request_id: str) -> CallResult:
    if isinstance(outcome, CallDone) and outcome.failure is None:
        return CallResult(True, outcome.value, log_lines_json(outcome.log_lines), outcome.ts)
    error: Exception
    lines = b"[]"
    if isinstance(outcome, CallDone):
        assert outcome.failure is not None
        failure = outcome.failure
        error = RemoteError(failure.message, failure.code, failure.data)
        lines = log_lines_json(outcome.log_lines)
    else:
        error = outcome
    message = error_message(error, request_id, node.app.folder)
    return CallResult(False, None, lines, node.head_ts, message, error_data(error))

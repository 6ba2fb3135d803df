"""Answers to calls from outside a session, and how they leave: through the outbox."""

from __future__ import annotations

from cupola.backend.calls import CallRequest, CallResult, Done
from cupola.backend.node import Node
from cupola.backend.queries import log_lines_json
from cupola.errors import CupolaError, OutOfRetentionError
from cupola.functions.execution import Execution
from cupola.functions.failure import error_data, error_message


def deliver(node: Node, result: CallResult, done: Done) -> None:
    """Answer once what the result shows is durable."""
    node.outbox.put(result.ts, lambda: done(result))


def failed(node: Node, error: CupolaError, request: CallRequest) -> CallResult:
    """The answer to a call that did not run."""
    request_id = request.request_id or node.new_request_id()
    message = error_message(error, request_id, node.app.folder)
    return CallResult(
        False, None, b"[]", node.persistence.durable_ts, message, error_data(error), error
    )


def moved_on(ts: int, head_ts: int) -> OutOfRetentionError:
    """What a query at `ts` reads has been written since."""
    return OutOfRetentionError(
        f"This deployment reads only its newest state; {ts} is older than {head_ts}. "
        "Ask for the newest timestamp again and repeat the query.",
    )


def action_result(node: Node, execution: Execution, request_id: str) -> CallResult:
    """What an action came to. Its nested calls were durable before it heard of them."""
    lines = log_lines_json(execution.log_lines)
    ts = node.persistence.durable_ts
    if execution.value is not None:
        return CallResult(True, execution.value, lines, ts)
    error = execution.error
    told = execution.failure(request_id, node.app.folder)
    typed = error if isinstance(error, CupolaError) else None
    return CallResult(False, None, lines, ts, told.message, told.data, typed)

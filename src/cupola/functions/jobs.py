"""Scheduled jobs: functions that run later, as documents of a system table.

A job is written in the transaction that schedules it, so it exists exactly if that commits, and a
nested call that is rolled back takes its jobs back. Functions see the documents as they are:

    {_id, _creationTime, name, args: [{...}], scheduledTime, state: {kind}, completedTime?}

    pending ── the job of a mutation ──────────────────────────> success | failed
       │  └─── the job of an action ──────────> inProgress ────> success | failed
       └────── cancel ────────────────────────────────┴────────> canceled

Jobs that components have scheduled are in a table of their own, with a `component` in each document
that their functions do not see. Names in documents are qualified (`values.paths`).

The job of a mutation is completed in the mutation's own transaction: it takes effect exactly once.
That of an action is marked `inProgress` before the action starts: it starts at most once. Times are
ms since the Unix epoch. The table that a job belongs to follows from its id; runs of cron jobs have
one of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from cupola.database.catalog import COMPONENT_JOBS, CRON_RUNS, SCHEDULED_FUNCTIONS, Document
from cupola.database.transaction import Transaction
from cupola.errors import (
    ConflictError,
    DatabaseUseError,
    DeveloperError,
    FunctionNotFoundError,
    InvalidIdError,
)
from cupola.functions.call import Call
from cupola.functions.definitions import Function
from cupola.functions.execution import Execution
from cupola.functions.javascript import JavaScriptFunction
from cupola.functions.near_limits import warn_of_scheduled
from cupola.values import Value, decode, table_number_of

PENDING: Final = "pending"
IN_PROGRESS: Final = "inProgress"
NOT_PENDING: Final = "JobNotPending"
JOB_TABLES: Final = (SCHEDULED_FUNCTIONS, CRON_RUNS, COMPONENT_JOBS)
SCHEDULED: Final = (SCHEDULED_FUNCTIONS, COMPONENT_JOBS)
"""Where functions schedule."""

State = dict[str, Value]
SUCCESS: Final[State] = {"kind": "success"}
CANCELED: Final[State] = {"kind": "canceled"}


def failed(error: str) -> State:
    return {"kind": "failed", "error": error}


def schedule(
    call: Call, path: str, args: bytes, time_ms: float, component: str | None = None
) -> str:
    """Write a job in the call's transaction; a time that has passed means now. Returns its id.

    `args`: encoded JSON of the arguments object; held against the function's types when it runs.
    `component`: whose job it is, if not the caller's.

    Raises:
        FunctionNotFoundError: There is no such function now.
        LimitError: The mutation has scheduled too much.
        DeveloperError: The time is too far away.
    """
    if path.startswith("_system/"):
        raise FunctionNotFoundError(f"`{path}` is the system's; it cannot be scheduled.")
    function = call.app.find(path)
    now_ms = call.now_ns / 1e6
    _check_time(time_ms, now_ms, call.limits.schedule_ahead_s_max)
    call.transaction.usage.scheduled(len(args))
    warn_of_scheduled(call.logs, call.limits, path, args)
    document: Document = {
        "name": name_of(function),
        "args": [decode(args)],
        "scheduledTime": max(time_ms, now_ms),
        "state": {"kind": PENDING},
    }
    if call.job is not None and _is_canceled(call.transaction, call.job):
        document |= {"state": CANCELED, "completedTime": now_ms}
    owner = call.component if component is None else component
    if owner:
        document["component"] = owner
        return call.transaction.put_system(COMPONENT_JOBS, None, document)
    return call.transaction.put_system(SCHEDULED_FUNCTIONS, None, document)


def name_of(function: Function[Any, Any]) -> str:
    """How a function is called in documents: pushed ones with their module's file, as the
    published packages expect it.
    """
    if not isinstance(function, JavaScriptFunction):
        return function.path
    module, _, name = function.path.rpartition(":")
    return f"{module}.js:{name}"


def _check_time(time_ms: float, now_ms: float, ahead_s_max: float) -> None:
    if not abs(time_ms - now_ms) <= ahead_s_max * 1000:
        raise DeveloperError(
            f"A function can be scheduled at most {ahead_s_max / 86_400:,.0f} days from now, and "
            "not that long ago. Times are datetimes, or milliseconds since 1970.",
            code="InvalidScheduledTime",
        )


def cancel(call: Call, job: str, component: str | None = None) -> bool:
    """Cancel a job that has not ended. One that has ended, or is gone, stays as it is; so does one
    of another component. `component`: as in `schedule`. Returns whether there was one to cancel.

    Raises:
        InvalidIdError: The text is no id of a scheduled function.
        DatabaseUseError: It is the job that this mutation itself is.
    """
    owner = call.component if component is None else component
    try:
        is_job = table_number_of(job) == (COMPONENT_JOBS if owner else SCHEDULED_FUNCTIONS)
    except InvalidIdError:
        is_job = False
    if is_job and owner:
        document = _document(call.transaction, job)
        is_job = document is None or document["component"] == owner
    if not is_job:
        raise InvalidIdError(f'"{job[:80]}" is no id of a scheduled function.')
    if call.completes_job and job == call.job:
        raise DatabaseUseError(
            "A scheduled mutation cannot cancel itself while it runs; return instead.",
            code="CannotCancelItself",
        )
    return end(call.transaction, job, CANCELED, call.now_ns / 1e6)


def end(transaction: Transaction, job: str, state: State, now_ms: float) -> bool:
    """Give a job its last state. Returns False if it has one, or is gone."""
    document = _document(transaction, job)
    if document is None or not is_open(document):
        return False
    ended: Document = {**document, "state": state, "completedTime": now_ms}
    transaction.put_system(table_number_of(job), job, ended)
    return True


def begin(transaction: Transaction, job: str) -> None:
    """Mark a pending job as in progress.

    Raises:
        ConflictError: It is not pending (any more), with the code `JobNotPending`.
    """
    document = _document(transaction, job)
    if document is None or kind_of(document) != PENDING:
        raise ConflictError("The scheduled function was canceled, or has run.", code=NOT_PENDING)
    in_progress: Document = {**document, "state": {"kind": IN_PROGRESS}}
    transaction.put_system(table_number_of(job), job, in_progress)


def run_as_job(call: Call, run: Callable[[], Execution]) -> Execution:
    """Run a mutation; if it is a scheduled one, it completes its job in the same transaction."""
    job, transaction = call.job, call.transaction
    if job is None or not call.completes_job:
        return run()
    try:
        begin(transaction, job)
    except ConflictError as error:
        return Execution(None, error, [])
    execution = run()
    if execution.error is None:
        end(transaction, job, SUCCESS, call.now_ns / 1e6)
    return execution


def kind_of(document: Document) -> str:
    state = document["state"]
    assert isinstance(state, dict)
    return str(state["kind"])


def is_open(document: Document) -> bool:
    """Whether a job may still begin or end."""
    return kind_of(document) in (PENDING, IN_PROGRESS)


def _is_canceled(transaction: Transaction, job: str) -> bool:
    document = _document(transaction, job)
    return document is not None and kind_of(document) == "canceled"


def _document(transaction: Transaction, job: str) -> Document | None:
    stored = transaction.get_system(table_number_of(job), job)
    return stored.value if stored is not None else None

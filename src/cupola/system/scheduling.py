"""What happens to jobs and cron jobs, as transactions: `_system/scheduling/…`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from cupola.database.catalog import (
    COMPONENT_JOBS,
    CRON_JOBS,
    CRON_RUNS,
    SCHEDULED_FUNCTIONS,
    Document,
    Index,
    system_index,
)
from cupola.database.ranges import EVERYTHING, KeyRange
from cupola.database.transaction import Transaction
from cupola.functions import jobs
from cupola.functions.context import MutationCtx
from cupola.functions.crons import next_time_ms
from cupola.functions.scheduler import CANCEL, SCHEDULE
from cupola.limits import MiB
from cupola.system.events import note_in, of_component
from cupola.system.reading import engine
from cupola.system.registry import PREFIX, system_mutation
from cupola.values import UNSET, Int64, encode, encode_key
from cupola.values.keys import after

CANCEL_ALL: Final = PREFIX + "scheduling/jobs:cancelAll"
START: Final = PREFIX + "scheduling/jobs:start"
END: Final = PREFIX + "scheduling/jobs:end"
RECOVER: Final = PREFIX + "scheduling/jobs:recover"
FORGET: Final = PREFIX + "scheduling/jobs:forget"
CLEAR: Final = PREFIX + "scheduling/jobs:clear"
DECLARE: Final = PREFIX + "scheduling/crons:declare"
FIRE: Final = PREFIX + "scheduling/crons:fire"
_JOBS_PER_CALL: Final = 100
_LOOKED_AT_MAX: Final = 1000  # for them, and so many bytes: a call must not keep the loop
_LOOKED_AT_BYTES_MAX: Final = 1 * MiB


@system_mutation(SCHEDULE.removeprefix(PREFIX))
def schedule(
    ctx: MutationCtx,
    function: str,
    args: Any,
    time: float | None = None,
    delay: float | None = None,
    component: str = "",
) -> str:
    """Schedule for an action, whose calls are transactions of their own; times in ms."""
    with engine(ctx):
        time_ms = time if time is not None else ctx._call.now_ns / 1e6 + (delay or 0.0)
        return jobs.schedule(ctx._call, function, encode(args), time_ms, component)


@system_mutation(CANCEL.removeprefix(PREFIX))
def cancel(ctx: MutationCtx, id: str, component: str = "", by_administrator: bool = False) -> None:
    """`by_administrator`: it leaves an event."""
    with engine(ctx) as transaction:
        if not jobs.cancel(ctx._call, id, component) or not by_administrator:
            return
        job = transaction.get_system(_jobs_of(component), id)
    assert job is not None
    canceled = {"scheduled_function_id": id, "function_path": job.value["name"]}
    note_in(ctx, "cancel_scheduled_function", **of_component(component), **canceled)


@system_mutation(CANCEL_ALL.removeprefix(PREFIX))
def cancel_all(
    ctx: MutationCtx,
    function: str | None = None,
    component: str = "",
    start: Int64 | None = None,
    end: Int64 | None = None,
    before: int = 0,
    position: bytes | None = None,
) -> dict[str, Any]:
    """Cancel some of the jobs of the app, or of a component, that wait: all, or those of one
    function, or that are due from `start` to before `end`, ns. `before`: how many earlier calls
    have, for the event that the last one leaves; `position`: where they came to.

    Returns `{changed, position}`: how many, and where the next call goes on; null: there is none.
    """

    def is_wanted(job: Document) -> bool:
        is_its = function in (None, job["name"]) and _is_of(component, job)
        return is_its and _is_due(job, start, end)

    index = system_index(_jobs_of(component), "by_due")
    with engine(ctx) as transaction:
        found, reached = _next_of(transaction, index, _waiting(start, end), position, is_wanted)
        for job in found:
            jobs.end(transaction, str(job["_id"]), jobs.CANCELED, _now_ms(ctx))
    if reached is None and before + len(found) > 0:
        which = {"function_path": function, "start_next_ts": start, "end_next_ts": end}
        told = {name: value for name, value in which.items() if value is not None}
        note_in(ctx, "cancel_all_scheduled_functions", **of_component(component), **told)
    return {"changed": float(len(found)), "position": reached}


def _next_of(
    transaction: Transaction,
    index: Index,
    keys: KeyRange,
    position: bytes | None,
    is_wanted: Callable[[Document], bool],
) -> tuple[list[Document], bytes | None]:
    """The next jobs of a range that are wanted, which may be few among many, or none for now; and
    where to go on behind them; None: that was all.
    """
    if position is not None:
        keys = keys._replace(start=max(keys.start, position))
    found: list[Document] = []
    size = 0
    for looked_at, (key, row) in enumerate(transaction.scan(index, keys), 1):
        size += len(row.body)
        if is_wanted(row.value):
            found.append(row.value)
        is_much = looked_at >= _LOOKED_AT_MAX or size >= _LOOKED_AT_BYTES_MAX
        if is_much or len(found) >= _JOBS_PER_CALL:
            return found, key + b"\0"
    return found, None


def _waiting(start: Int64 | None, end: Int64 | None) -> KeyRange:
    """The jobs that wait, and about which of them: keys have ms, where ns are rounded."""
    prefix = encode_key(jobs.PENDING)
    first = prefix if start is None else prefix + encode_key(start / 1e6 - 1)
    last = after(prefix) if end is None else prefix + encode_key(end / 1e6 + 1)
    return KeyRange(1, prefix, first, max(first, last))


def ns_of(time_ms: Any) -> Int64:
    """A time in ms as pages of jobs show it."""
    return Int64(int(time_ms * 1_000_000))


def _is_due(job: Document, start: Int64 | None, end: Int64 | None) -> bool:
    due_ns = ns_of(job["scheduledTime"])
    return (start is None or due_ns >= start) and (end is None or due_ns < end)


@system_mutation(START.removeprefix(PREFIX))
def start(ctx: MutationCtx, id: str) -> None:
    """An action is about to start. Raises: ConflictError: as `jobs.begin`."""
    with engine(ctx) as transaction:
        jobs.begin(transaction, id)


@system_mutation(END.removeprefix(PREFIX))
def end(ctx: MutationCtx, id: str, error: str | None) -> None:
    """A job has ended; one that was canceled meanwhile stays so."""
    with engine(ctx) as transaction:
        state = jobs.SUCCESS if error is None else jobs.failed(error)
        jobs.end(transaction, id, state, _now_ms(ctx))


@system_mutation(RECOVER.removeprefix(PREFIX))
def recover(ctx: MutationCtx, error: str) -> int:
    """Fail some jobs that are in progress. Returns how many."""
    prefix = encode_key(jobs.IN_PROGRESS)
    keys = KeyRange(1, prefix, prefix, after(prefix))
    count = 0
    with engine(ctx) as transaction:
        for table in jobs.JOB_TABLES:
            for document in _some(transaction, table, "by_due", keys):
                jobs.end(transaction, str(document["_id"]), jobs.failed(error), _now_ms(ctx))
                count += 1
    return count


@system_mutation(FORGET.removeprefix(PREFIX))
def forget(ctx: MutationCtx, before: float) -> int:
    """Delete some jobs that ended before a time (ms). Returns how many."""
    keys = KeyRange(0, b"", after(encode_key(UNSET)), encode_key(before))
    with engine(ctx) as transaction:
        return sum(
            _delete(transaction, table, _some(transaction, table, "by_completion", keys))
            for table in jobs.SCHEDULED
        )


@system_mutation(CLEAR.removeprefix(PREFIX))
def clear(
    ctx: MutationCtx, component: str = "", before: int = 0, position: bytes | None = None
) -> dict[str, Any]:
    """Delete some jobs of the app, or of a component, whatever their state: one that waits never
    runs. `before`, `position`, what it returns: as in `cancel_all`.
    """
    table = _jobs_of(component)
    index = system_index(table, "by_id")
    with engine(ctx) as transaction:
        is_own = partial(_is_of, component)
        found, reached = _next_of(transaction, index, EVERYTHING, position, is_own)
        count = _delete(transaction, table, found)
    if reached is None and before + count > 0:
        note_in(ctx, "delete_scheduled_jobs_table", **of_component(component))
    return {"changed": float(count), "position": reached}


def _delete(transaction: Transaction, table: int, found: list[Document]) -> int:
    for document in found:
        transaction.put_system(table, str(document["_id"]), None)
    return len(found)


def _jobs_of(component: str) -> int:
    return COMPONENT_JOBS if component else SCHEDULED_FUNCTIONS


def _is_of(component: str, job: Document) -> bool:
    return job.get("component", "") == component


# ----------------------------------------------------------------------- cron jobs


@system_mutation(DECLARE.removeprefix(PREFIX))
def declare(ctx: MutationCtx, jobs: list[dict[str, Any]]) -> None:
    """Make these the cron jobs there are. One that has not changed keeps its schedule."""
    now_ms = _now_ms(ctx)
    wanted: dict[str, Document] = {str(job["name"]): dict(job) for job in jobs}
    with engine(ctx) as transaction:
        index = system_index(CRON_JOBS, "by_id")
        known = [row.value for _, row in transaction.scan(index, EVERYTHING)]
        for document in known:
            cron = str(document["_id"])
            job = wanted.pop(str(document["name"]), None)
            if job is None:
                transaction.put_system(CRON_JOBS, cron, None)
                _forget_runs(transaction, str(document["name"]), kept=0)
            elif any(document[name] != value for name, value in job.items()):
                changed = {**document, **job, "nextTime": _next(job, now_ms, None)}
                transaction.put_system(CRON_JOBS, cron, changed)
        for job in wanted.values():
            transaction.put_system(CRON_JOBS, None, _new_cron(job, now_ms))


def _new_cron(job: Document, now_ms: float) -> Document:
    times: Document = {"nextTime": _next(job, now_ms, None), "lastTime": None}
    return {**job, **times, "lastRun": None, "skipped": 0.0}


@system_mutation(FIRE.removeprefix(PREFIX))
def fire(ctx: MutationCtx, id: str, skip: bool = False) -> None:
    """A cron job is due: make a run of it, or skip it while the last one goes on, or if told to;
    either way, say when it is due next.
    """
    now_ms = _now_ms(ctx)
    with engine(ctx) as transaction:
        stored = transaction.get_system(CRON_JOBS, id)
        if stored is None or not isinstance(due_ms := stored.value["nextTime"], float):
            return
        if due_ms > now_ms:
            return
        cron = stored.value
        changed: Document = {**cron, "nextTime": _next(cron, now_ms, due_ms), "lastTime": due_ms}
        if skip or _goes_on(transaction, cron):
            changed["skipped"] = _number(cron["skipped"]) + 1
        else:
            changed["lastRun"] = _new_run(transaction, cron, due_ms)
            _forget_runs(transaction, str(cron["name"]), ctx._call.limits.cron_runs_kept_max)
        transaction.put_system(CRON_JOBS, id, changed)


def _goes_on(transaction: Transaction, cron: Document) -> bool:
    run = cron["lastRun"]
    stored = transaction.get_system(CRON_RUNS, run) if isinstance(run, str) else None
    return stored is not None and jobs.is_open(stored.value)


def _new_run(transaction: Transaction, cron: Document, due_ms: float) -> str:
    run: Document = {
        "cron": cron["name"],
        "name": cron["function"],
        "args": [cron["args"]],
        "scheduledTime": due_ms,
        "state": {"kind": jobs.PENDING},
    }
    return transaction.put_system(CRON_RUNS, None, run)


def _forget_runs(transaction: Transaction, cron: str, kept: int) -> None:
    prefix = encode_key(cron)
    keys = KeyRange(1, prefix, prefix, after(prefix))
    rows = list(transaction.scan(system_index(CRON_RUNS, "by_cron"), keys))
    for _, row in rows[: max(0, len(rows) - kept)]:
        transaction.put_system(CRON_RUNS, str(row.value["_id"]), None)


def _next(job: Document, now_ms: float, due_ms: float | None) -> float:
    schedule = job["schedule"]
    assert isinstance(schedule, dict)
    return next_time_ms(str(job["name"]), schedule, now_ms, due_ms)


def _some(transaction: Transaction, table: int, index: str, keys: KeyRange) -> list[Document]:
    rows = transaction.scan(system_index(table, index), keys)
    return [row.value for _, row in itertools.islice(rows, _JOBS_PER_CALL)]


def _now_ms(ctx: MutationCtx) -> float:
    return ctx._call.now_ns / 1e6


def _number(value: Any) -> float:
    assert isinstance(value, float)
    return value

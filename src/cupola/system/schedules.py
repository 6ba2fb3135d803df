"""What dashboards ask about scheduled functions and cron jobs (spec: deploy API, section 19)."""

from __future__ import annotations

import itertools
from typing import Any, Final

from cupola.database.catalog import (
    COMPONENT_JOBS,
    CRON_JOBS,
    CRON_RUNS,
    SCHEDULED_FUNCTIONS,
    Document,
    system_index,
)
from cupola.database.ranges import EVERYTHING, KeyRange
from cupola.functions.context import QueryCtx
from cupola.functions.jobs import IN_PROGRESS, PENDING, kind_of
from cupola.system.reading import engine
from cupola.system.registry import system_query
from cupola.system.scheduling import ns_of
from cupola.values import Int64, Value, encode, encode_key, qualified, split_qualified
from cupola.values.keys import after

_SHOWN_MAX: Final = 1000


@system_query("frontend/paginatedScheduledJobs:default")
def scheduled_jobs(
    ctx: QueryCtx,
    paginationOpts: Any = None,
    udfPath: str | None = None,
    componentId: str | None = None,
) -> Any:
    """Those that run or wait, by time; one page, of so many as anybody looks through."""
    found: list[dict[str, Any]] = []
    with engine(ctx) as transaction:
        component = transaction.component
        table = COMPONENT_JOBS if component else SCHEDULED_FUNCTIONS
        index = system_index(table, "by_due")
        for kind in (IN_PROGRESS, PENDING):
            prefix = encode_key(kind)
            rows = transaction.scan(index, KeyRange(1, prefix, prefix, after(prefix)))
            own = (row.value for _, row in rows if not component or transaction.is_own(row))
            jobs = itertools.islice(own, _SHOWN_MAX)
            found += [_job(job) for job in jobs if udfPath in (None, job["name"])]
    return {"page": found, "isDone": True, "continueCursor": ""}


@system_query("frontend/listCronJobs:default")
def cron_jobs(ctx: QueryCtx, componentId: str | None = None) -> Any:
    with engine(ctx) as transaction:
        rows = list(transaction.scan(system_index(CRON_JOBS, "by_id"), EVERYTHING))
        found = []
        for _, row in rows:
            cron = row.value
            if split_qualified(str(cron["function"]))[0] != transaction.component:
                continue
            last = cron["lastRun"]
            run = transaction.get_system(CRON_RUNS, last) if isinstance(last, str) else None
            found.append(_cron(cron, run.value if run is not None else None))
    return sorted(found, key=lambda cron: str(cron["name"]))


@system_query("frontend/listCronJobRuns:default")
def cron_job_runs(ctx: QueryCtx, componentId: str | None = None) -> Any:
    """The newest first; those that have not ended are left out."""
    with engine(ctx) as transaction:
        index = system_index(CRON_RUNS, "by_creation_time")
        rows = transaction.scan(index, EVERYTHING, descending=True)
        own = (
            row.value
            for _, row in rows
            if split_qualified(str(row.value["name"]))[0] == transaction.component
        )
        runs = list(itertools.islice(own, _SHOWN_MAX))
    return [_run(run) for run in runs if "completedTime" in run]


def _job(job: Document) -> dict[str, Any]:
    return {
        "_id": job["_id"],
        "_creationTime": job["_creationTime"],
        "nextTs": ns_of(job["scheduledTime"]),
        "udfPath": job["name"],
        "state": {"type": kind_of(job)},
        "udfArgs": encode(job["args"]),
        "argsId": None,
    }


def own_name(cron: Value, function: Value) -> str:
    """What the component of a cron job, which is its function's, calls it."""
    component, _ = split_qualified(str(function))
    return str(cron).removeprefix(qualified(component, ""))


def _cron(cron: Document, run: Document | None) -> dict[str, Any]:
    is_running = run is not None and kind_of(run) in (PENDING, IN_PROGRESS)
    last = cron["lastTime"]
    return {
        "name": own_name(cron["name"], cron["function"]),
        "cronSpec": cron_spec(cron["function"], cron["args"], cron["schedule"]),
        "lastRun": _run(run) if run is not None and not is_running else None,
        "nextRun": {
            "cronJobId": cron["_id"],
            "state": {"type": IN_PROGRESS if is_running else PENDING},
            "prevTs": None if last is None else ns_of(last),
            "nextTs": ns_of(cron["nextTime"]),
        },
    }


def cron_spec(function: Value, args: Any, schedule: Any) -> dict[str, Any]:
    """What runs when."""
    return {
        "udfPath": function,
        "udfArgs": encode([args]),
        "cronSchedule": _schedule(schedule),
    }


def _schedule(schedule: Any) -> dict[str, Any]:
    """Whole numbers as 64-bit ones; the expression under the name that dashboards read."""
    shown = {
        name: Int64(int(value)) if isinstance(value, float) else value
        for name, value in schedule.items()
    }
    if "cron" in shown:
        shown["cronExpr"] = shown.pop("cron")
    return shown


def _run(run: Document) -> dict[str, Any]:
    begun, ended = run["scheduledTime"], run.get("completedTime")
    seconds = (ended - begun) / 1000 if isinstance(ended, float) and isinstance(begun, float) else 0
    return {
        "_id": run["_id"],
        "_creationTime": run["_creationTime"],
        "name": own_name(run["cron"], run["name"]),
        "ts": ns_of(begun),
        "udfPath": run["name"],
        "udfArgs": encode(run["args"]),
        "status": _status(run),
        "logLines": {"logLines": [], "isTruncated": False},
        "executionTime": float(seconds),
    }


def _status(run: Document) -> dict[str, Any]:
    state = run["state"]
    assert isinstance(state, dict)
    match state["kind"]:
        case "success":
            return {"type": "success", "result": {"type": "truncated", "truncated": ""}}
        case "failed":
            return {"type": "err", "error": state["error"]}
    return {"type": "canceled", "num_canceled": Int64(1)}

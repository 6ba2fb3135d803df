"""Functions that run later: with the transaction that scheduled them, and when they are due."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from cupola.errors import (
    DatabaseUseError,
    DeveloperError,
    FunctionNotFoundError,
    InvalidIdError,
    LimitError,
)
from cupola.testing import Deployment

DAY_S = 86_400.0


def later(app: Deployment, delay_s: float, function: str, **args: Any) -> str:
    job: str = app.mutation("notes:later", delay=delay_s, function=function, args=args)
    return job


def state(app: Deployment, job: str) -> dict[str, Any]:
    found: dict[str, Any] = app.query("notes:job", id=job)["state"]
    return found


def test_a_function_runs_when_it_is_due(cupola: Deployment) -> None:
    job = later(cupola, 60, "notes:write", text="hi")
    assert cupola.query("notes:texts") == []

    cupola.advance(59)
    assert (cupola.query("notes:texts"), state(cupola, job)) == ([], {"kind": "pending"})
    cupola.advance(1)
    assert (cupola.query("notes:texts"), state(cupola, job)) == (["hi"], {"kind": "success"})


def test_its_document_tells_what_it_is(cupola: Deployment) -> None:
    now_ms = cupola.clock.now_ns() / 1e6
    job = later(cupola, 2, "notes:write", text="hi")

    document = cupola.query("notes:job", id=job)
    assert document == {
        "_id": job,
        "_creationTime": pytest.approx(now_ms, abs=1),
        "name": "notes:write",
        "args": [{"text": "hi"}],
        "scheduledTime": now_ms + 2000,
        "state": {"kind": "pending"},
    }
    cupola.advance(2)
    done = cupola.query("notes:job", id=job)
    assert done == {
        **document,
        "state": {"kind": "success"},
        "completedTime": pytest.approx(now_ms + 2000, abs=1),
    }


def test_a_subscription_follows_a_job(cupola: Deployment) -> None:
    job = later(cupola, 5, "notes:write", text="hi")
    live = cupola.connect().subscribe("notes:job", id=job)

    cupola.advance(5)

    assert live.next()["state"] == {"kind": "success"}


def test_a_failed_mutation_has_scheduled_nothing(cupola: Deployment) -> None:
    with pytest.raises(DeveloperError, match="no"):
        cupola.mutation("notes:schedule_and_fail")
    assert cupola.query("notes:jobs") == []


def test_a_nested_call_that_is_rolled_back_takes_its_jobs_back(cupola: Deployment) -> None:
    cupola.mutation("notes:nested")
    assert cupola.query("notes:texts") == ["caught"]
    assert len(cupola.query("notes:jobs")) == 1


def test_jobs_run_in_the_order_of_their_times(cupola: Deployment) -> None:
    for delay in (3, 1, 2):
        later(cupola, delay, "notes:write", text=str(delay))
    cupola.clock.advance(10)
    cupola.settle()
    assert cupola.query("notes:texts") == ["1", "2", "3"]


def test_a_time_is_a_datetime_or_milliseconds(cupola: Deployment) -> None:
    time_ms = cupola.clock.now_ns() / 1e6 + 60_000
    cupola.mutation("notes:at", time=time_ms, text="ms")
    moment = datetime.datetime.fromtimestamp(time_ms / 1000, datetime.UTC)
    cupola.run(lambda ctx: ctx.scheduler.run_at(moment, "notes:write", text="datetime"))
    delay = datetime.timedelta(minutes=1)
    cupola.run(lambda ctx: ctx.scheduler.run_after(delay, "notes:write", text="timedelta"))
    assert cupola.query("notes:texts") == []

    cupola.advance(60)

    assert sorted(cupola.query("notes:texts")) == ["datetime", "ms", "timedelta"]


def test_a_time_that_has_passed_means_now(cupola: Deployment) -> None:
    cupola.mutation("notes:at", time=cupola.clock.now_ns() / 1e6 - 5000, text="late")
    assert cupola.query("notes:texts") == ["late"]


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf"), 6 * 366 * DAY_S])
def test_a_time_that_makes_no_sense_is_refused(cupola: Deployment, delay: float) -> None:
    with pytest.raises(DeveloperError):
        later(cupola, delay, "notes:write", text="hi")
    assert cupola.query("notes:jobs") == []


def test_a_datetime_without_a_zone_is_refused(cupola: Deployment) -> None:
    naive = datetime.datetime(2030, 1, 1)
    with pytest.raises(DeveloperError, match="time zone"):
        cupola.run(lambda ctx: ctx.scheduler.run_at(naive, "notes:write", text="hi"))


def test_what_is_not_there_cannot_be_scheduled(cupola: Deployment) -> None:
    with pytest.raises(FunctionNotFoundError, match="Did you mean 'notes:write'"):
        later(cupola, 0, "notes:wrote")
    with pytest.raises(FunctionNotFoundError):
        later(cupola, 0, "_system/scheduling/jobs:forget", before=1e18)


def test_nobody_in_particular_runs_a_job(cupola: Deployment) -> None:
    """Whoever scheduled it: the identity of a caller is not kept for later."""
    ada = cupola.as_user("ada")
    ada.mutation("notes:later", delay=0, function="notes:write_who", args={})
    assert cupola.query("notes:texts") == ["None"]


def test_what_a_failed_job_wrote_is_gone_and_it_is_not_tried_again(cupola: Deployment) -> None:
    job = later(cupola, 1, "notes:fail", text="half")
    cupola.advance(DAY_S)
    assert cupola.query("notes:texts") == []
    failed = state(cupola, job)
    assert failed["kind"] == "failed"
    assert "it does not work" in failed["error"]


@pytest.mark.parametrize(
    ("function", "args", "reason"),
    [
        ("notes:write", {"txt": "hi"}, "ArgumentValidationError"),
        ("notes:texts", {}, "is a query"),
    ],
)
def test_a_job_that_cannot_run_has_failed(
    cupola: Deployment, function: str, args: dict[str, Any], reason: str
) -> None:
    job = later(cupola, 0, function, **args)
    assert reason in state(cupola, job)["error"]


def test_a_job_sees_itself_in_progress(cupola: Deployment) -> None:
    later(cupola, 0, "notes:write_own_state")
    assert cupola.query("notes:texts") == ["inProgress"]


def test_a_job_schedules_the_next_one(cupola: Deployment) -> None:
    later(cupola, 60, "notes:again", left=2)
    cupola.advance(150)
    assert cupola.query("notes:texts") == ["2 left", "1 left"]
    cupola.advance(30)
    assert cupola.query("notes:texts") == ["2 left", "1 left", "0 left"]


def test_jobs_that_schedule_each_other_without_end_are_found(cupola: Deployment) -> None:
    """A test with such an app ends, and says why."""
    with pytest.raises(AssertionError, match="without an end"):
        later(cupola, 0, "notes:forever")


# ----------------------------------------------------------------------------------------- cancel


def test_a_canceled_job_never_runs(cupola: Deployment) -> None:
    job = later(cupola, 60, "notes:write", text="hi")
    cupola.mutation("notes:cancel", id=job)
    cupola.advance(120)
    assert cupola.query("notes:texts") == []
    assert state(cupola, job) == {"kind": "canceled"}


def test_what_has_ended_cannot_be_canceled_any_more(cupola: Deployment) -> None:
    job = later(cupola, 0, "notes:write", text="hi")
    cupola.mutation("notes:cancel", id=job)
    assert state(cupola, job) == {"kind": "success"}


def test_a_job_cannot_cancel_itself(cupola: Deployment) -> None:
    job = later(cupola, 0, "notes:cancel_itself")
    assert "cannot cancel itself" in state(cupola, job)["error"]


def test_only_jobs_can_be_canceled_and_looked_at(cupola: Deployment) -> None:
    note = cupola.run(lambda ctx: ctx.db.insert("notes", {"text": "hi"}))
    for text in (note, "nonsense"):
        with pytest.raises(InvalidIdError):
            cupola.mutation("notes:cancel", id=text)
        with pytest.raises(InvalidIdError):
            cupola.query("notes:job", id=text)
    with pytest.raises(DatabaseUseError, match="_scheduled_functions"):
        cupola.run(lambda ctx: ctx.db.system.query("_cron_jobs"))


def test_functions_cannot_write_documents_of_jobs(cupola: Deployment) -> None:
    job = later(cupola, 60, "notes:write", text="hi")
    for change in (
        lambda ctx: ctx.db.patch(job, name="notes:fail"),
        lambda ctx: ctx.db.delete(job),
        lambda ctx: ctx.db.insert("_scheduled_functions", {"name": "notes:write"}),
    ):
        with pytest.raises(DatabaseUseError, match="system table"):
            cupola.run(change)


# ---------------------------------------------------------------------------------------- actions


def test_an_action_runs_later_too(cupola: Deployment) -> None:
    job = later(cupola, 60, "notes:act", text="hi")
    cupola.advance(60)
    assert cupola.query("notes:texts") == ["hi"]
    assert state(cupola, job) == {"kind": "success"}


def test_what_an_action_schedules_stays_if_it_fails(cupola: Deployment) -> None:
    job = later(cupola, 0, "notes:act_and_fail", text="scheduled")
    assert "the action does not work" in state(cupola, job)["error"]
    assert cupola.query("notes:texts") == ["scheduled"]


def test_an_action_schedules_from_the_time_of_its_call(cupola: Deployment) -> None:
    job = cupola.action("notes:act_later", delay=60, text="hi")
    assert state(cupola, job) == {"kind": "pending"}
    cupola.advance(60)
    assert cupola.query("notes:texts") == ["hi"]


def test_what_a_canceled_action_schedules_never_runs(cupola: Deployment) -> None:
    """Itself, and through the mutations that it calls."""
    later(cupola, 0, "notes:act_after_cancel", own=[])
    cupola.advance(1)
    assert cupola.query("notes:texts") == []
    kinds = [job["state"]["kind"] for job in cupola.query("notes:jobs")]
    assert kinds == ["canceled"] * 3


def test_an_action_cannot_run_other_functions_of_the_system(cupola: Deployment) -> None:
    from cupola.backend.actions import nested_request

    with pytest.raises(FunctionNotFoundError):
        nested_request("system", "_system/scheduling/jobs:forget", b"{}", None, None)  # type: ignore[arg-type]


# ----------------------------------------------------------------------------------------- bounds


def test_a_mutation_schedules_a_thousand_functions(cupola: Deployment) -> None:
    cupola.mutation("notes:many", count=1000)
    assert cupola.query("notes:texts") == [str(number) for number in range(1000)]
    with pytest.raises(LimitError, match="at most 1000") as raised:
        cupola.mutation("notes:many", count=1001)
    assert raised.value.code == "TooManyFunctionsScheduled"
    assert len(cupola.query("notes:texts")) == 1000


def test_arguments_are_bounded_together(cupola: Deployment) -> None:
    with pytest.raises(LimitError) as raised:
        cupola.mutation("notes:large", count=17)
    assert raised.value.code == "ScheduledFunctionsArgumentsTooLarge"


def test_documents_of_jobs_are_kept_for_a_week(cupola: Deployment) -> None:
    cupola.mutation("notes:many", count=250)
    pending = later(cupola, 30 * DAY_S, "notes:write", text="later")

    cupola.advance(6.9 * DAY_S)
    assert len(cupola.query("notes:jobs")) == 251
    cupola.advance(0.2 * DAY_S)
    assert [job["_id"] for job in cupola.query("notes:jobs")] == [pending]

"""Jobs when things go wrong, and when there are many: once, in turn, and within bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cupola.backend.calls import CallRequest, CallResult
from cupola.errors import LimitError, PersistenceError
from cupola.functions import jobs
from cupola.functions.app import App, load_app
from cupola.limits import Limits
from cupola.persistence import MemoryPersistence
from cupola.persistence.sqlite import SqlitePersistence
from cupola.testing import Deployment
from cupola.values import encode

from .held_actions import HeldActions

FULL = PersistenceError("the disk is full")


@pytest.fixture(scope="module")
def notes(cupola_app_folder: Path) -> App:
    return load_app(cupola_app_folder)


@pytest.fixture
def log() -> MemoryPersistence:
    return MemoryPersistence()


@pytest.fixture
def app(notes: App, log: MemoryPersistence) -> Iterator[Deployment]:
    limits = Limits(scheduled_actions_running_max=2, scheduled_mutations_running_max=10)
    with Deployment(notes, persistence=log, limits=limits) as deployment:
        yield deployment


def later(app: Deployment, delay_s: float, function: str, **args: Any) -> str:
    job: str = app.mutation("notes:later", delay=delay_s, function=function, args=args)
    return job


def kinds(app: Deployment) -> list[str]:
    return [job["state"]["kind"] for job in app.query("notes:jobs")]


# ------------------------------------------------------------------------------- what fails, when


def test_a_job_that_the_disk_refused_is_tried_again(
    app: Deployment, log: MemoryPersistence
) -> None:
    """It says nothing about the function: the job stays pending, and takes effect once."""
    later(app, 5, "notes:write", text="hi")
    app.clock.advance(5)
    for wait_s in (0.5, 1.0, 2.0):
        log.fail_next_append(FULL)
        app.settle()
        assert kinds(app) == ["pending"]
        app.clock.advance(wait_s - 0.01)
        app.settle()
        assert app.query("notes:texts") == []
        app.clock.advance(0.01)
    app.settle()
    assert (app.query("notes:texts"), kinds(app)) == (["hi"], ["success"])


def test_the_end_of_an_action_is_written_when_the_disk_takes_it_again(
    app: Deployment, log: MemoryPersistence
) -> None:
    """And the action does not run a second time meanwhile."""
    held = HeldActions(app)
    later(app, 0, "notes:act", text="hi")
    assert kinds(app) == ["inProgress"]
    original = app.backend.scheduler._end
    app.backend.scheduler._end = lambda *args: (  # type: ignore[method-assign]
        log.fail_next_append(FULL),
        original(*args),
    )[1]
    held.begun.pop()()
    app.settle()
    assert kinds(app) == ["inProgress"]
    app.backend.scheduler._end = original  # type: ignore[method-assign]
    app.advance(1)
    assert (kinds(app), held.begun, app.query("notes:texts")) == (["success"], [], ["hi"])


@pytest.mark.parametrize(("name", "held_as"), [("start", "pending"), ("end", "inProgress")])
def test_a_step_of_a_job_is_tried_again_whatever_it_failed_with(
    app: Deployment, monkeypatch: pytest.MonkeyPatch, name: str, held_as: str
) -> None:
    """Such as a machine so slow that the time of a call was over; nobody else would do it."""
    held = HeldActions(app)
    with monkeypatch.context() as slow:
        slow.setattr(jobs, {"start": "begin", "end": "end"}[name], too_slow)
        later(app, 0, "notes:act", text="hi")
        if held.begun:
            held.begun.pop()()
        app.settle()
        assert kinds(app) == [held_as]
        app.advance(0.5)
        assert kinds(app) == [held_as]
    app.advance(1.0)
    while held.begun:
        held.begun.pop()()
        app.settle()
    assert (kinds(app), app.query("notes:texts")) == (["success"], ["hi"])
    assert app.backend.scheduler.running == 0


def too_slow(*args: Any) -> None:
    raise LimitError("The call took too long.")


def test_an_action_in_progress_has_failed_after_a_restart(app: Deployment) -> None:
    """Nobody knows how far it came, so it does not start again."""
    HeldActions(app)
    later(app, 0, "notes:act", text="hi")
    later(app, 60, "notes:write", text="later")

    app.restart()
    app.advance(60)

    (failed, done) = app.query("notes:jobs")
    assert failed["state"]["kind"] == "failed"
    assert "server stopped" in failed["state"]["error"]
    assert (done["state"]["kind"], app.query("notes:texts")) == ("success", ["later"])


def test_many_actions_in_progress_are_all_failed(notes: App) -> None:
    limits = Limits(scheduled_actions_running_max=500)
    with Deployment(notes, limits=limits) as app:
        HeldActions(app)
        for number in range(250):
            app.backend.submit(request("notes:act", text=str(number)), lambda result: None)
        app.settle()
        app.restart()
        app.settle()
        assert kinds(app) == ["failed"] * 250


def test_an_action_starts_when_the_disk_has_that_it_does(
    app: Deployment, log: MemoryPersistence
) -> None:
    """Else a power cut could take the mark back, and it would start again."""
    held = HeldActions(app)
    app.backend.submit(request("notes:act", text="hi"), lambda result: None)
    log.delay_durability()
    app.settle()
    assert held.begun == []
    log.release_durability()
    app.settle()
    assert len(held.begun) == 1


def test_a_job_in_a_rolled_back_group_has_not_run(app: Deployment, log: MemoryPersistence) -> None:
    """A client's mutation in the same group fails with it; the job is tried again, the other is
    not.
    """
    answers: list[CallResult] = []
    later(app, 5, "notes:write", text="job")
    app.clock.advance(5)
    app.backend.wake()
    while not len(app.backend.mutations):
        app.backend.turn()
    log.fail_next_append(FULL)
    add = CallRequest("mutation", "notes:at", encode({"time": 0.0, "text": "client"}))
    app.backend.submit(add, answers.append)
    app.settle()
    assert [answer.error for answer in answers if not answer.ok] == [answers[0].error]
    app.advance(1)
    assert app.query("notes:texts") == ["job"]


def test_jobs_survive_a_restart(app: Deployment) -> None:
    later(app, 60, "notes:write", text="hi")
    app.restart()
    app.advance(60)
    assert (app.query("notes:texts"), kinds(app)) == (["hi"], ["success"])


def test_jobs_survive_in_the_file(notes: App, tmp_path: Path) -> None:
    path = str(tmp_path / "data.sqlite3")
    with Deployment(notes, persistence=SqlitePersistence(path)) as app:
        later(app, 60, "notes:write", text="hi")
        clock = app.clock
    with Deployment(notes, persistence=SqlitePersistence(path), clock=clock) as app:
        app.advance(60)
        assert (app.query("notes:texts"), kinds(app)) == (["hi"], ["success"])


def test_a_function_that_is_gone_when_it_is_due(app: Deployment, notes: App) -> None:
    later(app, 60, "notes:write", text="hi")
    fewer = {path: each for path, each in notes.functions.items() if path != "notes:write"}
    app.backend.deploy_now(App(fewer, notes.tables))
    app.advance(60)
    (job,) = app.query("notes:jobs")
    assert "Could not find function" in job["state"]["error"]


# ------------------------------------------------------------------------------- many, and in turn


def request(function: str, **args: Any) -> CallRequest:
    scheduled = {"delay": 0.0, "function": function, "args": args}
    return CallRequest("mutation", "notes:later", encode(scheduled))


def test_long_actions_keep_no_mutation_waiting(app: Deployment) -> None:
    held = HeldActions(app)
    for number in range(5):
        later(app, 0, "notes:act", text=str(number))
    later(app, 0, "notes:write", text="hi")
    assert app.query("notes:texts") == ["hi"]
    assert len(held.begun) == 2

    held.begun.pop()()
    app.settle()
    assert len(held.begun) == 2
    assert kinds(app) == ["inProgress", "success", "inProgress", "pending", "pending", "success"]


def test_what_has_no_room_does_not_keep_the_loop_awake(notes: App) -> None:
    """It begins when another ends, and nobody asks for it until then."""
    limits = Limits(scheduled_actions_running_max=1, scheduled_actions_waiting_max=1)
    with Deployment(notes, limits=limits) as app:
        held = HeldActions(app)
        for number in range(5):
            later(app, 10, "notes:act", text=str(number))
        app.advance(10)
        assert (len(held.begun), app.backend.scheduler.next_due_ns) == (1, None)
        app.advance(3600)
        for _ in range(5):
            held.begun.pop()()
            app.settle()
        assert kinds(app) == ["success"] * 5


def test_a_waiting_action_can_be_canceled(app: Deployment) -> None:
    held = HeldActions(app)
    jobs = [later(app, 0, "notes:act", text=str(number)) for number in range(3)]
    app.mutation("notes:cancel", id=jobs[2])
    held.begun.pop()()
    app.settle()
    assert sorted(kinds(app)) == ["canceled", "inProgress", "success"]


def test_jobs_and_clients_take_turns(app: Deployment) -> None:
    """A backlog of either does not keep the other waiting."""
    later(app, 5, "notes:many", count=50)
    app.clock.advance(5)
    app.settle()
    order = app.query("notes:texts")
    assert order == [str(number) for number in range(50)]

    mutations = app.backend.mutations
    done: list[str] = []
    app.backend.wake()
    for number in range(6):
        app.backend.submit(
            request("notes:write", text=f"client {number}"),
            lambda result: done.append("client"),
        )
    for number in range(6):
        app.backend.scheduler._engine.run_mutation(
            "no job", "notes:write", encode({"text": str(number)}), lambda out: done.append("job")
        )
    assert len(mutations) == 12
    assert [mutations._next().is_background for _ in range(12)] == [False, True] * 6


def test_an_idle_deployment_asks_the_log_nothing(
    app: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When something is due next is known: turns for other things do not look for jobs."""
    later(app, 3600, "notes:write", text="hi")
    app.settle()
    looked: list[int] = []
    reader = app.backend.node.persistence.reader
    scan = reader.scan
    monkeypatch.setattr(
        reader,
        "scan",
        lambda index, *args, **named: looked.append(index) or scan(index, *args, **named),
    )
    for _ in range(10):
        app.backend.wake()
        app.backend.turn()
    assert looked == []


def test_the_loop_wakes_when_the_next_job_is_due(app: Deployment) -> None:
    """Also if an earlier one is scheduled later, or the next one is canceled."""
    timers: list[float | None] = []

    class Timer:
        def cancel(self) -> None:
            timers[-1] = None

    class Loop:
        def call_later(self, delay_s: float, wake: Callable[[], None]) -> Timer:
            timers.append(delay_s)
            return Timer()

    app.backend._scheduled.loop = Loop()  # type: ignore[assignment]
    later(app, 60, "notes:write", text="a")
    soon = later(app, 20, "notes:write", text="b")
    app.mutation("notes:cancel", id=soon)
    assert timers == [None, None, pytest.approx(60, abs=1e-5)]


def test_a_job_in_a_worker_conflicts_with_its_cancel(app: Deployment) -> None:
    """The job's document is among what its transaction read and wrote."""
    from cupola.functions.call import Call
    from cupola.functions.definitions import Kind
    from cupola.functions.execution import Execution
    from cupola.functions.jobs import NOT_PENDING, run_as_job

    job = later(app, 60, "notes:write", text="hi")
    node = app.backend.node

    def call() -> Call:
        from cupola.database.transaction import Transaction
        from cupola.database.writes import IdSource

        transaction = Transaction(
            node.persistence.reader, node.committer.catalog, node.head_ts, ids=IdSource(b"s", 1)
        )
        return Call(
            node.app, "notes:write", Kind.MUTATION, transaction, app._identity, app.clock.now_ns(),
            b"seed", "request", node.limits, node.sealer, job=job, completes_job=True,
        )  # fmt: skip

    first = call()
    assert run_as_job(first, lambda: Execution(b"null", None, [])).error is None
    (write,) = first.transaction.writes()
    assert write.new is not None
    assert write.new.value["state"] == {"kind": "success"}
    assert any(
        interval.index == write.table.primary.number for interval in first.transaction.intervals()
    )

    app.mutation("notes:cancel", id=job)
    error = run_as_job(call(), lambda: Execution(b"null", None, [])).error
    assert getattr(error, "code", None) == NOT_PENDING

"""Who wakes a quiet server when something is due: nobody else asks for a turn meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from cupola.auth import ANONYMOUS
from cupola.backend import Backend
from cupola.backend.calls import CallRequest
from cupola.backend.node import ExecutionLog
from cupola.functions.app import App, load_app
from cupola.limits import Limits
from cupola.persistence.sqlite import SqlitePersistence
from cupola.testing import Deployment
from cupola.values import encode

LONG_S = 60.0


@pytest.fixture(scope="module")
def notes(cupola_app_folder: Path) -> App:
    return load_app(cupola_app_folder)


class HeldTimers:
    """The part of an event loop that a deployment sets its alarm with."""

    def __init__(self) -> None:
        self.set: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, delay_s: float, then: Callable[[], None]) -> HeldTimers:
        self.set.append((delay_s, then))
        return self

    def cancel(self) -> None:
        """Of a timer; these go off only when a test says so."""


def later(delay_s: float, text: str, function: str = "notes:write") -> CallRequest:
    args = {"delay": delay_s, "function": function, "args": {"text": text}}
    return CallRequest("mutation", "notes:later", encode(args), ANONYMOUS)


@pytest.mark.parametrize("early_s", [0.0004, 0.3, 3.0])
def test_a_timer_that_goes_off_early_is_set_again(notes: App, early_s: float) -> None:
    """Timers of event loops count whole milliseconds, and wall clocks are set back."""
    with Deployment(notes) as app:
        timers = HeldTimers()
        app.backend._scheduled.loop = timers  # type: ignore[assignment]
        app.backend.submit(later(5, "hi"), lambda result: None)
        app.settle()
        (first,) = timers.set
        assert first[0] == pytest.approx(5, abs=0.002)

        app.clock.advance(5 - early_s)
        first[1]()
        app.settle()
        assert app.query("notes:texts") == []
        _, second = timers.set
        assert second[0] == pytest.approx(early_s, abs=0.002)

        app.clock.advance(early_s)
        second[1]()
        app.settle()
        assert app.query("notes:texts") == ["hi"]


def test_every_job_of_a_quiet_server_begins(notes: App, tmp_path: Path) -> None:
    """With the event loop that serves, and the machine's own clock."""

    async def story() -> None:
        backend = Backend(SqlitePersistence(str(tmp_path / "data.sqlite3")))
        backend.deploy_now(notes)
        backend.attach(asyncio.get_running_loop())
        ran = asyncio.Event()

        def watch(log: ExecutionLog) -> None:
            if log.path == "notes:write":
                ran.set()

        backend.node.watchers.append(watch)
        try:
            for number in range(40):
                ran.clear()
                scheduled = await backend.call(later(0.003 + number * 0.00013, str(number)))
                assert scheduled.ok, scheduled.error_message
                await asyncio.wait_for(ran.wait(), LONG_S)
        finally:
            await backend.close()

    uvloop.run(story())


def test_an_action_that_ends_leaves_its_room_to_a_scheduled_one(notes: App) -> None:
    """Whoever asked for the action has the answer, and nobody asks for a turn any more."""

    async def story() -> None:
        backend = Backend(limits=Limits(concurrent_actions_max=1))
        backend.deploy_now(notes)
        backend.attach(asyncio.get_running_loop())
        ran = asyncio.Event()
        backend.node.watchers.append(lambda log: ran.set() if log.path == "notes:act" else None)
        backend.begin_action()  # as the request of a client does
        try:
            assert (await backend.call(later(0, "hi", "notes:act"))).ok
            while not backend.scheduler.waiting or backend.needs_turn:
                await asyncio.sleep(0)
            backend.end_action()
            await asyncio.wait_for(ran.wait(), LONG_S)
        finally:
            await backend.close()

    asyncio.run(story())

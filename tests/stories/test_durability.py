"""Nothing is told before it is durable, a failed group never happened, a request happens once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cupola.backend.calls import CallRequest, CallResult
from cupola.errors import PersistenceError
from cupola.functions.app import App
from cupola.persistence import MemoryPersistence
from cupola.persistence.sqlite import SqlitePersistence
from cupola.sync.messages import MutationResponse, decode_server_message
from cupola.testing import Client, Deployment
from cupola.values import encode


@pytest.fixture
def log() -> MemoryPersistence:
    return MemoryPersistence()


@pytest.fixture
def app(story_app: App, log: MemoryPersistence) -> Any:
    with Deployment(story_app, persistence=log) as deployment:
        yield deployment


def add(rank: float) -> CallRequest:
    return CallRequest("mutation", "items:add", encode({"group": "a", "rank": rank, "text": "x"}))


LIST = CallRequest("query", "items:list", encode({"group": "a"}))


def test_nothing_leaves_before_the_disk_has_it(app: Deployment, log: MemoryPersistence) -> None:
    """Answers, Transitions and results of queries that show a commit all wait for it."""
    ada, bob = app.connect(), app.connect()
    live = ada.subscribe("items:list", group="a")
    answers: list[CallResult] = []
    log.delay_durability()

    call = bob.send_mutation("items:add", group="a", rank=0, text="x")
    app.backend.submit(add(1), answers.append)
    app.settle()
    app.backend.submit(LIST, answers.append)
    app.settle()
    app.backend.submit(LIST, answers.append)  # from the cache
    app.settle()
    assert (answers, call.is_done, live.is_quiet) == ([], False, True)
    assert not ada.connection.to_client  # type: ignore[union-attr]

    log.release_durability()
    app.settle()
    assert [answer.ok for answer in answers] == [True] * 3
    assert call.is_done
    assert live.value == ["x", "x"]


def test_a_failed_append_tells_each_caller_and_changes_nothing(
    app: Deployment, log: MemoryPersistence
) -> None:
    """One error for all of the group; the next group works."""
    live = app.connect().subscribe("items:list", group="a")
    answers: list[CallResult] = []
    full = PersistenceError("the disk is full")
    log.fail_next_append(full)

    for rank in range(5):
        app.backend.submit(add(rank), answers.append)
    app.settle()

    assert [answer.error for answer in answers] == [full] * 5
    assert live.is_quiet
    assert app.query("items:list", group="a") == []
    app.mutation("items:add", group="a", rank=9, text="y")
    assert live.next() == ["y"]


def test_an_apply_that_fails_takes_its_group_along(app: Deployment, log: MemoryPersistence) -> None:
    """The disk may be full at the third of five; the two before never happened either."""
    live = app.connect().subscribe("items:list", group="a")
    answers: list[CallResult] = []
    apply, left = log.apply, [2]

    def fails_at_the_third(commit: Any) -> list[int]:
        if left[0] == 0:
            log.apply = apply  # type: ignore[method-assign]
            log.rollback()
            raise PersistenceError("the disk is full")
        left[0] -= 1
        return apply(commit)

    log.apply = fails_at_the_third  # type: ignore[method-assign]
    for rank in range(5):
        app.backend.submit(add(rank), answers.append)
    app.settle()

    assert sorted(answer.ok for answer in answers) == [False] * 3 + [True] * 2
    assert live.updates == [[], ["x", "x"]]
    assert app.query("items:count", group="a") == 2


def test_when_durability_is_lost_nothing_is_said_any_more(
    app: Deployment, log: MemoryPersistence
) -> None:
    ada = app.connect()
    live = ada.subscribe("items:list", group="a")
    log.delay_durability()
    answers: list[CallResult] = []
    app.backend.submit(add(1), answers.append)
    app.settle()

    log.fail_durability(PersistenceError("the disk refuses to sync"))
    log._durability_released.set()
    app.settle()

    assert app.backend.state == "failed"
    assert answers == []
    assert live.is_quiet


def responses(client: Client) -> list[MutationResponse]:
    """Answers that are on their way to the client."""
    assert client.connection is not None
    messages = [decode_server_message(frame) for frame in client.connection.to_client]
    return [message for message in messages if isinstance(message, MutationResponse)]


def carry_up(client: Client) -> None:
    while client.carry_to_server():
        pass


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_request_that_is_sent_again_gets_its_first_answer(
    story_app: App, tmp_path: Path, kind: str, restarts: bool
) -> None:
    """The mutation does not run twice, not even after a restart on the same file."""

    def opened() -> Any:
        return SqlitePersistence(str(tmp_path / "data.sqlite3"))

    persistence = MemoryPersistence() if kind == "memory" else opened()
    with Deployment(story_app, persistence=persistence) as app:
        client = app.connect()
        call = client.send_mutation("tickets:add", ticket="one", key="a", amount=5)
        carry_up(client)
        app.backend.run_until_idle()
        app.backend.node.persistence.wait_durable()
        app.backend.wake()
        app.backend.run_until_idle()
        (first,) = responses(client)

        client.disconnect("the answer is lost")
        if restarts:
            if kind == "sqlite":
                app.backend.node.persistence.close()
                app.restart(opened())
            else:
                app.restart()
        client.open_connection()
        carry_up(client)
        app.backend.run_until_idle()
        (second,) = responses(client)
        app.settle()

        assert second == first
        assert call.result() == 5
        assert app.query("tickets:total", key="a") == 5

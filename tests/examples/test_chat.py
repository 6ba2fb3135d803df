"""The chat: rooms, live messages in pages, and who is typing."""

from __future__ import annotations

from typing import Any

import pytest

from cupola import ApplicationError
from cupola.testing import Client, Deployment

STEP_MS = 10_000


def page(client: Client, room: str, cursor: str | None = None) -> Any:
    options = {"numItems": 2, "cursor": cursor}
    return client.subscribe("messages:list", room=room, paginationOpts=options)


def bodies(page: Any) -> list[str]:
    return [message.body for message in page.value.page]


def say(app: Deployment, room: str, *bodies: str) -> None:
    for body in bodies:
        app.mutation("messages:send", room=room, author="bob", body=body)


def test_a_message_appears_in_every_window(cupola: Deployment) -> None:
    room = cupola.mutation("rooms:open", name="general")
    windows = [page(cupola.connect(), room) for _ in range(3)]

    say(cupola, room, "hello")

    assert [bodies(window) for window in windows] == [["hello"]] * 3


def test_opening_a_room_twice_gives_the_same_room(cupola: Deployment) -> None:
    rooms = cupola.connect().subscribe("rooms:list")
    first = cupola.mutation("rooms:open", name="book-club")
    assert cupola.mutation("rooms:open", name="book-club") == first
    assert [room.name for room in rooms.value] == ["book-club"]
    assert len(rooms.updates) == 2


@pytest.mark.parametrize("name", ["", "Upper", "-dash", "two words", "x" * 31])
def test_a_bad_room_name_is_refused(cupola: Deployment, name: str) -> None:
    with pytest.raises(ApplicationError) as raised:
        cupola.mutation("rooms:open", name=name)
    assert raised.value.data["code"] == "BadName"


def test_older_pages_stay_adjacent_while_messages_arrive(cupola: Deployment) -> None:
    room = cupola.mutation("rooms:open", name="general")
    say(cupola, room, "1", "2", "3", "4")
    ada = cupola.connect()
    newest = page(ada, room)
    older = page(ada, room, newest.value.continueCursor)

    say(cupola, room, "5", "6")

    assert bodies(newest) + bodies(older) == ["6", "5", "4", "3", "2", "1"]
    assert older.is_quiet


@pytest.mark.parametrize(
    ("author", "body", "code"),
    [("", "hi", "Empty"), ("ada", "  ", "Empty"), ("ada", "x" * 2001, "TooLong")],
)
def test_a_message_needs_an_author_and_a_text(
    cupola: Deployment, author: str, body: str, code: str
) -> None:
    room = cupola.mutation("rooms:open", name="general")
    with pytest.raises(ApplicationError) as raised:
        cupola.mutation("messages:send", room=room, author=author, body=body)
    assert raised.value.data["code"] == code


def test_typing_shows_and_heartbeats_do_not(cupola: Deployment) -> None:
    """A heartbeat re-runs the query, but its result is the same: nothing is sent."""
    room = cupola.mutation("rooms:open", name="general")
    now_ms = cupola.clock.now_ns() / 1e6
    people = cupola.connect().subscribe("presence:list", room=room, since=now_ms - STEP_MS)
    ada = {"page": "page-1", "room": room, "name": "Ada"}

    cupola.mutation("presence:heartbeat", **ada, typing=False)
    assert people.next() == [{"name": "Ada", "typing": False}]
    cupola.clock.advance(seconds=5)
    cupola.mutation("presence:heartbeat", **ada, typing=False)
    assert people.is_quiet
    cupola.mutation("presence:heartbeat", **ada, typing=True)
    assert people.next() == [{"name": "Ada", "typing": True}]
    cupola.mutation("presence:leave", page="page-1")
    assert people.next() == []


def test_a_page_that_crashed_is_forgotten(cupola: Deployment) -> None:
    room = cupola.mutation("rooms:open", name="general")
    cupola.mutation("presence:heartbeat", page="1", room=room, name="Ada", typing=False)

    cupola.clock.advance(seconds=60)

    now_ms = cupola.clock.now_ns() / 1e6
    assert cupola.query("presence:list", room=room, since=now_ms - STEP_MS) == []

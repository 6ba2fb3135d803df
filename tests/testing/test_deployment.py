"""What app authors test with: calls, errors, users, time, clients that come and go."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cupola.errors import (
    ApplicationError,
    ArgumentValidationError,
    DeveloperError,
    FunctionNotFoundError,
)
from cupola.testing import Deployment


def test_calls_return_what_the_functions_return(cupola: Deployment) -> None:
    """In the declared types: documents as their class, whole numbers as int."""
    message = cupola.mutation("messages:send", channel="general", author="ada", body="hi")

    (listed,) = cupola.query("messages:list", channel="general")

    assert (listed._id, listed.author, listed.likes) == (message, "ada", 0)
    liked = cupola.mutation("messages:like", message=message)
    assert liked == 1
    assert type(liked) is int


def test_functions_are_named_by_path_or_by_reference(cupola: Deployment) -> None:
    send = cupola.app.find("messages:send")

    cupola.mutation(send, channel="general", author="ada", body="hi")

    assert len(cupola.query(cupola.app.find("messages:list"), channel="general")) == 1


def test_an_application_error_brings_its_data(cupola: Deployment) -> None:
    """And nothing was written."""
    with pytest.raises(ApplicationError) as raised:
        cupola.mutation("messages:send_and_fail", channel="general")

    assert raised.value.data == {"code": "Refused", "limit": 3}
    assert cupola.query("messages:list", channel="general") == []


def test_failures_are_typed_and_say_where(cupola: Deployment) -> None:
    with pytest.raises(ArgumentValidationError, match="channel"):
        cupola.query("messages:list", chanel="general")
    with pytest.raises(FunctionNotFoundError, match="Did you mean 'messages:list'"):
        cupola.query("messages:lst")
    with pytest.raises(DeveloperError, match=r"ZeroDivisionError[^$]*messages\.py"):
        cupola.mutation("messages:divide")


def test_users_and_admins_call_as_themselves(cupola: Deployment) -> None:
    assert cupola.query("messages:who") is None
    assert cupola.as_user("ada", email="ada@example.org").query("messages:who") == "ada"
    assert cupola.as_user("bob").query("messages:who") == "bob"
    assert cupola.as_user("bob").connect().subscribe("messages:who").value == "bob"


def test_internal_functions_are_for_admins(cupola: Deployment) -> None:
    with pytest.raises(FunctionNotFoundError):
        cupola.mutation("messages:clear")
    assert cupola.as_admin().mutation("messages:clear") == 0


def test_an_internal_query_stays_internal_after_an_admin_has_asked(cupola: Deployment) -> None:
    """A result in the cache is no way around the rules."""
    assert cupola.as_admin().query("messages:total") == 0
    with pytest.raises(FunctionNotFoundError):
        cupola.query("messages:total")
    assert cupola.as_admin().query("messages:total") == 0
    assert cupola.connect().subscribe("messages:total").error is not None
    assert cupola.as_admin().connect().subscribe("messages:total").value == 0


def test_actions_run_without_an_event_loop(cupola: Deployment) -> None:
    """They call public and internal functions, and all clients hear of what they did."""
    general = cupola.connect().subscribe("messages:list", channel="general")

    assert cupola.action("messages:send_later", channel="general", count=3) == 3

    assert [message.body for message in general.value] == ["0", "1", "2"]


def test_a_client_can_run_an_action(cupola: Deployment) -> None:
    ada = cupola.connect()
    assert ada.action("messages:send_later", channel="general", count=2) == 2


def test_calls_can_be_awaited(cupola: Deployment) -> None:
    """For tests that have an event loop of their own."""

    async def test() -> Any:
        await cupola.call("messages:send", channel="general", author="ada", body="hi")
        sent = await cupola.call("messages:send_later", channel="general", count=2)
        with pytest.raises(AssertionError, match="await"):
            cupola.action("messages:send_later", channel="general", count=2)
        return sent

    assert asyncio.run(test()) == 3


def test_calls_that_are_awaited_together_each_come_to_their_end(cupola: Deployment) -> None:
    async def test() -> list[Any]:
        counts = (1, 20, 3)
        calls = [cupola.call("messages:send_later", channel=str(n), count=n) for n in counts]
        async with asyncio.timeout(10):
            return await asyncio.gather(*calls)

    assert max(asyncio.run(test())) == 24, "how many there were when the last one ended"


def test_time_stands_still_until_told(cupola: Deployment) -> None:
    before = cupola.mutation("messages:now")
    assert cupola.mutation("messages:now") == before

    cupola.clock.advance(seconds=60)

    assert cupola.mutation("messages:now") == before + 60


def test_run_seeds_and_inspects_the_data(cupola: Deployment) -> None:
    """In one transaction; what the code returns or raises comes back as it is."""
    cupola.run(lambda ctx: ctx.db.insert("messages", {"channel": "a", "author": "b", "body": "c"}))
    assert cupola.run(lambda ctx: [m.body for m in ctx.db.query("messages")]) == ["c"]

    class Odd(Exception):
        pass

    def fail(ctx: Any) -> None:
        ctx.db.insert("messages", {"channel": "a", "author": "b", "body": "d"})
        raise Odd

    with pytest.raises(Odd):
        cupola.run(fail)
    assert cupola.as_admin().query("messages:total") == 1


def test_log_lines_of_the_last_call(cupola: Deployment) -> None:
    cupola.mutation("messages:send", channel="general", author="ada", body="hi")
    assert cupola.log_lines == ["[LOG] 'sending' 'hi'"]
    cupola.query("messages:list", channel="general")
    assert cupola.log_lines == []


def test_a_write_reaches_only_the_clients_who_read_it(cupola: Deployment) -> None:
    """A live query re-runs when its read set is touched, and never otherwise."""
    ada, bob = cupola.connect(), cupola.connect()
    general = ada.subscribe("messages:list", channel="general")
    lobby = bob.subscribe("messages:list", channel="lobby")

    bob.mutation("messages:send", channel="general", author="bob", body="hi")

    assert [message.body for message in general.next()] == ["hi"]
    assert general.is_quiet
    assert lobby.is_quiet
    assert [len(update) for update in general.updates] == [0, 1]
    with pytest.raises(AssertionError, match="nothing"):
        lobby.next()


def test_a_failing_live_query_tells_its_error(cupola: Deployment) -> None:
    """And recovers when what it reads is there again."""
    message = cupola.mutation("messages:send", channel="a", author="b", body="c")
    likes = cupola.connect().subscribe("messages:likes", message=message)
    assert (likes.value, likes.error) == (0, None)

    cupola.as_admin().mutation("messages:clear")

    assert isinstance(likes.error, ApplicationError)
    with pytest.raises(ApplicationError, match="NoMessage"):
        likes.next()


def test_an_unsubscribed_query_hears_nothing(cupola: Deployment) -> None:
    ada = cupola.connect()
    general = ada.subscribe("messages:list", channel="general")
    general.unsubscribe()
    ada.mutation("messages:send", channel="general", author="ada", body="hi")
    assert general.is_quiet


def test_a_client_catches_up_after_a_lost_connection(cupola: Deployment) -> None:
    ada = cupola.connect()
    general = ada.subscribe("messages:list", channel="general")
    ada.disconnect()
    cupola.mutation("messages:send", channel="general", author="bob", body="hi")
    waiting = ada.send_mutation("messages:send", channel="general", author="ada", body="yo")
    cupola.settle()
    assert general.is_quiet
    assert not waiting.is_done

    ada.reconnect()

    assert [message.body for message in general.value] == ["hi", "yo"]
    assert waiting.is_done


def test_a_restart_keeps_the_data(cupola: Deployment) -> None:
    ada = cupola.as_user("ada").connect()
    who = ada.subscribe("messages:who")
    cupola.mutation("messages:send", channel="general", author="ada", body="hi")

    cupola.restart()
    assert not ada.is_connected
    ada.reconnect()

    assert who.value == "ada"
    assert len(cupola.query("messages:list", channel="general")) == 1


def test_creation_order_survives_a_restart_with_the_clock_set_back(cupola: Deployment) -> None:
    cupola.mutation("messages:send", channel="general", author="ada", body="first")
    cupola.clock.set(cupola.clock.now_ns() - 3_600_000_000_000)

    cupola.restart()
    cupola.mutation("messages:send", channel="general", author="ada", body="second")

    messages = cupola.query("messages:list", channel="general")
    in_order = sorted(messages, key=lambda message: message._creationTime)
    assert [message.body for message in in_order] == ["first", "second"]
    assert in_order[0]._creationTime < in_order[1]._creationTime

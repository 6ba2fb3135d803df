"""Live queries in TypeScript: cached, shared, and run again when what they read changes."""

import pytest

from .live_client import Client

pytestmark = pytest.mark.node


def test_a_live_query_follows_the_data(server):
    async def story():
        client = Client(server)
        live = client.subscribe("messages:all")
        await client.until(lambda: client.values.get(live))
        await server.ask("mutation", "messages:send", {"channel": "a", "body": "one"})
        await client.until(lambda: client.values[live][-1] == ["one"])
        await server.ask("mutation", "messages:send", {"channel": "a", "body": "two"})
        await client.until(lambda: client.values[live][-1] == ["one", "two"])
        client.leave()
        return client.values[live]

    assert server.run(story()) == [[], ["one"], ["one", "two"]]


def test_a_write_wakes_only_those_who_read_it(server):
    async def story():
        client = Client(server)
        general = client.subscribe("messages:list", channel="general")
        lobby = client.subscribe("messages:list", channel="lobby")
        await client.until(lambda: {general, lobby} <= client.values.keys())
        runs = server.backend.node.counters["worker_calls"]
        await server.ask("mutation", "messages:send", {"channel": "lobby", "body": "hi"})
        await client.until(lambda: len(client.values[lobby]) == 2)
        client.leave()
        return client.values[general], server.backend.node.counters["worker_calls"] - runs

    general, runs = server.run(story())

    assert general == [[]]
    assert runs == 2, "the mutation, and one query"


def test_an_error_of_a_live_query_goes_away_with_its_reason(server):
    async def story():
        client = Client(server)
        live = client.subscribe("messages:failsUntilThree")
        await client.until(lambda: client.values.get(live))
        for _ in range(3):
            await server.ask("mutation", "messages:send", {"channel": "a", "body": "x"})
        await client.until(lambda: client.values[live][-1] == 3)
        client.leave()
        return client.values[live][0]

    assert "Uncaught Error: too few" in server.run(story())


def test_equal_questions_are_answered_from_the_cache(server):
    server.query("messages:random")
    once = server.query("messages:random")
    assert server.query("messages:random") == once


def test_a_failure_is_not_kept(server):
    server.failure("query", "messages:fail")
    runs = server.backend.node.counters["worker_calls"]
    server.failure("query", "messages:fail")
    assert server.backend.node.counters["worker_calls"] == runs + 1

"""Live queries in TypeScript: cached, shared, and run again when what they read changes."""

import asyncio
import json
import time
from uuid import uuid4

import pytest

from cupola.sync.client_session import ClientSession, ResultsChanged
from cupola.sync.effects import Send
from cupola.values import decode

pytestmark = pytest.mark.node


class Client:
    """The client's half of a sync connection, on the same loop."""

    def __init__(self, server) -> None:
        self._session = ClientSession(uuid4())
        self._changed = asyncio.Event()
        self.values: dict[int, list] = {}
        self._host = server.backend.open_session(self)
        self._carry_out(self._session.opened(time.time_ns() // 1_000_000))

    def send(self, *frames: bytes) -> None:
        for frame in frames:
            asyncio.get_running_loop().call_soon(self._receive, bytes(frame))

    def close(self, code, reason) -> None:
        raise AssertionError(reason)

    def _receive(self, frame: bytes) -> None:
        self._carry_out(self._session.receive(frame))

    def _carry_out(self, effects) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self._host.receive(effect.frame)
            elif isinstance(effect, ResultsChanged):
                for query_id in effect.query_ids:
                    result = self._session.results[query_id]
                    value = result.error_message if result.value is None else decode(result.value)
                    self.values.setdefault(query_id, []).append(value)
                self._changed.set()

    def subscribe(self, path: str, **args) -> int:
        query_id, effects = self._session.subscribe(path, json.dumps(args).encode())
        self._carry_out(effects)
        return query_id

    async def until(self, holds) -> None:
        async with asyncio.timeout(30):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    def leave(self) -> None:
        self._host.disconnected()


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

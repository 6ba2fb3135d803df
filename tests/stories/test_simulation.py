"""A world from one seed: clients, lost connections, a slow disk, failed appends, crashes.

    make simulate SEED=4711

replays one world exactly. A step at a time, chance decides what happens next: a client calls,
frames move, the engine turns, the disk stalls, the process dies. What is checked all the while: a
client sees states that were committed and durable, each of one moment, and never an older one. In
the end, when all is well again: what was acknowledged is there, once, in the order of each client.
"""

from __future__ import annotations

import dataclasses
import os
import random
from collections.abc import Sequence
from typing import Any

import pytest

from cupola.clock import ManualClock
from cupola.database.committer import Published
from cupola.errors import ApplicationError, DeveloperError, PersistenceError
from cupola.functions.app import App
from cupola.limits import DEFAULT_LIMITS
from cupola.persistence import MemoryPersistence
from cupola.testing import Client, Deployment, PendingCall, Subscription
from cupola.values import decode

SEEDS = (
    [int(os.environ["CUPOLA_SIMULATION_SEED"])]
    if "CUPOLA_SIMULATION_SEED" in os.environ
    else ([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
)
STEPS = 400
KEYS = ["a", "b", "c"]
State = dict[str, int]


class BusyClock(ManualClock):
    """Each look at the clock finds it a little later: groups and passes end by time limits."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__(seed=chance.getrandbits(32))
        self._chance = chance

    def monotonic_ns(self) -> int:
        self._monotonic_ns += self._chance.randrange(2_000_000)
        return super().monotonic_ns()


class CrashingPersistence(MemoryPersistence):
    """A log whose machine can lose power: then what is not durable is gone."""

    def __init__(self) -> None:
        super().__init__()
        self._on_disk = self._rows.copy()

    def sync(self) -> None:
        before = self._durable_ts
        super().sync()
        if self._durable_ts > before:
            self._on_disk = self._rows.copy()

    def after_power_cut(self) -> CrashingPersistence:
        other = CrashingPersistence()
        other._rows, other._on_disk = self._on_disk, self._on_disk.copy()
        other._head_ts = other._durable_ts = other._rows.newest_ts()
        return other


class Player:
    """One client and what it believes."""

    functions: Sequence[str] = ["amount", "total", "everything", "who"]

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.name = f"user{number}" if number % 2 else None
        app = world.deployment
        caller = app if self.name is None else app.as_user(self.name)
        self.client: Client = caller.connect()
        self.client.on_transition = self.see
        self.calls: list[tuple[str, PendingCall]] = []
        self.live: dict[tuple[str, str], Subscription] = {}
        self.seen_ts = 0

    def call(self) -> None:
        ticket = f"{id_of(self)}-{len(self.calls)}"
        key = self.world.chance.choice(KEYS)
        if self.world.chance.random() < 0.1:
            call = self.client.send_mutation("tickets:refuse", ticket=ticket, key=key)
        else:
            amount = self.world.chance.randrange(1, 10)
            call = self.client.send_mutation("tickets:add", ticket=ticket, key=key, amount=amount)
        self.calls.append((ticket, call))

    def subscribe_or_not(self) -> None:
        function = self.world.chance.choice(self.functions)
        key = self.world.chance.choice(KEYS)
        session = self.client.session
        if live := self.live.pop((function, key), None):
            del self.client._subscriptions[live.query_id]
            self.client.carry_out(session.unsubscribe(live.query_id))
            return
        query_id, effects = session.subscribe(f"tickets:{function}", self.args(function, key))
        subscription = Subscription(self.client, f"tickets:{function}", query_id)
        self.client._subscriptions[query_id] = self.live[function, key] = subscription
        self.client.carry_out(effects)

    def args(self, function: str, key: str) -> bytes:
        return b"{}" if function in ("everything", "who") else b'{"key":"%s"}' % key.encode()

    def see(self) -> None:
        """A Transition: all results are of one durable moment, no older than the one before."""
        ts = self.client.session.shown_ts
        assert ts >= self.seen_ts
        self.seen_ts = ts
        assert ts <= self.world.persistence.durable_ts
        if self.client.session.version.query_set == 0:
            return  # connected again, and the server has not been told of the queries yet
        for (function, key), subscription in self.live.items():
            if subscription.query_id in self.client.session.results:
                self.check(function, key, subscription.value, ts)

    def check(self, function: str, key: str, value: Any, ts: int) -> None:
        state = self.world.state_at(ts)
        if function == "who":
            assert value == self.name
        elif function == "everything":
            assert value == state
        else:
            assert value == state.get(key, 0), (function, key, ts, state)


def id_of(player: Player) -> int:
    return player.world.players.index(player) if player in player.world.players else -1


class World:
    player: type[Player] = Player

    def __init__(self, app: App, seed: int) -> None:
        self.chance = random.Random(seed)
        self.persistence = CrashingPersistence()
        limits = dataclasses.replace(
            DEFAULT_LIMITS,
            group_calls_max=self.chance.choice([1, 3, 256]),
            rerun_time_s=self.chance.choice([0.001, 0.005, 1.0]),
            query_cache_bytes_max=self.chance.choice([2_000, 100_000_000]),
            chunk_size_bytes=self.chance.choice([100, 5_000_000]),
        )
        clock = BusyClock(self.chance)
        self.deployment = Deployment(app, persistence=self.persistence, clock=clock, limits=limits)
        self.has_failed_appends = False
        self.history: dict[int, State] = {0: {}}
        self.follow()
        self.players: list[Player] = []
        for number in range(4):
            self.players.append(self.player(self, number))

    def follow(self) -> None:
        self.deployment.backend.node.followers.append(self.committed)

    def committed(self, published: Sequence[Published]) -> None:
        """Note the state after a group; nobody may ever see one inside it."""
        if published:
            rows = self.persistence.reader
            tables = self.deployment.backend.node.committer.catalog.by_name
            found = rows.scan(
                tables["accounts"].primary.number, b"", None, descending=False, limit=1000
            )
            documents: list[Any] = [decode(body) for _, _, body in found]
            self.history[published[-1].ts] = {d["name"]: int(d["amount"]) for d in documents}

    def state_at(self, ts: int) -> State:
        return self.history[max(at for at in self.history if at <= ts)]

    # ---------------------------------------------------------------- what may happen

    def step(self) -> None:
        player = self.chance.choice(self.players)
        client, connection = player.client, player.client.connection
        match self.chance.choices(
            ["call", "subscribe", "up", "down", "turn", "move", "cut", "open", "stall", "flow",
             "disk", "full", "crash", "restart", "time"],
            [6, 3, 10, 10, 14, 3, 1, 3, 2, 1.5, 2, 0.6, 0.15, 0.15, 1],
        )[0]:  # fmt: skip
            case "call":
                player.call()
            case "subscribe":
                player.subscribe_or_not()
            case "up":
                client.carry_to_server()
            case "down":
                client.carry_to_client()
            case "move":
                client.move_frames()
            case "turn":
                self.deployment.backend.turn()
            case "cut":
                client.disconnect("cut")
            case "open" if connection is None:
                client.open_connection()
            case "stall" if connection is not None:
                connection.host.writable(False)
            case "flow" if connection is not None:
                connection.host.writable(True)
            case "disk":
                if self.persistence._durability_released.is_set():
                    self.persistence.delay_durability()
                else:
                    self.heal_disk()
            case "full":
                self.has_failed_appends = True
                self.persistence.fail_next_append(PersistenceError("the disk is full"))
            case "crash":
                self.persistence = self.persistence.after_power_cut()
                durable_ts = self.persistence.durable_ts
                self.history = {ts: s for ts, s in self.history.items() if ts <= durable_ts}
                self.start()
            case "restart":
                self.heal_disk()
                self.start()
            case "time":
                self.deployment.clock.advance(self.chance.choice([0.001, 1, 60]))

    def start(self) -> None:
        self.persistence._next_append_error = None
        self.deployment.restart(self.persistence)
        self.follow()

    def heal_disk(self) -> None:
        self.persistence.release_durability()
        self.deployment.backend.wake()

    # ---------------------------------------------------------------- the end

    def finish(self) -> None:
        """All is well again; everyone must agree."""
        self.persistence._next_append_error = None
        self.heal_disk()
        for player in self.players:
            if player.client.connection is None:
                player.client.open_connection()
            assert player.client.connection is not None
            player.client.connection.host.writable(True)
        self.deployment.settle()
        assert self.deployment.backend.is_idle
        tickets = self.tickets()
        for player in self.players:
            self.check_calls(player, [ticket for ticket, _, _ in tickets])
        assert len(tickets) == sum(
            succeeded(call) for player in self.players for _, call in player.calls
        )
        state: State = {}
        for _, key, amount in tickets:
            state[key] = state.get(key, 0) + amount
        newest = self.deployment.backend.newest_durable_ts()
        assert self.state_at(newest) == state
        for player in self.players:
            for (function, key), subscription in player.live.items():
                if function in ("amount", "total"):
                    assert subscription.value == state.get(key, 0)

    def tickets(self) -> list[tuple[str, str, int]]:
        """In the order of their commits."""
        table = self.deployment.backend.node.committer.catalog.by_name["tickets"].number
        versions = self.persistence.reader.versions
        found: list[Any] = [decode(body) for _, number, _, _, body in versions if number == table]
        return [(ticket["ticket"], ticket["key"], int(ticket["amount"])) for ticket in found]

    def check_calls(self, player: Player, tickets: list[str]) -> None:
        """What was acknowledged happened once, in order; what failed did not happen.

        Out of order is only what failed, unheard over a lost connection, and was sent again.
        """
        assert all(call.is_done for _, call in player.calls)
        expected = [ticket for ticket, call in player.calls if succeeded(call)]
        mine = {ticket for ticket, _ in player.calls}
        happened = [ticket for ticket in tickets if ticket in mine]
        if self.has_failed_appends:
            happened.sort(key=expected.index)
        assert happened == expected


def succeeded(call: PendingCall) -> bool:
    try:
        call.result()
    except (ApplicationError, DeveloperError):
        return False
    return True


@pytest.mark.parametrize("seed", SEEDS)
def test_a_world_of_trouble(story_app: App, seed: int) -> None:
    print(f"make simulate SEED={seed}")  # pytest shows it when the test fails
    world = World(story_app, seed)
    with world.deployment:
        for _ in range(STEPS):
            world.step()
        world.finish()

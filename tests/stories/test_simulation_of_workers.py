"""The world of trouble, with functions in workers, users who come and go, and other code.

    make simulate SEED=4711

replays one world exactly. Some functions never run on the loop: they run as in a worker, at a
snapshot of their own, and chance decides when one begins, opens its snapshot, and is back. What is
checked beyond the other simulation: a Transition after an answer shows what was answered, whatever
ran when; everybody is served in the end, also where memory holds one result alone; and when all
have gone, nothing is left.
"""

from __future__ import annotations

import collections
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cupola.auth import ANONYMOUS
from cupola.backend import Backend
from cupola.backend.offload import Offload
from cupola.database.load import CatalogLoader
from cupola.functions.app import App, load_app
from cupola.persistence import Reader
from cupola.runtimes.python.in_process import InProcessRuntime
from cupola.runtimes.python.messages import CallDone, RunCall
from cupola.runtimes.python.transaction_worker import TransactionWorker
from cupola.runtimes.python.worker_pool import Job
from cupola.values import decode

from .test_simulation import Player, World

SEEDS = (
    [int(os.environ["CUPOLA_SIMULATION_SEED"])]
    if "CUPOLA_SIMULATION_SEED" in os.environ
    else [1, 2, 3, 13, 14, 22, 45, 47, 221, 261]
)
STEPS = 600
ROUNDS_MAX = 2000
USERS = [None, "user1", "user3", "zoe"]
QUERIES = ["amount", "total", "everything", "who", "maybe_who", "page", "clock"]


class Timer:
    def __init__(self, loop: Loop, call: Callable[[], None]) -> None:
        self.call = call
        self._loop = loop

    def cancel(self) -> None:
        if self in self._loop.timers:
            self._loop.timers.remove(self)


class Loop:
    """What workers need of an event loop; chance turns it."""

    def __init__(self) -> None:
        self.timers: list[Timer] = []
        self._soon: collections.deque[Callable[[], None]] = collections.deque()

    def call_later(self, delay_s: float, call: Any, *args: Any) -> Timer:
        timer = Timer(self, lambda: call(*args))
        self.timers.append(timer)
        return timer

    def call_soon(self, call: Any, *args: Any) -> None:
        self._soon.append(lambda: call(*args))

    def turn(self) -> bool:
        count = len(self._soon)
        for _ in range(count):
            self._soon.popleft()()
        return count > 0

    def fire(self) -> None:
        timers, self.timers = self.timers, []
        for timer in timers:
            timer.call()


class WorkerInside(TransactionWorker):
    """A transaction worker in this process, at one snapshot."""

    def __init__(self, backend: Backend, reader: Reader) -> None:
        self._runtime = InProcessRuntime(3600.0)
        self._app = backend.app
        self._limits = backend.limits
        self._sealer = backend.node.sealer
        self._session_tokens = backend.node.session_tokens
        self._links = backend.node.links
        self._catalogs = CatalogLoader()
        self._snapshots = self  # type: ignore[assignment]
        self._reader = reader
        self.sent: list[Any] = []

    def open(self) -> Reader:
        return self._reader

    def _send(self, message: Any) -> None:
        self.sent.append(message)

    def answer(self, run: RunCall) -> CallDone:
        self._run(run)
        done: CallDone = self.sent.pop()
        return done


class Pool:
    """Two workers, in place of the pool of processes."""

    def __init__(self, world: WorldWithWorkers) -> None:
        self._world = world
        self._backend = world.deployment.backend
        self._waiting: collections.deque[Job] = collections.deque()
        self._begun: collections.deque[tuple[Job, RunCall]] = collections.deque()
        self._running: list[tuple[Job, RunCall, WorkerInside]] = []
        self.keeps_warm = False
        self.kills = 0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._begun) + len(self._running)

    def submit(self, job: Job) -> None:
        self._waiting.append(job)

    def assign(self) -> None:
        """Chance does."""

    def restart(self, version: str) -> None:
        """There is no process to end."""

    def begin(self) -> bool:
        if not self._waiting or len(self._begun) + len(self._running) >= 2:
            return False
        job = self._waiting.popleft()
        self._begun.append((job, job.prepare()))
        return True

    def open(self) -> bool:
        if not self._begun:
            return False
        reader = self._backend.node.persistence.open_snapshot()
        self._running.append((*self._begun.popleft(), WorkerInside(self._backend, reader)))
        return True

    def finish(self) -> bool:
        if not self._running:
            return False
        running = self._world.chance.choice(self._running)
        self._running.remove(running)
        job, run, worker = running
        job.done(worker.answer(run))
        return True


class User(Player):
    functions = QUERIES

    def args(self, function: str, key: str) -> bytes:
        if function == "page":
            page = b'{"numItems":3,"cursor":null}'
            return b'{"key":"%s","paginationOpts":%s}' % (key.encode(), page)
        return super().args(function, key)

    def sign_in(self) -> None:
        self.name = self.world.chance.choice(USERS)
        app = self.world.deployment
        identity = ANONYMOUS if self.name is None else app.as_user(self.name)._identity
        self.client.carry_out(self.client.session.authenticate(app._token_of(identity)))

    def see(self) -> None:
        session = self.client.session
        unshown = [request.ts for request in session._requests.values() if request.result]
        assert not unshown, f"answered at {unshown}, and now at {session.shown_ts}"
        super().see()

    def check(self, function: str, key: str, value: Any, ts: int) -> None:
        session = self.client.session
        is_this_user = session.version.identity == session._sent_identity
        amount = self.world.state_at(ts).get(key, 0)
        if function == "who":
            assert value == self.name or not is_this_user
        elif function == "maybe_who":
            assert value[0] == amount
            assert value[1] == (self.name if amount % 2 else None) or not is_this_user
        elif function == "page":
            assert isinstance(self.world, WorldWithWorkers)
            self._check_page(value, self.world.tickets_at(ts, key))
        else:
            super().check(function, key, value, ts)

    def _check_page(self, page: Any, tickets: list[str]) -> None:
        shown = [ticket.ticket for ticket in page.page]
        assert shown == tickets[: len(shown)]
        assert len(shown) == len(tickets) if page.isDone else len(shown) >= 3


class WorldWithWorkers(World):
    player = User

    def __init__(self, apps: list[App], seed: int) -> None:
        self._apps = apps
        self._tickets: dict[int, list[tuple[str, str]]] = {0: []}
        super().__init__(apps[0], seed)
        self._offload()

    def _offload(self) -> None:
        backend = self.deployment.backend
        self._loop = Loop()
        offload = Offload(backend, "nowhere", bytes(32), self._loop)  # type: ignore[arg-type]
        self._pool = Pool(self)
        offload._pool = offload.calls.pool = self._pool  # type: ignore[assignment]
        share = self.chance.choice([0.0, 0.5, 1.0])
        functions = [*QUERIES, "add", "refuse"]
        offload.stalled = [f"tickets:{name}" for name in functions if self.chance.random() < share]
        offload.code_changed()
        backend.mutations.offload = backend.passes.offload = offload

    def committed(self, published: Any) -> None:
        super().committed(published)
        if published:
            table = self.deployment.backend.node.committer.catalog.by_name["tickets"].number
            bodies = [row[4] for row in self.persistence.reader.versions if row[1] == table]
            tickets: list[Any] = [decode(body) for body in bodies if body is not None]
            tickets.sort(key=lambda ticket: (ticket["_creationTime"], ticket["_id"]))
            self._tickets[published[-1].ts] = [(each["ticket"], each["key"]) for each in tickets]

    def tickets_at(self, ts: int, key: str) -> list[str]:
        newest = max(at for at in self._tickets if at <= ts)
        return [ticket for ticket, of in self._tickets[newest] if of == key]

    def start(self) -> None:
        super().start()
        head_ts = self.persistence.head_ts
        self._tickets = {ts: found for ts, found in self._tickets.items() if ts <= head_ts}
        self._offload()

    def step(self) -> None:
        match self.chance.choices(
            ["world", "begin", "open", "finish", "loop", "timers", "sign in", "push"],
            [65, 10, 10, 12, 8, 0.5, 2, 0.5],
        )[0]:
            case "world":
                super().step()
            case "begin":
                self._pool.begin()
            case "open":
                self._pool.open()
            case "finish":
                self._pool.finish()
            case "loop":
                self._loop.turn()
            case "timers":
                self._loop.fire()
            case "sign in":
                self.chance.choice(self.players).sign_in()  # type: ignore[attr-defined]
            case "push":
                self._apps.reverse()
                self.deployment.backend.deploy(self._apps[0], self._pushed)
        for player in self.players:
            assert "ProtocolFailure" not in (player.client.close_reason or "")

    def _pushed(self, error: BaseException | None) -> None:
        assert error is None or self.has_failed_appends

    def finish(self) -> None:
        self.persistence._next_append_error = None
        self.heal_disk()
        for player in self.players:
            if player.client.connection is None:
                player.client.open_connection()
            assert player.client.connection is not None
            player.client.connection.host.writable(True)
        self._settle()
        for player in self.players:
            player.see()
            assert all(
                live.query_id in player.client.session.results for live in player.live.values()
            )
            assert player.client.session.version.identity == player.client.session._sent_identity
        super().finish()
        self._check_leftovers()

    def _settle(self) -> None:
        for _ in range(ROUNDS_MAX):
            self.deployment.settle()
            moved = [self._pool.begin(), self._pool.open(), self._pool.finish(), self._loop.turn()]
            if not any(moved) and not self.deployment.backend.needs_turn:
                if not self.deployment.backend.mutations.offload.mutations.is_exclusive:
                    return
                self._loop.fire()
        raise AssertionError("somebody waits for ever")

    def _check_leftovers(self) -> None:
        for player in self.players:
            player.client.disconnect("end")
        node = self.deployment.backend.node
        log, cache = node.committer.write_log, node.cache
        assert not log._snapshots
        assert not log._writes
        assert not self.deployment.backend.mutations.offload.queries.running
        assert not cache._live
        assert not cache._live_full
        for entry in list(cache._idle):
            cache.drop(entry)
        assert not cache._entries
        assert not cache._subscriptions._groups
        assert cache.intervals == cache.bytes == 0


@pytest.fixture(scope="session")
def story_apps(cupola_app_folder: Path) -> list[App]:
    """The stories' functions twice, as different code."""
    return [load_app(cupola_app_folder), load_app(cupola_app_folder)]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_world_of_trouble_with_workers(story_apps: list[App], seed: int) -> None:
    print(f"make simulate SEED={seed}")  # pytest shows it when the test fails
    for app in story_apps:
        app.table_numbers.clear()
    world = WorldWithWorkers(list(story_apps), seed)
    with world.deployment:
        for _ in range(STEPS):
            world.step()
        world.finish()

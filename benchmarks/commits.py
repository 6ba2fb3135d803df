"""What a commit costs without sockets: processor time of B4's mutation, and of B1's with its query.

    python -m benchmarks.commits [rounds]

Sessions speak the sync protocol to a backend in this process, on a SQLite file, durably; so a
change of the engine, or another interpreter, shows here with less noise than over sockets. The
shortest round says most on a machine that is shared. `PYTHONPATH` chooses another copy of the
package, a `python` of another version another interpreter.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from cupola.backend import Backend, SessionHost
from cupola.limits import Limits
from cupola.persistence.sqlite import SqlitePersistence
from cupola.sync.frames import Frame

APP = Path(__file__).parent / "app"
CLIENTS = 32
TURNS = 10  # of all clients, in a round
BODY = "y" * 200


class Client:
    """One session, and what it was sent."""

    def __init__(self, backend: Backend, number: int) -> None:
        self.received: list[Frame] = []
        self._request = 0
        self._host: SessionHost = backend.open_session(self)
        self._say("Connect", sessionId=f"00000000-0000-4000-8000-{number:012x}", connectionCount=0)

    def _say(self, kind: str, **fields: object) -> None:
        self._host.receive(json.dumps({"type": kind, **fields}).encode())

    def mutate(self, path: str, **args: object) -> None:
        self._say("Mutation", requestId=self._request, udfPath=path, args=[args])
        self._request += 1

    def subscribe(self, path: str, **args: object) -> None:
        query = {"type": "Add", "queryId": 0, "udfPath": path, "args": [args]}
        self._say("ModifyQuerySet", baseVersion=0, newVersion=1, modifications=[query])

    @property
    def has_moved(self) -> bool:
        return bool(self.received) and bytes(self.received[-1]).startswith(b'{"type":"Transition"')

    def send(self, *frames: Frame) -> None:
        self.received.extend(frames)

    def close(self, code: int | None, reason: str) -> None:
        raise RuntimeError(f"The server closed a session: {code} {reason}")


def turn(backend: Backend, *waiting: Client) -> None:
    """Turn until each of them was sent a Transition, with the answer before it if it asked."""
    while not all(client.has_moved for client in waiting):
        backend.turn()
        backend.node.persistence.wait_durable()
        backend.node.outbox.release(backend.newest_durable_ts())
    for client in waiting:
        assert b'"success":false' not in bytes(client.received[0]), client.received[0]
        client.received.clear()


def measure(name: str, commits: int, work: Callable[[], None], rounds: int) -> None:
    costs = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        costs.append((time.process_time() - started) / commits * 1e6)
    print(f"{name:42} {min(costs):7.1f} µs at least, {median(costs):7.1f} in the middle")


def main(rounds: int = 60) -> None:
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        persistence = SqlitePersistence(f"{folder}/data.sqlite3")
        backend = Backend(persistence, limits=Limits(in_process_time_s=2.0))
        backend.load(APP)
        persistence.start(lambda: None)
        clients = [Client(backend, number) for number in range(CLIENTS)]

        def increments() -> None:
            for _ in range(TURNS):
                for number, client in enumerate(clients):
                    client.mutate("counters:increment", name=f"own-{number}")
                turn(backend, *clients)

        writer, reader = clients[:2]

        def messages() -> None:
            for _ in range(50):
                writer.mutate("messages:send", channel="general", body=BODY)
                turn(backend, writer, reader)

        increments()
        measure("read, increment, write, 32 at once", CLIENTS * TURNS, increments, rounds)
        writer.mutate("messages:seed", channel="general", count=50, body=BODY)
        turn(backend, writer)
        reader.subscribe("messages:list", channel="general")
        turn(backend, reader)
        measure("one message, shown in a list of fifty", 50, messages, rounds)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

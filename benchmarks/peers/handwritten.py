"""The hand-written backend: what a careful Python developer writes without a reactive one."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import orjson

from benchmarks.measure import Profiler
from benchmarks.peers import ALL_BENCHES, Args, OnResult, stop_process, wait_answering
from benchmarks.peers.postgres import Cluster
from benchmarks.wire import HttpConnection, WebSocket, free_port

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"


class Peer:
    """`handwritten_server.py` on one worker, and a PostgreSQL of its own."""

    name = "handwritten"
    notes = (
        "Starlette + uvicorn (uvloop, httptools, websockets) + asyncpg, LISTEN/NOTIFY by triggers, "
        "one shared re-query per distinct live query"
    )
    benches = ALL_BENCHES
    clients_max: Mapping[str, int] = {}
    shares_queries = True

    def __init__(self, folder: Path) -> None:
        self._cluster = Cluster(folder / self.name)
        self._log = folder / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self.durability = f"{self._cluster.version}, fsync and synchronous_commit on"
        self.pids: list[int] = []
        self.profiler: Profiler | None = None

    async def start(self, *, fresh: bool = True, wait: bool = True) -> None:
        self._cluster.start(free_port(), fresh=fresh)
        self._port = free_port()
        environment = {"DSN": self._cluster.dsn, "NAIVE": "0" if self.shares_queries else "1"}
        command = [sys.executable, "-m", "uvicorn", "benchmarks.peers.handwritten_server:app"]
        command += ["--port", str(self._port), "--loop", "uvloop", "--http", "httptools"]
        command += ["--ws", "websockets-sansio", "--ws-per-message-deflate", "false"]
        command += ["--ws-ping-interval", "0", "--no-access-log", "--backlog", "4096"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=os.environ | environment, stdout=log, stderr=log
            )
        assert self._cluster.pid
        self.pids = [self._process.pid, self._cluster.pid]
        if wait:
            await wait_answering(self, self._process)

    async def stop(self) -> None:
        stop_process(self._process)
        self._process = None
        self._cluster.stop()

    async def connect(self) -> Client:
        return await Client.open(self._port)


class NaivePeer(Peer):
    """The same, re-querying per subscriber, as per-user authorisation by hand forces."""

    name = "handwritten_naive"
    notes = Peer.notes.replace(
        "one shared re-query per distinct live query", "one re-query per subscriber"
    )
    benches = frozenset({"b2"})
    clients_max: Mapping[str, int] = {"b2": 1000}
    shares_queries = False


class Client:
    """One user: subscribes and mutates over a socket, reads over HTTP."""

    _socket: WebSocket

    def __init__(self, port: int) -> None:
        self._port = port
        self._http: HttpConnection | None = None
        self._numbers = 0
        self._on_result: dict[int, OnResult] = {}
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._live_query: int | None = None

    @classmethod
    async def open(cls, port: int) -> Self:
        client = cls(port)
        client._socket = await WebSocket.open(f"ws://{HOST}:{port}/sync", client._on_message)
        return client

    @property
    def received_bytes(self) -> int:
        return self._socket.received_bytes

    async def subscribe(self, function: str, args: Args, on_result: OnResult) -> None:
        number, first = self._ask("sub", function, args)
        self._on_result[number] = on_result
        await asyncio.wait_for(first, 30)

    async def mutate(self, function: str, args: Args) -> None:
        _, answer = self._ask("mut", function, args)
        await answer

    async def query(self, function: str, args: Args) -> bytes:
        if self._http is None:
            self._http = await HttpConnection.open(HOST, self._port)
        body = orjson.dumps({"fn": function, "args": args})
        status, answer = await self._http.request("POST", "/query", body)
        if status != 200:
            raise RuntimeError(f"{status} {answer[:200]!r}")
        return answer

    async def query_live(self, function: str, args: Args) -> None:
        if self._live_query is not None:
            self._socket.send(orjson.dumps({"t": "unsub", "id": self._live_query}))
        self._live_query, answer = self._ask("sub", function, args)
        await answer

    async def close(self) -> None:
        if self._http:
            self._http.close()
        await self._socket.close()

    def _ask(self, kind: str, function: str, args: Args) -> tuple[int, asyncio.Future[None]]:
        self._numbers += 1
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[self._numbers] = answer
        message = {"t": kind, "id": self._numbers, "fn": function, "args": args}
        self._socket.send(orjson.dumps(message))
        return self._numbers, answer

    def _on_message(self, message: bytes) -> None:
        if message.startswith(b'{"t":"data"'):
            number = int(message[17 : message.index(b",", 17)])
            if answer := self._waiting.pop(number, None):
                answer.set_result(None)
            if on_result := self._on_result.get(number):
                on_result(message)
            return
        response = orjson.loads(message)
        answer = self._waiting.pop(response["id"])
        if response["t"] == "ok":
            answer.set_result(None)
        else:
            answer.set_exception(RuntimeError(response["error"]))

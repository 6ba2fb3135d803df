"""A bare server: the same wire format from memory, without engine, transactions or disk.

Not a competitor but a floor: what uvicorn, JSON and the kernel cost by themselves.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.measure import Profiler
from benchmarks.peers import ALL_BENCHES, stop_process, wait_answering
from benchmarks.peers.convex_wire import SyncClient
from benchmarks.wire import free_port

ROOT = Path(__file__).parents[2]


class Peer:
    name = "bare"
    durability = "none: in memory"
    notes = "the wire format on uvicorn + websockets with nothing behind it"
    benches = ALL_BENCHES
    clients_max: Mapping[str, int] = {}

    def __init__(self, folder: Path) -> None:
        self._log = folder / "bare.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self.pids: list[int] = []
        self.profiler: Profiler | None = None

    async def start(self, *, fresh: bool = True, wait: bool = True) -> None:
        self._port = free_port()
        command = [sys.executable, "-m", "uvicorn", "benchmarks.peers.bare_server:app"]
        command += ["--port", str(self._port), "--loop", "uvloop", "--http", "httptools"]
        command += ["--ws", "websockets-sansio", "--ws-per-message-deflate", "false"]
        command += ["--ws-ping-interval", "0", "--no-access-log", "--backlog", "4096"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        self.pids = [self._process.pid]
        if wait:
            await wait_answering(self, self._process)

    async def stop(self) -> None:
        stop_process(self._process)
        self._process = None

    async def connect(self) -> SyncClient:
        return await SyncClient.open(self._port)

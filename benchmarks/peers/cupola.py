"""Cupola itself: `cupola serve benchmarks/app`, as it comes, durable."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.measure import Profiler
from benchmarks.peers import ALL_BENCHES, PeerUnavailableError, stop_process, wait_answering
from benchmarks.peers.convex_wire import SyncClient
from benchmarks.wire import free_port

ROOT = Path(__file__).parents[2]
COMMAND = ROOT / ".venv" / "bin" / "cupola"


class Peer:
    name = "cupola"
    durability = "fdatasync of the write-ahead log before anyone hears of a commit"
    notes = "one process; serializable; whole results on the wire"
    benches = ALL_BENCHES
    clients_max: Mapping[str, int] = {}

    def __init__(self, folder: Path, *, serve: Sequence[str] = (str(COMMAND), "serve")) -> None:
        """`serve`: the program that takes the options of `cupola serve`."""
        if not COMMAND.exists():
            raise PeerUnavailableError("Cupola is not installed here: make install")
        self._data = folder / "cupola"
        self._log = folder / "cupola.log"
        self._serve = serve
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self.pids: list[int] = []
        self.profiler: Profiler | None = None

    async def start(self, *, fresh: bool = True, wait: bool = True) -> None:
        if fresh:
            shutil.rmtree(self._data, ignore_errors=True)
        self._port = free_port()
        command = [*self._serve, "benchmarks/app", "--port", str(self._port)]
        command += ["--site-port", "0", "--data", str(self._data)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        self.pids = [self._process.pid]
        if wait:
            try:
                await wait_answering(self, self._process)
            except RuntimeError as error:
                print(self._log.read_text()[-3000:], file=sys.stderr)
                raise error

    async def stop(self) -> None:
        stop_process(self._process)
        self._process = None

    async def connect(self) -> SyncClient:
        return await SyncClient.open(self._port)

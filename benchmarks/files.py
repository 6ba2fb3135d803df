"""One large file up and down through a server of its own: `python -m benchmarks.files`.

Prints MB/s (10^6 bytes), the server's resident memory before and its highest meanwhile, and beside
it what the same disk takes from a plain loop of writes.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil

PIECE = os.urandom(1 << 20)
FUNCTIONS = """
from cupola import MutationCtx, QueryCtx, StorageId, mutation, query

@mutation
def upload_url(ctx: MutationCtx) -> str:
    return ctx.storage.generate_upload_url()

@query
def url(ctx: QueryCtx, file: StorageId) -> str | None:
    return ctx.storage.get_url(file)
"""


class Memory:
    """Watches the resident memory of a process, in MB."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.before = self.highest = self._now()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _now(self) -> float:
        return float(self._process.memory_info().rss / 1e6)

    def _watch(self) -> None:
        while not self._end.wait(0.01):
            self.highest = max(self.highest, self._now())

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


def pieces(size: int) -> Iterator[bytes]:
    for _ in range(size // len(PIECE)):
        yield PIECE


def call(connection: http.client.HTTPConnection, kind: str, path: str, **args: str) -> str:
    body = json.dumps({"path": path, "args": args})
    connection.request("POST", f"/api/{kind}", body, {"Content-Type": "application/json"})
    answer = json.load(connection.getresponse())
    assert answer["status"] == "success", answer
    return str(answer["value"])


def measure(folder: Path, size: int) -> None:
    (folder / "functions").mkdir()
    (folder / "functions" / "files.py").write_text(FUNCTIONS)
    command = [sys.executable, "-m", "cupola", "serve", str(folder), "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    facts = folder / ".cupola" / "server.json"
    try:
        while not facts.exists():
            with contextlib.suppress(subprocess.TimeoutExpired):
                raise RuntimeError(f"the server ended with {server.wait(0.05)}")
        found = json.loads(facts.read_text())
        connection = http.client.HTTPConnection("127.0.0.1", found["port"])
        with Memory(found["pid"]) as memory:
            file, seconds = upload(connection, size)
        report("upload", size, seconds, memory)
        with Memory(found["pid"]) as memory:
            seconds = download(connection, file, size)
        report("download", size, seconds, memory)
    finally:
        server.terminate()
        server.wait()


def upload(connection: http.client.HTTPConnection, size: int) -> tuple[str, float]:
    url = urlsplit(call(connection, "mutation", "files:upload_url"))
    began = time.perf_counter()
    headers = {"Content-Length": str(size), "Content-Type": "video/mp4"}
    connection.request("POST", f"{url.path}?{url.query}", pieces(size), headers)
    answer = connection.getresponse()
    file = json.load(answer)["storageId"]
    return str(file), time.perf_counter() - began


def download(connection: http.client.HTTPConnection, file: str, size: int) -> float:
    url = urlsplit(call(connection, "query", "files:url", file=file))
    began = time.perf_counter()
    connection.request("GET", url.path)
    answer = connection.getresponse()
    etag, buffer, got = answer.headers["ETag"], bytearray(1 << 20), 0
    while count := answer.readinto(buffer):
        got += count
    seconds = time.perf_counter() - began
    digest = hashlib.sha256()
    for piece in pieces(size):
        digest.update(piece)
    assert got == size and etag.strip('"') == digest.hexdigest()
    return seconds


def plain(folder: Path, size: int) -> None:
    began = time.perf_counter()
    with (folder / "plain").open("wb", buffering=0) as file:
        for piece in pieces(size):
            file.write(piece)
        os.fsync(file.fileno())
    report("plain writes and fsync, for comparison", size, time.perf_counter() - began, None)
    (folder / "plain").unlink()


def report(what: str, size: int, seconds: float, memory: Memory | None) -> None:
    text = f"{what}: {size / 1e6 / seconds:.0f} MB/s ({seconds:.2f} s)"
    if memory is not None:
        text += f"; server memory {memory.before:.0f} MB before, {memory.highest:.0f} MB at most"
    print(text, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1000)
    parser.add_argument("--folder", type=Path, help="on the disk to measure")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        plain(Path(folder), arguments.mib << 20)
        measure(Path(folder), arguments.mib << 20)


if __name__ == "__main__":
    main()

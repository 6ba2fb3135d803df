"""How fast does data leave and come in, and how much memory does it take? Rows per second, MiB.

    python benchmarks/moving.py [--rows 200000] [--body 200] [--files-mib 200]

A deployment is filled by an import of JSON lines over the HTTP API of a real server; then it is
exported in each format by the command, and the ZIP is imported into another deployment. Memory is
the highest resident size of the process that does the work, and of the server meanwhile; with twice
the rows it should be the same.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import psutil

CUPOLA = [sys.executable, "-m", "cupola"]
MiB = 2**20


class Memory:
    """The highest resident size of a process and those below it, each by itself."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self.highest: dict[str, int] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            try:
                for process in [self._root, *self._root.children(recursive=True)]:
                    words = " ".join(process.cmdline())
                    name = next(
                        (n for n in ("import_worker", "import_files") if n in words), "main"
                    )
                    size = process.memory_info().rss
                    self.highest[name] = max(self.highest.get(name, 0), size)
            except psutil.Error:
                continue

    def end(self) -> str:
        self._ended.set()
        self._thread.join()
        return ", ".join(f"{name} {size // MiB} MiB" for name, size in self.highest.items())


class Deployment:
    """A server on a data folder of its own, without code."""

    def __init__(self, folder: Path) -> None:
        (folder / "convex").mkdir(parents=True)
        self.data = folder / ".cupola"
        command = [*CUPOLA, "serve", str(folder), "--port", "0", "--site-port", "0"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        while " Serving " not in self.process.stderr.readline():
            pass
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def run(self, *words: str) -> tuple[float, str]:
        """A command on it: how long it took, and its memory."""
        started = time.perf_counter()
        command = [*CUPOLA, *words, "--data", str(self.data)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        memory = Memory(process.pid)
        assert process.wait() == 0, words
        return time.perf_counter() - started, memory.end()

    def upload(self, megabytes: int) -> float:
        """Files of 10 MiB, one after the other: how long it took."""
        facts = json.loads((self.data / "server.json").read_text())
        key = subprocess.run(
            [*CUPOLA, "admin-key", "--data", str(self.data)], capture_output=True, text=True
        ).stdout.strip()
        path = "_system/frontend/fileStorageV2:generateUploadUrl"
        body = json.dumps({"path": path, "args": {}}).encode()
        headers = {"Authorization": f"Convex {key}", "Content-Type": "application/json"}
        request = urllib.request.Request(facts["url"] + "/api/function", body, headers)
        url = json.load(urllib.request.urlopen(request))["value"]
        data = os.urandom(10 * MiB)
        started = time.perf_counter()
        for _ in range(megabytes // 10):
            file = urllib.request.Request(url, data, {"Content-Type": "image/png"})
            urllib.request.urlopen(file).read()
        return time.perf_counter() - started

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def write_rows(path: Path, rows: int, body_bytes: int) -> None:
    text = "x" * body_bytes
    with path.open("w") as file:
        for number in range(rows):
            row = {"number": number, "channel": f"channel {number % 1000}", "text": text}
            file.write(json.dumps(row) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--body", type=int, default=200)
    parser.add_argument("--files-mib", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rows(folder / "rows.jsonl", options.rows, options.body)
        source, target = Deployment(folder / "source"), Deployment(folder / "target")
        try:
            measure(options, folder, source, target)
        finally:
            source.stop()
            target.stop()


def measure(
    options: argparse.Namespace, folder: Path, source: Deployment, target: Deployment
) -> None:
    print(f"{options.rows:,} rows of {options.body} B, {options.files_mib} MiB of files")
    server = Memory(source.process.pid)
    seconds, _ = source.run("import", str(folder / "rows.jsonl"), "--table", "rows")
    show("import jsonl", options.rows, seconds, f"server: {server.end()}")
    for kind in ("zip", "sqlite", "sql", "parquet"):
        seconds, memory = source.run("export", str(folder / f"out.{kind}"), "--format", kind)
        show(f"export {kind}", options.rows, seconds, memory)
    seconds = source.upload(options.files_mib)
    print(f"{'upload files':16} {options.files_mib / seconds:10,.0f} MiB/s")
    words = ("--include-file-storage",)
    seconds, memory = source.run("export", str(folder / "all.zip"), *words)
    show("export all", options.rows, seconds, memory)
    server = Memory(target.process.pid)
    seconds, _ = target.run("import", str(folder / "all.zip"))
    show("import all", options.rows, seconds, f"server: {server.end()}")


def show(what: str, rows: int, seconds: float, memory: str) -> None:
    print(f"{what:16} {rows / seconds:10,.0f} rows/s {seconds:8.1f} s   {memory}", flush=True)


if __name__ == "__main__":
    main()

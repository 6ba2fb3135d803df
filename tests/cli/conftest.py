"""The `cupola` command in processes of its own, each on a folder and on ports of its own."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

CUPOLA = [sys.executable, "-m", "cupola"]
WITHIN_S = 30.0

SCHEMA = """
from cupola import Table

class Note(Table, name="notes"):
    text: str
"""
NOTES = """
import builtins
from cupola import ApplicationError, MutationCtx, QueryCtx, internal_query, mutation, query
from .schema import Note

@query
def list(ctx: QueryCtx) -> builtins.list[str]:
    return [note.text for note in ctx.db.query(Note).collect()]

@internal_query
def count(ctx: QueryCtx) -> int:
    return len(ctx.db.query(Note).collect())

@query
def order(ctx: QueryCtx) -> builtins.list[str]:
    return [str(word) for word in {"one", "two", "three", "four", "five"}]

@mutation
def add(ctx: MutationCtx, text: str) -> None:
    print("adding", text)
    if not text:
        raise ApplicationError({"code": "Empty"})
    ctx.db.insert(Note(text=text))
"""


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's, without anything that the tests or their caller set for Cupola."""
    names = ("PYTHONHASHSEED", "TZ", "NO_COLOR", "TERM", "DISPLAY", "BROWSER")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("CUPOLA_") and name not in names
    }
    return kept | dict(extra or {})


class Server:
    """`cupola serve` or `cupola dev`, ready to answer. Its output can be waited for."""

    def __init__(self, command: str, app: Path, *options: str, **variables: str) -> None:
        self.app = app
        self.data = app / ".cupola"
        self._lines: queue.Queue[str] = queue.Queue()
        self.output = ""
        (self.data / "server.json").unlink(missing_ok=True)  # of a server that was killed
        ports = ["--port", "0", "--site-port", "0"]
        self.process = subprocess.Popen(
            [*CUPOLA, command, str(app), *ports, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(variables),
        )
        threading.Thread(target=self._read, daemon=True).start()
        self.facts = self._wait_announced()
        self.url: str = self.facts["url"]

    def wait_for(self, text: str) -> None:
        """Returns once it has printed `text`; what came up to there is not looked at again."""
        deadline = time.monotonic() + WITHIN_S
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                pytest.fail(f"{text!r} was not printed, but:\n{self.output}")
            if text in line:
                return

    def query(self, path: str, **arguments: Any) -> Any:
        body = json.dumps({"path": path, "args": arguments, "format": "json"}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/api/query", body, headers)
        with urllib.request.urlopen(request, timeout=WITHIN_S) as response:
            return json.load(response)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(WITHIN_S)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.output += line
            self._lines.put(line)

    def _wait_announced(self) -> Any:
        """The file appears when the ports are open."""
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline:
            with contextlib.suppress(FileNotFoundError):
                return json.loads((self.data / "server.json").read_text())
            try:
                code = self.process.wait(0.02)
            except subprocess.TimeoutExpired:
                continue
            pytest.fail(f"the server ended with exit code {code}:\n{self.output}")
        pytest.fail(f"not ready in time:\n{self.output}")


StartServer = Callable[..., Server]
Cupola = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A small app in a folder of its own."""
    folder = tmp_path / "app"
    (folder / "functions").mkdir(parents=True)
    (folder / "functions" / "schema.py").write_text(SCHEMA)
    (folder / "functions" / "notes.py").write_text(NOTES)
    return folder


@pytest.fixture
def start(app: Path) -> Iterator[StartServer]:
    """`start("serve", ...options, ...VARIABLES=...)`; servers still running are ended."""
    servers: list[Server] = []

    def start_server(command: str = "serve", *options: str, **variables: str) -> Server:
        servers.append(Server(command, app, *options, **variables))
        return servers[-1]

    yield start_server
    for server in servers:
        server.end()


@pytest.fixture
def cupola(tmp_path: Path) -> Cupola:
    """`cupola("run", ...)` in a folder of the test, to its end."""

    def run(*words: str | Path, cwd: Path = tmp_path, **variables: str) -> Any:
        return subprocess.run(
            [*CUPOLA, *map(str, words)],
            cwd=cwd,
            env=environment(variables),
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
        )

    return run

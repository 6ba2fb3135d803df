"""A real server in a process of its own, and drivers that talk to it with the published clients."""

from __future__ import annotations

import json
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
CUPOLA = [sys.executable, "-m", "cupola"]
INSTANCE_NAME = "conformance"
INSTANCE_SECRET = "4361726e697461732c206c69746572616c6c79206d65616e696e6720226c6974"
READY_WITHIN_S = 30.0
ANSWER_WITHIN_S = 30.0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class ServerProcess:
    """`cupola serve` on one data folder and one port; it can be killed and started again."""

    def __init__(self, app: Path, folder: Path, *options: str) -> None:
        self.data = folder / "data"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._facts = self.data / "server.json"
        self._log = folder / "server.log"
        self._command = [*CUPOLA, "serve", str(app), "--data", str(self.data)]
        self._command += ["--port", str(self.port), "--site-port", "0"]
        self._command += ["--instance-name", INSTANCE_NAME, "--instance-secret", INSTANCE_SECRET]
        self._command += options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when the server says that it is ready."""
        self._facts.unlink(missing_ok=True)  # of a server that was killed
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline = time.monotonic() + READY_WITHIN_S
        while not self._is_ready():
            try:
                code = self._process.wait(0.02)
            except subprocess.TimeoutExpired:
                assert time.monotonic() < deadline, f"not ready in time:\n{self.log()}"
            else:
                pytest.fail(f"the server ended with exit code {code}:\n{self.log()}")

    def kill(self) -> None:
        """SIGKILL: no goodbye, no flush."""
        assert self._process
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """SIGTERM, and the exit code that follows."""
        assert self._process
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"the server did not stop when asked to:\n{self.log()}")

    def log(self) -> str:
        """The end of what it printed."""
        return self._log.read_text(errors="replace")[-5000:]

    def admin_key(self) -> str:
        command = [*CUPOLA, "admin-key", "--data", str(self.data)]
        printed = subprocess.run(command, capture_output=True, text=True, check=True)
        return printed.stdout.strip()

    def _is_ready(self) -> bool:
        if not self._facts.exists():
            return False  # whoever answers at the port by now is another server
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


class Driver:
    """A program that says facts as lines of JSON, and may ask for something in between."""

    def __init__(self, command: Sequence[str], server: ServerProcess) -> None:
        self._server = server
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._errors: list[str] = []
        for work in (self._read_lines, self._read_errors):
            threading.Thread(target=work, daemon=True).start()

    def facts(self) -> Any:
        """The next line. Fails if the driver ends without one, or takes too long."""
        try:
            line = self._lines.get(timeout=ANSWER_WITHIN_S)
        except queue.Empty:
            line = ""
        if not line:
            self.end()
            said = "".join(self._errors)[-5000:]
            pytest.fail(f"the driver says:\n{said}\nthe server says:\n{self._server.log()}")
        return json.loads(line)

    def go_on(self) -> None:
        """Tell the driver that what it asked for is done."""
        assert self._process.stdin
        self._process.stdin.write("done\n")
        self._process.stdin.flush()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()

    def _read_lines(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("{"):  # clients print the log lines of functions too
                self._lines.put(line)
        self._lines.put("")

    def _read_errors(self) -> None:
        assert self._process.stderr
        self._errors.extend(self._process.stderr)


StartDriver = Callable[..., Driver]


LANGUAGES = ["python", "typescript"]


def serve_app(language: str, folder: Path, request: pytest.FixtureRequest) -> ServerProcess:
    """The app that the drivers expect, which is written twice. The server is started."""
    if language == "typescript":
        from .project import push_app

        return push_app(folder / "app", request.getfixturevalue("node"))
    server = ServerProcess(HERE / "app", folder)
    server.start()
    return server


@pytest.fixture(scope="module", params=LANGUAGES)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server for all tests of a module; each test uses channels and counters of its own."""
    server = serve_app(request.param, tmp_path_factory.mktemp("server"), request)
    yield server
    server.stop()


@pytest.fixture(params=LANGUAGES)
def server_to_kill(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server for one test, which may kill it."""
    server = serve_app(request.param, tmp_path, request)
    yield server
    server.kill()


@pytest.fixture
def start_driver() -> Iterator[StartDriver]:
    """`start_driver(server, "node", "client.mjs", ...)`; drivers still running are ended."""
    drivers: list[Driver] = []

    def start(server: ServerProcess, program: str, script: str, *arguments: str) -> Driver:
        folder = HERE / ("python" if script.endswith(".py") else "node")
        driver = Driver([program, str(folder / script), server.url, *arguments], server)
        drivers.append(driver)
        return driver

    yield start
    for driver in drivers:
        driver.end()

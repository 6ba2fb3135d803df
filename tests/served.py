"""`cupola serve` on a folder, killed and started again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest

WITHIN_S = 60.0


class Server:
    """A process with its workers."""

    def __init__(self, app: Path, *options: str) -> None:
        self.app = app
        self._options = options
        self._facts = app / ".cupola" / "server.json"
        self.url = ""
        self.start()

    @property
    def data(self) -> Path:
        return self.app / ".cupola"

    def start(self) -> None:
        self._facts.unlink(missing_ok=True)
        command = [sys.executable, "-m", "cupola", "serve", str(self.app), *self._options]
        self._process = subprocess.Popen(
            [*command, "--port", "0", "--site-port", "0"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

        def is_up() -> bool:
            with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
                self.url = json.loads(self._facts.read_text())["url"]
                return True
            assert self._process.poll() is None, "the server ended"
            return False

        until(is_up)

    def kill(self) -> None:
        """As a power cut does it to a process: the server and its workers, at once."""
        self.url = ""  # another may get its port
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def vector_worker(self) -> psutil.Process | None:
        return self.worker("cupola.runtimes.vector_worker")

    def text_worker(self) -> psutil.Process | None:
        return self.worker("cupola.runtimes.text_worker")

    def worker(self, module: str) -> psutil.Process | None:
        """The child that runs a module, if there is one."""
        for process in psutil.Process(self._process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if module in process.cmdline():
                    return process
        return None

    def try_call(self, kind: str, path: str, **args: Any) -> dict[str, Any]:
        body = json.dumps({"path": path, "args": args, "format": "json"}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/api/{kind}", body, headers)
        with urllib.request.urlopen(request, timeout=WITHIN_S) as response:
            answer: dict[str, Any] = json.load(response)
        return answer

    def call(self, kind: str, path: str, **args: Any) -> Any:
        answer = self.try_call(kind, path, **args)
        assert answer["status"] == "success", answer
        return answer["value"]


def until(condition: Any) -> None:
    """Look until it is so."""
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail("it did not come to that in a minute")
        threading.Event().wait(0.02)

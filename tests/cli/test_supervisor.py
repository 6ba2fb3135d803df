"""The parent of `cupola serve`: what it survives, and what it does not."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from cupola.cli import supervisor

APP = """
from cupola import QueryCtx, query

@query
def fine(ctx: QueryCtx) -> str:
    return "fine"

@query
def forever(ctx: QueryCtx) -> int:
    add_up = sum  # a name the check of the source does not see through
    return add_up(iter(range(10**13)))
"""


def wait_until(condition, deadline_s=30.0):
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        try:
            found = condition()
        except OSError:
            found = None
        if found:
            return found
        os.sched_yield()
    raise AssertionError("it did not happen in time")


class Served:
    """`cupola serve` on a small app, with a short patience for stalls."""

    def __init__(self, folder: Path) -> None:
        (folder / "functions").mkdir()
        (folder / "functions" / "main.py").write_text(APP)
        self.data = folder / "data"
        self.log = (folder / "log").open("w+")  # the fixture closes it
        command = [sys.executable, "-m", "cupola", "serve", str(folder)]
        options = ["--port", "0", "--site-port", "0", "--data", str(self.data)]
        options += ["--limit", "loop_stall_s=1.5"]
        self.process = subprocess.Popen(command + options, stderr=self.log, stdout=self.log)
        self.announced = wait_until(self.read_announced)

    def read_announced(self):
        file = self.data / "server.json"
        return json.loads(file.read_text()) if file.exists() else None

    def query(self, path, timeout=20.0):
        announced = self.read_announced() or self.announced
        request = urllib.request.Request(
            f"{announced['url']}/api/query",
            json.dumps({"path": path, "args": {}}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return json.load(response)

    def said(self, text):
        self.log.seek(0)
        return text in self.log.read()


@pytest.fixture
def served(tmp_path):
    served = Served(tmp_path)
    yield served
    served.process.kill()
    served.process.wait(20)
    served.log.close()


def test_a_call_into_c_that_never_returns_costs_one_restart(served):
    """The stalled server is replaced, and its function runs in a worker from then on."""
    assert served.query("main:fine")["value"] == "fine"
    with pytest.raises(OSError):
        served.query("main:forever")
    wait_until(lambda: served.query("main:fine")["value"] == "fine")

    answer = served.query("main:forever")

    assert answer["status"] == "error" and "timed out" in answer["errorMessage"]
    assert served.query("main:fine")["value"] == "fine"
    assert served.said("has stood still for 1.5 s; `main:forever` ran last")


def test_a_crashed_server_comes_back(served):
    """Whatever ends the child, clients find a server again."""
    child = served.announced["pid"]
    os.kill(child, signal.SIGKILL)

    wait_until(lambda: served.query("main:fine")["value"] == "fine")

    assert served.read_announced()["pid"] != child


def test_a_signal_to_stop_reaches_the_server(served):
    """SIGTERM drains, and both processes end with code 0."""
    served.process.terminate()

    assert served.process.wait(30) == 0
    assert served.said("Stopped.")


def test_the_server_does_not_outlive_its_supervisor(served):
    """kill -9 of what was started ends everything, as people expect."""
    child = served.announced["pid"]
    served.process.kill()
    served.process.wait(20)

    def gone():
        try:
            state = Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return True
        return state == "Z"

    wait_until(gone)


class ManualTime:
    """Time for a watch: it passes while it sleeps, and then what is told of that moment happens."""

    def __init__(self, moments):
        self.now = 0.0
        self.moments = moments

    def monotonic(self):
        return self.now

    def sleep(self, time_s):
        passed_s = next(self.moments)
        self.now += time_s if passed_s is None else passed_s


def test_a_machine_that_stood_still_is_no_server_that_does(monkeypatch):
    """Paused and gone on with, as containers are, both have missed the same time."""
    beacon = supervisor.Beacon()
    killed, has_ended = [], []

    def moments():
        for _ in range(3):
            beacon.beat(10.0)
            yield None
        yield 3600.0  # nobody runs; the watch wakes up first
        for _ in range(39):
            yield None
        assert killed == []
        for _ in range(3):
            yield None
        assert killed == [(123, signal.SIGKILL)]  # of the server itself
        has_ended.append(123)
        yield None

    monkeypatch.setattr(supervisor, "time", ManualTime(moments()))
    monkeypatch.setattr(os, "waitpid", lambda child, flags: (has_ended and child, signal.SIGKILL))
    monkeypatch.setattr(os, "kill", lambda *what: killed.append(what))
    monkeypatch.setattr(signal, "signal", lambda *what: None)
    assert supervisor._Watch(123, beacon).wait() == -signal.SIGKILL

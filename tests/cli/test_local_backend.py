"""`cupola-local-backend`, started exactly as the published command line starts the reference's."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from cupola.auth import AdminKeys

COMMAND = [sys.executable, "-m", "cupola.cli.local_backend"]
NAME = "anonymous-sample"
SECRET = "4361726e697461732c206c69746572616c6c79206d65616e696e6720226c6974"
READY_WITHIN_S = 30.0


def free_ports() -> list[int]:
    with socket.socket() as one, socket.socket() as other:
        for listener in (one, other):
            listener.bind(("127.0.0.1", 0))
        return [int(listener.getsockname()[1]) for listener in (one, other)]


def arguments(folder: Path, port: int, site_port: int) -> list[str]:
    return [
        "--port",
        str(port),
        "--site-proxy-port",
        str(site_port),
        "--sentry-identifier",
        "0" * 64,
        "--instance-name",
        NAME,
        "--instance-secret",
        SECRET,
        "--local-storage",
        str(folder / "convex_local_storage"),
        "--beacon-tag",
        "cli-anonymous-dev",
        str(folder / "convex_local_backend.sqlite3"),
        "--beacon-fields",
        '{"override_uuid":"x"}',
    ]


def fetch(url: str, key: str | None = None) -> str:
    headers = {} if key is None else {"Authorization": f"Convex {key}"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
        return str(answer.read().decode())


@pytest.fixture
def running(tmp_path: Path) -> Iterator[str]:
    """The URL of a server."""
    port, site_port = free_ports()
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [*COMMAND, *arguments(tmp_path, port, site_port)], cwd=tmp_path, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + READY_WITHIN_S
    while True:
        try:
            fetch(f"{url}/readyz")
            break
        except (urllib.error.URLError, OSError):
            assert process.returncode is None and time.monotonic() < deadline
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
    yield url
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_it_serves_under_the_name_and_secret_it_is_given(running: str, tmp_path: Path) -> None:
    assert fetch(f"{running}/instance_name") == NAME
    assert (tmp_path / "convex_local_backend.sqlite3").exists()

    made = subprocess.run(
        [*COMMAND, "keygen", "admin-key", "--instance-name", NAME, "--instance-secret", SECRET],
        capture_output=True,
        text=True,
        check=True,
    )
    key = made.stdout.strip()
    assert AdminKeys(NAME, bytes.fromhex(SECRET)).verify(key).kind == "admin"
    urls = fetch(f"{running}/api/v1/get_canonical_urls", key)
    assert f'"convexCloudUrl":"{running}"' in urls


def test_its_help_ends_well_whatever_stands_before_it(tmp_path: Path) -> None:
    """The command line asks for it, with all other options, to see whether the program works."""
    command = [*COMMAND, *arguments(tmp_path, 1, 2), "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "--site-proxy-port" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_bad_secret_is_told_on_one_line(tmp_path: Path) -> None:
    command = [
        *COMMAND,
        "--port",
        "0",
        "--instance-secret",
        "short",
        str(tmp_path / "data.sqlite3"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 3
    assert "64 hexadecimal digits" in done.stderr and "Traceback" not in done.stderr

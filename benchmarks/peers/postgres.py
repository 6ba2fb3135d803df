"""A private PostgreSQL cluster on loopback, durable: fsync and synchronous_commit are on."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from benchmarks.peers import PeerUnavailableError

SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = on
synchronous_commit = on
shared_buffers = 512MB
max_connections = 100
max_wal_size = 4GB
logging_collector = off
"""


def find_programs() -> Path:
    """The folder of `initdb` and `pg_ctl`.

    Raises:
        PeerUnavailableError: PostgreSQL's server is not installed.
    """
    found = shutil.which("pg_ctl")
    if found:
        return Path(found).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name)
    if not installed:
        raise PeerUnavailableError(
            "PostgreSQL's server is not installed; on Debian and Ubuntu: apt-get install postgresql"
        )
    return installed[-1]


class Cluster:
    """One data folder, one port. PostgreSQL refuses to run as root: then it runs as `postgres`."""

    def __init__(self, folder: Path) -> None:
        self._programs = find_programs()
        self._folder = folder
        self._port = 0
        self.pid: int | None = None
        printed = subprocess.run(
            [self._programs / "postgres", "--version"], capture_output=True, text=True, check=True
        )
        found = re.search(r"PostgreSQL\)? ([\d.]+)", printed.stdout)
        self.version = f"PostgreSQL {found[1] if found else 'of unknown version'}"

    @property
    def dsn(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self._port}/bench"

    def start(self, port: int, *, fresh: bool) -> None:
        self._port = port
        if fresh:
            shutil.rmtree(self._folder, ignore_errors=True)
        new = not self._folder.exists()
        if new:
            self._create()
        log = self._folder / "log"
        self._run(
            "pg_ctl", "-D", self._folder, "-o", f"-p {port}", "-l", log, "-w", "start", quiet=True
        )
        self.pid = int((self._folder / "postmaster.pid").read_text().split()[0])
        if new:
            self._run("createdb", "-h", "127.0.0.1", "-p", port, "-U", "postgres", "bench")

    def stop(self) -> None:
        if self.pid:
            self._run("pg_ctl", "-D", self._folder, "-m", "fast", "-w", "stop", quiet=True)
            self.pid = None

    def _create(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True)
        if os.geteuid() == 0:
            shutil.chown(self._folder, "postgres", "postgres")
        init = ("initdb", "-D", self._folder, "-U", "postgres", "--auth=trust", "-E", "UTF8")
        self._run(*init, quiet=True)
        with (self._folder / "postgresql.conf").open("a") as file:
            file.write(SETTINGS)

    def _run(self, program: str, *arguments: object, quiet: bool = False) -> None:
        command = [str(self._programs / program), *map(str, arguments)]
        if os.geteuid() == 0:
            command = ["runuser", "-u", "postgres", "--", "sh", "-c", shlex.join(command)]
        output = subprocess.DEVNULL if quiet else None
        subprocess.run(command, check=True, cwd="/", stdout=output)

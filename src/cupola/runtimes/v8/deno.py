"""A Deno process at the other end of a socket: how it is started, jailed, spoken to and ended.

The process has no permissions: no file, socket, process or variable of the machine (its own socket
is on its standard input and output). Kernel limits bound its memory, `--v8-flags` its heap; time is
bounded by whoever waits for it, with SIGKILL.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path

from cupola.errors import OperatorError

HOST = Path(str(resources.files("cupola.runtimes.v8"))) / "host"
_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_HEADER = struct.Struct("<I")
_MIB = 2**20
_DATA_BYTES_MAX = 640 * _MIB
"""Private memory of one process: V8 itself, the heap, and array buffers, which no flag bounds."""

_FLAGS = (
    "--no-prompt",
    "--no-config",
    "--no-lock",
    "--no-remote",
    "--no-npm",
    "--no-code-cache",
    "--quiet",
)


class ProcessEnded(Exception):
    """The process has gone. `signal`: what ended it, if something did."""

    def __init__(self, returncode: int | None) -> None:
        super().__init__(f"Deno ended with {returncode}")
        self.signal = -returncode if returncode is not None and returncode < 0 else None


class TookTooLong(Exception):
    """No frame came in the time that was allowed."""


@cache
def executable() -> str:
    """The path of the `deno` binary.

    Raises:
        OperatorError: The package is not installed.
    """
    try:
        from deno import find_deno_bin  # type: ignore[import-untyped]

        return str(find_deno_bin())
    except (ImportError, FileNotFoundError) as error:
        raise OperatorError(
            "JavaScript functions need Deno; install it with `pip install deno`.",
            code="NoJavaScriptRuntime",
        ) from error


@cache
def host_source(name: str) -> str:
    """A script of ours that Deno evaluates inside contexts."""
    return (HOST / name).read_text(encoding="utf-8")


class Deno:
    """One process. Frames are a character that says what they are, then text."""

    def __init__(self, main: str, heap_bytes_max: int, permissions: Sequence[str] = ()) -> None:
        """`main`: a file of the host folder.

        Raises:
            OperatorError: There is no Deno, or no room for another process.
        """
        ours, theirs = socket.socketpair()
        heap = heap_bytes_max // _MIB
        command = [
            executable(),
            "run",
            *_FLAGS,
            f"--v8-flags=--max-old-space-size={heap},--disallow-code-generation-from-strings",
            *permissions,
            str(HOST / main),
        ]
        parent = os.getpid()

        def jail() -> None:
            _die_with(parent)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_DATA, (_DATA_BYTES_MAX, _DATA_BYTES_MAX))

        try:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                command,
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL if not os.environ.get("CUPOLA_DENO_STDERR") else None,
                env=_ENVIRONMENT,
                cwd="/",
                preexec_fn=jail,
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            reason = f"No process for JavaScript can be started: {error}"
            raise OperatorError(reason, code="NoWorker") from error
        finally:
            theirs.close()
        self._socket = ours
        self._poll = select.poll()
        self._poll.register(ours, select.POLLIN)
        self._data = bytearray()

    @property
    def pid(self) -> int:
        return self._process.pid

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, kind: bytes, body: bytes = b"") -> None:
        """Raises ProcessEnded."""
        try:
            self._socket.sendall(_HEADER.pack(len(kind) + len(body)) + kind + body)
        except OSError:
            raise ProcessEnded(self.end()) from None

    def receive(self, timeout_s: float) -> tuple[bytes, bytes]:
        """The next frame: its kind, and its text.

        Raises:
            TookTooLong, ProcessEnded
        """
        data = self._data
        deadline = time.monotonic() + timeout_s
        while True:
            if len(data) >= _HEADER.size:
                (length,) = _HEADER.unpack_from(data)
                end = _HEADER.size + length
                if len(data) >= end:
                    kind, body = bytes(data[4:5]), bytes(data[5:end])
                    del data[:end]
                    return kind, body
            left = deadline - time.monotonic()
            if left <= 0 or not self._poll.poll(left * 1000):
                raise TookTooLong
            try:
                more = self._socket.recv(1 << 20)
            except OSError:
                more = b""
            if not more:
                raise ProcessEnded(self.end())
            data += more

    def processor_s(self) -> float:
        """How long its main thread has run, in s; 0 when that cannot be told."""
        try:
            with open(f"/proc/{self.pid}/task/{self.pid}/schedstat") as schedstat:
                return int(schedstat.read().split()[0]) / 1e9
        except (OSError, ValueError, IndexError):
            return 0.0

    def memory_bytes(self) -> int:
        """Resident memory; 0 when the process is gone."""
        try:
            with open(f"/proc/{self.pid}/statm") as statm:
                return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError):
            return 0

    def end(self) -> int | None:
        """End it now, whatever it does. Returns how it ended."""
        self._socket.close()
        if self._process.poll() is None:
            try:  # it may be ending by itself, and why is worth knowing
                return self._process.wait(0.05)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGKILL)
        return self._process.wait()

    def kill(self) -> None:
        """End it now; nobody asks how."""
        self._process.kill()
        self._socket.close()
        self._process.wait()


_ENVIRONMENT = {
    "DENO_NO_UPDATE_CHECK": "1",
    "DENO_DIR": "/nonexistent",  # nothing is fetched or cached
    "TZ": "UTC",
    "LC_ALL": "en_US.UTF-8",
    "NO_COLOR": "1",
}


def _die_with(parent: int) -> None:
    """In the child, between fork and exec: nothing is imported here."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os._exit(70)

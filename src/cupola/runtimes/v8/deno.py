"""A Deno process at the other end of a socket: how it is started, jailed, spoken to and ended.

The process has no permissions: no file, socket, process or variable of the machine (its own socket
is on its standard input and output). Kernel limits bound its memory, `--v8-flags` its heap; time is
bounded by whoever waits for it, with SIGKILL.
"""

from __future__ import annotations

import ctypes
import os
import resource
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
from cupola.runtimes.python.process_figures import ProcessFigures

HOST = Path(str(resources.files("cupola.runtimes.v8"))) / "host"
_prctl = getattr(ctypes.CDLL(None), "prctl", None)  # Linux has it
_PR_SET_PDEATHSIG = 1
_HEADER = struct.Struct("<I")
_MIB = 2**20
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_BUFFER_BYTES = 1 << 16
_TICK_S = 0.05
_monotonic = time.monotonic  # bound here, before the guard of Python functions replaces it
_BESIDES_HEAP_BYTES = 192 * _MIB
"""What a process may take beside its heap: array buffers, which no flag bounds, and V8's own."""

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


def start_process(
    main: str, heap_bytes_max: int, permissions: Sequence[str] = ()
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a file of the host folder. Returns the process and our end of its socket.

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
    _, most_data = resource.getrlimit(resource.RLIMIT_DATA)  # see `bound_memory`

    def jail() -> None:
        _die_with(parent)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_DATA, (most_data, most_data))

    try:
        process = subprocess.Popen(
            command,
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=None if os.environ.get("CUPOLA_DENO_STDERR") else subprocess.DEVNULL,
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
    return process, ours


def bound_memory(process: subprocess.Popen[bytes], bytes_max: int) -> None:
    """From now on it may take so much more, and no further. V8 reserves a lot when it starts, so
    this is for when it has.
    """
    if not hasattr(resource, "prlimit"):
        return  # not Linux: only V8's own bound holds
    try:
        with open(f"/proc/{process.pid}/statm") as statm:
            reserved = int(statm.read().split()[5]) * _PAGE_BYTES
        bound = reserved + bytes_max
        resource.prlimit(process.pid, resource.RLIMIT_DATA, (bound, bound))
    except OSError:
        return  # it has ended already, which whoever asks next will hear


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/statm") as statm:
            return int(statm.read().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return 0


class Deno:
    """One process. Frames are a character that says what they are, then text; what it sends ends
    with a line feed more (`host/frames.mjs` says why).
    """

    def __init__(self, main: str, heap_bytes_max: int) -> None:
        """See `start_process`."""
        self._process, ours = start_process(main, heap_bytes_max)
        self._socket = ours
        self.figures = ProcessFigures(self._process.pid)
        # A blocking read that ends now and then costs one system call; waiting first, two.
        tick = struct.pack("@ll", 0, int(_TICK_S * 1e6))
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, tick)
        self._use_buffer(bytearray(_BUFFER_BYTES))
        self._start = self._end = 0
        self._heap_bytes_max = heap_bytes_max

    def bound_memory(self) -> None:
        bound_memory(self._process, self._heap_bytes_max + _BESIDES_HEAP_BYTES)

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
        deadline = 0.0
        while True:
            have = self._end - self._start
            if have >= _HEADER.size:
                (length,) = _HEADER.unpack_from(self._buffer, self._start)
                if have >= _HEADER.size + length:
                    return self._take(length)
                self._make_room(_HEADER.size + length)
            try:
                count = self._socket.recv_into(self._view[self._end :])
            except BlockingIOError:  # a look at the clock now and then, see `_TICK_S`
                now = _monotonic()
                deadline = deadline or now + timeout_s - _TICK_S
                if now >= deadline:
                    raise TookTooLong from None
                continue
            except OSError:
                count = 0
            if not count:
                raise ProcessEnded(self.end())
            self._end += count

    def _take(self, length: int) -> tuple[bytes, bytes]:
        start = self._start + _HEADER.size
        end = start + length
        kind, body = bytes(self._view[start : start + 1]), bytes(self._view[start + 1 : end - 1])
        if end == self._end:
            self._start = self._end = 0
            if len(self._buffer) > _BUFFER_BYTES:
                self._use_buffer(bytearray(_BUFFER_BYTES))
        else:
            self._start = end
        return kind, body

    def _make_room(self, size: int) -> None:
        """Let a frame of `size` bytes, its header included, fit behind `_start`."""
        if self._start + size <= len(self._buffer):
            return
        rest = self._buffer[self._start : self._end]
        self._use_buffer(rest + bytearray(max(size, _BUFFER_BYTES) - len(rest)))
        self._start, self._end = 0, len(rest)

    def _use_buffer(self, buffer: bytearray) -> None:
        self._buffer = buffer
        self._view = memoryview(buffer)

    def end(self) -> int | None:
        """End it now, whatever it does. Returns how it ended."""
        self._socket.close()
        self.figures.close()
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
        self.figures.close()
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
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os._exit(70)

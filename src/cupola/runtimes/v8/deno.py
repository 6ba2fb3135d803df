"""A Deno process and how it is started, jailed, spoken to and ended.

The process has no permissions: no file, socket, process or variable of the machine (we speak to
it through its standard input and output). Kernel limits bound its memory, `--v8-flags` its heap;
time is bounded by whoever waits for it, with SIGKILL.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
import select
import signal
import socket
import struct
import subprocess
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
_PIECE_BYTES = 1 << 16
_PIPE_BYTES = _MIB  # what a process without privileges may ask for: a bundle fits in
_F_SETPIPE_SZ = getattr(fcntl, "F_SETPIPE_SZ", None)  # Linux has it
_read, _write = os.read, os.write  # bound here, before the guard of Python functions replaces them
_BESIDES_HEAP_BYTES = 192 * _MIB
"""What a process may take beside its heap: array buffers, which no flag bounds, and V8's own."""

_FLAGS = (
    "--no-prompt",
    "--no-config",
    "--no-lock",
    "--no-remote",
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
    main: str,
    heap_bytes_max: int,
    ends: tuple[int, int],
    permissions: Sequence[str] = (),
    npm: str = "--no-npm",
) -> subprocess.Popen[bytes]:
    """Start a file of the host folder. `ends`: its standard input and output.

    `npm`: how names of npm packages are resolved.

    Raises:
        OperatorError: There is no Deno, or no room for another process.
    """
    heap = heap_bytes_max // _MIB
    command = [
        executable(),
        "run",
        *_FLAGS,
        npm,
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
        return subprocess.Popen(
            command,
            stdin=ends[0],
            stdout=ends[1],
            stderr=None if os.environ.get("CUPOLA_DENO_STDERR") else subprocess.DEVNULL,
            env=_ENVIRONMENT,
            cwd="/",
            preexec_fn=jail,
            start_new_session=True,
        )
    except OSError as error:
        reason = f"No process for JavaScript can be started: {error}"
        raise OperatorError(reason, code="NoWorker") from error


def start_process_with_socket(
    main: str, heap_bytes_max: int, permissions: Sequence[str] = (), npm: str = "--no-npm"
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """The same with a socket at both, and our end of it."""
    ours, theirs = socket.socketpair()
    try:
        ends = theirs.fileno(), theirs.fileno()
        return start_process(main, heap_bytes_max, ends, permissions, npm), ours
    except OperatorError:
        ours.close()
        raise
    finally:
        theirs.close()


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
    """One process at the ends of two pipes, which take half the time of a socket. Frames are a
    character that says what they are, then text; what it sends ends with a line feed more
    (`host/frames.mjs` says why).
    """

    def __init__(self, main: str, heap_bytes_max: int) -> None:
        """See `start_process`."""
        their_input, self._output = os.pipe()
        self._input, their_output = os.pipe()
        try:
            ends = their_input, their_output
            self._process = start_process(main, heap_bytes_max, ends)
        except OperatorError:
            os.close(self._input)
            os.close(self._output)
            raise
        finally:
            os.close(their_input)
            os.close(their_output)
        if _F_SETPIPE_SZ is not None:
            with contextlib.suppress(OSError):  # the user has many already
                fcntl.fcntl(self._output, _F_SETPIPE_SZ, _PIPE_BYTES)
        os.set_blocking(self._output, False)  # see `_send_rest`
        poll = select.poll()
        poll.register(self._input, select.POLLIN)
        self._poll = poll.poll
        self._received = bytearray()  # of a frame that is not complete yet, or of the next ones
        self.figures = ProcessFigures(self._process.pid)
        self._heap_bytes_max = heap_bytes_max

    def bound_memory(self) -> None:
        bound_memory(self._process, self._heap_bytes_max + _BESIDES_HEAP_BYTES)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it ended by itself."""
        return self._process.poll() is not None

    def fileno(self) -> int:
        """Readable when it has said something."""
        return self._input

    def send(self, kind: bytes, body: bytes = b"") -> None:
        """Raises ProcessEnded."""
        frame = _HEADER.pack(len(kind) + len(body)) + kind + body
        try:
            sent = _write(self._output, frame)
        except BlockingIOError:
            sent = 0
        except OSError:
            raise ProcessEnded(self.end()) from None
        if sent < len(frame):
            self._send_rest(memoryview(frame)[sent:])

    def _send_rest(self, rest: memoryview) -> None:
        """Take what it says meanwhile: it may wait for that before it reads, and a pipe may hold
        very little, where a user has many.
        """
        both = select.poll()
        both.register(self._input, select.POLLIN)
        both.register(self._output, select.POLLOUT)
        while rest:
            ready = dict(both.poll())
            if self._input in ready:
                self._received += self._piece(0.0)
                continue
            try:
                rest = rest[_write(self._output, rest) :]
            except BlockingIOError:
                continue
            except OSError:
                raise ProcessEnded(self.end()) from None

    def receive(self, timeout_s: float) -> tuple[bytes, bytes]:
        """The next frame: its kind, and its text.

        Raises:
            TookTooLong, ProcessEnded
        """
        received = self._received
        if not received:
            data = self._piece(timeout_s)
            if len(data) > _HEADER.size:  # most often it is one frame
                (length,) = _HEADER.unpack_from(data)
                if len(data) == _HEADER.size + length:
                    return data[4:5], data[5:-1]
            received += data
        while True:
            if len(received) >= _HEADER.size:
                (length,) = _HEADER.unpack_from(received)
                end = _HEADER.size + length
                if len(received) >= end:
                    kind, body = bytes(received[4:5]), bytes(received[5 : end - 1])
                    del received[:end]
                    return kind, body
            received += self._piece(timeout_s)

    def _piece(self, timeout_s: float) -> bytes:
        """What has come, once something has."""
        try:
            if not self._poll(timeout_s * 1000):
                raise TookTooLong
            data = _read(self._input, _PIECE_BYTES)
        except OSError:
            data = b""
        if not data:
            raise ProcessEnded(self.end())
        return data

    def end(self) -> int | None:
        """End it now, whatever it does. Returns how it ended."""
        self._close()
        if self._process.poll() is None:
            try:  # it may be ending by itself, and why is worth knowing
                return self._process.wait(0.05)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGKILL)
        return self._process.wait()

    def kill(self) -> None:
        """End it now; nobody asks how."""
        self._process.kill()
        self._close()
        self._process.wait()

    def _close(self) -> None:
        for descriptor in (self._input, self._output):
            if descriptor >= 0:
                os.close(descriptor)
        self._input = self._output = -1
        self.figures.close()


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

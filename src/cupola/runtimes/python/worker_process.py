"""A worker as the engine sees it: a child process at the other end of a socket pair."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from cupola.runtimes.python.messages import (
    PIECE_BYTES,
    FrameBuffer,
    Message,
    Ready,
    Setup,
    frame,
    from_worker_decoder,
)
from cupola.runtimes.python.process_figures import ProcessFigures


class WorkerProcess:
    """Starts a worker, sends it messages, hands over what it says, and ends it.

    Starting raises OSError where the machine has no room for another process.
    `received(message)` and `ended()` are called on the loop's thread. Writing never blocks: what
    the socket does not take at once waits here. Without `setup` it is started all the same, and
    waits for one.
    """

    def __init__(
        self,
        module: str,
        setup: Setup | None,
        loop: asyncio.AbstractEventLoop,
        received: Callable[[Any], None],
        ended: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._received = received
        self._ended = ended
        self._buffer = FrameBuffer()
        self._unsent = bytearray()
        self.is_ready = False
        self.problem: str | None = None
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._socket = ours
        environment = {**os.environ, "PYTHONHASHSEED": "0", "TZ": "UTC"}
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the engine, which ends its calls in order
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._figures = ProcessFigures(self.process.pid)
        self.is_open = True
        loop.add_reader(ours, self._read)
        if setup is not None:
            self.send(setup)

    @property
    def pid(self) -> int:
        return self.process.pid

    def send(self, message: Message) -> None:
        if not self.is_open:
            return
        was_empty = not self._unsent
        self._unsent += frame(message)
        if was_empty:
            self._write()

    def _write(self) -> None:
        try:
            while self._unsent:
                sent = self._socket.send(self._unsent)
                del self._unsent[:sent]
        except BlockingIOError:
            self._loop.add_writer(self._socket, self._write)
            return
        except OSError:
            self._close()
            return
        self._loop.remove_writer(self._socket)

    def _read(self) -> None:
        try:
            data = self._socket.recv(PIECE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close()
            return
        for body in self._buffer.feed(data):
            message = from_worker_decoder.decode(body)
            if isinstance(message, Ready):
                self.is_ready = message.problem is None
                self.problem = message.problem
            self._received(message)

    def kill(self) -> None:
        """End the process now, whatever it does."""
        self.process.send_signal(signal.SIGKILL)
        self._close()

    def _close(self) -> None:
        if not self.is_open:
            return
        self.is_open = False
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._figures.close()
        self.process.kill()
        self.process.wait()  # SIGKILL was sent: the kernel ends it within a moment
        self._ended()

    def memory_bytes(self) -> int:
        """Resident memory; 0 when the process is gone."""
        return self._figures.resident_bytes()

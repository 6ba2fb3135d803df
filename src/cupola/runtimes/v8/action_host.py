"""The Deno process of actions, as the event loop of an action worker sees it: many calls at a time,
each answered when it ends.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from cupola.errors import CupolaError, DeveloperError, OperatorError
from cupola.functions.bundles import Bundle
from cupola.limits import Limits
from cupola.runtimes.v8.deno import host_source, resident_bytes, start_process_with_socket
from cupola.runtimes.v8.failures import (
    JavaScriptError,
    for_javascript,
    from_javascript,
    thrown,
)
from cupola.runtimes.v8.packages import installed
from cupola.runtimes.v8.runtime import cannot_start
from cupola.runtimes.v8.source_maps import SourceMaps

_log = logging.getLogger(__name__)
_HEADER = struct.Struct("<I")
_HEAP_BYTES_MAX = 512 * 2**20
_MEMORY_BYTES_MAX = 2**30
_MEMORY_LOOK_S = 0.05
_START_S = 30.0
ENDED: Final = "ActionWorkerEnded"
"""The code of the error of actions whose process has ended."""

Operate = Callable[[str, bytes], Awaitable[bytes]]
"""Runs one operation of an action: takes its name and arguments, gives JSON, raises CupolaError."""
Log = Callable[[str, str], None]


class _Message(msgspec.Struct):
    call: int = 0
    id: int = 0
    op: str = ""
    args: str = ""
    level: str = ""
    text: str = ""
    value: str | None = None


@dataclasses.dataclass(slots=True)
class _Running:
    operate: Operate
    log: Log
    result: asyncio.Future[bytes]
    operations: set[asyncio.Task[None]]


@dataclasses.dataclass(frozen=True, slots=True)
class Surroundings:
    """What a deployment's actions meet outside. `packages_root`: where npm packages are installed.
    `forbids_private_addresses`: whether the machine and its networks are out of reach.
    """

    packages_root: str = ""
    forbids_private_addresses: bool = False


PRIVATE_ADDRESSES = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "[::1]",
    "[::]",
)
"""This machine and private networks (RFC 1918, 3927, 6598). Deno looks at what names resolve to,
and at IPv4 addresses within IPv6; of IPv6 it can be told single addresses only."""


class ActionHost:
    """Started by `start`; ends with this process, or with `close`."""

    def __init__(
        self, bundle: Bundle, limits: Limits, surroundings: Surroundings | None = None
    ) -> None:
        self._bundle = bundle
        self._limits = limits
        self._surroundings = surroundings or Surroundings()
        self._maps = SourceMaps({module.path: module for module in bundle.modules})
        self._running: dict[int, _Running] = {}
        self._count = 0
        self._writer: asyncio.StreamWriter
        self._reading: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[None]
        self.is_ended = False

    async def start(self) -> None:
        """Raises OperatorError, DeveloperError: it does not come up."""
        permissions, npm, folder = ["--allow-net"], "--no-npm", None
        if self._surroundings.forbids_private_addresses:
            permissions.append(f"--deny-net={','.join(PRIVATE_ADDRESSES)}")
        if packages := self._bundle.external_packages:
            folder = await installed(
                self._surroundings.packages_root, packages, self._limits.package_install_s
            )
            permissions.append(f"--allow-read={folder}")
            npm = "--node-modules-dir=manual"
        self._process, ours = start_process_with_socket(
            "actions.mjs", _HEAP_BYTES_MAX, permissions, npm
        )
        reader, self._writer = await asyncio.open_connection(sock=ours)
        self._ready = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read(reader))
        self._send(b"P", furnishings(self._bundle, folder))
        try:
            async with asyncio.timeout(_START_S):
                await self._ready
        except TimeoutError:
            self.close()
            raise cannot_start() from None
        except BaseException:  # whoever wanted it has gone
            self.close()
            raise
        self._watching = asyncio.create_task(self._watch_memory())

    async def _watch_memory(self) -> None:
        """No kernel limit does it: each thread's V8 reserves far more than it uses."""
        while resident_bytes(self._process.pid) < _MEMORY_BYTES_MAX:
            await asyncio.sleep(_MEMORY_LOOK_S)
        self._process.kill()

    @property
    def load(self) -> int:
        """How many actions it runs."""
        return len(self._running)

    def close(self) -> None:
        self.is_ended = True
        self._process.kill()
        self._process.wait()
        self._writer.close()
        for task in (self._reading, self._watching):
            if task is not None:
                task.cancel()

    def _send(self, kind: bytes, body: bytes) -> None:
        self._writer.write(_HEADER.pack(len(body) + 1) + kind + body)

    async def run(
        self,
        request: dict[str, Any],
        operate: Operate,
        log: Log,
        gone: asyncio.Event | None = None,
    ) -> bytes:
        """Run an action or HTTP action. Returns the JSON text of its result.

        `gone`: set when the client of an HTTP action has left.

        Raises:
            JavaScriptError: What it threw.
            DeveloperError: Its process ended.
        """
        if self.is_ended:
            raise _ended()
        self._count += 1
        number = self._count
        result: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        running = self._running[number] = _Running(operate, log, result, set())
        self._send(b"R", msgspec.json.encode({**request, "call": number}))
        if gone is not None:
            watching = asyncio.create_task(self._tell_gone(number, gone))
            running.operations.add(watching)
        try:
            return await result
        finally:
            del self._running[number]
            for operation in running.operations:
                operation.cancel()
            if not self.is_ended:
                self._send(b"K", msgspec.json.encode({"call": number}))

    async def _tell_gone(self, number: int, gone: asyncio.Event) -> None:
        await gone.wait()
        self._send(b"D", msgspec.json.encode({"call": number}))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                (length,) = _HEADER.unpack(await reader.readexactly(_HEADER.size))
                frame = await reader.readexactly(length)
                self._receive(frame[:1], frame[1:])
        except (asyncio.IncompleteReadError, ConnectionError):
            self._end()
        except Exception:  # ours, or it was made to say what makes no sense; nobody waits for ever
            _log.exception("the process of actions cannot be understood")
            self._end()

    def _end(self) -> None:
        self.close()
        if not self._ready.done():
            self._ready.set_exception(_ended())
        for running in self._running.values():
            if not running.result.done():
                running.result.set_exception(_ended())

    def _receive(self, kind: bytes, body: bytes) -> None:
        if kind == b"H":
            self._ready.set_result(None)
            return
        message = from_javascript(body, _Message)
        running = self._running.get(message.call)
        if running is None or running.result.done():
            return
        match kind:
            case b"S":
                task = asyncio.create_task(self._operate(message, running))
                running.operations.add(task)
                task.add_done_callback(running.operations.discard)
            case b"L":
                running.log(message.level, message.text)
            case b"V":
                running.result.set_result((message.value or "").encode("utf-8", "replace"))
            case b"E":
                running.result.set_exception(thrown(body, self._maps))

    async def _operate(self, message: _Message, running: _Running) -> None:
        try:
            text = await running.operate(message.op, message.args.encode("utf-8", "replace"))
            ok = True
        except CupolaError as error:
            text, ok = for_javascript(error), False
        except Exception:  # ours; who waits for the answer must not wait for ever
            _log.exception("the operation %s of an action failed", message.op)
            text, ok = for_javascript(_broken()), False
        answer = {"call": message.call, "id": message.id, "ok": ok, "text": text.decode()}
        self._send(b"A", msgspec.json.encode(answer))


def furnishings(bundle: Bundle, packages: Path | None) -> bytes:
    """What the process needs before its first action. `packages`: the folder of npm packages."""
    modules = [(m.path, m.source, m.environment == "node") for m in bundle.modules]
    names = ("console", "failures", "exports")
    return msgspec.json.encode(
        {
            "worker": host_source("action_worker.mjs"),
            "sources": {name: host_source(f"{name}.js") for name in names},
            "bundle": {
                "modules": modules,
                "environment": bundle.environment,
                "environments": bundle.environments,
            },
            "packages": packages.as_uri() if packages is not None else None,
        }
    )


def _broken() -> OperatorError:
    return OperatorError("An operation failed inside the server; its log says how.")


def _ended() -> DeveloperError:
    return DeveloperError(
        "The process of JavaScript actions ended unexpectedly, for example because one of them ran "
        "out of memory; the action may have done part of its work.",
        code=ENDED,
    )


__all__ = ["ActionHost", "JavaScriptError", "furnishings"]

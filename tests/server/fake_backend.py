"""A backend that answers by script: what the server asks of one, and nothing of an engine."""

import asyncio
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry

from cupola.auth import NOWHERE, AdminKeys, Origin, SessionTokens, TokenVerifier
from cupola.backend import CallRequest, CallResult
from cupola.clock import ManualClock
from cupola.errors import (
    ConflictError,
    CupolaError,
    FunctionKindError,
    FunctionNotFoundError,
    InvalidPathError,
    InvalidValueError,
    OverloadedError,
)
from cupola.functions.app import App
from cupola.limits import DEFAULT_LIMITS, Limits
from cupola.sync.frames import SharedFrame

ERRORS = {
    "overloaded": OverloadedError("too much", code="TooManyConcurrentMutations"),
    "conflict": ConflictError("lost every time"),
    "path": InvalidPathError("no:path: is not a valid path to a Convex function."),
    "missing": FunctionNotFoundError("Could not find public function for 'test:missing'."),
    "badjson": InvalidValueError("malformed.", code="BadJson"),
    "internal": CupolaError("a secret"),
    "wrongtype": FunctionKindError("is a query"),
}


class FakeHost:
    """A session that echoes, except for a few words it obeys."""

    def __init__(self, channel: Any, chunked: bool) -> None:
        self.channel = channel
        self.chunked = chunked
        self.received: list[bytes] = []
        self.writable_calls: list[bool] = []
        self.is_disconnected = False
        self.origin = NOWHERE
        self.on_writable: Callable[[bool], None] = lambda is_writable: None

    def receive(self, frame: bytes) -> None:
        self.received.append(frame)
        command, _, argument = frame.partition(b" ")
        match command:
            case b"close":
                code, _, reason = argument.decode().partition(" ")
                self.channel.close(int(code) if code != "none" else None, reason)
            case b"large":
                self.channel.send(b"x" * int(argument))
            case b"sizes":
                for number, size in enumerate(argument.split()):
                    self.channel.send(b"%d" % number * int(size))
            case b"shared":
                sizes = map(int, argument.split())
                self.channel.send(*(SharedFrame(b"s" * size, b"own") for size in sizes))
            case b"many":
                self.channel.send(*(b"%d" % number for number in range(int(argument))))
            case b"fail":
                raise RuntimeError("a bug in the session")
            case b"last":
                self.channel.send(b"words")
                self.channel.close(1000, "done")
                self.channel.send(b"never")
            case _:
                self.channel.send(frame)

    def writable(self, is_writable: bool) -> None:
        self.writable_calls.append(is_writable)
        self.on_writable(is_writable)

    def disconnected(self) -> None:
        assert not self.is_disconnected
        self.is_disconnected = True


class FakeBackend:
    """`test:echo` returns its arguments, `test:fail` fails, `test:later` answers in a later turn;
    `test:<one of ERRORS>` fails with that error."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self.limits = limits
        self.clock = ManualClock()
        self.admin_keys = AdminKeys("carnitas", bytes(32), self.clock)
        self.users = TokenVerifier(self.clock, limits, SessionTokens(bytes(32)))
        self.instance_name = "carnitas"
        self.collectors: list[Any] = []
        self.state = "ready"
        self.app = App({}, {})
        self.request_turn: Any = None
        self.on_failure: Any = None
        self.requests: list[CallRequest] = []
        self.hosts: list[FakeHost] = []
        self.held: list[Callable[[], None]] = []
        self.ticks = 0
        self.is_closed = False
        self.http_actions = SimpleNamespace(has_routes=False)

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        self.request_turn = loop.call_soon

    @property
    def registry(self) -> CollectorRegistry:
        registry = CollectorRegistry(auto_describe=False)
        for collector in self.collectors:
            registry.register(collector)
        return registry

    def tick(self) -> None:
        self.ticks += 1

    def status(self) -> dict[str, Any]:
        return {"state": self.state, "headTs": 1001, "durableTs": 1001, "sessions": len(self.hosts)}

    redacts_errors = False

    def newest_durable_ts(self) -> int:
        return 1001

    def submit(self, request: CallRequest, done: Callable[[CallResult], None]) -> None:
        self.requests.append(request)
        result = self.result_of(request)
        if request.path == "test:later":
            asyncio.get_running_loop().call_later(0.01, done, result)
        elif request.path == "test:held":
            self.held.append(lambda: done(result))
        else:
            done(result)

    def submit_batch(
        self, requests: Sequence[CallRequest], done: Callable[[list[CallResult]], None]
    ) -> None:
        self.requests += requests
        done([self.result_of(request) for request in requests])

    def result_of(self, request: CallRequest) -> CallResult:
        name = request.path.rpartition(":")[2]
        if name in ERRORS:
            error = ERRORS[name]
            return CallResult(False, None, b"[]", 1001, error.message, None, error)
        if name == "fail":
            text = f"[Request ID: {request.request_id}] Server Error"
            data = b'{"n":{"$integer":"BQAAAAAAAAA="}}'
            return CallResult(False, None, b"[\"[LOG] 'h'\"]", 1001, text, data)
        return CallResult(True, request.args, b"[]", 1001)

    def open_session(
        self, channel: Any, *, chunked: bool = False, origin: Origin = NOWHERE
    ) -> FakeHost:
        host = FakeHost(channel, chunked)
        host.origin = origin
        self.hosts.append(host)
        return host

    def drain(self) -> None:
        self.state = "draining"

    async def close(self) -> None:
        self.is_closed = True
